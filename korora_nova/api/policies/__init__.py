# SPDX-License-Identifier: Apache-2.0
"""Who may call what: rule, description and operations together."""

from oslo_policy import policy as oslo_policy

from korora_nova.api.policies import (
    base,
    custody,
    host,
    policy,
    reference,
    result,
    self_report,
)


def list_rules() -> list[oslo_policy.RuleDefault]:
    """Every rule, for the enforcer and ``oslopolicy-sample-generator``."""
    return [
        *base.ROLES,
        *host.RULES,
        *self_report.RULES,
        *result.RULES,
        *reference.RULES,
        *policy.RULES,
        *custody.RULES,
    ]
