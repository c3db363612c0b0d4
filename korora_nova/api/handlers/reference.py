# SPDX-License-Identifier: Apache-2.0
"""Reference values."""

from korora_nova.api.call import Answer, Call
from korora_nova.api.schemas import reference as schemas
from korora_nova.verifier.appraisal import references


def create(call: Call) -> Answer:
    """POST /v1/references"""
    document = call.read(schemas.CREATE)
    return references.create(
        call.service, document['name'], document['host'], call.actor
    )


def list_references(call: Call) -> Answer:
    """GET /v1/references"""
    return {'references': references.list_references(call.service)}


def show(call: Call) -> Answer:
    """GET /v1/references/{name}"""
    return references.show(call.service, call.path['name'])


def delete(call: Call) -> Answer:
    """DELETE /v1/references/{name}"""
    references.delete(call.service, call.path['name'], call.actor)
    return None
