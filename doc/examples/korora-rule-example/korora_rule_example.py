# SPDX-License-Identifier: Apache-2.0
"""A rule of a site's own: what the firmware may try to boot."""

from __future__ import annotations

import dataclasses
import fnmatch

from korora_nova import errors
from korora_nova.rats import policy
from korora_nova.rats.finding import Finding, printable
from korora_nova.rats.state import VerifiedState

#: Where firmware measures its boot options.
PCR = 1


@dataclasses.dataclass(frozen=True)
class BootOptions(policy.Rule):
    """The firmware's boot options are known."""

    allowed: tuple[str, ...]

    NAME = 'boot-options'
    HELP = (
        'The device path of each active boot option of the firmware matches '
        'one of these patterns: no network boot, no other disks.'
    )
    SCHEMA = {
        'type': 'object',
        'properties': {
            'allowed': {
                'type': 'array',
                'minItems': 1,
                'maxItems': 64,
                'items': {'type': 'string', 'maxLength': 255},
            }
        },
        'required': ['allowed'],
        'additionalProperties': False,
    }

    @classmethod
    def parse(cls, params: policy.Params, path: str) -> BootOptions:
        return cls(path, tuple(params['allowed']))

    def check(self, state: VerifiedState) -> list[Finding]:
        # Facts count only if the log explains the PCR they come from.
        found = self.unexplained(state, (PCR,))
        if found:
            return found
        options = [item for item in state.facts.boot_options if item.active]
        if not options:
            return [self.fails(errors.Reason.SITE_RULE, 'No boot options.')]
        return self.fails_each(
            errors.Reason.SITE_RULE,
            [
                printable(item.path)
                for item in options
                if not item.verified or not self._allows(item.path)
            ],
            'The firmware may boot from {}, which is not allowed',
        )

    def _allows(self, path: str) -> bool:
        return any(fnmatch.fnmatchcase(path, one) for one in self.allowed)
