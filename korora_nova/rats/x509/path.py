# SPDX-License-Identifier: Apache-2.0
"""Paths from a certificate to a trust anchor (RFC 5280 section 6).

An anchor is self-signed, or marked as one and without an issuer here.

Validity and revocation are not judged here: a path that is too old is
still a path, and the operator is told so.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterator, Sequence

from cryptography import x509

from korora_nova import errors
from korora_nova.rats.finding import printable
from korora_nova.rats.x509 import names
from korora_nova.rats.x509.certificate import (
    BROKEN,
    Certificate,
    check_signature,
)

#: Longest path: leaf, intermediates, root. Intel's on-die authorities are
#: seven or eight with them.
MAX_PATH = 10
#: Most certificates that are visited in one search: authorities may certify
#: each other, and the ways between them are many more than they are.
MAX_STEPS = 1000

# Critical extensions that are checked, or need no check.
_UNDERSTOOD = frozenset(
    (
        x509.BasicConstraints.oid,
        x509.KeyUsage.oid,
        x509.ExtendedKeyUsage.oid,
        x509.SubjectAlternativeName.oid,
        x509.CertificatePolicies.oid,
    )
)

Path = tuple[Certificate, ...]


def shown(name: x509.Name) -> str:
    """A distinguished name for people."""
    try:
        return printable(name.rfc4514_string()) or '(no name)'
    except BROKEN:
        return '(unreadable name)'


def understood(cert: Certificate) -> None:
    """Insist that no critical extension is unknown here.

    :raises EvidenceError: EK_CHAIN.
    """
    for extension in cert.x509.extensions:
        if extension.critical and extension.oid not in _UNDERSTOOD:
            oid = extension.oid.dotted_string
            raise errors.EvidenceError(
                errors.Reason.EK_CHAIN,
                'The certificate of '
                f'{shown(cert.x509.subject)} has the critical extension '
                f'{oid}, which is not understood.',
                place='extensions',
                details={'got': oid},
            )


class Search:
    """Finds paths among certificates; remembers where they end."""

    def __init__(
        self,
        certificates: Sequence[Certificate],
        marked: Collection[Certificate] = (),
        offered: Sequence[Certificate] = (),
    ) -> None:
        """:param marked: those of them that an operator calls anchors.
        :param offered: what the host gave: never anchors, and nobody's
            revocation lists are verified with them.
        """
        self._by_subject: dict[Hashable, list[Certificate]] = {}
        for cert in certificates:
            self._by_subject.setdefault(
                names.comparable(cert.x509.subject), []
            ).append(cert)
        self._offered = [one for one in offered if one not in certificates]
        self._signed: dict[tuple[Certificate, Certificate], bool] = {}
        self._marked = frozenset(marked)
        self._ends: list[Path] = []
        self._left = MAX_STEPS

    def paths(self, path: Path) -> Iterator[Path]:
        """Extend a path, leaf first, to each anchor.

        A marked certificate whose issuer is known is none: its issuer may
        have revoked it.
        """
        if len(path) >= MAX_PATH or not self._left:
            return
        self._left -= 1
        last = path[-1]
        if len(path) > 1 and self._marked_end(last):
            yield path
            return
        issuers = [
            issuer
            for issuer in (
                *self.named(last.x509.issuer),
                *self._offered_named(last.x509.issuer),
            )
            if issuer not in path and self._issued(last, issuer, len(path) - 1)
        ]
        if not issuers:
            self._ends.append(path)
        for issuer in issuers:
            yield from self._through((*path, issuer))

    def _through(self, path: Path) -> Iterator[Path]:
        """The same for a path whose last certificate may be a root."""
        last = path[-1]
        itself = names.match(last.x509.issuer, last.x509.subject) and (
            self.signed(last, last)
        )
        if not itself:
            yield from self.paths(path)
        elif last not in self._offered:
            yield path
        else:
            self._ends.append(path)

    def _offered_named(self, name: x509.Name) -> list[Certificate]:
        return [
            one for one in self._offered if names.match(one.x509.subject, name)
        ]

    def named(self, name: x509.Name) -> Sequence[Certificate]:
        """The certificates of this subject."""
        return self._by_subject.get(names.comparable(name), ())

    def signed(self, cert: Certificate, issuer: Certificate) -> bool:
        """Whether the signature verifies; remembered."""
        known = self._signed.get((cert, issuer))
        if known is None:
            try:
                check_signature(cert.x509, cert.tbs, issuer)
                known = True
            except BROKEN:
                known = False
            self._signed[cert, issuer] = known
        return known

    def is_anchor(self, cert: Certificate) -> bool:
        """Whether a path may end with this certificate."""
        if names.match(cert.x509.issuer, cert.x509.subject) and (
            self.signed(cert, cert)
        ):
            return True
        return self._marked_end(cert)

    def _marked_end(self, cert: Certificate) -> bool:
        return cert in self._marked and not any(
            self._issued(cert, issuer, 0)
            for issuer in self.named(cert.x509.issuer)
        )

    def _issued(
        self, cert: Certificate, issuer: Certificate, below: int
    ) -> bool:
        """Whether an authority with ``below`` CAs under it signed."""
        return not no_authority(issuer, below) and self.signed(cert, issuer)

    def missing(self) -> errors.EvidenceError:
        """The error when there is no path: whose certificate is missing."""
        path = max(self._ends, key=len, default=None)
        if path is None:
            return errors.EvidenceError(
                errors.Reason.EK_CHAIN,
                'No path from the EK certificate to a root was found among '
                f'{MAX_STEPS} certificates; one has {MAX_PATH} at most.',
                place='ek_cert',
            )
        last = path[-1].x509
        issuer, subject = shown(last.issuer), shown(last.subject)
        if path[-1] in self._offered and names.match(
            last.issuer, last.subject
        ):
            return errors.EvidenceError(
                errors.Reason.EK_CHAIN,
                'The EK certificate chains to a root that only the TPM '
                f'itself names: {subject}. Trust it, if it is the root of a '
                'maker that you trust.',
                place='ek_cert',
                details={'want': issuer, 'got': 'a root in the TPM'},
            )
        count = len(self.named(last.issuer))
        got = (
            f'{count} of that name, none of which signed it as an authority'
            if count
            else 'none of that name'
        )
        return errors.EvidenceError(
            errors.Reason.EK_CHAIN,
            'The EK certificate does not chain to '
            f'a trusted root: of {issuer}, who issued {subject}, there is '
            f'{got}.',
            place='ek_cert',
            details={'want': issuer, 'got': got},
        )


def no_authority(cert: Certificate, below: int = 0) -> str:
    """Why a certificate is not that of an authority, '' if it is.

    :param below: how many authorities are between it and the leaf.
    """
    try:
        basic = cert.x509.extensions.get_extension_for_class(
            x509.BasicConstraints
        ).value
        understood(cert)
        if not basic.ca or not _may_sign(cert):
            return 'it may not issue certificates'
    except errors.EvidenceError as exc:
        return exc.message
    except (*BROKEN, x509.ExtensionNotFound):
        return 'it does not say that it may issue certificates'
    if basic.path_length is not None and basic.path_length < below:
        return 'it may not have so many authorities below it'
    return ''


def _may_sign(issuer: Certificate) -> bool:
    try:
        usage = issuer.x509.extensions.get_extension_for_class(x509.KeyUsage)
    except x509.ExtensionNotFound:
        return True
    return usage.value.key_cert_sign
