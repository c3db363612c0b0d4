# SPDX-License-Identifier: Apache-2.0
"""What an operator's certificates and revocation lists are good for."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Iterator, Mapping

from korora_nova import errors
from korora_nova.rats.endorsement import Endorsers, check_path, find_path
from korora_nova.rats.x509 import path as certpath
from korora_nova.rats.x509 import revocation
from korora_nova.rats.x509.certificate import BROKEN, Certificate


@dataclasses.dataclass(frozen=True)
class Found:
    """One certificate or list of a file, or what cannot be read of it.

    :param usable: whether an enrolment can rely on it.
    :param what: what it is, or why it is of no use.
    """

    file: str
    usable: bool
    what: str

    def __str__(self) -> str:
        return f'{"ok " if self.usable else "bad"} {self.file}: {self.what}'


def inspect(
    files: Mapping[str, bytes], now: datetime.datetime
) -> Iterator[Found]:
    """Judge each part of files as ``verify_ek`` would rely on it.

    :param files: as for :meth:`Endorsers.read`.
    :param now: aware datetime.
    """
    # A list that cannot be read is told once, not of every certificate.
    together = dataclasses.replace(Endorsers.read(files), broken=())
    for name, data in sorted(files.items()):
        one = Endorsers.read({name: data})
        for cert in one.certificates:
            shown = certpath.shown(cert.x509.subject)
            try:
                yield Found(
                    name, True, f'{shown}: {_role(cert, together, now)}'
                )
            except errors.EvidenceError as exc:
                yield Found(name, False, f'{shown}: {_why(exc)}')
            except BROKEN:
                yield Found(name, False, f'{shown}: a field is malformed')
        for crl in one.revocations:
            why = revocation.unusable(crl, together.search(), now)
            shown = certpath.shown(crl.x509.issuer)
            yield Found(
                name,
                not why,
                f'revocation list of {shown}: '
                + (why or f'until {crl.x509.next_update_utc}'),
            )
        if one.unread:
            yield Found(name, False, 'holds no certificate that can be read')
        if one.broken:
            yield Found(
                name, False, 'not a revocation list; all enrolments fail'
            )


def _role(
    cert: Certificate, endorsers: Endorsers, now: datetime.datetime
) -> str:
    """Anchor or intermediate.

    :raises EvidenceError: it is neither.
    """
    if why := certpath.no_authority(cert):
        raise errors.EvidenceError(errors.Reason.EK_CHAIN, why)
    search = endorsers.search()
    until = f'until {cert.x509.not_valid_after_utc}'
    if search.is_anchor(cert):
        check_path((cert,), endorsers, search, now)
        return f'anchor, {until}'
    path = find_path(cert, endorsers, search, now)
    anchor = certpath.shown(path[-1].x509.subject)
    return f'intermediate below {anchor}, {until}'


def _why(exc: errors.EvidenceError) -> str:
    details = exc.details
    if exc.reason == errors.Reason.EK_CHAIN and 'want' in details:
        return f'of its issuer {details["want"]} there is {details["got"]}'
    return exc.message
