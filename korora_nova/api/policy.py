# SPDX-License-Identifier: Apache-2.0
"""Ask oslo.policy; every answer but yes is Forbidden."""

from __future__ import annotations

from typing import Any

from oslo_config import cfg
from oslo_policy import policy

from korora_nova import errors
from korora_nova.api import policies


class Enforcer:
    """The rules of one application, from code and ``[oslo_policy]``."""

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        self._enforcer = policy.Enforcer(conf)
        self._enforcer.register_defaults(policies.list_rules())

    def problems(self) -> list[str]:
        """What is wrong with the operator's rules; sentences.

        A rule of a name that does not exist is one: it was meant to
        restrict something.
        """
        known = {rule.name for rule in policies.list_rules()}
        try:
            self._enforcer.load_rules(True)
            self._enforcer.check_rules(raise_on_violation=True)
        except (
            ValueError,
            OSError,
            policy.InvalidDefinitionError,
            cfg.ConfigFilesNotFoundError,
        ) as exc:
            return [f'The policy cannot be used: {exc}.']
        return [
            f'There is no rule {name}.'
            for name in sorted(set(self._enforcer.file_rules) - known)
        ]

    def check(self, context: Any, rule: str) -> None:
        """Insist that the caller may do this.

        :raises Forbidden: FORBIDDEN.
        """
        try:
            self._enforcer.authorize(rule, {}, context, do_raise=True)
        except (policy.PolicyNotAuthorized, policy.InvalidScope):
            raise errors.Forbidden(
                errors.Reason.FORBIDDEN, details={'rule': rule}
            ) from None
