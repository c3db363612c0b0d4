# SPDX-License-Identifier: Apache-2.0
"""Driver "drain": live migrates servers that require a trusted host away.

Nova's scheduler chooses where: its filter passes trusted hosts only, and the
destination's driver looks again. A server whose key this host holds stays: no
key leaves a host that is not trusted (I2). What does not leave is named.
"""

from __future__ import annotations

from collections.abc import Mapping

from oslo_config import cfg

from korora_nova import conf as options
from korora_nova import errors
from korora_nova.relying_party.requirement import requirement
from korora_nova.response import nova
from korora_nova.response.drivers import base
from korora_nova.verifier.responses.words import Response

#: Seconds until it looks how far it has come.
_LOOK = 5.0
#: Times that a server is sent away.
_TRIES = 3


class Drain(base.Driver):
    """See the module.

    :param api: in the place of what the configuration has.
    """

    def __init__(
        self, conf: cfg.ConfigOpts, api: nova.NovaApi | None = None
    ) -> None:
        self._nova = nova.from_conf(conf) if api is None else api
        self._batch = conf[options.RESPONSE].drain_batch

    def do(self, response: Response, scene: base.Scene) -> base.Outcome:
        held = scene.keys_on(response.host)
        here = {
            one.id: one
            for one in self._nova.servers(response.host)
            if _trusted_only(one)
        }
        sent = _counts(response.detail.get('sent'))
        under_way = sum(one.task == 'migrating' for one in here.values())
        waiting, staying = [], []
        for id, one in sorted(here.items()):
            if one.task:
                continue
            able = one.status in ('ACTIVE', 'PAUSED') and id not in held
            if able and sent.get(id, 0) < _TRIES:
                waiting.append(id)
            else:
                staying.append(id)
        for id in waiting[: max(0, self._batch - under_way)]:
            scene.guard()
            sent[id] = sent.get(id, 0) + 1
            self._nova.migrate(id)
        detail = {
            'sent': sent,
            'left': sorted(set(sent) - set(here)),
            'stay': staying,
        }
        if waiting or any(one.task for one in here.values()):
            return base.Outcome(detail, again=_LOOK)
        return base.Outcome(detail)

    def undo(self, response: Response, scene: base.Scene) -> base.Outcome:
        return base.Outcome(
            why='No more servers are sent away; those that left stay there.'
        )


def _trusted_only(server: nova.Server) -> bool:
    if server.extra_specs is None:
        return False
    try:
        return requirement(server.extra_specs, {}, True).trusted
    except errors.Invalid:
        # Not understood: it demands more, not less.
        return True


def _counts(kept: object) -> dict[str, int]:
    if not isinstance(kept, Mapping):
        return {}
    return {
        str(id): count for id, count in kept.items() if isinstance(count, int)
    }
