# SPDX-License-Identifier: Apache-2.0
"""What keeps a host from satisfying a policy, in words to act on."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from korora_nova import errors
from korora_nova.rats.policy import Difference, difference
from korora_nova.verifier.appraisal import measurements, policies, references
from korora_nova.verifier.db import models
from korora_nova.verifier.service import Service


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A host's last evidence beside a policy.

    :param measured_at: when the evidence changed last, seconds since 1970.
    """

    policy: str
    revision: int
    host: str
    measured_at: float
    differences: Sequence[Difference]

    def to_json(self) -> dict[str, object]:
        return dataclasses.asdict(self)


def show(service: Service, name: str, host: str) -> Comparison:
    """Compare a host's last evidence with a policy.

    The host is not asked: this works while it is down, too.

    :raises NotFound: NOT_FOUND, HOST_UNKNOWN, RESULT_MISSING.
    """
    wanted, revision = policies.find(service, name)
    known = tuple(references.by_uuid(service).values())
    with service.db.read() as session:
        if session.get(models.Host, host) is None:
            raise errors.NotFound(errors.Reason.HOST_UNKNOWN)
        last = measurements.load(session, host)
        found = difference(wanted, known, last.state, last.files, host)
    return Comparison(name, revision, host, last.at, found)
