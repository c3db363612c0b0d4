# SPDX-License-Identifier: Apache-2.0
"""Which Keylime agent is in which TPM.

The registrar has the endorsement key of each agent, and had the TPM prove
that the agent's attestation key is beside it. The *verifier* knows attestation
keys only, those that the registrar had when the agent was added, and shows
none of them. So an id that gets another TPM at the registrar still stands for
the machine before at the verifier. What was read first is kept for as long as
the verifier has the same record; if the registrar contradicts it, the agent
has no word until it is added anew.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping

from korora_nova import errors
from korora_nova.verifier import decode, enrolment
from korora_nova.verifier.sources.base import Known


def kept(
    known: Mapping[str, Known], agents: Mapping[str, object]
) -> dict[str, Known]:
    """What is still known of the agents that the verifier has now.

    A record that has counted less than before is a new one.
    """
    found = {}
    for agent, one in known.items():
        if agent in agents and (count := counted(agents[agent])) >= one.count:
            found[agent] = dataclasses.replace(one, count=count)
    return found


def due(
    known: Mapping[str, Known],
    agents: Mapping[str, object],
    now: float,
    refresh: float,
) -> Iterator[str]:
    """Agents to ask the registrar for: new ones first, then the oldest."""
    yield from sorted(set(agents) - set(known))
    old = [
        (one.read_at, agent)
        for agent, one in known.items()
        if not now - refresh < one.read_at <= now
    ]
    yield from (agent for _, agent in sorted(old))


def read(
    before: Known | None, record: Mapping[str, object] | None, status: object
) -> Known | None:
    """What is known of an agent after the registrar has answered.

    :param record: None: the registrar does not know it.
    :param status: what the verifier says of it.
    :returns: ``read_at`` is to be set; None: nothing is known.
    """
    name = '' if record is None else ek_name(record)
    if before is not None:
        return dataclasses.replace(before, agrees=name == before.ek_name)
    return Known(name, True, counted(status), 0.0) if name else None


def ek_name(record: Mapping[str, object]) -> str:
    """Of the endorsement key in the registrar's record; '' if it has none.

    ``ek_tpm`` is a TPM2B_PUBLIC in base64.
    """
    text = record.get('ek_tpm')
    if not isinstance(text, str):
        return ''
    try:
        return enrolment.ek_name(decode.public_field(text, 'ek_tpm'))
    except errors.KororaError:
        return ''


def counted(status: object) -> int:
    """How often the verifier says that an attestation succeeded."""
    count = (
        status.get('attestation_count') if isinstance(status, dict) else None
    )
    return count if isinstance(count, int) and 0 <= count < 1 << 53 else 0
