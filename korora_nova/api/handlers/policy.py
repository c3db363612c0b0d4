# SPDX-License-Identifier: Apache-2.0
"""Appraisal policies."""

from korora_nova.api.call import Answer, Call
from korora_nova.api.schemas import policy as schemas
from korora_nova.verifier.appraisal import differences as compared
from korora_nova.verifier.appraisal import policies


def create(call: Call) -> Answer:
    """POST /v1/policies"""
    document = call.read(schemas.CREATE, schemas.LIMIT)
    return policies.create(call.service, document['document'], call.actor)


def list_policies(call: Call) -> Answer:
    """GET /v1/policies"""
    return {'policies': policies.list_policies(call.service)}


def show(call: Call) -> Answer:
    """GET /v1/policies/{name}"""
    return policies.show(call.service, call.path['name'])


def update(call: Call) -> Answer:
    """PUT /v1/policies/{name}"""
    document = call.read(schemas.UPDATE, schemas.LIMIT)
    return policies.update(
        call.service,
        call.path['name'],
        document['document'],
        int(document['revision']),
        call.actor,
    )


def delete(call: Call) -> Answer:
    """DELETE /v1/policies/{name}"""
    policies.delete(call.service, call.path['name'], call.actor)
    return None


def differences(call: Call) -> Answer:
    """GET /v1/policies/{name}/differences/{host}"""
    return compared.show(call.service, call.path['name'], call.path['host'])
