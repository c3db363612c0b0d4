# SPDX-License-Identifier: Apache-2.0
"""Whether both ends of a hand-over are the hosts they were, and trusted now.

What would refuse the start of a stream ends one that is under way, too: see
:mod:`.watching`.
"""

from __future__ import annotations

from sqlalchemy import orm

from korora_nova import errors
from korora_nova.rats.words import Tier
from korora_nova.verifier import enforcement, peers, results
from korora_nova.verifier.db import models
from korora_nova.verifier.service import Service

_R = errors.Reason


def check_destination(
    service: Service, session: orm.Session, asked: models.Migration
) -> None:
    """D is the host it was, and nothing has come up against it since.

    :raises Untrusted: HOST_UNTRUSTED; ENFORCER_ABSENT, ENFORCER_DRIFT.
    """
    dest = _approved(session, asked.dest, asked.ak_dest)
    tier, reasons = results.current(dest, service.clock())
    boot = f'{dest.reset_count or 0:08x}{dest.restart_count or 0:08x}'
    if tier != Tier.AFFIRMING or boot != asked.dest_reset_restart:
        raise _untrusted('destination', reasons)
    enforcement.require(service, dest)


def check_source(
    service: Service, session: orm.Session, known: models.Migration
) -> None:
    """S is the host that got the permit, and is trusted.

    :raises Untrusted: HOST_UNTRUSTED.
    """
    source = _approved(session, known.source, known.ak_source)
    tier, reasons = results.current(source, service.clock())
    if tier != Tier.AFFIRMING:
        raise _untrusted('source', reasons)


def _approved(
    session: orm.Session, name: str, ak_name: str | None
) -> peers.Peer:
    """A host that is still approved, and has this attestation key."""
    host = peers.find(session, name)
    if (
        host is None
        or not host.approved
        or ak_name not in (None, host.ak_name)
    ):
        raise errors.Untrusted(
            _R.HOST_UNTRUSTED,
            f'{name} is not the approved host that took part in the '
            'hand-over.',
        )
    return host


def _untrusted(which: str, reasons: list[str]) -> errors.Untrusted:
    return errors.Untrusted(
        _R.HOST_UNTRUSTED,
        f'The {which} is not trusted any more.',
        details={'reasons': ' '.join(reasons)},
    )
