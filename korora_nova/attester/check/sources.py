# SPDX-License-Identifier: Apache-2.0
"""Where checks get what they look at; nothing here changes anything."""

from __future__ import annotations

import datetime
import os
import shutil
import stat
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Generic, TypeVar

import oslo_messaging
from kombu.connection import Connection
from oslo_config import cfg
from oslo_messaging import exceptions as bus_errors

from korora_nova.attester.check.reach import Broker
from korora_nova.attester.check.settings import NovaSettings
from korora_nova.conf import AGENT_SOCKET, TRUSTED_KEYS

T = TypeVar('T')

#: Longest log that is read, bytes: enough to tell that it is too long.
MAX_LOG = 64 << 20
#: Of Nova's processes, and QEMU's for native TLS.
QEMU_TLS = '/etc/pki/qemu'
QEMU_FILES = ('ca-cert.pem', 'server-cert.pem', 'client-cert.pem')
_AMQP_PORT = 5672


class Missing(Exception):
    """Another check has said already why this could not be read.

    :ivar name: of the source.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class Source(Generic[T]):
    """Something that is read once, by whoever asks first.

    :param name: what it is, for people.
    """

    def __init__(self, name: str, read: Callable[[], T]) -> None:
        self.name = name
        self._read = read
        self._value: tuple[T] | None = None
        self._failed = False
        self._lock = threading.Lock()

    def get(self) -> T:
        """Its value.

        :raises Missing: it could not be read before.
        """
        if not self._lock.acquire(blocking=False):
            raise Missing(self.name)  # a check that took too long has it
        try:
            if self._failed:
                raise Missing(self.name)
            if self._value is None:
                self._failed = True
                self._value = (self._read(),)
                self._failed = False
            return self._value[0]
        finally:
            self._lock.release()


def content(path: str, limit: int = MAX_LOG) -> bytes:
    """At most ``limit`` bytes of a file, and one; empty if there is none.

    :raises OSError: it cannot be read.
    """
    try:
        with open(path, 'rb') as stream:
            return stream.read(limit + 1)
    except FileNotFoundError:
        return b''


def parts(path: str, size: int) -> Iterator[bytes]:
    """A file in parts of a size; nothing if there is none.

    :raises OSError: it cannot be read.
    """
    try:
        with open(path, 'rb') as stream:
            while part := stream.read(size):
                yield part
    except FileNotFoundError:
        return


def text(path: str) -> str | None:
    """A small file; None if it is not there or not for this user."""
    try:
        with open(path, 'rb') as stream:
            return stream.read(1 << 20).decode(errors='replace')
    except OSError:
        return None


def number(path: str) -> int | None:
    """A number that the kernel shows; None if it does not."""
    shown = (text(path) or '').strip()
    return int(shown) if shown.isascii() and shown.isdigit() else None


def mode(path: str) -> int | None:
    """Permissions; None if there is nothing.

    :raises OSError: that cannot be seen.
    """
    try:
        return stat.S_IMODE(os.stat(path).st_mode)
    except FileNotFoundError:
        return None


def free(path: str) -> int:
    """Bytes free at a path, or where it would be made."""
    while not os.path.exists(path) and path not in ('', '/'):
        path = os.path.dirname(path)
    return shutil.disk_usage(path or '.').free


def qemu_certificates(directory: str = QEMU_TLS) -> dict[str, bytes | str]:
    """QEMU's certificates, or for each why it was not read."""
    found: dict[str, bytes | str] = {}
    for name in QEMU_FILES:
        path = os.path.join(directory, name)
        try:
            with open(path, 'rb') as stream:
                found[path] = stream.read(1 << 20)
        except OSError as exc:
            found[path] = exc.strerror or type(exc).__name__
    return found


