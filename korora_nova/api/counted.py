# SPDX-License-Identifier: Apache-2.0
"""Counts requests, for whoever wants to; see :mod:`korora_nova.metrics`."""

from __future__ import annotations

from typing import Any

from korora_nova import metrics

#: Where a request's handler, and the reason id of its refusal, are noted.
ENV_HANDLER, ENV_REASON = 'korora.handler', 'korora.reason'
#: Handler of what came to none.
NO_HANDLER = 'none'


class Counted:
    """WSGI middleware around everything that can answer."""

    def __init__(self, application: Any) -> None:
        self._application = application

    def __call__(self, environ: Any, start_response: Any) -> Any:
        if not metrics.enabled():
            return self._application(environ, start_response)
        codes: list[str] = []

        def started(status: str, *args: Any) -> Any:
            codes.append(status[:3])
            return start_response(status, *args)

        # The handler is known afterwards.
        labels = {'handler': NO_HANDLER}
        with metrics.API_SECONDS.time(labels):
            answer = self._application(environ, started)
            labels['handler'] = environ.get(ENV_HANDLER, NO_HANDLER)
        for code in codes[-1:]:
            metrics.API_REQUESTS.add(**labels, code=code)
        if ENV_REASON in environ:
            metrics.API_REFUSALS.add(reason=metrics.known(environ[ENV_REASON]))
        return answer
