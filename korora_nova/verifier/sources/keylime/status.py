# SPDX-License-Identifier: Apache-2.0
"""What Keylime's verifier says of an agent, as a verdict.

Its ``attestation_status`` alone is no proof: a verifier calls an agent PASS
that it has never reached, or does not reach any more. So what counts is when
the last attestation *succeeded*, on the verifier's own clock, which need not
be ours.

==========================  ===============  ==================================
state, ``attestation_...``  verdict          why
==========================  ===============  ==================================
INVALID_QUOTE; FAIL         contraindicated  evidence was bad
FAILED, TENANT_FAILED       none             not reached, or given up
START ... PROVIDE_V_RETRY   affirming        if it succeeded not long ago; a
                                             verifier that was restarted has
                                             all its agents in START
all others; PENDING         none             nothing is known
==========================  ===============  ==================================
"""

from __future__ import annotations

from typing import Any

from korora_nova import errors
from korora_nova.rats.words import Tier
from korora_nova.verifier.sources.base import Said

#: ``keylime.common.states``
START, GET_QUOTE, GET_QUOTE_RETRY, PROVIDE_V, PROVIDE_V_RETRY = 1, 3, 4, 5, 6
FAILED, INVALID_QUOTE, TENANT_FAILED = 7, 9, 10

_UNDER_WAY = (START, GET_QUOTE, GET_QUOTE_RETRY, PROVIDE_V, PROVIDE_V_RETRY)
#: Seconds by which an attestation may seem to be in the future: its times
#: are whole seconds.
_ROUNDED = 2.0
#: A record must have a state; that of an agent that sends by itself is null.
_LOST = -1
_R = errors.Reason


def verdict(
    agent: str, record: Any, *, at: float, now: float, max_age: float
) -> Said:
    """The verdict on the machine of one agent.

    :param record: what the verifier says; nothing of it is checked.
    :param at: the verifier's clock then, ``now`` ours; seconds since 1970.
    :param max_age: seconds for which a successful attestation counts.
    """

    def none(reason: str) -> Said:
        return Said(Tier.NONE, (reason,), agent, now, now + max_age)

    if not isinstance(record, dict):
        return none(_R.SOURCE_STALE)
    state = record.get('operational_state', _LOST)
    status = record.get('attestation_status')
    if state == INVALID_QUOTE or (
        status == 'FAIL' and state not in (FAILED, TENANT_FAILED)
    ):
        return Said(
            Tier.CONTRAINDICATED,
            (_R.SOURCE_REFUSES,),
            agent,
            now,
            now + max_age,
        )
    last = record.get('last_successful_attestation')
    if not (
        _is_under_way(state, status)
        and _number(record.get('attestation_count'))
        and _number(last)
    ):
        return none(_R.SOURCE_STALE)
    age = at - _number(last)
    if not -_ROUNDED <= age < max_age:
        return none(_R.SOURCE_STALE)
    issued = now - max(age, 0.0)
    return Said(Tier.AFFIRMING, (), agent, issued, issued + max_age)


def _is_under_way(state: object, status: object) -> bool:
    if state is None:
        # An agent that the verifier does not ask: it sends by itself.
        return status == 'PASS'
    return (
        type(state) is int
        and state in _UNDER_WAY
        and (
            status in (None, 'PASS')
            or (state == START and status == 'PENDING')
        )
    )


def _number(value: object) -> int:
    """A positive number; 0 for all else."""
    return (
        value
        if isinstance(value, int)
        and not isinstance(value, bool)
        and 0 < value < 1 << 53
        else 0
    )
