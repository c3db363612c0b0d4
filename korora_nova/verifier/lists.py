# SPDX-License-Identifier: Apache-2.0
"""Parts of a measurement list, before the evidence that goes on from them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from korora_nova import errors
from korora_nova.custody import bodies
from korora_nova.custody.exchange import Request
from korora_nova.custody.words import ChallengeClass
from korora_nova.rats import evidence
from korora_nova.rats.quote.verify import verify_signed
from korora_nova.rats.tpm2 import objects
from korora_nova.verifier import challenges, records
from korora_nova.verifier.appraisal import measurements, uploads
from korora_nova.verifier.service import Service

_CLASSES = frozenset((ChallengeClass.ON_DEMAND,))


def take(
    service: Service, record: records.Record, request: Request
) -> Mapping[str, object]:
    """Keep a part that the host's TPM vouches for; nothing is judged.

    :returns: ``upto``, where the next part begins.
    :raises EvidenceError: CHALLENGE_*, QUOTE_*.
    :raises Invalid: INVALID_REQUEST, it is not what was signed.
    :raises Conflict: IMA_CONTINUITY, a part before it is missing.
    :raises TooLarge: TOO_LARGE.
    """
    body = bodies.ListPart.parse(request.body)
    challenge = challenges.check(service, record, _CLASSES)
    submitted = evidence.Evidence.from_json(request.evidence)
    challenges.redeem(service, challenge)
    row = record.host
    signed = verify_signed(
        submitted.quote,
        objects.parse_public(row.ak_public),
        evidence.qualify(
            bytes.fromhex(challenge.challenge),
            request.purpose,
            row.name,
            request.body.encode(),
        ),
    )
    content = submitted.ima_log
    if not content or hashlib.sha256(content).hexdigest() != body.digest:
        raise errors.Invalid(
            errors.Reason.INVALID_REQUEST,
            'The part of the IMA list is not the one that was signed.',
        )
    stored = measurements.of(service, record)
    upto = uploads.take(
        service,
        row.name,
        signed.clock.reset_count,
        int(body.start),
        content,
        [one.offset for one in stored.states],
    )
    return {'upto': upto}
