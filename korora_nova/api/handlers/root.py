# SPDX-License-Identifier: Apache-2.0
"""Versions and public keys."""

from korora_nova.api.call import Answer, Call, json_response


def versions(call: Call) -> Answer:
    """GET /"""
    return json_response(
        {
            'versions': [
                {
                    'id': 'v1',
                    'status': 'CURRENT',
                    'links': [{'rel': 'self', 'href': '/v1'}],
                }
            ]
        }
    )


def keys(call: Call) -> Answer:
    """GET /v1/keys"""
    return call.service.ring.to_json()
