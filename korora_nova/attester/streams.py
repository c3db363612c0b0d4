# SPDX-License-Identifier: Apache-2.0
"""This host's key and certificate for streams.

The agent keeps them below ``state_dir`` and has QEMU find them in ``[attester]
migration_tls_dir``. Whatever fails here keeps no host from attesting: it is
logged, once, and tried again with the next attestation.
"""

from __future__ import annotations

import base64
import os
import pathlib
import textwrap
import threading
import time
from collections.abc import Callable

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from oslo_log import log as logging

from korora_nova import errors
from korora_nova.attester import files, tlsfiles
from korora_nova.attester.libvirt_secret import Qemu
from korora_nova.custody import bodies, exchange, messages
from korora_nova.custody.words import StreamTls
from korora_nova.rats.signed.keys import KeyRing
from korora_nova.rats.x509 import stream
from korora_nova.rats.x509.stream import Issued

LOG = logging.getLogger(__name__)

#: QEMU up to this version is slow without a file of Diffie-Hellman
#: parameters, and warns of it from this one on.
NO_DH = 10_002_000
#: What is left of a certificate's life, as a part of it, when it is replaced
#: whatever is under way.
LATE = 0.25
#: Group ffdhe2048 of RFC 7919, which GnuTLS accepts as known to be good.
_FFDHE2048 = bytes.fromhex(
    'FFFFFFFFFFFFFFFFADF85458A2BB4A9AAFDC5620273D3CF1D8B9C583CE2D3695'
    'A9E13641146433FBCC939DCE249B3EF97D2FE363630C75D8F681B202AEC4617A'
    'D3DF1ED5D5FD65612433F51F5F066ED0856365553DED1AF3B557135E7F57C935'
    '984F0C70E0E68B77E2A689DAF3EFE8721DF158A136ADE73530ACCA4F483A797A'
    'BC0AB182B324FB61D108A94BB2C8E3FBB96ADAB760D7F4681D4F42A3DE394DF4'
    'AE56EDE76372BB190B07A7C8EE0A6D709E02FCE1CDF7E2ECC03404CD28342F61'
    '9172FE9CE98583FF8E4F1232EEF28183C3FE3B1B4C6FAD733BB5FCBC2EC22005'
    'C58EF1837D1683B2C6F34A26C1B2EFFA886B423861285C97FFFFFFFFFFFFFFFF'
)