def nova(files: tuple[str, ...] | None) -> NovaSettings:
    """Nova's configuration, of which only these options are read.

    :param files: default: where nova-compute looks.
    :raises cfg.Error: it cannot be read.
    """
    conf = cfg.ConfigOpts()
    conf.register_opts(
        [
            cfg.StrOpt('compute_driver', default=''),
            cfg.StrOpt('host', default=''),
        ]
    )
    conf.register_opts(
        [
            cfg.BoolOpt('swtpm_enabled', default=False),
            cfg.StrOpt('live_migration_inbound_addr', default=''),
            cfg.BoolOpt('live_migration_with_native_tls', default=False),
            cfg.StrOpt('live_migration_scheme', default=''),
            cfg.StrOpt('live_migration_uri', default=''),
        ],
        'libvirt',
    )
    conf.register_opts(
        [
            cfg.StrOpt('agent_socket', default=AGENT_SOCKET),
            cfg.StrOpt('trusted_keys', default=TRUSTED_KEYS),
            cfg.StrOpt('auth_type', default=''),
            cfg.StrOpt('auth_section', default=''),
        ],
        'korora',
    )
    conf(
        [],
        project='nova',
        prog='nova-compute',
        default_config_files=None if files is None else list(files),
    )
    return NovaSettings(
        tuple(conf.config_file or ()),
        conf.compute_driver,
        conf.host,
        conf.libvirt.swtpm_enabled,
        conf.libvirt.live_migration_inbound_addr,
        conf.libvirt.live_migration_with_native_tls,
        conf.korora.agent_socket,
        conf.korora.trusted_keys,
        bool(conf.korora.auth_type or conf.korora.auth_section),
        conf.libvirt.live_migration_uri
        or f'qemu+{conf.libvirt.live_migration_scheme or "tcp"}://',
    )


def brokers(
    conf: cfg.ConfigOpts, url: str | None, timeout: float
) -> list[Broker] | None:
    """Log in at each node of the bus, and leave; None: there is no bus.

    :raises ValueError: the URL is malformed; its text may have a password.
    """
    if not url:
        return None
    try:
        parsed = oslo_messaging.TransportURL.parse(conf, url)
    except bus_errors.MessagingException as exc:
        raise ValueError(type(exc).__name__) from None
    if parsed.transport not in ('rabbit', 'kombu'):
        return [
            Broker(f'{parsed.transport}:', 'only RabbitMQ can be checked here')
        ]
    tls = _tls(conf)
    return [
        Broker(
            f'{one.hostname}:{one.port or _AMQP_PORT}',
            _login(one, parsed.virtual_host or '/', timeout, tls),
        )
        for one in parsed.hosts
    ]


def _login(
    node: oslo_messaging.TransportHost,
    virtual_host: str,
    timeout: float,
    tls: Mapping[str, str] | bool,
) -> str:
    """The name of what kept us out, or ''."""
    make: Any = Connection
    connection = make(
        hostname=node.hostname,
        port=node.port or _AMQP_PORT,
        userid=node.username,
        password=node.password,
        virtual_host=virtual_host,
        connect_timeout=timeout,
        ssl=tls,
        transport='pyamqp',
        transport_options={'max_retries': 0},
    )
    try:
        connection.transport.establish_connection()
    except Exception as exc:  # noqa: BLE001 - its text may have a password
        return type(exc).__name__
    finally:
        connection.release()
    return ''


def _tls(conf: cfg.ConfigOpts) -> Mapping[str, str] | bool:
    """``[oslo_messaging_rabbit]`` of the agent, as kombu wants it."""
    group = 'oslo_messaging_rabbit'
    names = {
        'ca_certs': 'ssl_ca_file',
        'certfile': 'ssl_cert_file',
        'keyfile': 'ssl_key_file',
    }
    conf.register_opts(
        [
            cfg.BoolOpt('ssl', default=False),
            *(cfg.StrOpt(name, default='') for name in names.values()),
        ],
        group,
    )
    if not conf[group].ssl:
        return False
    given = {key: conf[group][name] for key, name in names.items()}
    return {key: value for key, value in given.items() if value} or True


def utcnow() -> datetime.datetime:
    return datetime.datetime.now(datetime.timezone.utc)
