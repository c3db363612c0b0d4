# SPDX-License-Identifier: Apache-2.0
"""The four roles.

``attester`` is what agents have and nothing more; credentials of agents
are shared by all compute hosts, so nothing that an operator decides is
open to them.  Keystone's ``reader`` counts for the system only: whoever is a
member of any project has it there, and hosts and other projects' servers are
not theirs to see.
"""

from oslo_policy import policy

ADMIN = 'rule:attestation_admin'
READER = 'rule:attestation_reader'
ATTESTER = 'rule:attestation_attester'
READER_OR_ATTESTER = 'rule:attestation_reader or rule:attestation_attester'
RELYING_PARTY = f'{READER_OR_ATTESTER} or rule:attestation_service'

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


def rule(
    name: str, check: str, description: str, *operations: tuple[str, str]
) -> policy.DocumentedRuleDefault:
    """A documented rule; operations are (method, path) pairs."""
    return policy.DocumentedRuleDefault(
        name=f'attestation:{name}',
        check_str=check,
        description=description,
        scope_types=['system', 'project'],
        operations=[
            {'method': method, 'path': path} for method, path in operations
        ],
    )
