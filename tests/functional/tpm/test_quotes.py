# SPDX-License-Identifier: Apache-2.0
"""Quotes of a TPM with every kind of key and bank, verified without it."""

from __future__ import annotations

import hashlib

import testtools
from cryptography.hazmat.primitives import serialization
from tpm2_pytss import ESAPI
from tpm2_pytss.constants import ESYS_TR, TPMA_OBJECT
from tpm2_pytss.types import (
    TPM2B_PUBLIC,
    TPM2B_SENSITIVE_CREATE,
    TPML_PCR_SELECTION,
)

from korora_nova import errors
from korora_nova.rats.quote import key as attestation_key
from korora_nova.rats.quote import verify as quote
from tests.support import swtpm

NONCE = hashlib.sha256(b'nonce').digest()
BANKS = (
    {'sha256': (0, 1, 7, 10, 23)},
    {'sha384': (0, 7, 16)},
    {'sha384': (0, 1), 'sha256': (1, 2)},
)
ATTRIBUTES = (
    TPMA_OBJECT.FIXEDTPM
    | TPMA_OBJECT.FIXEDPARENT
    | TPMA_OBJECT.SENSITIVEDATAORIGIN
    | TPMA_OBJECT.USERWITHAUTH
    | TPMA_OBJECT.RESTRICTED
    | TPMA_OBJECT.SIGN_ENCRYPT
)


class QuotesTest(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        hardware = swtpm.SwTpm()
        hardware.start()
        self.addCleanup(hardware.stop)
        with ESAPI(hardware.tcti) as esapi:
            esapi.pcr_allocate(
                TPML_PCR_SELECTION.parse('sha256:all+sha384:all')
            )
        hardware.reboot()
        self.esys = ESAPI(hardware.tcti)
        self.addCleanup(self.esys.close)
        for pcr in (0, 1, 2, 7, 10):
            handle = getattr(ESYS_TR, f'PCR{pcr}')
            self.esys.pcr_event(
                pcr_handle=handle, event_data=b'event %d' % pcr
            )

    def read(self, banks: dict[str, tuple[int, ...]]) -> quote.Banks:
        found: dict[str, dict[int, bytes]] = {}
        for bank, indices in banks.items():
            for index in indices:
                value = self.esys.pcr_read(f'{bank}:{index}')[2][0]
                found.setdefault(bank, {})[index] = bytes(value)
        return found

    def check(self, algorithm: str, scheme: str) -> None:
        handle, public, *_ = self.esys.create_primary(
            in_sensitive=TPM2B_SENSITIVE_CREATE(),
            in_public=TPM2B_PUBLIC.parse(
                algorithm, objectAttributes=ATTRIBUTES
            ),
            primary_handle=ESYS_TR.ENDORSEMENT,
        )
        self.addCleanup(self.esys.flush_context, handle)
        pem = serialization.load_pem_public_key(public.to_pem()).public_bytes(
            serialization.Encoding.DER,
            serialization.PublicFormat.SubjectPublicKeyInfo,
        )
        key = attestation_key.load(public.marshal())
        self.assertEqual(bytes(public.get_name()), key.name)
        for banks in BANKS:
            selection = '+'.join(
                f'{bank}:{",".join(map(str, indices))}'
                for bank, indices in banks.items()
            )
            attest, signature = self.esys.quote(
                sign_handle=handle, pcr_select=selection, qualifying_data=NONCE
            )
            self.check_forms(
                (bytes(attest), attest.marshal()),
                (signature.marshal(), bytes(signature)),
                (key, attestation_key.load(pem)),
                banks,
                scheme,
            )

    def check_forms(
        self,
        attests: tuple[bytes, ...],
        signatures: tuple[bytes, ...],
        keys: tuple[attestation_key.AttestationKey, ...],
        banks: dict[str, tuple[int, ...]],
        scheme: str,
    ) -> None:
        pcrs = self.read(banks)
        for attest in attests:
            for signature in signatures:
                for key in keys:
                    verified = quote.verify(
                        attest, signature, key, NONCE, pcrs, banks
                    )
                    self.assertEqual(pcrs, verified.banks)
                    self.assertEqual(scheme, verified.scheme)
        wrong = {bank: dict(values) for bank, values in pcrs.items()}
        bank, index = list(banks)[-1], list(banks.values())[-1][-1]
        wrong[bank][index] = bytes(len(wrong[bank][index]) - 1) + b'\1'
        error = self.assertRaises(
            errors.EvidenceError,
            quote.verify,
            attests[0],
            signatures[0],
            keys[0],
            NONCE,
            wrong,
        )
        self.assertEqual('QUOTE_DIGEST', error.reason)

    def test_p256(self) -> None:
        self.check('ecc256:ecdsa-sha256:null', 'ECDSA-SHA256')

    def test_p384(self) -> None:
        self.check('ecc384:ecdsa-sha384:null', 'ECDSA-SHA384')

    def test_p384_with_sha256(self) -> None:
        self.check('ecc384:ecdsa-sha256:null', 'ECDSA-SHA256')

    def test_rsassa(self) -> None:
        self.check('rsa2048:rsassa-sha256:null', 'RSASSA-SHA256')

    def test_rsapss(self) -> None:
        self.check('rsa2048:rsapss-sha256:null', 'RSAPSS-SHA256')

    def test_rsapss_3072_with_sha384(self) -> None:
        self.check('rsa3072:rsapss-sha384:null', 'RSAPSS-SHA384')
