# SPDX-License-Identifier: Apache-2.0
"""What keeps a host from satisfying a policy, in words to act on."""

from __future__ import annotations

import dataclasses
from typing import Any

from korora_nova import errors
from korora_nova.rats import policy
from korora_nova.verifier import service
from korora_nova.verifier.appraisal import measurements, policies, references
from korora_nova.verifier.db import models


def show(verifier: service.Service, name: str, host: str) -> dict[str, Any]:
    """Compare a host's last evidence with a policy.

    The host is not asked: this works while it is down, too.

    :raises NotFound: NOT_FOUND, HOST_UNKNOWN, RESULT_MISSING.
    """
    wanted, revision = policies.find(verifier, name)
    known = tuple(references.by_uuid(verifier).values())
    with verifier.db.read() as session:
        if session.get(models.Host, host) is None:
            raise errors.NotFound(errors.Reason.HOST_UNKNOWN)
        state, entries, measured_at = measurements.load(session, host)
    found = policy.difference(wanted, known, state, entries, host)
    return {
        'policy': name,
        'revision': revision,
        'host': host,
        'measured_at': measured_at,
        'differences': [dataclasses.asdict(one) for one in found],
    }
