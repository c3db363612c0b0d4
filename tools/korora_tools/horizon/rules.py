# SPDX-License-Identifier: Apache-2.0
"""The service's policy rules in Horizon's form.

``python -m korora_tools.horizon.rules`` writes the file of the panel anew.
"""

from __future__ import annotations

import yaml

from korora_nova.api import rules
from korora_tools import checkout

PATH = checkout.ROOT / 'korora_dashboard' / 'conf' / 'attestation.yaml'
_HEADER = (
    '# SPDX-License-Identifier: Apache-2.0\n'
    '# Made by python -m korora_tools.horizon.rules from the rules of the\n'
    '# service; what differs goes into attestation_policy.yaml.\n'
)


def text() -> str:
    """What the file has to say."""
    found = [
        {
            'name': one.name,
            'check_str': one.check_str,
            'description': one.description,
            'operations': list(getattr(one, 'operations', [])),
            'scope_types': one.scope_types,
        }
        for one in rules.list_rules()
    ]
    return _HEADER + yaml.safe_dump(found, sort_keys=False, width=79)


if __name__ == '__main__':
    PATH.write_text(text())
