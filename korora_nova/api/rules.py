# SPDX-License-Identifier: Apache-2.0
"""Who may call what: roles, rules, and oslo.policy that enforces them.

``attester`` is what agents have and nothing more; all compute hosts share
the agents' credentials, so nothing that an operator decides is open to
them. The role opens the door only; the TPM proves which host speaks.
Keystone's ``reader`` counts for the system only: whoever is a member of any
project has it there, and hosts and other projects' servers are not theirs
to see.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from oslo_config import cfg
from oslo_policy import policy

from korora_nova import errors
from korora_nova.api import routes

PREFIX = 'attestation:'
#: Seconds for which a caller that was admitted is so again, and how many of
#: them are remembered.
KEPT = 1.0
MAX_KEPT = 1024

ADMIN = 'rule:attestation_admin'
READER = 'rule:attestation_reader'
ATTESTER = 'rule:attestation_attester'
READER_OR_ATTESTER = 'rule:attestation_reader or rule:attestation_attester'
RELYING_PARTY = f'{READER_OR_ATTESTER} or rule:attestation_service'
ANYBODY = '@'

ROLES = [
    policy.RuleDefault(
        'attestation_admin',
        'role:admin',
        'Operators who decide which hosts and states are trusted.',
    ),
    policy.RuleDefault(
        'attestation_reader',
        'role:admin or role:attestation_reader'
        ' or (role:reader and system_scope:all)',
        'Whoever may read hosts, results and the ledger.',
    ),
    policy.RuleDefault(
        'attestation_attester', 'role:attester', 'Agents of compute hosts.'
    ),
    policy.RuleDefault(
        'attestation_service',
        'role:service',
        'Services that rely on results, above all the Nova scheduler.',
    ),
]


def _rule(
    name: str, check: str, description: str
) -> policy.DocumentedRuleDefault:
    """A rule, with the operations that the table of routes gives it."""
    return policy.DocumentedRuleDefault(
        name=PREFIX + name,
        check_str=check,
        description=description,
        scope_types=['system', 'project'],
        operations=[
            {'method': method, 'path': path}
            for path, methods in routes.ROUTES.items()
            for method, route in methods.items()
            if route.rule == name
        ],
    )


RULES = [
    # Hosts, as operators see them.
    _rule('hosts:list', READER, 'List hosts.'),
    _rule('hosts:show', READER_OR_ATTESTER, 'Show one host.'),
    _rule(
        'hosts:approve',
        ADMIN,
        "Approve a host's TPM, before or after it enrolled.",
    ),
    _rule('hosts:delete', ADMIN, 'Forget a host and its TPM.'),
    _rule('hosts:evict', ADMIN, 'Take all keys from a dead host, for good.'),
    # What an agent says about its own host.
    _rule(
        'enrolment:create',
        ATTESTER,
        'Ask for a credential that only the named TPM can open.',
    ),
    _rule(
        'enrolment:prove',
        ATTESTER,
        'Prove that the TPM opened the credential.',
    ),
    _rule('challenges:create', ATTESTER, 'Ask for a challenge.'),
    _rule(
        'evidence:create',
        ATTESTER,
        'Attest, and ask for a custody decision with it.',
    ),
    # Public keys and results.
    _rule(
        'keys:show',
        ANYBODY,
        'Show the public keys of the service. Whoever relies on them '
        'pins them from elsewhere.',
    ),
    _rule('results:list', RELYING_PARTY, 'List the results of all hosts.'),
    _rule(
        'results:snapshot',
        # It says no more than the list: who was kept from that stays so.
        f'rule:{PREFIX}results:list',
        'Show the results of all hosts under one signature.',
    ),
    _rule('results:show', RELYING_PARTY, 'Show the result of one host.'),
    # Reference values.
    _rule('references:create', ADMIN, 'Learn reference values from a host.'),
    _rule('references:list', READER, 'List reference values.'),
    _rule('references:show', READER, 'Show reference values.'),
    _rule('references:delete', ADMIN, 'Delete reference values.'),
    # Appraisal policies.
    _rule('policies:create', ADMIN, 'Create an appraisal policy.'),
    _rule('policies:list', READER, 'List appraisal policies.'),
    _rule('policies:show', READER, 'Show an appraisal policy.'),
    _rule(
        'policies:update',
        ADMIN,
        'Replace the document of an appraisal policy.',
    ),
    _rule('policies:delete', ADMIN, 'Delete an appraisal policy.'),
    _rule(
        'policies:differences',
        READER,
        "Compare a host's last evidence with an appraisal policy.",
    ),
    _rule(
        'policies:check',
        READER,
        'Say which hosts an appraisal policy would trust, by their last '
        'evidence.',
    ),
    _rule(
        'policies:propose',
        ADMIN,
        'Try an appraisal policy that is not stored, and what would be '
        'learned from hosts for it.',
    ),
    # Servers, hand-overs and documents.
    _rule('servers:list', READER, 'List servers, and what is the matter.'),
    _rule(
        'servers:show',
        READER_OR_ATTESTER,
        "Show which host holds a server's key.",
    ),
    _rule(
        'servers:reissue',
        ADMIN,
        "Let a server's next start have a new key; only with the old "
        'holder fenced.',
    ),
    _rule('servers:release', ADMIN, 'Forget a server that is gone from Nova.'),
    _rule('migrations:list', READER, 'List hand-overs.'),
    _rule(
        'migrations:show',
        READER_OR_ATTESTER,
        'Show one hand-over and its receipt.',
    ),
    _rule(
        'migrations:watch',
        ATTESTER,
        'Ask whether a stream under way may go on, and wait while it may.',
    ),
    _rule(
        'migrations:resolve',
        ADMIN,
        'Decide a hand-over that is open, pending or disputed.',
    ),
    _rule('receipts:list', READER_OR_ATTESTER, 'List receipts.'),
    _rule(
        'documents:present',
        ADMIN,
        'Show signed documents in the place of the hosts that have them.',
    ),
    # Responses to lost trust.
    _rule('responses:list', READER, 'List responses to lost trust.'),
    _rule('responses:show', READER, 'Show one response.'),
    _rule('responses:approve', ADMIN, 'Let a response that waits be done.'),
    _rule(
        'responses:reject',
        ADMIN,
        'Let nothing come of a response that waits.',
    ),
    _rule('responses:revert', ADMIN, 'Undo a response.'),
    _rule(
        'responses:revert_all',
        ADMIN,
        'Undo all responses, and hold those to come.',
    ),
    _rule('responses:resume', ADMIN, 'Hold responses no more.'),
]


def list_rules() -> list[policy.RuleDefault]:
    """Every rule, for the enforcer and ``oslopolicy-sample-generator``."""
    return [*ROLES, *RULES]


class Enforcer:
    """The rules of one application, from code and ``[oslo_policy]``.

    What they come to is kept for a second: they name no object, so the same
    caller asks the same thing again and again.
    """

    def __init__(
        self,
        conf: cfg.ConfigOpts,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._monotonic = monotonic
        self._admitted: dict[object, float] = {}
        self._enforcer = policy.Enforcer(conf)
        self._enforcer.register_defaults(list_rules())

    def problems(self) -> list[str]:
        """What is wrong with the operator's rules; sentences.

        A rule of a name that does not exist is one: it was meant to
        restrict something.
        """
        known = {rule.name for rule in list_rules()}
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

        :param rule: its name without the prefix.
        :raises Forbidden: FORBIDDEN.
        """
        name = PREFIX + rule
        now = self._monotonic()
        key = name, _caller(context)
        if now < self._admitted.get(key, 0.0):
            return
        try:
            self._enforcer.authorize(name, {}, context, do_raise=True)
        except (policy.PolicyNotAuthorized, policy.InvalidScope):
            raise errors.Forbidden(
                errors.Reason.FORBIDDEN, details={'rule': name}
            ) from None
        if len(self._admitted) >= MAX_KEPT:
            self._admitted.clear()
        self._admitted[key] = now + KEPT


def _caller(context: Any) -> object:
    """All that a rule can see of who calls."""
    values = context.to_policy_values()
    return tuple((name, str(values[name])) for name in sorted(values))
