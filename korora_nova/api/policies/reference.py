# SPDX-License-Identifier: Apache-2.0
"""Rules about reference values."""

from korora_nova.api.policies import base

CREATE = 'attestation:references:create'
LIST = 'attestation:references:list'
SHOW = 'attestation:references:show'
DELETE = 'attestation:references:delete'

RULES = [
    base.rule(
        'references:create',
        base.ADMIN,
        'Learn reference values from a host.',
        ('POST', '/v1/references'),
    ),
    base.rule(
        'references:list',
        base.READER,
        'List reference values.',
        ('GET', '/v1/references'),
    ),
    base.rule(
        'references:show',
        base.READER,
        'Show reference values.',
        ('GET', '/v1/references/{name}'),
    ),
    base.rule(
        'references:delete',
        base.ADMIN,
        'Delete reference values.',
        ('DELETE', '/v1/references/{name}'),
    ),
]
