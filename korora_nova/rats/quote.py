# SPDX-License-Identifier: Apache-2.0
"""Quotes and certified creations: from bytes to verified state of a TPM."""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
from collections.abc import Mapping
from typing import TypeVar

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from korora_nova import errors
from korora_nova.rats import policydigest, tpm2
from korora_nova.rats.tpm2 import Clock

__all__ = ['Clock', 'Quote', 'VerifiedQuote', 'verify_creation',
           'verify_quote']

_R = errors.Reason
_Info = TypeVar('_Info', tpm2.QuoteInfo, tpm2.CreationInfo)


@dataclasses.dataclass(frozen=True)
class Quote:
    """What TPM2_Quote and TPM2_PCR_Read returned; nothing is checked.

    :param attest: TPMS_ATTEST.
    :param signature: TPMT_SIGNATURE.
    :param pcrs: SHA-256 bank, index to 32 bytes.
    """

    attest: bytes
    signature: bytes
    pcrs: Mapping[int, bytes]


@dataclasses.dataclass(frozen=True)
class VerifiedQuote:
    """PCRs and clock as the TPM of a known AK signed them."""

    pcrs: Mapping[int, bytes]
    clock: Clock
    firmware_version: int
    qualified_signer: bytes

    @property
    def policy_pcr_digest(self) -> bytes:
        """Digest over ``policydigest.PCRS_POLICY``, for policies."""
        return policydigest.pcr_digest(self.pcrs, policydigest.PCRS_POLICY)

    @property
    def quoted_pcr_digest(self) -> bytes:
        """Digest over all quoted PCRs, as in the quote itself."""
        return policydigest.pcr_digest(self.pcrs, policydigest.PCRS_QUOTED)


def verify_quote(quote: Quote, ak: tpm2.Public, qualifying: bytes,
                 pcrs: tuple[int, ...] = policydigest.PCRS_QUOTED
                 ) -> VerifiedQuote:
    """Verify a quote over exactly these PCRs of the SHA-256 bank.

    1. structure and magic; 2. signature by ``ak``; 3. type; 4. extraData is
    ``qualifying``; 5. selection, and the values given are of exactly these
    PCRs, 32 bytes each; 6. their digest.

    :raises EvidenceError: QUOTE_* with the step that failed.
    """
    attest, info = _verified(quote.attest, quote.signature, ak, qualifying,
                             tpm2.QuoteInfo)
    bitmap = sum(1 << index for index in pcrs)
    if len(info.selection) != 1 or (
            info.selection[0][0] != tpm2.ALG_SHA256) or (
            int.from_bytes(info.selection[0][1], 'little') != bitmap):
        raise errors.EvidenceError(_R.QUOTE_SELECTION)
    if set(quote.pcrs) != set(pcrs):
        raise errors.EvidenceError(_R.QUOTE_SELECTION, place='pcrs')
    # Equal lengths: moving a byte between two values keeps the digest.
    if any(len(value) != 32 for value in quote.pcrs.values()):
        raise errors.EvidenceError(_R.QUOTE_DIGEST, place='pcrs')
    digest = policydigest.pcr_digest(quote.pcrs, pcrs)
    if digest != info.pcr_digest:
        raise errors.EvidenceError(_R.QUOTE_DIGEST)
    return VerifiedQuote(dict(sorted(quote.pcrs.items())), attest.clock,
                         attest.firmware_version, attest.qualified_signer)


def verify_creation(attest: bytes, signature: bytes, ak: tpm2.Public,
                    qualifying: bytes, public: tpm2.Public,
                    creation_data: bytes, outside_info: bytes) -> None:
    """Verify a TPM2_CertifyCreation: the TPM of ``ak`` made this object.

    :param creation_data: TPMS_CREATION_DATA.
    :param outside_info: what the object must have been created over.
    :raises EvidenceError: QUOTE_* for the attestation, QUOTE_CREATION for
        name, creation hash or outsideInfo.
    """
    _, info = _verified(attest, signature, ak, qualifying,
                        tpm2.CreationInfo)
    if info.object_name != public.name:
        raise errors.EvidenceError(_R.QUOTE_CREATION, place='name')
    if info.creation_hash != hashlib.sha256(creation_data).digest():
        raise errors.EvidenceError(_R.QUOTE_CREATION, place='creationHash')
    data = tpm2.parse_creation_data(creation_data)
    if not hmac.compare_digest(data.outside_info, outside_info):
        raise errors.EvidenceError(_R.QUOTE_CREATION, place='outsideInfo')


def _verified(attest: bytes, signature: bytes, ak: tpm2.Public,
              qualifying: bytes, kind: type[_Info]
              ) -> tuple[tpm2.Attest, _Info]:
    tpm2.check_ak(ak)
    key = ak.key
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise errors.EvidenceError(_R.AK_ATTRIBUTES)
    parsed = tpm2.parse_attest(attest)
    try:
        key.verify(tpm2.parse_signature(signature), attest,
                   ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        raise errors.EvidenceError(_R.QUOTE_SIGNATURE) from None
    if not isinstance(parsed.info, kind):
        raise errors.EvidenceError(_R.QUOTE_TYPE)
    if not hmac.compare_digest(parsed.extra_data, qualifying):
        raise errors.EvidenceError(_R.QUOTE_NONCE)
    return parsed, parsed.info
