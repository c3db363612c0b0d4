# SPDX-License-Identifier: Apache-2.0
"""Endorsement: an EK certificate of a TPM maker the operator trusts.

EK certificates fail the usual profile for TLS (their EKU, their critical
names), so the path is built here: RFC 5280 section 6 without policies and
name constraints, which are refused where critical.
"""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import re
from collections.abc import Mapping, Sequence
from itertools import pairwise

from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
)

from korora_nova import errors
from korora_nova.rats.finding import MAX_LISTED
from korora_nova.rats.tpm2 import objects
from korora_nova.rats.x509 import certificate, revocation
from korora_nova.rats.x509 import path as certpath
from korora_nova.rats.x509.certificate import BROKEN, Certificate
from korora_nova.rats.x509.path import shown

#: tcg-kp-EKCertificate, TCG EK credential profile 3.5.2.
EKU_EK = x509.ObjectIdentifier('2.23.133.8.1')
#: Most paths that are judged before a certificate is refused.
MAX_PATHS = 32
#: Most intermediates that a host may offer.
MAX_CHAIN = 16
#: Shortest digest that an EK certificate may be signed over, bytes.
MIN_DIGEST = 32

_RSAES_OAEP = x509.ObjectIdentifier('1.2.840.113549.1.1.7')
_PEM_CERTIFICATES = ('CERTIFICATE', 'X509 CERTIFICATE')
_PEM_LIST = 'X509 CRL'
# Names of files with anchors: NAME.anchor.pem, or with another ending.
_MARKED = re.compile(r'.*[^/]\.anchor\.[^./]+', re.DOTALL)

_R = errors.Reason


@dataclasses.dataclass(frozen=True)
class Endorsers:
    """What an operator trusts.

    Anchors are the self-signed certificates, and of the others those that
    the operator marks.

    :param marked: certificates of files that are called anchors; each is
        one if its issuer's certificate is not here.
    :param unread: names of files in which something is neither a
        certificate nor a revocation list; mentioned when a path is missing.
    :param broken: names of files with a revocation list that cannot be
        read; a certificate may be on it.
    """

    certificates: tuple[Certificate, ...] = ()
    revocations: tuple[revocation.Crl, ...] = ()
    unread: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()
    marked: frozenset[Certificate] = frozenset()

    def search(self, offered: Sequence[Certificate] = ()) -> certpath.Search:
        """To find paths among these certificates, once.

        :param offered: intermediates of the host's TPM.
        """
        return certpath.Search(self.certificates, self.marked, offered)

    @classmethod
    def read(cls, files: Mapping[str, bytes]) -> Endorsers:
        """Sort the content of files, by name, into what it is.

        A file is one DER certificate or list, or any number of either in
        PEM. What is called ``.crl`` must hold a list; certificates in what
        is called ``.anchor.pem`` or alike are marked as anchors.
        """
        certificates: dict[bytes, Certificate] = {}
        lists: dict[bytes, revocation.Crl] = {}
        unread: dict[str, bool] = {}
        broken: dict[str, bool] = {}
        marked: set[Certificate] = set()
        for name, data in files.items():
            for must_be_list, der in _parts(name, data):
                cert = None if must_be_list else _certificate(der)
                crl = _list(der) if cert is None else None
                if cert is not None:
                    certificates[der] = cert
                    if _MARKED.fullmatch(name):
                        marked.add(cert)
                elif crl is not None:  # a list may be empty
                    lists[der] = crl
                else:
                    (broken if must_be_list else unread)[name] = True
        return cls(
            tuple(certificates.values()),
            tuple(lists.values()),
            tuple(unread),
            tuple(broken),
            frozenset(marked),
        )


