# SPDX-License-Identifier: Apache-2.0
"""What an agent says about its own host."""

from korora_nova.api.call import Answer, Call
from korora_nova.api.schemas import self_report as schemas
from korora_nova.custody.exchange import Request
from korora_nova.custody.words import ChallengeClass
from korora_nova.verifier import attest, challenges, enrolment


def enrol(call: Call) -> Answer:
    """POST /v1/hosts/{host}/enrolment"""
    return enrolment.enrol(
        call.service, call.path['host'], call.read(schemas.ENROL)
    )


def prove(call: Call) -> Answer:
    """POST /v1/hosts/{host}/enrolment/proof"""
    return enrolment.prove(
        call.service, call.path['host'], call.read(schemas.PROVE)['proof']
    )


def challenge(call: Call) -> Answer:
    """POST /v1/hosts/{host}/challenges"""
    document = call.read(schemas.CHALLENGE)
    return challenges.issue(
        call.service, call.path['host'], ChallengeClass(document['class'])
    ).to_json()


def evidence(call: Call) -> Answer:
    """POST /v1/hosts/{host}/evidence"""
    document = call.read(Request.SCHEMA, schemas.EVIDENCE_LIMIT)
    return attest.attest(
        call.service, call.path['host'], Request.from_json(document)
    ).to_json()
