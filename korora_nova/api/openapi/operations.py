# SPDX-License-Identifier: Apache-2.0
"""What each handler takes and answers, by its name.

Refusals that every call may meet are in :mod:`.document`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from korora_nova import errors
from korora_nova.api import schemas as bodies
from korora_nova.custody.exchange import Request
from korora_nova.custody.words import CHALLENGE_HEADER, CLASS_HEADER
from korora_nova.rats import schemas
from korora_nova.rats.schemas import Schema
from korora_nova.reasons import TABLE, Kind

_R = errors.Reason
#: A reason id; with an HTTP code where that is not its class's.
Refusal = str | tuple[int, str]

FLAG: Schema = {'enum': ['true', 'false']}
NONE: Schema = schemas.closed({})


class Link(NamedTuple):
    """An answer leads to another call.

    :param handler: of that call.
    :param parameters: its placeholders, by where the answer has them.
    """

    handler: str
    parameters: Mapping[str, str]


class Operation(NamedTuple):
    """What one handler takes and answers.

    :param answer: name of the shape; '' for none (204).
    :param refused: why not, beside what every call may meet.
    :param query: its parameters, as the schema of an object.
    :param old: names among them that version 1.1 does not have any more;
        ``new``: that 1.0 does not have.
    :param headers: that it takes.
    :param body: schema of the request's.
    :param tagged: the answer has an entity tag.
    """

    answer: str
    refused: tuple[Refusal, ...] = ()
    query: Schema = NONE
    old: tuple[str, ...] = ()
    new: tuple[str, ...] = ()
    headers: Mapping[str, Schema] = {}
    body: Schema | None = None
    tagged: bool = False
    links: tuple[Link, ...] = ()


def of_kind(*kinds: Kind) -> tuple[str, ...]:
    """Ids of all reasons of these classes."""
    return tuple(name for name, one in TABLE.items() if one.kind in kinds)


_NO_RESULT = (_R.HOST_UNKNOWN, (404, _R.RESULT_MISSING))
_ANCHOR = (_R.ANCHOR_MISSING, _R.ANCHOR_UNAVAILABLE)
_ROW = (_R.LEDGER_BEHIND, _R.LEDGER_FORKED, _R.HOSTS_UNHEARD, *_ANCHOR)
_STEP = (_R.CUSTODY_PENDING, _R.CUSTODY_DISPUTED, *_ROW)
_PROOF = of_kind('EvidenceError')

_HOST = {'host': '$request.path.host'}
_NAME = {'name': '$request.path.name'}
_SERVER = {'instance': '$request.path.instance'}
_ID = {'id': '$request.path.id'}


def _links(parameters: Mapping[str, str], *handlers: str) -> tuple[Link, ...]:
    return tuple(Link(one, parameters) for one in handlers)


def _all(schema: Schema) -> tuple[str, ...]:
    return tuple(schemas.properties(schema))


_SINCE = {'since': {**schemas.COUNTER, 'maximum': 10**18 - 1}}
_RECEIPTS = schemas.closed(
    {**schemas.properties(bodies.LIST_RECEIPTS), **_SINCE},
    (*_all(bodies.LIST_RECEIPTS), 'since'),
)

OPERATIONS: Mapping[str, Operation] = {
    'show_versions': Operation('Versions'),
    'show_keys': Operation('Keys'),
    # Hosts.
    'list_hosts': Operation(
        'Hosts',
        query=bodies.LIST_HOSTS,
        new=_all(bodies.LIST_HOSTS),
        tagged=True,
        links=_links(
            {'host': '$response.body#/hosts/0/name'},
            'show_host',
            'show_result',
            'create_challenge',
        ),
    ),
    'show_host': Operation('JudgedHost', (_R.HOST_UNKNOWN,)),
    'approve_host': Operation(
        'JudgedHost',
        (_R.IDENTITY_CONFLICT, _R.IDENTITY_UNCERTIFIED),
        body=bodies.APPROVE_HOST,
        links=_links(_HOST, 'show_host', 'evict_host', 'delete_host'),
    ),
    'delete_host': Operation(
        '',
        (_R.HOST_UNKNOWN, _R.HOLDS_KEYS),
        query=schemas.closed({'force': FLAG}, ('force',)),
        links=_links(_HOST, 'show_host', 'approve_host'),
    ),
    'evict_host': Operation(
        'Evicted',
        (_R.HOST_UNKNOWN, _R.ANCHOR_UNAVAILABLE),
        body=bodies.EVICT,
        links=_links(_HOST, 'show_host', 'create_challenge'),
    ),
    # Attestation.
    'enrol': Operation(
        'Credential', (*_PROOF, _R.IDENTITY_CONFLICT), body=bodies.ENROL
    ),
    'prove': Operation(
        'Enrolled',
        (_R.CREDENTIAL_WRONG, _R.CREDENTIAL_EXPIRED, _R.IDENTITY_CONFLICT),
        body=bodies.PROVE,
        links=_links(_HOST, 'show_host', 'create_challenge'),
    ),
    'create_challenge': Operation(
        'Challenge',
        (_R.HOST_UNKNOWN, _R.HOST_PENDING, _R.EVICTED, _R.BUSY),
        body=bodies.CHALLENGE,
    ),
    'create_evidence': Operation(
        'Attested',
        (
            *of_kind(
                'EvidenceError',
                'Untrusted',
                'CustodyError',
                'Conflict',
                'NotFound',
                'Forbidden',
            ),
            _R.BUSY,
            _R.NOVA_UNAVAILABLE,
            _R.ANCHOR_UNAVAILABLE,
            _R.CERTIFICATE_AUTHORITY_MISSING,
        ),
        headers={
            CHALLENGE_HEADER: schemas.DIGEST,
            CLASS_HEADER: {'enum': ['steady', 'on-demand']},
        },
        body=Request.SCHEMA,
        links=_links(_HOST, 'show_result', 'show_host'),
    ),
    # Results.
    'list_results': Operation(
        'Results',
        query=bodies.LIST_RESULTS,
        new=('tier', 'limit', 'marker'),
        tagged=True,
        links=_links(
            {'host': '$response.body#/results/0/host'}, 'show_result'
        ),
    ),
    'show_result': Operation(
        'ExplainedResult',
        (*_NO_RESULT, (404, _R.HOST_PENDING)),
        query=schemas.closed({'nonce': schemas.text(88, 0)}, ('nonce',)),
    ),
    'show_snapshot': Operation(
        'Snapshot',
        query=schemas.closed({'base': schemas.text(64, 0)}, ('base',)),
    ),
    # Reference values.
    'create_reference': Operation(
        'Reference',
        (*_NO_RESULT, _R.NO_REFERENCE, (409, _R.INVALID_REQUEST)),
        body=bodies.CREATE_REFERENCE,
        links=_links(
            {'name': '$response.body#/name'},
            'show_reference',
            'delete_reference',
        ),
    ),
    'list_references': Operation(
        'References',
        query=bodies.LIST_REFERENCES,
        new=_all(bodies.LIST_REFERENCES),
        tagged=True,
        links=_links(
            {'name': '$response.body#/references/0/name'}, 'show_reference'
        ),
    ),
    'show_reference': Operation('Reference'),
    'delete_reference': Operation('', links=_links(_NAME, 'show_reference')),
    # Policies.
    'create_policy': Operation(
        'Policy',
        (
            *_NO_RESULT,
            _R.POLICY_INVALID,
            _R.POLICY_CONFLICT,
            _R.HOST_UNTRUSTED,
            _R.EVICTED,
            _R.NO_REFERENCE,
            (409, _R.INVALID_REQUEST),
        ),
        body=bodies.CREATE_POLICY,
        links=_links(
            {'name': '$response.body#/name'},
            'show_policy',
            'update_policy',
            'check_policy',
            'delete_policy',
        ),
    ),
    'list_policies': Operation(
        'Policies',
        query=bodies.LIST_POLICIES,
        new=_all(bodies.LIST_POLICIES),
        tagged=True,
        links=_links(
            {'name': '$response.body#/policies/0/name'},
            'show_policy',
            'check_policy',
        ),
    ),
    'show_policy': Operation('WholePolicy'),
    'update_policy': Operation(
        'Policy',
        (_R.POLICY_INVALID, _R.POLICY_CONFLICT),
        body=bodies.UPDATE_POLICY,
        links=_links(_NAME, 'show_policy', 'check_policy'),
    ),
    'delete_policy': Operation('', links=_links(_NAME, 'show_policy')),
    'check_policy': Operation('Checked', query=bodies.CHECK_POLICY),
    'propose_policy': Operation(
        'Proposal',
        (*_NO_RESULT, _R.POLICY_INVALID, _R.EVICTED, _R.NO_REFERENCE),
        body=bodies.PROPOSE_POLICY,
    ),
    'list_differences': Operation('Differences', _NO_RESULT),
    # Custody.
    'list_servers': Operation(
        'Servers',
        _ANCHOR,
        query=bodies.LIST_SERVERS,
        tagged=True,
        links=_links(
            {'instance': '$response.body#/servers/0/instance'},
            'show_server',
            'reissue_server',
            'release_server',
        ),
    ),
    'show_server': Operation('WholeServer', _ANCHOR),
    'reissue_server': Operation(
        'Step',
        (_R.NOT_FENCED, *_STEP),
        body=bodies.REISSUE,
        links=_links(_SERVER, 'show_server'),
    ),
    'release_server': Operation(
        'Step',
        (_R.SERVER_IN_NOVA, _R.NOVA_UNAVAILABLE, *_STEP),
        body=bodies.RELEASE,
        links=_links(_SERVER, 'show_server'),
    ),
    'list_migrations': Operation(
        'Migrations',
        (_R.MARKER_UNKNOWN, *_ANCHOR),
        query=bodies.LIST_MIGRATIONS,
        new=_all(bodies.LIST_MIGRATIONS),
        tagged=True,
        links=_links(
            {'id': '$response.body#/migrations/0/id'},
            'show_migration',
            'watch_migration',
            'resolve_migration',
        ),
    ),
    'show_migration': Operation(
        'WholeMigration',
        (_R.MIGRATION_UNKNOWN, *_ANCHOR),
        query=bodies.SHOW_MIGRATION,
    ),
    'watch_migration': Operation(
        'Watched', (_R.MIGRATION_UNKNOWN,), query=bodies.WATCH
    ),
    'resolve_migration': Operation(
        'Step',
        (_R.MIGRATION_UNKNOWN, _R.CANNOT_KEEP, _R.MIGRATION_SPENT, *_ROW),
        body=bodies.RESOLVE,
        links=_links(_ID, 'show_migration'),
    ),
    'list_receipts': Operation(
        'Receipts',
        _ANCHOR,
        query=_RECEIPTS,
        old=('since',),
        new=_all(bodies.LIST_RECEIPTS),
        tagged=True,
    ),
    'present_documents': Operation(
        'Presented',
        (
            _R.DOCUMENT_INVALID,
            _R.RECEIPT_INVALID,
            _R.PERMIT_INVALID,
            _R.LEDGER_FORKED,
            *_ANCHOR,
        ),
        body=bodies.PRESENT,
    ),
    # Responses.
    'list_responses': Operation(
        'Responses',
        (_R.MARKER_UNKNOWN, _R.RESPONSE_UNKNOWN),
        query=bodies.LIST_RESPONSES,
        new=('state', 'driver'),
        tagged=True,
        links=_links(
            {'id': '$response.body#/responses/0/id'},
            'show_response',
            'approve_response',
            'reject_response',
            'revert_response',
        ),
    ),
    'show_response': Operation('Response', (_R.RESPONSE_UNKNOWN,)),
    **{
        name: Operation(
            'Response',
            (_R.RESPONSE_UNKNOWN, _R.RESPONSE_STATE),
            body=bodies.DECIDE_RESPONSE,
            links=_links(_ID, 'show_response'),
        )
        for name in ('approve_response', 'reject_response', 'revert_response')
    },
    **{
        name: Operation('Responses', body=bodies.DECIDE_RESPONSE)
        for name in ('revert_responses', 'resume_responses')
    },
}
