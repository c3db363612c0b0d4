# SPDX-License-Identifier: Apache-2.0
"""What a handler is given, and the ways it may answer."""

from __future__ import annotations

import dataclasses
import json
import operator
from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeAlias

import webob

from korora_nova import errors
from korora_nova.api import body, versions
from korora_nova.rats import schemas
from korora_nova.verifier.service import Service

JSON = 'application/json'
JWK_SET = 'application/jwk-set+json'


@dataclasses.dataclass(frozen=True)
class Call:
    """One authorised request.

    :param path: the placeholders of the route, already checked.
    :param actor: user id of the caller, for the audit table.
    :param media_type: of the answer, among those of the route.
    :param version: of the answer.
    """

    request: webob.Request
    service: Service
    path: Mapping[str, str]
    actor: str
    media_type: str = JSON
    version: versions.Version = versions.FIRST

    def read(
        self, schema: schemas.Schema, limit: int = body.LIMIT
    ) -> dict[str, Any]:
        """The body, capped and valid; see :func:`body.read`."""
        return body.read(self.request, schema, limit=limit)

    def query(self, *names: str) -> dict[str, str]:
        """The query string; only these parameters are admitted, once each.

        :raises Invalid: INVALID_REQUEST.
        """
        try:
            pairs = list(self.request.GET.items())
        except UnicodeDecodeError:
            raise _invalid('The query string is not UTF-8.') from None
        found = dict(pairs)
        if len(found) != len(pairs) or not set(found) <= set(names):
            raise _invalid(
                'The query string has a parameter that this '
                'call does not take.'
            )
        return found


class Document(Protocol):
    """What a use case answers with."""

    def to_json(self) -> Mapping[str, object]: ...


#: Documents in it become JSON; None is an answer without content (204).
Answer: TypeAlias = Document | Mapping[str, object] | webob.Response | None
Handler: TypeAlias = Callable[[Call], Answer]


def respond(answer: Answer) -> webob.Response:
    """The HTTP form of a handler's answer."""
    if answer is None:
        return webob.Response(status=204, content_type=None)
    if isinstance(answer, webob.Response):
        return answer
    return json_response(answer)


def json_response(
    answer: Document | Mapping[str, object],
    media_type: str = JSON,
    **headers: str,
) -> webob.Response:
    """A 200 response; underscores in header names become dashes."""
    response = webob.Response(
        status=200,
        content_type=media_type,
        charset='UTF-8' if media_type == JSON else None,
        body=json.dumps(
            answer,
            default=operator.methodcaller('to_json'),
            separators=(',', ':'),
        ).encode(),
    )
    for name, value in headers.items():
        response.headers[name.replace('_', '-')] = value
    return response


def encoded(
    request: webob.Request, body: bytes, compressed: Callable[[], bytes]
) -> webob.Response:
    """A 200 response with JSON that is at hand, in gzip if that is taken."""
    response = webob.Response(
        status=200, content_type='application/json', charset='UTF-8'
    )
    response.vary = ('Accept-Encoding',)
    if 'gzip' in str(request.headers.get('Accept-Encoding', '')) and (
        request.accept_encoding.acceptable_offers(['gzip'])
    ):
        response.body = compressed()
        response.content_encoding = 'gzip'
    else:
        response.body = body
    return response


def signed_response(token: str, media_type: str) -> webob.Response:
    """A 200 response with what was signed for this caller, now."""
    response = webob.Response(
        status=200, content_type=media_type, charset=None
    )
    response.vary = ('Accept',)
    response.cache_control = 'no-store'
    response.body = token.encode()
    return response


def _invalid(message: str) -> errors.Invalid:
    return errors.Invalid(errors.Reason.INVALID_REQUEST, message)