def _parts(name: str, data: bytes) -> list[tuple[bool, bytes]]:
    """DER of each part, and whether it must be a revocation list."""
    called_list = name.lower().endswith('.crl')
    if b'-----BEGIN ' not in data:
        return [(called_list, data)]
    parts = [
        (label == _PEM_LIST, der)
        for label, der in certificate.pem_blocks(data)
        if label in (*_PEM_CERTIFICATES, _PEM_LIST)
    ]
    expected = max(called_list, data.count(b'-----BEGIN X509 CRL'))
    if sum(is_list for is_list, _ in parts) < expected:
        parts.append((True, b''))
    return parts or [(False, b'')]


def _certificate(der: bytes) -> Certificate | None:
    try:
        return certificate.load(der)
    except BROKEN:
        return None


def _list(der: bytes) -> revocation.Crl | None:
    try:
        return revocation.load(der)
    except BROKEN:
        return None


def verify_ek(
    cert_der: bytes,
    ek: objects.Public,
    endorsers: Endorsers,
    now: datetime.datetime,
    chain: Sequence[bytes] = (),
) -> bytes:
    """Verify that a trusted maker certified this endorsement key.

    1. the key is of the supported kind; 2. the certificate parses and is
    for this key; 3. its EKU is tcg-kp-EKCertificate and it is not a CA; 4. a
    path leads to an anchor of ``endorsers``, each one a CA that signed the
    one before; 5. all of it is valid ``now``; 6. none of it is on a
    revocation list of its issuer, if there is one.

    :param cert_der: may be padded as NV indices are, with 00 or ff.
    :param now: aware datetime.
    :param chain: DER of intermediates that the TPM has; they only help to
        find the way, and what cannot be read is left out.
    :returns: the certificate without padding.
    :raises EvidenceError: EK_MISMATCH, EK_EKU, EK_CHAIN, EK_VALIDITY,
        EK_REVOKED, EK_CRL; of several paths, what is wrong with the first.
    """
    objects.check_ek(ek)
    try:
        leaf = certificate.load(cert_der)
        same = same_key(leaf, ek)
        extensions = leaf.x509.extensions
    except BROKEN:
        raise errors.EvidenceError(
            _R.EK_MISMATCH, 'The EK certificate is malformed.', place='ek_cert'
        ) from None
    if not same:
        raise errors.EvidenceError(
            _R.EK_MISMATCH,
            'The EK certificate is of another key. If the firmware of the '
            'TPM was updated, its EK may be a new one that its maker '
            'certifies anew.',
            place='ek_cert',
        )
    _check_leaf(extensions)
    try:
        offered = [one for one in map(_certificate, chain) if one is not None]
        _check_paths(leaf, endorsers, endorsers.search(offered), now)
    except BROKEN as exc:
        raise errors.EvidenceError(
            _R.EK_CHAIN,
            'A certificate of the EK chain has a field that cannot be read.',
            place='ek_cert',
            details={'error': type(exc).__name__},
        ) from None
    return leaf.der


def uncertified_hash(ek: objects.Public) -> str:
    """What stands for a key without a certificate: SHA-256 of its name.

    :returns: hex.
    """
    return hashlib.sha256(ek.name).hexdigest()


def chain(data: Sequence[bytes]) -> list[bytes]:
    """Certificates in the NV indices of a TPM, in their order.

    One may go on in the next index; between two there may be padding
    (2.2.1.5.2 of the EK credential profile).

    :param data: content of the indices, ascending.
    :returns: DER of what looks like a certificate, :data:`MAX_CHAIN` at most.
    """
    found: list[bytes] = []
    rest = b''.join(data)
    while len(found) < MAX_CHAIN:
        rest = rest.lstrip(b'\x00\xff')
        size = certificate.size(rest)
        if not 0 < size <= min(len(rest), certificate.MAX_CERTIFICATE):
            break
        found.append(rest[:size])
        rest = rest[size:]
    return found


