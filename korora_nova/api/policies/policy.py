# SPDX-License-Identifier: Apache-2.0
"""Rules about appraisal policies."""

from korora_nova.api.policies import base

CREATE = 'attestation:policies:create'
LIST = 'attestation:policies:list'
SHOW = 'attestation:policies:show'
UPDATE = 'attestation:policies:update'
DELETE = 'attestation:policies:delete'
DIFFERENCES = 'attestation:policies:differences'

RULES = [
    base.rule(
        'policies:create',
        base.ADMIN,
        'Create an appraisal policy.',
        ('POST', '/v1/policies'),
    ),
    base.rule(
        'policies:list',
        base.READER,
        'List appraisal policies.',
        ('GET', '/v1/policies'),
    ),
    base.rule(
        'policies:show',
        base.READER,
        'Show an appraisal policy.',
        ('GET', '/v1/policies/{name}'),
    ),
    base.rule(
        'policies:update',
        base.ADMIN,
        'Replace the document of an appraisal policy.',
        ('PUT', '/v1/policies/{name}'),
    ),
    base.rule(
        'policies:delete',
        base.ADMIN,
        'Delete an appraisal policy.',
        ('DELETE', '/v1/policies/{name}'),
    ),
    base.rule(
        'policies:differences',
        base.READER,
        "Compare a host's last evidence with an appraisal policy.",
        ('GET', '/v1/policies/{name}/differences/{host}'),
    ),
]
