# SPDX-License-Identifier: Apache-2.0
"""Assemble the application and the middleware around it.

From the outside in:

1. health: answers ``/healthcheck``, and nothing else;
2. request id: names the request in every log line;
3. counted: counts requests and what they were answered;
4. versioned: every answer says which version it is of;
5. faults: turns every exception from further in into an answer, those of
   auth included;
6. auth: keystonemiddleware's auth_token; nobody comes further without a
   valid token, except to ``/``;
7. context: reads what auth_token found out;
8. the API: route, version, role, handler.  A body is not read before this
   point.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from oslo_config import cfg
from oslo_middleware import request_id

from korora_nova.api import (
    auth,
    counted,
    dispatch,
    faults,
    health,
    rules,
    versions,
)
from korora_nova.verifier.health import Health
from korora_nova.verifier.service import Service, from_conf

WSGI = Callable[..., Any]


def application(
    conf: cfg.ConfigOpts,
    service: Service | None = None,
    authenticate: Callable[[WSGI], WSGI] | None = None,
) -> WSGI:
    """The WSGI application.

    :param service: its use cases; made from ``conf`` by default.
    :param authenticate: wraps an application in the place of Keystone's
        middleware; only tests have one.
    """
    service = service or from_conf(conf)
    authenticate = authenticate or functools.partial(
        auth.KeystoneAuth, conf=conf
    )
    app: WSGI = dispatch.Api(service, rules.Enforcer(conf))
    for middleware in (
        auth.Context,
        authenticate,
        faults.Faults,
        versions.Versioned,
        counted.Counted,
        request_id.RequestId,
    ):
        app = middleware(app)
    return health.Healthcheck(app, conf, Health(service))
