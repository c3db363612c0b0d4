# SPDX-License-Identifier: Apache-2.0
"""The dispatcher: from a request to a handler's answer.

A call is refused, in this order, because the path is unknown (404), the
method is (405), the version is (406), the role does not admit it (403), the
caller accepts no of the media types of its answers (406), or by the handler.
"""

from __future__ import annotations

import functools
from typing import Any

import webob
from webob import acceptparse

from korora_nova import errors, spans, trail
from korora_nova.api import (
    auth,
    call,
    counted,
    faults,
    routes,
    rules,
    versions,
)
from korora_nova.verifier.service import Service


class Api:
    """The innermost WSGI application.

    :param service: the use cases.
    :param enforcer: asked before each handler.
    """

    def __init__(self, service: Service, enforcer: rules.Enforcer) -> None:
        self._service = service
        self._enforcer = enforcer

    def __call__(self, environ: Any, start_response: Any) -> Any:
        return self._answer(webob.Request(environ))(environ, start_response)

    def _answer(self, request: webob.Request) -> webob.Response:
        path, methods = routes.match(request.environ.get('PATH_INFO') or '/')
        if request.method not in methods:
            raise faults.NotAllowed(methods)
        route = methods[request.method]
        request.environ[counted.ENV_HANDLER] = route.handler.__name__
        version = _version(request, route)
        context = request.environ[auth.ENV_CONTEXT]
        trail.note(
            instance=path.get('instance', ''), migration=path.get('id', '')
        )
        if route.rule is not None:
            self._enforcer.check(context, route.rule)
        media_type = _negotiate(request, route)
        with spans.span(
            f'api.{route.handler.__name__}',
            remote=request.headers.get(spans.TRACEPARENT, ''),
        ):
            return call.respond(
                route.handler(
                    call.Call(
                        request,
                        self._service,
                        path,
                        context.user_id or '',
                        media_type,
                        version,
                    )
                )
            )


def _version(request: webob.Request, route: routes.Route) -> versions.Version:
    """The version of the answer; whoever asks which there are may err."""
    if route.rule is None:
        return versions.FIRST
    version = versions.wanted(request)
    request.environ[versions.ENV_VERSION] = version
    return version


def _negotiate(request: webob.Request, route: routes.Route) -> str:
    """The media type of the answer; errors are JSON in any case."""
    found = _acceptable(request.environ.get('HTTP_ACCEPT'), route.types)
    if found is None:
        raise faults.NotAcceptable(
            errors.Reason.INVALID_REQUEST,
            f'Answers are {" or ".join(route.types)} only.',
        )
    return found


@functools.lru_cache(256)
def _acceptable(said: str | None, types: tuple[str, ...]) -> str | None:
    """The best of some media types for a header Accept, if any is."""
    found = acceptparse.create_accept_header(said).acceptable_offers(types)
    return str(found[0][0]) if found else None
