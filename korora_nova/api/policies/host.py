# SPDX-License-Identifier: Apache-2.0
"""Rules about hosts and their identity."""

from korora_nova.api.policies import base

LIST = 'attestation:hosts:list'
SHOW = 'attestation:hosts:show'
APPROVE = 'attestation:hosts:approve'
DELETE = 'attestation:hosts:delete'

RULES = [
    base.rule('hosts:list', base.READER, 'List hosts.', ('GET', '/v1/hosts')),
    base.rule(
        'hosts:show',
        base.READER_OR_ATTESTER,
        'Show one host.',
        ('GET', '/v1/hosts/{host}'),
    ),
    base.rule(
        'hosts:approve',
        base.ADMIN,
        "Approve a host's TPM, before or after it enrolled.",
        ('PUT', '/v1/hosts/{host}/approval'),
    ),
    base.rule(
        'hosts:delete',
        base.ADMIN,
        'Forget a host and its TPM.',
        ('DELETE', '/v1/hosts/{host}'),
    ),
]
