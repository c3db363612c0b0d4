# SPDX-License-Identifier: Apache-2.0
"""One format for every error; nothing internal leaves the service."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any
from urllib import parse

import webob
from oslo_log import log as logging

from korora_nova import errors
from korora_nova.api import counted

LOG = logging.getLogger(__name__)


class NotAllowed(errors.Invalid):
    """The path exists, the method does not.

    :param methods: that do.
    """

    code = 405

    def __init__(self, methods: Iterable[str]) -> None:
        self.methods = tuple(sorted(methods))
        super().__init__(
            errors.Reason.INVALID_REQUEST,
            f'This path admits only {" and ".join(self.methods)}.',
        )


class NotAcceptable(errors.Invalid):
    """No answer has a form or version that the caller takes."""

    code = 406


class UnsupportedMediaType(errors.Invalid):
    """The body is not declared as JSON."""

    code = 415


def response(error: errors.KororaError) -> webob.Response:
    """The HTTP form of an error."""
    made = webob.Response(
        status=error.code,
        content_type='application/json',
        charset='UTF-8',
        body=json.dumps(
            {
                'error': {
                    'code': error.code,
                    'reason': error.reason,
                    'message': error.message,
                    'details': error.details,
                }
            }
        ).encode(),
    )
    if isinstance(error, errors.Busy):
        made.retry_after = error.retry_after
    if isinstance(error, NotAllowed):
        made.allow = error.methods
    return made


class Faults:
    """WSGI middleware: the last place an exception can reach."""

    def __init__(self, application: Any) -> None:
        self._application = application

    def __call__(self, environ: Any, start_response: Any) -> Any:
        return self._answer(webob.Request(environ))(environ, start_response)

    def _answer(self, request: webob.Request) -> webob.Response:
        try:
            return request.get_response(self._application)
        except errors.KororaError as exc:
            LOG.log(
                logging.ERROR if exc.code >= 500 else logging.INFO,
                '%s: [%s] %r %r',
                _name(request),
                exc.reason,
                exc.message,
                exc.details,
            )
            return _refused(request, exc)
        # The boundary of the service: log all, show nothing.
        except Exception:  # noqa: BLE001
            LOG.exception('%s failed', _name(request))
            return _refused(
                request, errors.Unavailable(errors.Reason.INTERNAL)
            )


def _refused(
    request: webob.Request, error: errors.KororaError
) -> webob.Response:
    request.environ[counted.ENV_REASON] = error.reason
    return response(error)


def _name(request: webob.Request) -> str:
    """Method and path; whatever a caller put there stays on one line."""
    path = request.environ.get('PATH_INFO', '')
    return f'{request.method} {parse.quote(path, encoding="latin-1")}'
