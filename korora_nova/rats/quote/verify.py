# SPDX-License-Identifier: Apache-2.0
"""Quotes and certified creations: from bytes to verified state of a TPM.

:func:`verify` is for the quotes of any TPM; :func:`verify_quote` and
:func:`verify_creation` insist on this project's own profile.
"""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
from collections.abc import Iterable, Mapping
from typing import TypeVar

from korora_nova import errors
from korora_nova.rats.quote import key as attestation_key
from korora_nova.rats.quote import signature as signatures
from korora_nova.rats.tpm2 import algorithms, objects, structure
from korora_nova.rats.tpm2 import policy as tpm2_policy
from korora_nova.rats.tpm2.objects import Clock

__all__ = [
    'Clock',
    'Quote',
    'SignedQuote',
    'VerifiedQuote',
    'verify',
    'verify_creation',
    'verify_quote',
    'verify_signed',
]

#: Values of one bank by index, and of several banks by name.
Values = Mapping[int, bytes]
Banks = Mapping[str, Values]

_R = errors.Reason
# TPM_ST of what is attested, as errors show it.
_TYPES: Mapping[type, str] = {
    objects.QuoteInfo: '8018',
    objects.CreationInfo: '801a',
}
_Info = TypeVar('_Info', objects.QuoteInfo, objects.CreationInfo)


@dataclasses.dataclass(frozen=True)
class Quote:
    """What TPM2_Quote and TPM2_PCR_Read returned; nothing is checked.

    :param attest: TPMS_ATTEST.
    :param signature: TPMT_SIGNATURE.
    :param pcrs: SHA-256 bank, index to 32 bytes. PCR 10 may have been read
        before the quote: IMA extends it at any time.
    :param sha1: SHA-1 bank, for IMA's boot aggregate alone; mostly empty.
    """

    attest: bytes
    signature: bytes
    pcrs: Values
    sha1: Values = dataclasses.field(default_factory=dict)

    def banks(self, pcrs: Values) -> Banks:
        """What it is over, with these values of the SHA-256 bank."""
        return {'sha256': pcrs, **({'sha1': self.sha1} if self.sha1 else {})}


@dataclasses.dataclass(frozen=True)
class VerifiedQuote:
    """PCRs and clock as the TPM of a known AK signed them.

    :param banks: bank ('sha256', ...) to index to value; all that the
        quote covers and nothing else.
    :param scheme: what it was signed with, e.g. 'ECDSA-SHA256'.
    """

    banks: Banks
    clock: Clock
    firmware_version: int
    qualified_signer: bytes
    scheme: str

    @property
    def pcrs(self) -> Values:
        """The SHA-256 bank; empty if the quote does not cover it."""
        return self.banks.get('sha256', {})

    @property
    def policy_pcr_digest(self) -> bytes:
        """Digest over ``policydigest.PCRS_POLICY``, for policies."""
        return tpm2_policy.pcr_digest(self.pcrs, tpm2_policy.PCRS_POLICY)

    @property
    def quoted_pcr_digest(self) -> bytes:
        """Digest over all quoted PCRs, as in the quote itself."""
        return tpm2_policy.pcr_digest(self.pcrs, tpm2_policy.PCRS_QUOTED)


@dataclasses.dataclass(frozen=True)
class SignedQuote:
    """A quote of a known AK over a nonce, before any value is believed.

    :param covered: bank to the indices that it covers, in its own order.
    """

    parsed: objects.Attest
    info: objects.QuoteInfo
    scheme: structure.Scheme
    covered: Mapping[str, tuple[int, ...]]

    @property
    def clock(self) -> Clock:
        return self.parsed.clock

    def over(self, pcrs: Banks) -> VerifiedQuote:
        """Verify that these are the values it is about.

        :raises EvidenceError: QUOTE_SELECTION, QUOTE_DIGEST.
        """
        _same(self.covered, pcrs, 'given')
        _check_digest(self.covered, pcrs, self.info, self.scheme)
        banks = {
            bank: {index: bytes(pcrs[bank][index]) for index in indices}
            for bank, indices in self.covered.items()
        }
        return VerifiedQuote(
            banks,
            self.parsed.clock,
            self.parsed.firmware_version,
            self.parsed.qualified_signer,
            attestation_key.scheme_name(self.scheme),
        )


