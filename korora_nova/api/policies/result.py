# SPDX-License-Identifier: Apache-2.0
"""Rules about results and public keys."""

from korora_nova.api.policies import base

KEYS = 'attestation:keys:show'
LIST = 'attestation:results:list'
SHOW = 'attestation:results:show'

RULES = [
    base.rule(
        'keys:show',
        '@',
        'Show the public keys of the service. Whoever relies on them '
        'pins them from elsewhere.',
        ('GET', '/v1/keys'),
    ),
    base.rule(
        'results:list',
        base.RELYING_PARTY,
        'List the results of all hosts.',
        ('GET', '/v1/results'),
    ),
    base.rule(
        'results:show',
        base.RELYING_PARTY,
        'Show the result of one host.',
        ('GET', '/v1/results/{host}'),
    ),
]
