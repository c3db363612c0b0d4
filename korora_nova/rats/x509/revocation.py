# SPDX-License-Identifier: Apache-2.0
"""Certificate revocation lists that an operator provides (RFC 5280, 5).

There need not be any. One that is there and cannot be relied on fails the
certificates of its issuer: it was put there to count.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Sequence

from cryptography import x509

from korora_nova import errors
from korora_nova.rats.x509 import der, deviations, names
from korora_nova.rats.x509 import path as certpath
from korora_nova.rats.x509.certificate import (
    BROKEN,
    Certificate,
    check_signature,
    signed_part,
    trimmed,
)
from korora_nova.rats.x509.path import shown

_R = errors.Reason


@dataclasses.dataclass(frozen=True)
class Crl:
    """A parsed revocation list; nobody vouches for it.

    :param x509: its fields.
    :param tbs: TBSCertList, the bytes that its issuer signed.
    """

    x509: x509.CertificateRevocationList
    tbs: bytes = dataclasses.field(repr=False)


def load(data: bytes) -> Crl:
    """Read one DER revocation list, as lenient as certificates are read.

    :raises ValueError: it is not a revocation list; other :data:`BROKEN`
        errors are possible, here and when a field is read.
    """
    whole = der.element(trimmed(data))
    crl = x509.load_der_x509_crl(deviations.revocation_list(whole).der)
    crl.issuer  # noqa: B018 read lazily; lists are found by it
    fields = whole.parts()[0].parts()
    algorithm = fields[1 if fields[0].tag == 0x02 else 0]
    return Crl(crl, signed_part(whole, algorithm))


def check(
    cert: Certificate,
    issuer: Certificate,
    lists: Sequence[Crl],
    search: certpath.Search,
    now: datetime.datetime,
) -> None:
    """Insist that no list of its issuer has this certificate.

    Of several lists of one distribution point, the newest counts. A list
    of another authority with the issuer's name and another key is not the
    issuer's.

    :param issuer: the certificate that verified ``cert``.
    :param search: knows the authorities.
    :raises EvidenceError: EK_REVOKED; EK_CRL, a list is not signed by its
        issuer, is from the future, too old, or of an unsupported kind.
    """
    mine = [
        crl
        for crl in lists
        if names.match(crl.x509.issuer, issuer.x509.subject)
        and _mine(crl, issuer, search)
    ]
    for crl in _newest(mine):
        _check_age(crl, now)
        try:
            found = crl.x509.get_revoked_certificate_by_serial_number(
                cert.x509.serial_number
            )
        except BROKEN:
            raise _unusable(crl, 'is malformed') from None
        if found is not None:
            raise errors.EvidenceError(
                _R.EK_REVOKED,
                'The certificate '
                f'{cert.x509.serial_number:x} of '
                f'{shown(cert.x509.subject)} was revoked by '
                f'{shown(crl.x509.issuer)} on {found.revocation_date_utc}.',
                place=shown(crl.x509.issuer),
                details={'got': f'{cert.x509.serial_number:x}'},
            )


def unusable(crl: Crl, search: certpath.Search, now: datetime.datetime) -> str:
    """Why a list cannot be relied on, '' if it can."""
    issuers = search.named(crl.x509.issuer)
    if not issuers:
        return "its issuer's certificate is not here"
    try:
        if not any(_signed(crl, issuer) for issuer in issuers):
            raise _unusable(crl, 'is not signed by its issuer')
        _point(crl)
        _check_age(crl, now)
    except errors.EvidenceError as exc:
        return exc.message
    return ''


def _newest(lists: Sequence[Crl]) -> list[Crl]:
    """The newest list of each distribution point."""
    newest: dict[bytes, Crl] = {}
    for crl in lists:
        point = _point(crl)
        if point not in newest or (
            newest[point].x509.last_update_utc < crl.x509.last_update_utc
        ):
            newest[point] = crl
    return list(newest.values())


def _mine(crl: Crl, issuer: Certificate, search: certpath.Search) -> bool:
    if _signed(crl, issuer):
        return True
    if any(_signed(crl, other) for other in search.named(crl.x509.issuer)):
        return False
    raise _unusable(crl, 'is not signed by its issuer')


def _signed(crl: Crl, issuer: Certificate) -> bool:
    try:
        if not _may_revoke(issuer):
            return False
        check_signature(crl.x509, crl.tbs, issuer)
    except BROKEN:
        return False
    return True


def _may_revoke(issuer: Certificate) -> bool:
    try:
        usage = issuer.x509.extensions.get_extension_for_class(x509.KeyUsage)
    except x509.ExtensionNotFound:
        return True
    return usage.value.crl_sign


def _point(crl: Crl) -> bytes:
    """A list's distribution point as DER, b'' for none.

    :raises EvidenceError: EK_CRL, the list is partial or indirect.
    """
    point = b''
    try:
        extensions = crl.x509.extensions
    except BROKEN:
        raise _unusable(crl, 'is malformed') from None
    for extension in extensions:
        value = extension.value
        if isinstance(value, x509.IssuingDistributionPoint) and not (
            value.indirect_crl
            or value.only_some_reasons
            or value.only_contains_user_certs
            or value.only_contains_ca_certs
            or value.only_contains_attribute_certs
        ):
            point = value.public_bytes()
        elif extension.critical:
            raise _unusable(
                crl, 'is partial, indirect or of another unsupported kind'
            )
    return point


def _check_age(crl: Crl, now: datetime.datetime) -> None:
    until = crl.x509.next_update_utc
    if until is None or not crl.x509.last_update_utc <= now <= until:
        raise _unusable(
            crl, f'is for {crl.x509.last_update_utc} to {until}, not for now'
        )


def _unusable(crl: Crl, why: str) -> errors.EvidenceError:
    return errors.EvidenceError(
        _R.EK_CRL,
        f'The revocation list of {shown(crl.x509.issuer)} {why}.',
        place=shown(crl.x509.issuer),
    )
