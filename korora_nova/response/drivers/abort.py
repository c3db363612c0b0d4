# SPDX-License-Identifier: Apache-2.0
"""Driver "abort": ends live migrations of protected servers.

The second line: an agent ends streams of its host by itself. Only servers
whose key is in custody count: others may leave a host that turned bad, and it
is not for us to say where they go.
"""

from __future__ import annotations

from oslo_config import cfg

from korora_nova.response import nova
from korora_nova.response.drivers import base
from korora_nova.verifier.responses.words import Response


class Abort(base.Driver):
    """See the module.

    :param api: in the place of what the configuration has.
    """

    def __init__(
        self, conf: cfg.ConfigOpts, api: nova.NovaApi | None = None
    ) -> None:
        self._nova = nova.from_conf(conf) if api is None else api

    def do(self, response: Response, scene: base.Scene) -> base.Outcome:
        running = [
            one
            for one in self._nova.migrations(response.host)
            if response.host in (one.source, one.dest)
        ]
        protected = scene.protected({one.server for one in running})
        ended = []
        for one in running:
            if one.server in protected:
                scene.guard()
                if self._nova.abort(one):
                    ended.append(one.server)
        before = response.detail.get('ended')
        known = list(before) if isinstance(before, list) else []
        return base.Outcome({'ended': sorted({*known, *ended})})

    def undo(self, response: Response, scene: base.Scene) -> base.Outcome:
        return base.Outcome(
            why='The servers run where they were; migrate them again.'
        )
