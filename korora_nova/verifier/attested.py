# SPDX-License-Identifier: Apache-2.0
"""A host that attested just now: what every purpose starts from."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from korora_nova import errors
from korora_nova.custody.ledger import LedgerRow
from korora_nova.rats.quote.verify import VerifiedQuote
from korora_nova.rats.tpm2 import objects
from korora_nova.rats.words import Tier
from korora_nova.verifier import records


@dataclasses.dataclass(frozen=True)
class Report:
    """A page of what a host knows, compared with what is known here.

    :param host: as it was before.
    :param columns: of its row, to be stored with its result.
    :param stale: keys that it holds, by the approval key under which they
        rest there, where that is not noted yet.
    """

    host: records.Host
    columns: Mapping[str, object]
    wanted: tuple[str, ...]
    lacking: tuple[LedgerRow, ...]
    stale: Mapping[str, Sequence[str]]


@dataclasses.dataclass(frozen=True)
class Attested:
    """Made only after the quote verified over this very request.

    :param challenge: 32 bytes; ``issued`` is when, seconds since 1970.
    :param report: what it reports besides, if that is its purpose.
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
    report: Report | None = None

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