def verify(
    attest: bytes,
    signature: bytes,
    key: attestation_key.AttestationKey,
    nonce: bytes,
    pcrs: Banks,
    select: Mapping[str, Iterable[int]] | None = None,
) -> VerifiedQuote:
    """Verify a quote and that these are the values it is about.

    1. structure and magic; 2. the signature, before anything in it is
    believed; 3. type; 4. extraData is ``nonce``; 5. the quote covers
    exactly the PCRs given and, if told, those asked for; 6. each value has
    the length of its bank; 7. their digest, with the signature's hash over
    the banks as listed, indices ascending (part 3 section 18.4).

    :param attest: TPMS_ATTEST, also with a TPM2B's size before it.
    :param signature: TPMT_SIGNATURE, or a bare signature; see
        :func:`korora_nova.rats.quote.signature.verify`.
    :param pcrs: bank ('sha1', 'sha256', ...) to index to value; a bank
        without values counts as not given.
    :param select: the PCRs asked for; None: whatever the quote covers.
    :raises EvidenceError: QUOTE_* with the step that failed, ``place``,
        and in ``details`` what was wanted and found.
    """
    return _signed(attest, signature, key, nonce, select).over(pcrs)


def _signed(
    attest: bytes,
    signature: bytes,
    key: attestation_key.AttestationKey,
    nonce: bytes,
    select: Mapping[str, Iterable[int]] | None,
) -> SignedQuote:
    parsed, info, scheme = _verified(
        attest, signature, key, nonce, objects.QuoteInfo
    )
    covered = _covered(info)
    if select is not None:
        _same(covered, select, 'asked for')
    return SignedQuote(parsed, info, scheme, covered)


def verify_quote(
    quote: Quote,
    ak: objects.Public,
    qualifying: bytes,
    pcrs: tuple[int, ...] = tpm2_policy.PCRS_QUOTED,
) -> VerifiedQuote:
    """Verify a quote of this project's agent: as :func:`verify`, by an AK
    of its profile, over exactly these PCRs of the SHA-256 bank; and PCRs 0-7
    of the SHA-1 bank, if their values came.

    :raises EvidenceError: AK_ATTRIBUTES, QUOTE_*.
    """
    return verify_signed(quote, ak, qualifying, pcrs).over(
        quote.banks(quote.pcrs)
    )


def verify_signed(
    quote: Quote,
    ak: objects.Public,
    qualifying: bytes,
    pcrs: tuple[int, ...] = tpm2_policy.PCRS_QUOTED,
) -> SignedQuote:
    """The same for all but the values.

    :raises EvidenceError: AK_ATTRIBUTES, QUOTE_*.
    """
    objects.check_ak(ak)
    return _signed(
        quote.attest,
        quote.signature,
        attestation_key.of_public(ak),
        qualifying,
        {
            'sha256': pcrs,
            'sha1': tpm2_policy.PCRS_SHA1 if quote.sha1 else (),
        },
    )


def verify_creation(
    attest: bytes,
    signature: bytes,
    ak: objects.Public,
    qualifying: bytes,
    public: objects.Public,
    creation_data: bytes,
    outside_info: bytes,
) -> None:
    """Verify a TPM2_CertifyCreation: the TPM of ``ak`` made this object.

    :param creation_data: TPMS_CREATION_DATA.
    :param outside_info: what the object must have been created over.
    :raises EvidenceError: AK_ATTRIBUTES; QUOTE_* for the attestation,
        QUOTE_CREATION for name, creation hash or outsideInfo.
    """
    objects.check_ak(ak)
    _, info, _ = _verified(
        attest,
        signature,
        attestation_key.of_public(ak),
        qualifying,
        objects.CreationInfo,
    )
    if info.object_name != public.name:
        raise _differs(
            _R.QUOTE_CREATION,
            'name',
            public.name.hex(),
            info.object_name.hex(),
        )
    digest = hashlib.sha256(creation_data).digest()
    if info.creation_hash != digest:
        raise _differs(
            _R.QUOTE_CREATION,
            'creationHash',
            info.creation_hash.hex(),
            digest.hex(),
        )
    data = objects.parse_creation_data(creation_data)
    if not hmac.compare_digest(data.outside_info, outside_info):
        raise _differs(
            _R.QUOTE_CREATION,
            'outsideInfo',
            outside_info.hex(),
            data.outside_info.hex(),
        )


def _differs(
    reason: str, place: str, want: str, got: str
) -> errors.EvidenceError:
    return errors.EvidenceError(
        reason,
        f'{errors.REASONS[reason]} Of {place}, wanted {want}, got {got}.',
        place=place,
        details={'want': want, 'got': got},
    )


