# SPDX-License-Identifier: Apache-2.0
"""For Horizon's local_settings.d: who is shown what.

Horizon executes this text inside its settings, where the names below stand.
"""

import os

import korora_dashboard

_CONF = os.path.join(os.path.dirname(korora_dashboard.__file__), 'conf')
# Absolute paths, so that nothing has to be copied. What the service's own
# policy file changes is to be changed in attestation_policy.yaml, too.
POLICY_FILES['attestation'] = os.path.join(  # noqa: F821
    _CONF, 'attestation_policy.yaml'
)
DEFAULT_POLICY_FILES['attestation'] = os.path.join(  # noqa: F821
    _CONF, 'attestation.yaml'
)

# The service's keys.json: what is signed is verified with it. Without it,
# with what the service says its keys are.
# ATTESTATION_TRUSTED_KEYS = '/etc/openstack-dashboard/korora-keys.json'

# Seconds for an answer of the service.
# ATTESTATION_TIMEOUT = 10
