# SPDX-License-Identifier: Apache-2.0
"""A host that attested just now: what every purpose starts from."""

from __future__ import annotations

import dataclasses

from korora_nova import errors
from korora_nova.rats.quote.verify import VerifiedQuote
from korora_nova.rats.tpm2 import objects
from korora_nova.rats.words import Tier


@dataclasses.dataclass(frozen=True)
class Attested:
    """Made only after the quote verified over this very request.

    :param challenge: 32 bytes; ``issued`` is when, seconds since 1970.
    :param tier: the appraisal's; ``reasons`` are its reason ids.
    """

    host: str
    ak: objects.Public
    srk_name: bytes
    challenge: bytes
    issued: float
    quote: VerifiedQuote
    tier: Tier
    reasons: tuple[str, ...]

    @property
    def ak_name(self) -> str:
        """TPM name of the attestation key, hex."""
        return self.ak.name.hex()

    def deadline(self, seconds: float) -> int:
        """This TPM's clock, milliseconds, that many seconds after now.

        :raises EvidenceError: QUOTE_MALFORMED, its clock is at the end.
        """
        deadline = self.quote.clock.clock_ms + int(seconds * 1000)
        if deadline >= 1 << 64:
            raise errors.EvidenceError(
                errors.Reason.QUOTE_MALFORMED, place='clock'
            )
        return deadline