def same_key(leaf: Certificate, ek: objects.Public) -> bool:
    """Whether a certificate is for this key.

    :raises ValueError: or another of ``BROKEN``: its key cannot be read.
    :raises EvidenceError: the public area holds no key.
    """
    key = ek.key
    if leaf.x509.public_key_algorithm_oid != _RSAES_OAEP:
        return certificate.spki(leaf.x509.public_key()) == certificate.spki(
            key
        )
    return certificate.bare_key(leaf) == key.public_bytes(
        Encoding.DER, PublicFormat.PKCS1
    )


def _check_leaf(extensions: x509.Extensions) -> None:
    try:
        usages = extensions.get_extension_for_class(
            x509.ExtendedKeyUsage
        ).value
    except x509.ExtensionNotFound:
        usages = x509.ExtendedKeyUsage([])
    if EKU_EK not in usages:
        got = ' '.join(usage.dotted_string for usage in usages) or 'none'
        raise errors.EvidenceError(
            _R.EK_EKU,
            'The EK certificate is not one for an endorsement '
            f'key: wanted the extended key usage {EKU_EK.dotted_string}, '
            f'got {got}.',
            place='ek_cert',
            details={'want': EKU_EK.dotted_string, 'got': got},
        )
    try:
        basic = extensions.get_extension_for_class(x509.BasicConstraints)
    except x509.ExtensionNotFound:
        return
    if basic.value.ca:
        raise errors.EvidenceError(
            _R.EK_EKU,
            'The EK certificate is one of a certification authority.',
        )


def _check_paths(
    leaf: Certificate,
    endorsers: Endorsers,
    search: certpath.Search,
    now: datetime.datetime,
) -> None:
    certpath.understood(leaf)
    algorithm = leaf.x509.signature_hash_algorithm
    # Of the certificates that the operator provides, the hash matters less.
    if algorithm is None or algorithm.digest_size < MIN_DIGEST:
        raise errors.EvidenceError(
            _R.EK_CHAIN,
            'The EK certificate is signed with a weak hash algorithm.',
            place='ek_cert',
        )
    find_path(leaf, endorsers, search, now)


def find_path(
    cert: Certificate,
    endorsers: Endorsers,
    search: certpath.Search,
    now: datetime.datetime,
) -> certpath.Path:
    """A path from a certificate to an anchor on which all is valid.

    :raises EvidenceError: EK_CHAIN, EK_VALIDITY, EK_REVOKED, EK_CRL; of
        several paths, what is wrong with the first.
    """
    first: errors.EvidenceError | None = None
    for path, _ in zip(search.paths((cert,)), range(MAX_PATHS), strict=False):
        try:
            check_path(path, endorsers, search, now)
        except errors.EvidenceError as exc:
            first = first or exc
        else:
            return path
    if first is None:
        first = search.missing()
        if endorsers.unread:
            first.details['unread'] = ' '.join(endorsers.unread[:MAX_LISTED])
    raise first


def check_path(
    path: certpath.Path,
    endorsers: Endorsers,
    search: certpath.Search,
    now: datetime.datetime,
) -> None:
    """Insist that all of a path is valid now, and nothing revoked.

    :raises EvidenceError: EK_VALIDITY, EK_REVOKED, EK_CRL.
    """
    for cert in path:
        fields = cert.x509
        since, until = (
            fields.not_valid_before_utc,
            fields.not_valid_after_utc,
        )
        if not since <= now <= until:
            raise errors.EvidenceError(
                _R.EK_VALIDITY,
                f'The certificate of {shown(fields.subject)}, '
                f'issued by {shown(fields.issuer)}, is valid from {since} to '
                f'{until}, not on {now}.',
                place=shown(fields.subject),
                details={'want': str(now), 'got': f'{since} - {until}'},
            )
    if endorsers.broken:
        names = ' '.join(endorsers.broken[:MAX_LISTED])
        raise errors.EvidenceError(
            _R.EK_CRL,
            f'A revocation list cannot be read: {names}.',
            place=names,
        )
    for cert, issuer in pairwise(path):
        revocation.check(cert, issuer, endorsers.revocations, search, now)
