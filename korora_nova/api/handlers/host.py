# SPDX-License-Identifier: Apache-2.0
"""Hosts, as operators see them."""

from korora_nova import errors
from korora_nova.api.call import Answer, Call
from korora_nova.api.schemas import host as schemas
from korora_nova.verifier import hosts


def list_hosts(call: Call) -> Answer:
    """GET /v1/hosts"""
    return {'hosts': hosts.list_hosts(call.service)}


def show(call: Call) -> Answer:
    """GET /v1/hosts/{host}"""
    return hosts.show(call.service, call.path['host'])


def approve(call: Call) -> Answer:
    """PUT /v1/hosts/{host}/approval"""
    document = call.read(schemas.APPROVE)
    return hosts.approve(
        call.service, call.path['host'], document['ek_hash'], call.actor
    )


def delete(call: Call) -> Answer:
    """DELETE /v1/hosts/{host}"""
    force = call.query('force').get('force', 'false')
    if force not in ('true', 'false'):
        raise errors.Invalid(
            errors.Reason.INVALID_REQUEST,
            'The parameter force is true or false.',
        )
    hosts.delete(
        call.service, call.path['host'], call.actor, force=force == 'true'
    )
    return None
