# SPDX-License-Identifier: Apache-2.0
"""A document, and hosts to learn from: what would come of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from korora_nova.rats.variation import Variation
from korora_nova.verifier.appraisal import (
    learning,
    policies,
    references,
    rehearsal,
)
from korora_nova.verifier.service import Service


@dataclasses.dataclass(frozen=True)
class Proposal:
    """What would be learned, and a page of hosts judged by it.

    :param differences: between the golden hosts; on the first page only.
    """

    policy: str
    golden: Sequence[learning.Learned]
    differences: Sequence[Variation]
    page: rehearsal.Page

    def to_json(self) -> dict[str, object]:
        return {
            'policy': self.policy,
            'golden': [one.to_json() for one in self.golden],
            'differences': [one.to_json() for one in self.differences],
            **self.page.to_json(),
        }


def propose(
    service: Service,
    document: Mapping[str, object],
    hosts: Sequence[str],
    query: rehearsal.Query,
) -> Proposal:
    """Try a document with what hosts would teach; nothing is stored.

    :raises Invalid: POLICY_INVALID.
    :raises NotFound: HOST_UNKNOWN, RESULT_MISSING.
    :raises Untrusted: EVICTED, NO_REFERENCE.
    """
    loaded = policies.read(service, document)
    golden = [learning.look(service, host) for host in hosts]
    bound = loaded.bind(
        (
            *references.by_uuid(service).values(),
            *(one.values for one in golden),
        )
    )
    page = rehearsal.rehearse(
        service, bound, None if query.everyone else loaded.hosts, query
    )
    return Proposal(
        loaded.name,
        golden,
        () if query.marker else learning.differences(golden),
        page,
    )
