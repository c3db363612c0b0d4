# SPDX-License-Identifier: Apache-2.0
"""Driver "disable": nova-compute of the host gets no new servers.

What it disables has its mark in Nova's ``disabled_reason``; it enables nothing
else. Nova cannot compare and set: whoever changes a service in the
milliseconds between a look and what follows is overwritten.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from oslo_config import cfg

from korora_nova.response import nova
from korora_nova.response.drivers import base
from korora_nova.verifier.responses.words import Response

#: nova-compute enables what is disabled with "AUTO: " by itself.
MARK = 'korora response'
_MARK = re.compile(rf'{MARK} ([0-9a-f-]{{36}})(?::|$)')
#: Longest reason that Nova takes, characters.
_MAX = 255
#: Seconds until a service is looked at again that somebody else disabled.
_LOOK = 60.0


class Disable(base.Driver):
    """See the module.

    :param api: in the place of what the configuration has.
    """

    def __init__(
        self, conf: cfg.ConfigOpts, api: nova.NovaApi | None = None
    ) -> None:
        self._nova = nova.from_conf(conf) if api is None else api

    def do(self, response: Response, scene: base.Scene) -> base.Outcome:
        found = self._nova.compute(response.host)
        if found is None:
            return base.Outcome(why='Nova has no nova-compute on this host.')
        if found.disabled and owner(found.reason) != response.id:
            if not owner(found.reason):
                # Once it is enabled, it is this driver's turn.
                return base.Outcome(
                    {'waits_for': 'nova-compute was disabled by others.'},
                    again=_LOOK,
                )
        elif found.disabled:
            return base.Outcome({'waits_for': ''})
        scene.guard()
        self._nova.disable(found, mark(response))
        return base.Outcome({'waits_for': ''})

    def undo(self, response: Response, scene: base.Scene) -> base.Outcome:
        found = self._nova.compute(response.host)
        if found is None:
            return base.Outcome(why='Nova has no nova-compute on this host.')
        if not found.disabled or owner(found.reason) != response.id:
            return base.Outcome(why='Nothing of it is left in Nova.')
        scene.guard()
        self._nova.enable(found)
        return base.Outcome()

    def survey(self) -> Mapping[str, str] | None:
        return {
            one.host: owner(one.reason) if one.disabled else ''
            for one in self._nova.computes()
            if one.known
        }


def mark(response: Response) -> str:
    """What Nova shows as the reason."""
    return f'{MARK} {response.id}: {" ".join(response.reasons)}'[:_MAX]


def owner(reason: str) -> str:
    """Id of the response that a reason is the mark of; '' if of none."""
    found = _MARK.match(reason)
    return found[1] if found is not None and nova.is_uuid(found[1]) else ''
