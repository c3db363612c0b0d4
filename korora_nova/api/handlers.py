# SPDX-License-Identifier: Apache-2.0
"""What answers each call: reads it, asks the verifier, decides nothing.

The docstring of a handler is its route.
"""

from __future__ import annotations

import contextlib

from korora_nova import errors
from korora_nova.api import body, lists, schemas, versions
from korora_nova.api.call import (
    JSON,
    Answer,
    Call,
    encoded,
    json_response,
    signed_response,
)
from korora_nova.custody import messages
from korora_nova.custody.exchange import Request
from korora_nova.custody.watch import MAX_WAIT
from korora_nova.custody.words import (
    CHALLENGE_HEADER,
    CLASS_HEADER,
    ChallengeClass,
    Role,
)
from korora_nova.rats.signed.ear import jwks
from korora_nova.verifier import (
    attest,
    challenges,
    ear,
    enrolment,
    hosts,
    records,
    results,
    snapshots,
)
from korora_nova.verifier.appraisal import (
    differences,
    learning,
    policies,
    proposals,
    references,
    rehearsal,
)
from korora_nova.verifier.custody import (
    evicting,
    giving_up,
    migrations,
    present,
    resolving,
    servers,
    watching,
)
from korora_nova.verifier.custody.plans import Order
from korora_nova.verifier.responses import orders

# Versions and public keys.


def show_versions(call: Call) -> Answer:
    """GET /"""
    return {
        'versions': [
            {
                'id': 'v1',
                'status': 'CURRENT',
                'min_version': str(versions.VERSIONS[0]),
                'max_version': str(versions.VERSIONS[-1]),
                'links': [{'rel': 'self', 'href': '/v1'}],
            }
        ]
    }


def show_keys(call: Call) -> Answer:
    """GET /v1/keys"""
    ring = call.service.ring
    return json_response(
        ring.to_json() if call.media_type == JSON else jwks(ring),
        call.media_type,
        Vary='Accept',
    )


# Hosts, as operators see them.


def list_hosts(call: Call) -> Answer:
    """GET /v1/hosts"""
    return lists.list_hosts(call)


def show_host(call: Call) -> Answer:
    """GET /v1/hosts/{host}"""
    return hosts.show(call.service, call.path['host'])


def approve_host(call: Call) -> Answer:
    """PUT /v1/hosts/{host}/approval"""
    document = call.read(schemas.APPROVE_HOST)
    return hosts.approve(
        call.service,
        call.path['host'],
        document['ek_hash'],
        call.actor,
        uncertified=document.get('uncertified', False),
    )


def delete_host(call: Call) -> Answer:
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


def evict_host(call: Call) -> Answer:
    """POST /v1/hosts/{host}/evict"""
    document = call.read(schemas.EVICT)
    return evicting.evict(
        call.service,
        call.path['host'],
        Order.of(call.actor, document),
        after=document.get('after', ''),
    )


# What an agent says about its own host.


def enrol(call: Call) -> Answer:
    """POST /v1/hosts/{host}/enrolment"""
    document = call.read(schemas.ENROL, schemas.ENROL_LIMIT)
    return enrolment.enrol(
        call.service, call.path['host'], enrolment.Keys.from_json(document)
    )


def prove(call: Call) -> Answer:
    """POST /v1/hosts/{host}/enrolment/proof"""
    document = call.read(schemas.PROVE)
    return {
        'status': enrolment.prove(
            call.service, call.path['host'], document['proof']
        )
    }


def create_challenge(call: Call) -> Answer:
    """POST /v1/hosts/{host}/challenges"""
    host, kind = call.path['host'], call.read(schemas.CHALLENGE)['class']
    with contextlib.ExitStack() as stack:
        if kind == ChallengeClass.STEADY:
            stack.enter_context(call.service.pressure.of(host, last=False))
        return challenges.issue(call.service, host, ChallengeClass(kind))


