# SPDX-License-Identifier: Apache-2.0
"""The pinned keys of the attestation service, as distributed by operators."""

from __future__ import annotations

import dataclasses

from korora_nova.rats.signed.keys import KeyRing


@dataclasses.dataclass(frozen=True)
class TrustedKeys:
    """Read anew at every use, so that a rotation needs no restart."""

    path: str

    def ring(self) -> KeyRing:
        """:raises Unavailable: KEYS_INVALID."""
        return KeyRing.load(self.path)
