# SPDX-License-Identifier: Apache-2.0
"""Extra specs for Nova's API to validate.

Loaded through the entry point ``nova.api.extra_spec_validators``. Nova
rejects every unknown key of a namespace of which it knows one key, so the
list is the full set.
"""

from __future__ import annotations

from nova.api.validation.extra_specs import base

from korora_nova.relying_party import requirement


def register() -> list[base.ExtraSpecValidator]:
    """The validators, in the shape that Nova asks for."""
    return [
        base.ExtraSpecValidator(
            name=requirement.TRUST,
            description=(
                'Start the server on attested hosts only. The historic '
                'spelling of ``korora:trusted_host``.'
            ),
            value={
                'type': str,
                'description': 'Only ``trusted`` demands anything.',
                'enum': ['trusted', 'untrusted', 'unknown'],
            },
        ),
        base.ExtraSpecValidator(
            name=requirement.TRUSTED_HOST,
            description=(
                'Start the server only on hosts that are trusted at that '
                'moment, whoever chose the host.'
            ),
            value={
                'type': str,
                'description': 'What is demanded of the host.',
                'enum': ['required', 'none'],
            },
        ),
        base.ExtraSpecValidator(
            name=requirement.MAX_AGE,
            description=(
                'Oldest attestation result with which the scheduler may '
                'choose a host. Implies ``korora:trusted_host=required``.'
            ),
            value={
                'type': int,
                'description': 'Seconds.',
                'min': 1,
            },
        ),
        base.ExtraSpecValidator(
            name=requirement.PROTECTED,
            description=(
                "Keep the key of the server's vTPM in custody of the hosts' "
                'TPMs, whatever the deployment does by default.'
            ),
            value={
                'type': str,
                'description': 'Whether to protect the server.',
                'enum': ['true', 'false'],
            },
        ),
    ]
