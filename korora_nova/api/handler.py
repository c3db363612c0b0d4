# SPDX-License-Identifier: Apache-2.0
"""The whole API at a glance, and the dispatcher.

A call is refused, in this order, because the path is unknown (404), the
method is (405), the role does not admit it (403), the caller accepts no
JSON (406), or by the handler.
"""

from __future__ import annotations

import re
from typing import Any

import webob

from korora_nova import errors
from korora_nova.api import auth, call, faults
from korora_nova.api import policy as enforcement
from korora_nova.api.handlers import (
    custody,
    host,
    policy,
    reference,
    result,
    root,
    self_report,
)
from korora_nova.api.policies import custody as custody_rules
from korora_nova.api.policies import host as host_rules
from korora_nova.api.policies import policy as policy_rules
from korora_nova.api.policies import reference as reference_rules
from korora_nova.api.policies import result as result_rules
from korora_nova.api.policies import self_report as self_rules
from korora_nova.verifier import service

#: path -> method -> (handler, policy rule; None: anybody)
ROUTES: dict[str, dict[str, tuple[call.Handler, str | None]]] = {
    '/': {'GET': (root.versions, None)},
    '/v1/keys': {'GET': (root.keys, result_rules.KEYS)},
    '/v1/hosts': {'GET': (host.list_hosts, host_rules.LIST)},
    '/v1/hosts/{host}': {
        'GET': (host.show, host_rules.SHOW),
        'DELETE': (host.delete, host_rules.DELETE),
    },
    '/v1/hosts/{host}/approval': {'PUT': (host.approve, host_rules.APPROVE)},
    '/v1/hosts/{host}/enrolment': {
        'POST': (self_report.enrol, self_rules.ENROL)
    },
    '/v1/hosts/{host}/enrolment/proof': {
        'POST': (self_report.prove, self_rules.PROVE)
    },
    '/v1/hosts/{host}/challenges': {
        'POST': (self_report.challenge, self_rules.CHALLENGE)
    },
    '/v1/hosts/{host}/evidence': {
        'POST': (self_report.evidence, self_rules.EVIDENCE)
    },
    '/v1/results': {'GET': (result.list_results, result_rules.LIST)},
    '/v1/results/{host}': {'GET': (result.show, result_rules.SHOW)},
    '/v1/references': {
        'GET': (reference.list_references, reference_rules.LIST),
        'POST': (reference.create, reference_rules.CREATE),
    },
    '/v1/references/{name}': {
        'GET': (reference.show, reference_rules.SHOW),
        'DELETE': (reference.delete, reference_rules.DELETE),
    },
    '/v1/policies': {
        'GET': (policy.list_policies, policy_rules.LIST),
        'POST': (policy.create, policy_rules.CREATE),
    },
    '/v1/policies/{name}': {
        'GET': (policy.show, policy_rules.SHOW),
        'PUT': (policy.update, policy_rules.UPDATE),
        'DELETE': (policy.delete, policy_rules.DELETE),
    },
    '/v1/policies/{name}/differences/{host}': {
        'GET': (policy.differences, policy_rules.DIFFERENCES)
    },
    '/v1/servers/{instance}': {'GET': (custody.server, custody_rules.SERVER)},
    '/v1/migrations': {'GET': (custody.migrations, custody_rules.MIGRATIONS)},
    '/v1/migrations/{id}': {
        'GET': (custody.migration, custody_rules.MIGRATION)
    },
    '/v1/migrations/{id}/abort': {
        'POST': (custody.abort, custody_rules.ABORT)
    },
    '/v1/receipts': {'GET': (custody.receipts_since, custody_rules.RECEIPTS)},
    '/v1/ledger/recover': {'POST': (custody.recover, custody_rules.RECOVER)},
}

# Clients and proxies resolve '.' and '..', so nothing could have that name.
_NAME = r'(?!\.{1,2}(?:/|\Z))[A-Za-z0-9._:-]{1,255}'
_UUID = r'[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}'
_PLACEHOLDERS = {'host': _NAME, 'name': _NAME, 'instance': _UUID, 'id': _UUID}


def _compile(path: str) -> re.Pattern[str]:
    return re.compile(
        re.sub(
            r'\{(\w+)\}',
            lambda found: f'(?P<{found[1]}>{_PLACEHOLDERS[found[1]]})',
            path,
        )
    )


_PATTERNS = [(_compile(path), methods) for path, methods in ROUTES.items()]


class Api:
    """The innermost WSGI application.

    :param service: the use cases.
    :param enforcer: asked before each handler.
    """

    def __init__(
        self, verifier: service.Service, enforcer: enforcement.Enforcer
    ) -> None:
        self._service = verifier
        self._enforcer = enforcer

    def __call__(self, environ: Any, start_response: Any) -> Any:
        return self._answer(webob.Request(environ))(environ, start_response)

    def _answer(self, request: webob.Request) -> webob.Response:
        path, methods = _match(request.environ.get('PATH_INFO') or '/')
        if request.method not in methods:
            raise faults.NotAllowed(
                errors.Reason.INVALID_REQUEST,
                f'This path admits only {" and ".join(sorted(methods))}.',
            )
        handler, rule = methods[request.method]
        context = request.environ[auth.ENV_CONTEXT]
        if rule is not None:
            self._enforcer.check(context, rule)
        _check_accept(request)
        return call.respond(
            handler(
                call.Call(request, self._service, path, context.user_id or '')
            )
        )


def _match(path: str) -> tuple[dict[str, str], Any]:
    # PATH_INFO is latin-1 text; the patterns admit ASCII only.
    for pattern, methods in _PATTERNS:
        found = pattern.fullmatch(path)
        if found is not None:
            return found.groupdict(), methods
    raise errors.NotFound(errors.Reason.NOT_FOUND)


def _check_accept(request: webob.Request) -> None:
    if not request.accept.acceptable_offers(['application/json']):
        raise faults.NotAcceptable(
            errors.Reason.INVALID_REQUEST, 'Answers are application/json only.'
        )
