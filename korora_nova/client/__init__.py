# SPDX-License-Identifier: Apache-2.0
"""Client of the attestation service: one method per call of its API.

An :class:`Answer` is not verified: whoever relies on a signed object in it
verifies that object with pinned keys. Errors are the classes of
:mod:`korora_nova.errors`, chosen by the reason id that the service reported.
Whatever says nothing about the request itself (no connection, no endpoint,
refused credentials, HTTP 5xx, an answer that is not the API's) is
``Unavailable``.
"""

from __future__ import annotations

from korora_nova.client.hosts import Results, Snapshot
from korora_nova.client.http import LONG_TIMEOUT, TIMEOUT, Answer
from korora_nova.client.whole import AttestationClient, from_conf

__all__ = [
    'LONG_TIMEOUT',
    'TIMEOUT',
    'Answer',
    'AttestationClient',
    'Results',
    'Snapshot',
    'from_conf',
]