class Streams:
    """What this host streams with.

    :param directory: of the key and the certificate, this agent's own.
    :param link: where QEMU finds them; None: this host has none.
    :param ring: returns the pinned keys.
    :param qemu: returns who reads them.
    :param busy: returns whether a permit from or to here is open.
    :param clock: seconds since 1970.
    :ivar mode: what the service said last.
    """

    def __init__(
        self,
        directory: pathlib.Path,
        link: str | None,
        host: str,
        ring: Callable[[], KeyRing],
        qemu: Callable[[], Qemu],
        busy: Callable[[], bool],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._directory = directory
        self._link = pathlib.Path(link) if link else None
        self._host = host
        self._ring = ring
        self._qemu = qemu
        self._busy = busy
        self._clock = clock
        self._key: ec.EllipticCurvePrivateKey | None = None
        self._request = b''
        self._complaint = ''
        # Attestations end in several threads; one replaces files.
        self._lock = threading.Lock()
        self.mode = StreamTls.TRANSITION

    def prepare(self) -> None:
        """Make the directory: libvirtd does not start without it."""
        if self._link is None:
            return
        try:
            if not self._link.exists():
                tlsfiles.install(self._link, {}, os.geteuid())
        except (OSError, tlsfiles.Foreign) as exc:
            self._complain(exc)

    # What is said to the service, and heard of it

    def said(self) -> bodies.Tls | None:
        """This host's request, and what it has, for an attestation."""
        if self._link is None:
            return None
        try:
            with self._lock:
                private = self._private()
                if not self._request:
                    self._request = stream.request(private, self._host)
                issued = self._issued()
        except (OSError, errors.KororaError) as exc:
            self._complain(exc)
            return None
        return bodies.Tls(
            messages.b64(self._request),
            issued.serial if issued is not None else '',
        )

    def hear(self, heard: exchange.Streams) -> None:
        """What the service answered: keep it, and have QEMU find it."""
        self.mode = heard.mode
        if self._link is None:
            return
        with self._lock:
            try:
                self._take(heard)
                self._settle(self._link)
            except (OSError, tlsfiles.Foreign, errors.KororaError) as exc:
                self._complain(exc)
            else:
                self._complaint = ''

    def _take(self, heard: exchange.Streams) -> None:
        if heard.refused == errors.Reason.CERTIFICATE_KEY_TAKEN:
            # Copied with the directory. The next request is for another one.
            files.remove(self._path('key'))
            self._key, self._request = None, b''
        if heard.refused:
            raise errors.from_reason(heard.refused)
        if heard.certificate:
            issued = self._read(heard.certificate.encode())
            files.write(self._path('cert'), issued.pem)

    def _complain(self, exc: Exception) -> None:
        if str(exc) != self._complaint:
            LOG.error('No certificate for streams: %s', exc)
        self._complaint = str(exc)

    # This host's own files

    def _path(self, name: str) -> pathlib.Path:
        return self._directory / f'{name}.pem'

    def _private(self) -> ec.EllipticCurvePrivateKey:
        """The key, made at first; kept for as long as it is there."""
        if self._key is None:
            path = self._path('key')
            try:
                self._key = _load(path.read_bytes())
            except FileNotFoundError:
                self._key = self._made(path)
            except ValueError:
                LOG.error('%s is damaged: another key is made', path)
                self._key = self._made(path)
        return self._key

    def _made(self, path: pathlib.Path) -> ec.EllipticCurvePrivateKey:
        made = ec.generate_private_key(ec.SECP256R1())
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        # On disk before anybody hears of it.
        files.write(path, _dump(made))
        return made

    def _read(self, pem: bytes) -> Issued:
        """:raises EvidenceError: CERTIFICATE_INVALID."""
        return stream.read(
            pem,
            self._private().public_key(),
            self._ring().authorities.values(),
        )

    def _issued(self) -> Issued | None:
        """The certificate at hand, if it is for the key and counts still."""
        try:
            issued = self._read(self._path('cert').read_bytes())
        except (FileNotFoundError, errors.EvidenceError):
            return None
        return issued if self._clock() < issued.until else None

    # What QEMU finds

    def name(self) -> str:
        """The name of what QEMU finds now, if it counts; '' if not."""
        if self._link is None:
            return ''
        try:
            found = self._found(self._link)
        except (OSError, tlsfiles.Foreign, errors.KororaError) as exc:
            self._complain(exc)
            return ''
        if found is None or not found.since <= self._clock() < found.until:
            return ''
        return found.name

    def require(self) -> None:
        """Insist on a certificate where the service does.

        :raises CustodyError: CERTIFICATE_MISSING.
        """
        if self.mode is StreamTls.ATTESTED:
            self.require_name()

    def require_name(self) -> str:
        """The name of what QEMU finds.

        :raises CustodyError: CERTIFICATE_MISSING.
        """
        name = self.name()
        if not name:
            why = self._complaint or (
                f'{self._link} has none'
                if self._link is not None
                else '[attester] migration_tls_dir is not set'
            )
            raise errors.CustodyError(
                errors.Reason.CERTIFICATE_MISSING,
                f'{self._host} has no certificate for its stream: {why}.',
                details={'host': self._host},
            )
        return name

    def _found(self, link: pathlib.Path) -> Issued | None:
        """What QEMU finds, whatever its dates; None: nothing that counts."""
        found = tlsfiles.read(link)
        try:
            public = _load(found['server-key.pem']).public_key()
            return stream.read(
                found['server-cert.pem'],
                public,
                self._ring().authorities.values(),
            )
        except (KeyError, ValueError, errors.EvidenceError):
            return None

    def _settle(self, link: pathlib.Path) -> None:
        """Have QEMU find what is at hand, unless that can wait."""
        issued = self._issued()
        if issued is None:
            return
        qemu = self._qemu()
        wanted = self._wanted(issued, qemu)
        before = tlsfiles.read(link)
        if before == wanted and tlsfiles.is_readable(link, qemu.uid):
            return
        if self._busy() and self._can_wait(link, before, wanted):
            return
        tlsfiles.install(link, wanted, qemu.uid)
        LOG.info('Streams use certificate %s', issued.serial)

    def _can_wait(
        self,
        link: pathlib.Path,
        before: dict[str, bytes],
        wanted: dict[str, bytes],
    ) -> bool:
        """Whether what QEMU finds is good enough while a permit is open.

        Not if it trusts an authority that is revoked.
        """
        found = self._found(link)
        if found is None:
            return False
        trusted, wanted_ones = (
            set(_split(one['ca-cert.pem'])) for one in (before, wanted)
        )
        left = found.until - self._clock()
        return (
            trusted <= wanted_ones
            and before['server-key.pem'] == wanted['server-key.pem']
            and left > LATE * (found.until - found.since)
        )

    def _wanted(self, issued: Issued, qemu: Qemu) -> dict[str, bytes]:
        """The files, by name; one certificate serves both ends."""
        private = _dump(self._private())
        return {
            'ca-cert.pem': b''.join(
                one.public_bytes(serialization.Encoding.PEM)
                for one in self._ring().authorities.values()
            ),
            'client-cert.pem': issued.pem,
            'client-key.pem': private,
            **({'dh-params.pem': _dh()} if qemu.version < NO_DH else {}),
            'server-cert.pem': issued.pem,
            'server-key.pem': private,
        }


def _load(pem: bytes) -> ec.EllipticCurvePrivateKey:
    """:raises ValueError: no key on P-256."""
    try:
        private = serialization.load_pem_private_key(pem, None)
    except TypeError:
        raise ValueError('encrypted') from None
    if not isinstance(private, ec.EllipticCurvePrivateKey) or not isinstance(
        private.curve, ec.SECP256R1
    ):
        raise ValueError('not on P-256')
    return private


def _dump(private: ec.EllipticCurvePrivateKey) -> bytes:
    return private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _split(pem: bytes) -> list[bytes]:
    """Certificates of a file, one by one."""
    return [one for one in pem.split(b'-----BEGIN CERTIFICATE-----') if one]


def _dh() -> bytes:
    """PKCS #3: a sequence of the prime and the generator 2."""
    prime = b'\x02\x82\x01\x01\x00' + _FFDHE2048
    body = prime + b'\x02\x01\x02'
    der = b'\x30' + b'\x82' + len(body).to_bytes(2, 'big') + body
    lines = textwrap.wrap(base64.b64encode(der).decode(), 64)
    return '\n'.join(
        (
            '-----BEGIN DH PARAMETERS-----',
            *lines,
            '-----END DH PARAMETERS-----\n',
        )
    ).encode()
