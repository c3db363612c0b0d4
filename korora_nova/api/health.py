# SPDX-License-Identifier: Apache-2.0
"""``/healthcheck`` by oslo.middleware, for balancers; it needs no token.

Whoever asks learns reason ids, and nothing else.
"""

from __future__ import annotations

from typing import Any

import webob
from oslo_config import cfg
from oslo_log import log as logging
from oslo_middleware import healthcheck
from oslo_middleware.healthcheck import opts, pluginbase

from korora_nova.verifier import health

LOG = logging.getLogger(__name__)

PATH = '/healthcheck'
#: Our backend; a site may have others beside it.
BACKEND = 'korora'

# What this module and its backend, which stevedore makes, tell each other.
_HEALTH, _LOADED = 'korora_health', 'korora_loaded'


class Backend(pluginbase.HealthcheckBaseExtension):
    """Keys, database and anchor; without the last one a worker is of use."""

    def __init__(self, oslo_conf: cfg.ConfigOpts, conf: Any) -> None:
        super().__init__(oslo_conf, conf)
        conf[_LOADED] = True

    def healthcheck(self, server_port: int) -> Any:
        checks = self.conf[_HEALTH].current()
        return pluginbase.HealthcheckResult(
            available=not any(one.reason for one in checks if one.vital),
            reason=', '.join(
                f'{one.name} {one.reason or "OK"}' for one in checks
            ),
        )


class Healthcheck:
    """WSGI middleware: answers one path, outside of everything else."""

    def __init__(
        self, application: Any, conf: cfg.ConfigOpts, found: health.Health
    ) -> None:
        self._application = application
        conf.register_opts(opts.HEALTHCHECK_OPTS, group='healthcheck')
        conf.set_default('backends', [BACKEND], group='healthcheck')
        self._answer: Any = healthcheck.Healthcheck(None, conf)
        shared = self._answer.conf
        shared[_HEALTH] = found
        if BACKEND in conf.healthcheck.backends and not shared.get(_LOADED):
            # oslo.middleware would leave it out, and find all well.
            LOG.error('%s: the backend %s is not installed', PATH, BACKEND)
            self._answer = webob.Response(status=503)

    def __call__(self, environ: Any, start_response: Any) -> Any:
        if environ.get('PATH_INFO') == PATH:
            return self._answer(environ, start_response)
        return self._application(environ, start_response)
