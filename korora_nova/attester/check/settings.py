# SPDX-License-Identifier: Apache-2.0
"""Checks of configuration files, pinned keys, certificates and directories."""

from __future__ import annotations

import dataclasses
import datetime
import stat
from collections.abc import Iterator, Mapping

from cryptography import x509

from korora_nova.checks import (
    Problem,
    Result,
    bad,
    result,
    warn,
)
from korora_nova.rats.signed.keys import USES, KeyRing, State

#: Time left of a certificate below which it is told.
SOON = datetime.timedelta(days=30)
#: Bytes that should be free for the vault and the journal.
ROOM = 64 << 20
DRIVER = 'korora.KororaLibvirtDriver'


@dataclasses.dataclass(frozen=True)
class AgentSettings:
    """What of agent.conf others have to agree with; no secrets.

    :param mode: of the file with passwords; None: there is no such file.
    """

    host: str
    address: str
    tls_name: str
    socket: str
    trusted_keys: str
    allowed_users: tuple[str, ...]
    has_bus: bool
    mode: int | None


@dataclasses.dataclass(frozen=True)
class NovaSettings:
    """What of nova.conf concerns the agent; no secrets.

    :param files: those that were read.
    :param channel: how it connects to another host's libvirt: an URI.
    """

    files: tuple[str, ...]
    driver: str
    host: str
    swtpm: bool
    inbound: str
    native_tls: bool
    socket: str
    trusted_keys: str
    has_credentials: bool
    channel: str = 'qemu+tls://'


def agent_conf(agent: AgentSettings) -> Result:
    """Whether the agent's own configuration is complete."""
    problems = []
    if agent.mode is None:
        problems.append(
            bad(
                'there is no agent.conf',
                'write /etc/korora/agent.conf; a sample is in share/korora',
            )
        )
    elif agent.mode & (stat.S_IRGRP | stat.S_IROTH):
        problems.append(
            bad(
                'it holds passwords, and others than its owner can read it',
                'chmod 0600 /etc/korora/agent.conf',
            )
        )
    if not agent.has_bus:
        problems.append(
            warn(
                '[handover] transport_url is not set: no live migrations of '
                'protected servers',
                'set it to a virtual host of its own on the bus',
            )
        )
    return result('agent-conf', f'host {agent.host}', problems)


def nova_conf(nova: NovaSettings, agent: AgentSettings) -> Result:
    """Whether nova-compute will use the driver, and agrees with the agent."""
    if not nova.files:
        return result(
            'nova-conf',
            '',
            [
                warn(
                    'no configuration of nova-compute was found',
                    'name its files with --nova-config-file',
                )
            ],
        )
    return result(
        'nova-conf',
        f'driver and addresses agree ({", ".join(nova.files)})',
        _nova(nova, agent),
    )


def _nova(nova: NovaSettings, agent: AgentSettings) -> Iterator[Problem]:
    if nova.driver != DRIVER:
        yield warn(
            f'compute_driver is {nova.driver or "not set"}',
            f'set [DEFAULT] compute_driver = {DRIVER} once the host is '
            'trusted',
        )
    if not nova.swtpm:
        yield bad(
            '[libvirt] swtpm_enabled is not true: no virtual TPMs',
            'set it to true',
        )
    if nova.host and nova.host != agent.host:
        yield bad(
            f'[DEFAULT] host is {nova.host}, [attester] host {agent.host}',
            'give both the same value',
        )
    inbound = nova.inbound or nova.host or agent.host
    if inbound != agent.address:
        yield bad(
            f'live migrations are sent to {inbound}, [attester] address is '
            f'{agent.address} (ADDRESS_MISMATCH)',
            'set [libvirt] live_migration_inbound_addr and [attester] '
            'address to the same value',
        )
    if nova.channel.startswith('qemu+tcp:'):
        yield warn(
            'libvirt of another host is reached by plain TCP: no live '
            'migrations of protected servers (CHANNEL_UNAUTHENTICATED)',
            'set [libvirt] live_migration_scheme to ssh or tls',
        )
    if nova.socket != agent.socket:
        yield bad(
            f'[korora] agent_socket is {nova.socket}, [attester] socket '
            f'{agent.socket}',
            'give both the same value',
        )
    if nova.trusted_keys != agent.trusted_keys:
        yield warn(
            'Nova and the agent pin keys from two files',
            'keep both files the same, or name one',
        )
    if not nova.has_credentials:
        yield bad(
            '[korora] has no auth_url or auth_type: nova-compute cannot ask '
            'the service',
            'add the credentials of a user with the role "service"',
        )


def trusted_keys(ring: KeyRing) -> Result:
    """Whether keys are pinned, an active one for each use."""
    active = {key.use for key in ring.pinned if key.state is State.ACTIVE}
    missing = [use for use in USES if use not in active]
    problems = []
    if missing:
        problems.append(
            bad(
                f'no active key for {", ".join(missing)}',
                'bring keys.json from the attestation service again',
            )
        )
    return result(
        'trusted-keys',
        f'{len(ring.pinned)} keys of cloud {ring.cloud}',
        problems,
    )


def certificates(
    files: Mapping[str, bytes | str],
    tls_name: str,
    native_tls: bool,
    now: datetime.datetime,
) -> Result:
    """Whether live migrations can be encrypted, now and next month.

    :param files: name of a file to its content, or why it was not read.
    """
    if not native_tls:
        return result(
            'certificates', 'none needed: Nova does not use native TLS'
        )
    problems = [
        problem
        for name, content in files.items()
        for problem in _certificate(name, content, tls_name, now)
    ]
    return result('certificates', ', '.join(files), problems)


def _certificate(
    name: str, content: bytes | str, tls_name: str, now: datetime.datetime
) -> Iterator[Problem]:
    renew = 'renew it, and restart what uses it'
    if isinstance(content, str):
        yield bad(f'{name}: {content}', 'install it for QEMU; see libvirt.org')
        return
    try:
        loaded = x509.load_pem_x509_certificate(content)
    except ValueError:
        yield bad(f'{name} holds no certificate in PEM', 'replace it')
        return
    until = loaded.not_valid_after_utc
    if not loaded.not_valid_before_utc <= now <= until:
        yield bad(f'{name} is not valid now, only until {until:%F}', renew)
    elif until - now < SOON:
        yield warn(f'{name} is valid until {until:%F} only', renew)
    if name.endswith('server-cert.pem') and tls_name not in _names(loaded):
        yield bad(
            f'{name} is not for {tls_name}',
            'issue one with this name, or set [attester] tls_name',
        )


def _names(loaded: x509.Certificate) -> list[str]:
    try:
        names = loaded.extensions.get_extension_for_class(
            x509.SubjectAlternativeName
        ).value
    except (x509.ExtensionNotFound, ValueError):
        return []
    return [
        *names.get_values_for_type(x509.DNSName),
        *map(str, names.get_values_for_type(x509.IPAddress)),
    ]


def state_dir(path: str, mode: int | None, free: int) -> Result:
    """Whether vault and journal have a place.

    :param mode: permissions of the directory; None: it is not there yet.
    :param free: bytes on its file system.
    """
    problems = []
    if mode is not None and mode & 0o077:
        problems.append(
            bad(
                f'{path} is open to others than its owner',
                f'chmod 0700 {path}',
            )
        )
    if free < ROOM:
        problems.append(
            bad(
                f'{free >> 20} MiB are free at {path}',
                'free some space: a full disk stops hand-overs',
            )
        )
    made = 'will be made' if mode is None else 'there'
    return result(
        'state-dir', f'{path} {made}, {free >> 20} MiB free', problems
    )