def _verified(
    attest: bytes,
    signature: bytes,
    key: attestation_key.AttestationKey,
    nonce: bytes,
    kind: type[_Info],
) -> tuple[objects.Attest, _Info, structure.Scheme]:
    attest = _bare(attest)
    parsed = objects.parse_attest(attest)
    scheme = signatures.verify(signature, attest, key, _hash_hint(parsed))
    if not isinstance(parsed.info, kind):
        raise _differs(
            _R.QUOTE_TYPE,
            'attest: type',
            _TYPES[kind],
            _TYPES[type(parsed.info)],
        )
    if not hmac.compare_digest(parsed.extra_data, nonce):
        raise _differs(
            _R.QUOTE_NONCE,
            'attest: extraData',
            nonce.hex(),
            parsed.extra_data.hex(),
        )
    return parsed, parsed.info, scheme


def _bare(attest: bytes) -> bytes:
    """TPMS_ATTEST without a TPM2B_ATTEST's size, which no magic equals."""
    size = int.from_bytes(attest[:2], 'big')
    return attest[2:] if size == len(attest) - 2 else attest


def _hash_hint(parsed: objects.Attest) -> int:
    """Bytes of the signature's hash, whose size a PCR digest has."""
    if isinstance(parsed.info, objects.QuoteInfo):
        return len(parsed.info.pcr_digest)
    return 0


def _covered(info: objects.QuoteInfo) -> dict[str, tuple[int, ...]]:
    """Bank to the indices that the quote selects, in its own order."""
    covered: dict[str, tuple[int, ...]] = {}
    seen: set[str] = set()
    for position, (algorithm, bitmap) in enumerate(info.selection):
        place = f'selection {position}'
        bank = algorithms.BY_ID.get(algorithm)
        if bank is None:
            raise errors.EvidenceError(
                _R.QUOTE_ALGORITHM,
                'The quote is of a PCR bank of an '
                f'unknown algorithm, {algorithm:04x}.',
                place=place,
                details={'got': f'{algorithm:04x}'},
            )
        if bank.name in seen:
            raise errors.EvidenceError(
                _R.QUOTE_SELECTION,
                f'The quote lists the bank {bank.name} twice.',
                place=place,
            )
        seen.add(bank.name)
        indices = tuple(
            index
            for index in range(8 * len(bitmap))
            if bitmap[index // 8] >> index % 8 & 1
        )
        if indices:
            covered[bank.name] = indices
    if not covered:
        raise errors.EvidenceError(
            _R.QUOTE_SELECTION,
            'The quote covers no PCR.',
            place='selection',
            details={'got': 'none'},
        )
    return covered


def _same(
    covered: Mapping[str, tuple[int, ...]],
    other: Mapping[str, Iterable[int]],
    what: str,
) -> None:
    """Insist that both are of the same PCRs, neither of more."""
    wanted = {bank: tuple(sorted(indices)) for bank, indices in other.items()}
    wanted = {bank: indices for bank, indices in wanted.items() if indices}
    if wanted != covered:
        want, got = _described(wanted), _described(covered)
        raise errors.EvidenceError(
            _R.QUOTE_SELECTION,
            f'The quote covers the PCRs {got}, but {want} were {what}.',
            place='selection',
            details={'want': want, 'got': got},
        )


def _described(selection: Mapping[str, tuple[int, ...]]) -> str:
    """For people: sha1:0,1+sha256:7, as tpm2-tools writes it."""
    return (
        '+'.join(
            f'{bank}:{",".join(map(str, indices))}'
            for bank, indices in sorted(selection.items())
        )
        or 'none'
    )


def _check_digest(
    covered: Mapping[str, tuple[int, ...]],
    pcrs: Banks,
    info: objects.QuoteInfo,
    scheme: structure.Scheme,
) -> None:
    digest = hashlib.new(algorithms.BY_ID[scheme.details[0]].name)
    for bank, indices in covered.items():
        size = algorithms.BY_NAME[bank].size
        for index in indices:
            value = pcrs[bank][index]
            # Moving a byte between two values would keep the digest.
            if len(value) != size:
                raise _differs(
                    _R.QUOTE_DIGEST,
                    f'{bank}:{index}',
                    f'{size} bytes',
                    f'{len(value)} bytes',
                )
            digest.update(value)
    if digest.digest() != info.pcr_digest:
        raise _differs(
            _R.QUOTE_DIGEST,
            'pcrDigest',
            info.pcr_digest.hex(),
            digest.hexdigest(),
        )