def create_evidence(call: Call) -> Answer:
    """POST /v1/hosts/{host}/evidence"""
    service, host = call.service, call.path['host']
    challenge = call.request.headers.get(CHALLENGE_HEADER, '')
    record: records.Record | None = None
    steady = call.request.headers.get(CLASS_HEADER) == ChallengeClass.STEADY
    with contextlib.ExitStack() as stack:
        if steady:
            stack.enter_context(service.pressure.of(host))

        def admit() -> None:
            nonlocal record
            record = challenges.admit(service, host, challenge)
            if (body.length(call.request) or body.LIMIT + 1) > body.LIMIT:
                stack.enter_context(service.uploads.of(host))
                # It takes its time, and this is to be of now.
                record = None

        request = Request.from_json(
            body.read(
                call.request,
                Request.SCHEMA,
                limit=schemas.EVIDENCE_LIMIT,
                values=schemas.EVIDENCE_VALUES,
                admit=admit,
            )
        )
        if request.challenge != challenge:
            raise errors.Invalid(
                errors.Reason.INVALID_REQUEST,
                f'Body and header {CHALLENGE_HEADER} name two challenges.',
            )
        return attest.attest(service, host, request, record)


# Attestation results, for whoever relies on them.


def list_results(call: Call) -> Answer:
    """GET /v1/results"""
    return lists.list_results(call)


def show_result(call: Call) -> Answer:
    """GET /v1/results/{host}"""
    host = call.path['host']
    if call.media_type == JSON:
        call.query()
        return json_response(results.show(call.service, host), Vary='Accept')
    nonce = call.query('nonce').get('nonce', '')
    return signed_response(
        ear.show(call.service, host, nonce), call.media_type
    )


def show_snapshot(call: Call) -> Answer:
    """GET /v1/snapshot"""
    base = call.query('base').get('base', '')
    page = snapshots.show(call.service, base)
    return encoded(call.request, page.body, lambda: page.compressed)


# Reference values.


def create_reference(call: Call) -> Answer:
    """POST /v1/references"""
    document = call.read(schemas.CREATE_REFERENCE)
    return references.create(
        call.service, document['name'], document['host'], call.actor
    )


def list_references(call: Call) -> Answer:
    """GET /v1/references"""
    return lists.list_references(call)


def show_reference(call: Call) -> Answer:
    """GET /v1/references/{name}"""
    return references.show(call.service, call.path['name'])


def delete_reference(call: Call) -> Answer:
    """DELETE /v1/references/{name}"""
    references.delete(call.service, call.path['name'], call.actor)
    return None


# Appraisal policies.


def create_policy(call: Call) -> Answer:
    """POST /v1/policies"""
    document = call.read(schemas.CREATE_POLICY, schemas.POLICY_LIMIT)
    return policies.create(
        call.service,
        document['document'],
        call.actor,
        [learning.Wanted.of(one) for one in document.get('learn', ())],
    )


def list_policies(call: Call) -> Answer:
    """GET /v1/policies"""
    return lists.list_policies(call)


def show_policy(call: Call) -> Answer:
    """GET /v1/policies/{name}"""
    return policies.show(call.service, call.path['name'])


def update_policy(call: Call) -> Answer:
    """PUT /v1/policies/{name}"""
    document = call.read(schemas.UPDATE_POLICY, schemas.POLICY_LIMIT)
    return policies.update(
        call.service,
        call.path['name'],
        document['document'],
        int(document['revision']),
        call.actor,
    )


def delete_policy(call: Call) -> Answer:
    """DELETE /v1/policies/{name}"""
    policies.delete(call.service, call.path['name'], call.actor)
    return None


def check_policy(call: Call) -> Answer:
    """GET /v1/policies/{name}/check"""
    query = messages.validate(
        call.query('all', 'limit', 'marker'), schemas.CHECK_POLICY
    )
    return rehearsal.check(
        call.service, call.path['name'], rehearsal.Query.of(query)
    )


def propose_policy(call: Call) -> Answer:
    """POST /v1/policy-proposals"""
    document = call.read(schemas.PROPOSE_POLICY, schemas.POLICY_LIMIT)
    return proposals.propose(
        call.service,
        document['document'],
        document.get('learn', ()),
        rehearsal.Query.of(document),
    )


