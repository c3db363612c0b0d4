# SPDX-License-Identifier: Apache-2.0
"""A policy is proposed from golden hosts: what they are, how they differ.

Nothing counts before the policy is created, and then only what was shown:
each host's state is named by its digest.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from korora_nova import errors
from korora_nova.rats.reference import ReferenceValues
from korora_nova.rats.variation import Golden, Variation, variations
from korora_nova.rats.words import Tier
from korora_nova.verifier import results
from korora_nova.verifier.appraisal import measurements
from korora_nova.verifier.db import models
from korora_nova.verifier.service import Service

#: Hosts that one policy is learned from at once; all are in memory.
MAX_HOSTS = 16

_R = errors.Reason
#: A host that only lacks what it could be compared with is no bad one.
_NOTHING_LEARNED = {_R.NO_REFERENCE}


@dataclasses.dataclass(frozen=True)
class Wanted:
    """A host that is to be learned from.

    :param name: of the reference; '' while nothing is made.
    :param digest: of the state that was seen; '' for any.
    :param untrusted: learn although the host is not affirming.
    """

    host: str
    name: str = ''
    digest: str = ''
    untrusted: bool = False

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Wanted:
        """Read what follows the schema."""
        return cls(**document)


@dataclasses.dataclass(frozen=True)
class Learned:
    """What a host showed last, as reference values.

    :param reasons: why it is not affirming now.
    :param digest: stands for the values.
    :param measured_at: when they changed last, seconds since 1970.
    """

    host: str
    tier: str
    reasons: Sequence[str]
    measured_at: float
    golden: Golden

    @property
    def values(self) -> ReferenceValues:
        return self.golden.values

    @property
    def digest(self) -> str:
        document = {**self.values.to_json(), 'name': ''}
        text = json.dumps(document, sort_keys=True, separators=(',', ':'))
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def admitted(self) -> bool:
        """Whether it may be learned from without a further word."""
        return self.tier == Tier.AFFIRMING or (
            bool(self.reasons) and _NOTHING_LEARNED.issuperset(self.reasons)
        )

    def to_json(self) -> dict[str, object]:
        return {
            'host': self.host,
            'tier': self.tier,
            'reasons': list(self.reasons),
            'measured_at': self.measured_at,
            'digest': self.digest,
            'admitted': self.admitted,
        }


def look(service: Service, host: str, name: str = '') -> Learned:
    """What would be learned from a host.

    :raises NotFound: HOST_UNKNOWN, RESULT_MISSING.
    :raises Untrusted: EVICTED; NO_REFERENCE, its logs did not verify.
    """
    with service.db.read() as session:
        row = session.get(models.Host, host)
        if row is None:
            raise errors.NotFound(_R.HOST_UNKNOWN, f'There is no host {host}.')
        if row.evicted_at is not None:
            raise errors.Untrusted(_R.EVICTED, f'The host {host} was evicted.')
        tier, reasons = results.current(row, service.clock())
        shown = measurements.load(session, host)
        try:
            golden = Golden.learn(name or host, shown.state, shown.files)
        except errors.Untrusted as exc:
            raise errors.Untrusted(
                exc.reason, f'{host}: {exc.message}'
            ) from None
    return Learned(host, tier, reasons, shown.at, golden)


def learn(service: Service, wanted: Wanted) -> Learned:
    """The same, if it is what was seen, and good or accepted as it is.

    :raises Conflict: POLICY_CONFLICT, the host has shown something else.
    :raises Untrusted: HOST_UNTRUSTED, and not ``untrusted``.
    """
    found = look(service, wanted.host, wanted.name)
    if wanted.digest and found.digest != wanted.digest:
        raise errors.Conflict(
            _R.POLICY_CONFLICT,
            f'The host {wanted.host} has shown something new meanwhile; look '
            'at it again.',
        )
    if not found.admitted and not wanted.untrusted:
        reasons = ' '.join(found.reasons)
        raise errors.Untrusted(
            _R.HOST_UNTRUSTED,
            f'The host {wanted.host} is not affirming ({reasons}): what it '
            'is would count as good.',
            details={'host': wanted.host, 'reasons': reasons},
        )
    return found


def differences(learned: Sequence[Learned]) -> list[Variation]:
    """What differs between the hosts."""
    return variations({one.host: one.golden for one in learned})
