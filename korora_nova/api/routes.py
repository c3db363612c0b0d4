# SPDX-License-Identifier: Apache-2.0
"""The whole API at a glance: paths, methods, handlers and policy rules."""

from __future__ import annotations

import re
from typing import NamedTuple

from korora_nova import errors
from korora_nova.api import call, handlers
from korora_nova.rats.signed import ear


class Route(NamedTuple):
    """What answers a call, and who may make it.

    :param rule: one of ``rules``, without its prefix; None: anybody.
    :param types: media types of its answers; the first unless another one is
        asked for.
    """

    handler: call.Handler
    rule: str | None
    types: tuple[str, ...] = (call.JSON,)


#: path -> method -> route
ROUTES: dict[str, dict[str, Route]] = {
    '/': {'GET': Route(handlers.show_versions, None)},
    '/v1/keys': {
        'GET': Route(
            handlers.show_keys, 'keys:show', (call.JSON, call.JWK_SET)
        )
    },
    '/v1/hosts': {'GET': Route(handlers.list_hosts, 'hosts:list')},
    '/v1/hosts/{host}': {
        'GET': Route(handlers.show_host, 'hosts:show'),
        'DELETE': Route(handlers.delete_host, 'hosts:delete'),
    },
    '/v1/hosts/{host}/approval': {
        'PUT': Route(handlers.approve_host, 'hosts:approve')
    },
    '/v1/hosts/{host}/evict': {
        'POST': Route(handlers.evict_host, 'hosts:evict')
    },
    '/v1/hosts/{host}/enrolment': {
        'POST': Route(handlers.enrol, 'enrolment:create')
    },
    '/v1/hosts/{host}/enrolment/proof': {
        'POST': Route(handlers.prove, 'enrolment:prove')
    },
    '/v1/hosts/{host}/challenges': {
        'POST': Route(handlers.create_challenge, 'challenges:create')
    },
    '/v1/hosts/{host}/evidence': {
        'POST': Route(handlers.create_evidence, 'evidence:create')
    },
    '/v1/results': {'GET': Route(handlers.list_results, 'results:list')},
    '/v1/results/{host}': {
        'GET': Route(
            handlers.show_result,
            'results:show',
            (call.JSON, ear.CONTENT_TYPE),
        )
    },
    '/v1/snapshot': {'GET': Route(handlers.show_snapshot, 'results:snapshot')},
    '/v1/references': {
        'GET': Route(handlers.list_references, 'references:list'),
        'POST': Route(handlers.create_reference, 'references:create'),
    },
    '/v1/references/{name}': {
        'GET': Route(handlers.show_reference, 'references:show'),
        'DELETE': Route(handlers.delete_reference, 'references:delete'),
    },
    '/v1/policies': {
        'GET': Route(handlers.list_policies, 'policies:list'),
        'POST': Route(handlers.create_policy, 'policies:create'),
    },
    '/v1/policies/{name}': {
        'GET': Route(handlers.show_policy, 'policies:show'),
        'PUT': Route(handlers.update_policy, 'policies:update'),
        'DELETE': Route(handlers.delete_policy, 'policies:delete'),
    },
    '/v1/policies/{name}/check': {
        'GET': Route(handlers.check_policy, 'policies:check')
    },
    '/v1/policy-proposals': {
        'POST': Route(handlers.propose_policy, 'policies:propose')
    },
    '/v1/policies/{name}/differences/{host}': {
        'GET': Route(handlers.list_differences, 'policies:differences')
    },
    '/v1/servers': {'GET': Route(handlers.list_servers, 'servers:list')},
    '/v1/servers/{instance}': {
        'GET': Route(handlers.show_server, 'servers:show')
    },
    '/v1/servers/{instance}/reissue': {
        'POST': Route(handlers.reissue_server, 'servers:reissue')
    },
    '/v1/servers/{instance}/release': {
        'POST': Route(handlers.release_server, 'servers:release')
    },
    '/v1/migrations': {
        'GET': Route(handlers.list_migrations, 'migrations:list')
    },
    '/v1/migrations/{id}': {
        'GET': Route(handlers.show_migration, 'migrations:show')
    },
    '/v1/migrations/{id}/watch': {
        'GET': Route(handlers.watch_migration, 'migrations:watch')
    },
    '/v1/migrations/{id}/resolve': {
        'POST': Route(handlers.resolve_migration, 'migrations:resolve')
    },
    '/v1/receipts': {'GET': Route(handlers.list_receipts, 'receipts:list')},
    '/v1/responses': {'GET': Route(handlers.list_responses, 'responses:list')},
    '/v1/responses/revert': {
        'POST': Route(handlers.revert_responses, 'responses:revert_all')
    },
    '/v1/responses/resume': {
        'POST': Route(handlers.resume_responses, 'responses:resume')
    },
    '/v1/responses/{id}': {
        'GET': Route(handlers.show_response, 'responses:show')
    },
    '/v1/responses/{id}/approve': {
        'POST': Route(handlers.approve_response, 'responses:approve')
    },
    '/v1/responses/{id}/reject': {
        'POST': Route(handlers.reject_response, 'responses:reject')
    },
    '/v1/responses/{id}/revert': {
        'POST': Route(handlers.revert_response, 'responses:revert')
    },
    '/v1/documents': {
        'POST': Route(handlers.present_documents, 'documents:present')
    },
}

# Clients and proxies resolve '.' and '..', so nothing could have that name.
_NAME = r'(?!\.{1,2}(?:/|\Z))[A-Za-z0-9._:-]{1,255}'
_UUID = r'[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}'
#: placeholder -> pattern of what may stand in its place
PLACEHOLDERS = {'host': _NAME, 'name': _NAME, 'instance': _UUID, 'id': _UUID}


def match(path: str) -> tuple[dict[str, str], dict[str, Route]]:
    """Find the placeholders' values and the methods of a path.

    :param path: PATH_INFO, which is latin-1 text; patterns admit ASCII only.
    :raises NotFound: NOT_FOUND.
    """
    for pattern, methods in _PATTERNS:
        found = pattern.fullmatch(path)
        if found is not None:
            return found.groupdict(), methods
    raise errors.NotFound(errors.Reason.NOT_FOUND)


def _compile(path: str) -> re.Pattern[str]:
    return re.compile(
        re.sub(
            r'\{(\w+)\}',
            lambda found: f'(?P<{found[1]}>{PLACEHOLDERS[found[1]]})',
            path,
        )
    )


_PATTERNS = [(_compile(path), methods) for path, methods in ROUTES.items()]
