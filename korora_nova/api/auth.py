# SPDX-License-Identifier: Apache-2.0
"""Who calls: Keystone's word as a request context."""

from __future__ import annotations

from typing import Any

from keystonemiddleware import auth_token
from oslo_config import cfg
from oslo_middleware import request_id

from korora_nova import trail

ENV_CONTEXT = 'korora.context'
#: Paths that anybody may read.
OPEN = ('', '/')


class KeystoneAuth(auth_token.AuthProtocol):  # type: ignore[misc]
    """auth_token, except for the list of versions."""

    def __init__(self, application: Any, conf: cfg.ConfigOpts) -> None:
        super().__init__(application, {'oslo_config_config': conf})
        self._open = application

    def __call__(self, environ: Any, start_response: Any) -> Any:
        if environ.get('PATH_INFO') in OPEN:
            return self._open(environ, start_response)
        return super().__call__(environ, start_response)


class Context:
    """WSGI middleware: headers of auth_token -> request context."""

    def __init__(self, application: Any) -> None:
        self._application = application

    def __call__(self, environ: Any, start_response: Any) -> Any:
        environ[ENV_CONTEXT] = trail.Context.from_environ(
            environ,
            request_id=environ.get(request_id.ENV_REQUEST_ID),
            global_request_id=environ.get(request_id.GLOBAL_REQ_ID),
        )
        return self._application(environ, start_response)
