# SPDX-License-Identifier: Apache-2.0
"""Put the document together: one operation for each route.

Every code that a call may be answered with is there, and of a refusal the
reason ids that it may have. Everything is OpenAPI 3.1, whose schemas are JSON
Schema 2020-12, as ours are.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import TypeAlias

from korora_nova import errors
from korora_nova.api import routes, rules, versions
from korora_nova.api.call import JSON, JWK_SET
from korora_nova.api.openapi import custody_shapes, shapes
from korora_nova.api.openapi.operations import (
    OPERATIONS,
    Operation,
    Refusal,
)
from korora_nova.rats.schemas import HOST, UUID, Schema, properties
from korora_nova.rats.signed import ear

_R = errors.Reason
#: A part of the document.
Part: TypeAlias = dict[str, object]

SHAPES: Mapping[str, Schema] = {**shapes.SHAPES, **custody_shapes.SHAPES}

_PLACEHOLDERS = {'host': HOST, 'name': HOST, 'instance': UUID, 'id': UUID}
_TOKEN: Part = {'token': []}

#: What a call may be refused with, whatever it is.
_ALWAYS: tuple[Refusal, ...] = (
    _R.INVALID_REQUEST,
    _R.FORBIDDEN,
    (406, _R.INVALID_REQUEST),
    (406, _R.VERSION_UNKNOWN),
    _R.INTERNAL,
    _R.DATABASE_UNAVAILABLE,
    _R.KEYS_INVALID,
)
_WITH_BODY: tuple[Refusal, ...] = (
    _R.TOO_LARGE,
    (415, _R.INVALID_REQUEST),
)


def build() -> Part:
    """The document, as a JSON object."""
    paths: Part = {
        path: {
            method.lower(): _operation(path, method, route)
            for method, route in methods.items()
        }
        for path, methods in routes.ROUTES.items()
    }
    return {
        'openapi': '3.1.0',
        'info': {
            'title': 'Kororā Attestation API',
            'version': str(versions.VERSIONS[-1]),
            'license': {'name': 'Apache-2.0', 'identifier': 'Apache-2.0'},
        },
        'servers': [{'url': '/'}],
        'paths': paths,
        'components': {
            'schemas': dict(SHAPES),
            'securitySchemes': {
                'token': {
                    'type': 'apiKey',
                    'in': 'header',
                    'name': 'X-Auth-Token',
                }
            },
        },
    }


def codes(operation: Operation, path: str, method: str) -> dict[int, set[str]]:
    """Code -> reason ids with which a call may be refused."""
    refused: list[Refusal] = [*_ALWAYS, *operation.refused]
    if '{' in path:
        refused.append(_R.NOT_FOUND)
    if operation.body is not None:
        refused += _WITH_BODY
    # To read is to number what has changed, too; and SQLite has one lock.
    if path.startswith('/v1/'):
        refused.append(_R.RETRY)
    found: dict[int, set[str]] = defaultdict(set)
    for one in refused:
        code, reason = one if isinstance(one, tuple) else (_code(one), one)
        found[code].add(reason)
    return found


def _code(reason: str) -> int:
    return errors.from_reason(reason).code


def _operation(path: str, method: str, route: routes.Route) -> Part:
    name = route.handler.__name__
    operation = OPERATIONS[name]
    made: Part = {
        'operationId': name,
        'summary': _summary(route),
        'tags': [path.split('/')[2] if route.rule else 'versions'],
        'parameters': [*_parameters(path, operation, route)],
        'responses': _responses(path, method, route, operation),
    }
    if operation.body is not None:
        made['requestBody'] = {
            'required': True,
            'content': {JSON: {'schema': operation.body}},
        }
    if route.rule is not None:
        made['security'] = [_TOKEN]
        made['x-openstack-policy'] = rules.PREFIX + route.rule
    return made


def _summary(route: routes.Route) -> str:
    for rule in rules.RULES:
        if rule.name == f'{rules.PREFIX}{route.rule}':
            return str(rule.description)
    return 'List the versions of the API.'


# -- parameters -------------------------------------------------------------


def _parameters(
    path: str, operation: Operation, route: routes.Route
) -> list[Part]:
    found = [
        _parameter('path', name, schema, required=True)
        for name, schema in _PLACEHOLDERS.items()
        if '{' + name + '}' in path
    ]
    query = properties(operation.query)
    found += [
        _parameter('query', name, schema, _since(operation, name))
        for name, schema in query.items()
    ]
    found += [
        _parameter('header', name, schema)
        for name, schema in operation.headers.items()
    ]
    if operation.tagged:
        found.append(_parameter('header', 'If-None-Match', {'type': 'string'}))
    if route.rule is not None:
        found.append(_parameter('header', versions.HEADER, _version()))
    return found


def _parameter(
    where: str,
    name: str,
    schema: Schema,
    description: str = '',
    *,
    required: bool = False,
) -> Part:
    made: Part = {'name': name, 'in': where, 'schema': schema}
    if required:
        made['required'] = True
    if description:
        made['description'] = description
    return made


def _since(operation: Operation, name: str) -> str:
    if name in operation.new:
        return 'Since version 1.1.'
    return 'In version 1.0 only.' if name in operation.old else ''


def _version() -> Schema:
    words = [*map(str, versions.VERSIONS), 'latest']
    return {'enum': [f'{versions.SERVICE_TYPE} {one}' for one in words]}


# -- answers ----------------------------------------------------------------


def _responses(
    path: str, method: str, route: routes.Route, operation: Operation
) -> Part:
    found: Part = {}
    if operation.answer:
        found['200'] = _done(operation, route)
    else:
        found['204'] = {'description': 'Done.'}
    if operation.links:
        done = found['200' if operation.answer else '204']
        assert isinstance(done, dict)
        done['links'] = _links(operation)
    if operation.tagged:
        found['304'] = {
            'description': 'Nothing has changed since that entity tag.',
            'headers': {'ETag': _header()},
        }
    if route.rule is None:
        found['406'] = _refused({_R.INVALID_REQUEST})
        return found
    found['401'] = {'description': 'There is no valid token.'}
    by_code = codes(operation, path, method)
    for code, reasons in sorted(by_code.items()):
        found[str(code)] = _refused(reasons)
    return found


def _done(operation: Operation, route: routes.Route) -> Part:
    content: Part = {JSON: {'schema': shapes.ref(operation.answer)}}
    if JWK_SET in route.types:
        content[JWK_SET] = {'schema': shapes.ref('JwkSet')}
    if ear.CONTENT_TYPE in route.types:
        content[ear.MEDIA_TYPE] = {'schema': {'type': 'string'}}
    made: Part = {'description': 'Done.', 'content': content}
    if operation.tagged:
        made['headers'] = {'ETag': _header()}
    return made


def _header() -> Part:
    return {'schema': {'type': 'string'}}


def _links(operation: Operation) -> Part:
    return {
        link.handler: {
            'operationId': link.handler,
            'parameters': dict(link.parameters),
        }
        for link in operation.links
    }


def _refused(reasons: set[str]) -> Part:
    named = {'reason': {'enum': sorted(reasons)}}
    schema = {
        'allOf': [
            shapes.ref('Error'),
            {'properties': {'error': {'properties': named}}},
        ]
    }
    return {
        'description': ', '.join(sorted(reasons)),
        'content': {JSON: {'schema': schema}},
    }
