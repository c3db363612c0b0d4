# SPDX-License-Identifier: Apache-2.0
"""Rules of what an agent says about its own host.

The role opens the door only; the TPM proves which host speaks.
"""

from korora_nova.api.policies import base

ENROL = 'attestation:enrolment:create'
PROVE = 'attestation:enrolment:prove'
CHALLENGE = 'attestation:challenges:create'
EVIDENCE = 'attestation:evidence:create'

RULES = [
    base.rule(
        'enrolment:create',
        base.ATTESTER,
        'Ask for a credential that only the named TPM can open.',
        ('POST', '/v1/hosts/{host}/enrolment'),
    ),
    base.rule(
        'enrolment:prove',
        base.ATTESTER,
        'Prove that the TPM opened the credential.',
        ('POST', '/v1/hosts/{host}/enrolment/proof'),
    ),
    base.rule(
        'challenges:create',
        base.ATTESTER,
        'Ask for a challenge.',
        ('POST', '/v1/hosts/{host}/challenges'),
    ),
    base.rule(
        'evidence:create',
        base.ATTESTER,
        'Attest, and ask for a custody decision with it.',
        ('POST', '/v1/hosts/{host}/evidence'),
    ),
]
