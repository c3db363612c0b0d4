# SPDX-License-Identifier: Apache-2.0
"""Logs as systemd keeps them of what it extends (pcrextend, tpm2-util.c)."""

from __future__ import annotations

import hashlib
import json

BANKS = ('sha1', 'sha256')


def log(*words: tuple[int, str]) -> bytes:
    """The log of a boot that extended registers with these words."""
    return b''.join(record(pcr, word) for pcr, word in words)


def record(pcr: int, word: str) -> bytes:
    """One record: RFC 7464, with the fields of the canonical event log."""
    document = {
        'pcr': pcr,
        'digests': [
            {
                'hashAlg': bank,
                'digest': hashlib.new(bank, word.encode()).hexdigest(),
            }
            for bank in BANKS
        ],
        'content_type': 'systemd',
        'content': {
            'string': word,
            'bootId': '5b1f0e6c9f0b4f0e8a9c3d2e1f0a9b8c',
            'timestamp': 1234567,
            'eventType': 'phase',
        },
    }
    return b'\x1e' + json.dumps(document).encode() + b'\n'
