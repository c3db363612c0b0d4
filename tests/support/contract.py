# SPDX-License-Identifier: Apache-2.0
"""Holds what the service answers against its OpenAPI document.

Every test that has a service has this around it: an answer that the document
does not have is a failure of whichever test met it.
"""

import collections
import functools
import gzip
import json

import jsonschema
import webob

from korora_nova import errors
from korora_nova.api import routes
from korora_nova.api.openapi import document

#: (operation, code) -> how often it was met in this process.
SEEN: collections.Counter = collections.Counter()


@functools.cache
def built() -> dict:
    return document.build()


@functools.cache
def _validator(path: str, method: str, code: str, media_type: str):
    """None if the answer has no JSON."""
    content = _response(path, method, code).get('content', {})
    if 'json' not in media_type:
        return None
    return jsonschema.Draft202012Validator(
        {
            **content[media_type]['schema'],
            'components': built()['components'],
        }
    )


def _response(path: str, method: str, code: str) -> dict:
    return built()['paths'][path][method.lower()]['responses'][code]


def _template(path: str) -> str:
    """The route of a path, '' if there is none."""
    for known, methods in routes.ROUTES.items():
        try:
            if routes.match(path)[1] is methods:
                return known
        except errors.NotFound:
            break
    return ''


def _body(answer: webob.Response) -> bytes:
    if answer.content_encoding == 'gzip':
        return gzip.decompress(answer.body)
    return answer.body


def check(request: webob.Request, answer: webob.Response) -> None:
    """:raises AssertionError: the document has no such answer."""
    path = _template(request.environ['PATH_INFO'])
    if request.method not in routes.ROUTES.get(path, {}):
        return
    body = _body(answer)
    where = f'{request.method} {path}: {answer.status} {body[:400]!r}'
    code, media_type = str(answer.status_code), answer.content_type or ''
    operation = built()['paths'][path][request.method.lower()]
    assert code in operation['responses'], where
    content = operation['responses'][code].get('content', {})
    SEEN[operation['operationId'], answer.status_code] += 1
    if code in ('204', '304'):
        assert not answer.body, where
        return
    if code == '401':
        return
    assert media_type in content, where
    validator = _validator(path, request.method, code, media_type)
    if validator is not None:
        fault = next(validator.iter_errors(json.loads(body)), None)
        assert fault is None, f'{where}: {fault}'


class Checked:
    """WSGI middleware."""

    def __init__(self, application) -> None:
        self.application = application

    def __call__(self, environ, start_response):
        request = webob.Request(environ)
        answer = request.get_response(self.application)
        check(request, answer)
        return answer(environ, start_response)
