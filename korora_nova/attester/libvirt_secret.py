# SPDX-License-Identifier: Apache-2.0
"""The passphrase's last step: a private, ephemeral secret in libvirt."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol
from xml.etree import ElementTree
from xml.sax import saxutils

import libvirt
from oslo_log import log as logging

from korora_nova import errors
from korora_nova.secret import Secret

LOG = logging.getLogger(__name__)

RUNNING = 'running'
INCOMING = 'incoming'
NONE = 'none'

_XML = """<secret ephemeral='yes' private='yes'>
 <uuid>{uuid}</uuid>
 <description>vTPM of instance {instance}</description>
 <usage type='vtpm'><name>{instance}</name></usage>
</secret>"""

# A destination's domain waits in this state until the stream is complete
_WAITING_REASONS = (
    libvirt.VIR_DOMAIN_PAUSED_MIGRATION,
    libvirt.VIR_DOMAIN_PAUSED_STARTING_UP,
)
_OFF_STATES = (
    libvirt.VIR_DOMAIN_NOSTATE,
    libvirt.VIR_DOMAIN_SHUTOFF,
    libvirt.VIR_DOMAIN_CRASHED,
)
_JOBS = (libvirt.VIR_DOMAIN_JOB_BOUNDED, libvirt.VIR_DOMAIN_JOB_UNBOUNDED)
# Of a domain that is off, and of one that comes in: only its source tells
_NOT_TOLD = (
    libvirt.VIR_ERR_OPERATION_INVALID,
    libvirt.VIR_ERR_OPERATION_UNSUPPORTED,
)
# Jobs of other kinds, such as a backup, leave the domain where it is
_MOVES = (
    libvirt.VIR_DOMAIN_JOB_OPERATION_UNKNOWN,
    libvirt.VIR_DOMAIN_JOB_OPERATION_MIGRATION_IN,
    libvirt.VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT,
)
# Of a domain that is gone, or whose job is over meanwhile
_OVER = (*_NOT_TOLD, libvirt.VIR_ERR_NO_DOMAIN)


class Qemu(NamedTuple):
    """How this host runs QEMU.

    :param uid: of its user.
    :param version: 7002022 is 7.2.22.
    """

    uid: int
    version: int


class Hypervisor(Protocol):
    """What the agent needs of libvirt; custodians give it passphrases."""

    def undefine(self, uuid: str, instance: str) -> None:
        """Take it away; it may be gone already, the uuid may be empty."""

    def domain_state(self, instance: str) -> str:
        """RUNNING, INCOMING (a stream may be under way) or NONE."""

    def has_job(self, instance: str) -> bool:
        """Whether a migration job moves its domain now, from here or to it."""

    def abort(self, instance: str) -> bool:
        """End the job that moves its domain from here; False: there is none.

        A guest that has arrived is not touched: libvirt refuses then, or it
        does nothing.
        """

    def qemu(self) -> Qemu:
        """Who reads the files of streams."""


class Libvirt:
    """libvirt's daemon at a URI; connects when needed, and again.

    :raises Unavailable: LIBVIRT_UNAVAILABLE, from every method.
    """

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._lock = threading.Lock()
        self._connection: Any = None
        # The default handler prints to stderr
        libvirt.registerErrorHandler(lambda *_: None, None)

    def define(self, uuid: str, instance: str, value: Secret) -> None:
        """Give libvirt the passphrase of an instance's vTPM."""
        with self._connected() as connection:
            self._undefine(connection, uuid, instance)
            xml = _XML.format(
                uuid=saxutils.escape(uuid),
                instance=saxutils.escape(instance),
            )
            connection.secretDefineXML(xml, 0).setValue(value.reveal(), 0)

    def undefine(self, uuid: str, instance: str) -> None:
        with self._connected() as connection:
            self._undefine(connection, uuid, instance)

    def domain_state(self, instance: str) -> str:
        with self._connected() as connection:
            try:
                domain = connection.lookupByUUIDString(instance)
                state, reason = domain.state(0)
            except libvirt.libvirtError as exc:
                if exc.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
                    return NONE
                raise
        if state in _OFF_STATES:
            return NONE
        if state == libvirt.VIR_DOMAIN_PAUSED and reason in _WAITING_REASONS:
            return INCOMING
        return RUNNING

    def has_job(self, instance: str) -> bool:
        with self._connected() as connection:
            try:
                domain = connection.lookupByUUIDString(instance)
                return _moves(domain)
            except libvirt.libvirtError as exc:
                if exc.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
                    return False
                raise

    def abort(self, instance: str) -> bool:
        with self._connected() as connection:
            try:
                domain = connection.lookupByUUIDString(instance)
                if not _leaves(domain):
                    return False
                domain.abortJob()
            except libvirt.libvirtError as exc:
                if exc.get_error_code() not in _OVER:
                    raise
                return False
        return True

    def qemu(self) -> Qemu:
        with self._connected() as connection:
            text = connection.getCapabilities()
            return Qemu(_uid(text), connection.getVersion())

    def _undefine(self, connection: Any, uuid: str, instance: str) -> None:
        """Remove what is this instance's; its uuid may have been another.

        The uuid came with the key: what has it and is not the instance's
        stays, and libvirt refuses to define a second one.
        """
        lookups: list[Callable[[], Any]] = [
            lambda: connection.secretLookupByUsage(
                libvirt.VIR_SECRET_USAGE_TYPE_VTPM, instance
            )
        ]
        if uuid:
            lookups.append(lambda: connection.secretLookupByUUIDString(uuid))
        for lookup in lookups:
            try:
                secret = lookup()
                if secret.usageID() == instance:
                    secret.undefine()
            except libvirt.libvirtError as exc:
                if exc.get_error_code() != libvirt.VIR_ERR_NO_SECRET:
                    raise

    @contextlib.contextmanager
    def _connected(self) -> Iterator[Any]:
        try:
            yield self._connect()
        except libvirt.libvirtError as exc:
            # The text may name anything; the code tells enough
            raise errors.Unavailable(
                errors.Reason.LIBVIRT_UNAVAILABLE,
                f'libvirt at [attester] libvirt_uri = {self._uri} failed '
                f'with error {exc.get_error_code()}.',
            ) from None

    def _connect(self) -> Any:
        with self._lock:
            if self._connection is not None:
                with contextlib.suppress(libvirt.libvirtError):
                    # A round trip: isAlive() only knows of failures it met
                    self._connection.getLibVersion()
                    return self._connection
                self._connection = None
            self._connection = libvirt.open(self._uri)
            return self._connection


def _uid(capabilities: str) -> int:
    """QEMU's user, of libvirt's capabilities; root's if it does not say."""
    labels = ElementTree.fromstring(capabilities).findall(
        "./host/secmodel[model='dac']/baselabel"
    )
    for label in labels:
        user = (label.text or '').partition(':')[0].removeprefix('+')
        if user.isascii() and user.isdigit():
            return int(user)
    return 0


def _moves(domain: Any) -> bool:
    """Whether a migration job is at work on a domain."""
    try:
        job = domain.jobStats()
    except libvirt.libvirtError as exc:
        if exc.get_error_code() not in _NOT_TOLD:
            raise
        return bool(domain.isActive())
    return job['type'] in _JOBS and _operation(job) in _MOVES


def _leaves(domain: Any) -> bool:
    """Whether a job of this host's moves a domain away."""
    job = domain.jobStats()
    return job['type'] in _JOBS and (
        _operation(job) == libvirt.VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT
    )


def _operation(job: Any) -> int:
    operation: int = job.get(
        libvirt.VIR_DOMAIN_JOB_OPERATION,
        libvirt.VIR_DOMAIN_JOB_OPERATION_UNKNOWN,
    )
    return operation