def list_differences(call: Call) -> Answer:
    """GET /v1/policies/{name}/differences/{host}"""
    return differences.show(call.service, call.path['name'], call.path['host'])


# Servers, hand-overs and documents.


def list_servers(call: Call) -> Answer:
    """GET /v1/servers"""
    return lists.list_servers(call)


def show_server(call: Call) -> Answer:
    """GET /v1/servers/{instance}"""
    return servers.show(call.service, call.path['instance'])


def reissue_server(call: Call) -> Answer:
    """POST /v1/servers/{instance}/reissue"""
    document = call.read(schemas.REISSUE)
    return giving_up.reissue(
        call.service,
        call.path['instance'],
        Order.of(call.actor, document, 'fenced'),
    )


def release_server(call: Call) -> Answer:
    """POST /v1/servers/{instance}/release"""
    document = call.read(schemas.RELEASE)
    return giving_up.release(
        call.service,
        call.path['instance'],
        Order.of(call.actor, document, 'force'),
    )


def list_migrations(call: Call) -> Answer:
    """GET /v1/migrations"""
    return lists.list_migrations(call)


def show_migration(call: Call) -> Answer:
    """GET /v1/migrations/{id}"""
    query = messages.validate(call.query('documents'), schemas.SHOW_MIGRATION)
    return migrations.show(
        call.service,
        call.path['id'],
        documented=query.get('documents') == 'true',
    )


def watch_migration(call: Call) -> Answer:
    """GET /v1/migrations/{id}/watch"""
    query = messages.validate(call.query('wait', 'heard'), schemas.WATCH)
    return watching.watch(
        call.service,
        call.path['id'],
        wait=min(float(query.get('wait', 0)), MAX_WAIT),
        heard=float(query.get('heard', 0)),
        threads=bool(call.request.environ.get('wsgi.multithread')),
    )


def resolve_migration(call: Call) -> Answer:
    """POST /v1/migrations/{id}/resolve"""
    document = call.read(schemas.RESOLVE)
    keep = Role.SOURCE if document['keep'] == 'source' else Role.DEST
    return resolving.resolve(
        call.service, call.path['id'], keep, Order.of(call.actor, document)
    )


def list_receipts(call: Call) -> Answer:
    """GET /v1/receipts"""
    return lists.list_receipts(call)


def present_documents(call: Call) -> Answer:
    """POST /v1/documents"""
    document = call.read(schemas.PRESENT, schemas.PRESENT_LIMIT)
    return present.recover(call.service, document['documents'], call.actor)


# Responses to lost trust.


def list_responses(call: Call) -> Answer:
    """GET /v1/responses"""
    return lists.list_responses(call)


def show_response(call: Call) -> Answer:
    """GET /v1/responses/{id}"""
    return orders.show(call.service, call.path['id'])


def approve_response(call: Call) -> Answer:
    """POST /v1/responses/{id}/approve"""
    document = call.read(schemas.DECIDE_RESPONSE)
    return orders.approve(
        call.service, call.path['id'], call.actor, document['reason']
    )


def reject_response(call: Call) -> Answer:
    """POST /v1/responses/{id}/reject"""
    document = call.read(schemas.DECIDE_RESPONSE)
    return orders.reject(
        call.service, call.path['id'], call.actor, document['reason']
    )


def revert_response(call: Call) -> Answer:
    """POST /v1/responses/{id}/revert"""
    document = call.read(schemas.DECIDE_RESPONSE)
    return orders.revert(
        call.service, call.path['id'], call.actor, document['reason']
    )


def revert_responses(call: Call) -> Answer:
    """POST /v1/responses/revert"""
    document = call.read(schemas.DECIDE_RESPONSE)
    return orders.revert_all(call.service, call.actor, document['reason'])


def resume_responses(call: Call) -> Answer:
    """POST /v1/responses/resume"""
    document = call.read(schemas.DECIDE_RESPONSE)
    return orders.resume(call.service, call.actor, document['reason'])
