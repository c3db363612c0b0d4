# SPDX-License-Identifier: Apache-2.0
"""Requests of a member that is broken, or wants to break the service."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import requests

from korora_nova.client.http import path
from korora_nova.custody.words import CHALLENGE_HEADER

#: What a refusal of garbage may be; never a success, nor a failure of ours.
REFUSALS = range(400, 500)


def _whole(dice: random.Random) -> dict[str, Any]:
    """A request in the right form, of which nothing is true."""
    return {
        'version': 1,
        'challenge': dice.randbytes(32).hex(),
        'purpose': 'attest',
        'body': json.dumps({'version': 1, 'known': []}),
        'evidence': {
            'attest': '/1RDR4AY',
            'signature': 'ABgACw==',
            'pcrs': {str(index): '00' * 32 for index in range(16)},
            'uefi_log': '',
            'ima_log': '',
        },
    }


def _changed(field: str, value: object) -> Callable[[random.Random], bytes]:
    return lambda dice: json.dumps({**_whole(dice), field: value}).encode()


#: By name.
KINDS: dict[str, Callable[[random.Random], bytes]] = {
    'invented': lambda dice: json.dumps(_whole(dice)).encode(),
    'noise': lambda dice: dice.randbytes(512),
    'empty': lambda dice: b'',
    'cut': lambda dice: json.dumps(_whole(dice)).encode()[:-40],
    'list': lambda dice: b'[]',
    'deep': lambda dice: b'[' * 20000,
    'number': lambda dice: b'1' + b'0' * 5000,
    'version': _changed('version', 2**70),
    'purpose': _changed('purpose', 'open-sesame'),
    'evidence': _changed('evidence', {'attest': 1}),
    'body': _changed('body', '\x00'),
    'challenge': _changed('challenge', 'zz'),
    'field': _changed('extra', True),
    'long': lambda dice: b'{"version": 1, "body": "' + b'x' * (1 << 20),
}


def send(
    session: requests.Session,
    endpoint: str,
    token: str,
    host: str,
    dice: random.Random,
) -> tuple[str, int]:
    """Send one; returns its kind and the status of the answer.

    :raises requests.RequestException: there is none.
    """
    kind = dice.choice(sorted(KINDS))
    answer = session.post(
        endpoint + path('hosts', host, 'evidence'),
        data=KINDS[kind](dice),
        headers={
            'X-Auth-Token': token,
            'Content-Type': 'application/json',
            CHALLENGE_HEADER: dice.randbytes(32).hex(),
        },
        timeout=20,
    )
    return kind, answer.status_code
