# SPDX-License-Identifier: Apache-2.0
import dataclasses
import hashlib
import unittest

from korora_nova import errors
from korora_nova.rats.quote import verify as quote
from korora_nova.rats.tpm2 import objects
from korora_nova.rats.tpm2 import policy as tpm2_policy
from tests.support import simulator as sim

NONCE = b'n' * 32


class QuoteTest(unittest.TestCase):
    def setUp(self):
        super().setUp()
        self.tpm = sim.SimTpm()
        self.ak = objects.parse_public(self.tpm.ak_public)

    def refused(self, reason, value, ak=None, nonce=NONCE):
        with self.assertRaises(errors.EvidenceError) as caught:
            quote.verify_quote(value, ak or self.ak, nonce)
        self.assertEqual(reason, caught.exception.reason)

    def test_good(self):
        self.tpm.extend(3, b'x' * 32)
        verified = quote.verify_quote(self.tpm.quote(NONCE), self.ak, NONCE)
        self.assertEqual(
            {index: self.tpm.pcrs[index] for index in range(16)}, verified.pcrs
        )
        self.assertEqual(self.tpm.clock_ms, verified.clock.clock_ms)
        self.assertEqual(
            hashlib.sha256(
                b''.join(
                    self.tpm.pcrs[index] for index in tpm2_policy.PCRS_POLICY
                )
            ).digest(),
            verified.policy_pcr_digest,
        )
        self.assertEqual(
            hashlib.sha256(
                b''.join(self.tpm.pcrs[index] for index in range(16))
            ).digest(),
            verified.quoted_pcr_digest,
        )

    def test_bank_of_sha1(self):
        """It is quoted beside, for boot aggregates."""
        sha1 = {index: bytes([index]) * 20 for index in range(8)}
        self.tpm.sha1 = sha1
        good = self.tpm.quote(NONCE)
        verified = quote.verify_quote(good, self.ak, NONCE)
        self.assertEqual(sha1, verified.banks['sha1'])
        for reason, other in (
            ('QUOTE_DIGEST', {**sha1, 3: b'x' * 20}),
            ('QUOTE_DIGEST', {**sha1, 3: b'x' * 19}),
            ('QUOTE_SELECTION', {**sha1, 8: bytes(20)}),
            ('QUOTE_SELECTION', {0: sha1[0]}),
            ('QUOTE_SELECTION', {}),
        ):
            self.refused(reason, dataclasses.replace(good, sha1=other))
        self.tpm.sha1 = {}
        plain = self.tpm.quote(NONCE)
        self.refused('QUOTE_SELECTION', dataclasses.replace(plain, sha1=sha1))
        # Other registers of that bank are of no use.
        self.tpm.sha1 = {index: bytes(20) for index in range(16)}
        self.refused('QUOTE_SELECTION', self.tpm.quote(NONCE))

    def test_replay_under_another_nonce(self):
        for nonce in (b'm' * 32, b'', NONCE[:-1], NONCE + b'\0'):
            self.refused('QUOTE_NONCE', self.tpm.quote(NONCE), nonce=nonce)

    def test_another_tpm_answers(self):
        self.refused('QUOTE_SIGNATURE', sim.SimTpm().quote(NONCE))

    def test_every_bit_is_signed(self):
        good = self.tpm.quote(NONCE)
        for at in range(len(good.attest)):
            bad = bytearray(good.attest)
            bad[at] ^= 1
            with self.assertRaises(errors.EvidenceError):
                quote.verify_quote(
                    dataclasses.replace(good, attest=bytes(bad)),
                    self.ak,
                    NONCE,
                )

    def test_not_generated_by_a_tpm(self):
        self.tpm.fields.magic = 0xFF544348
        self.refused('QUOTE_MAGIC', self.tpm.quote(NONCE))

    def test_other_types(self):
        for kind in (0x8017, 0x8019, 0x8014, 0x0000):
            self.tpm.fields.kind = kind
            self.refused('QUOTE_TYPE', self.tpm.quote(NONCE))

    def test_a_creation_is_no_quote(self):
        _, _, attest, signature = self.tpm.create_msk(b'o', NONCE)
        self.refused('QUOTE_TYPE', quote.Quote(attest, signature, {}))

    def test_signed_trailing_bytes(self):
        self.tpm.fields.trailing = b'\0'
        self.refused('QUOTE_MALFORMED', self.tpm.quote(NONCE))

    def test_selection_both_ways(self):
        for pcrs in (tuple(range(15)), tuple(range(17)), (10,), ()):
            self.refused('QUOTE_SELECTION', self.tpm.quote(NONCE, pcrs))
        good = self.tpm.quote(NONCE)
        for pcrs in (
            {},
            {**good.pcrs, 16: bytes(32)},
            {i: v for i, v in good.pcrs.items() if i != 10},
        ):
            self.refused(
                'QUOTE_SELECTION', dataclasses.replace(good, pcrs=pcrs)
            )

    def test_other_banks(self):
        values = b''.join(self.tpm.pcrs[index] for index in range(16))
        digest = sim.sized(hashlib.sha256(values).digest())
        one = sim.pcr_selection()
        for selection in (
            sim.pcr_selection(alg=4),
            b'\0\0\0\0',
            b'\0\0\0\2' + one[4:] + one[4:],
            b'\0\0\0\2' + one[4:] + b'\0\4\3\1\0\0',
        ):
            attest = self.tpm.attest(NONCE, selection + digest)
            self.refused(
                'QUOTE_SELECTION',
                quote.Quote(
                    attest, self.tpm.sign(attest), self.tpm.quote(b'').pcrs
                ),
            )

    def test_wrong_values(self):
        good = self.tpm.quote(NONCE)
        self.refused(
            'QUOTE_DIGEST',
            dataclasses.replace(good, pcrs={**good.pcrs, 10: b'\1' * 32}),
        )

    def test_a_byte_moved_between_values(self):
        good = self.tpm.quote(NONCE)
        moved = {
            **good.pcrs,
            0: good.pcrs[0] + good.pcrs[1][:1],
            1: good.pcrs[1][1:],
        }
        self.refused('QUOTE_DIGEST', dataclasses.replace(good, pcrs=moved))

    def test_key_that_is_no_ak(self):
        srk = objects.parse_public(self.tpm.srk_public)
        self.refused('AK_ATTRIBUTES', self.tpm.quote(NONCE), ak=srk)
        signer = objects.parse_public(
            sim.ecc_public(
                self.tpm.ak.public_key(),
                sim.AK_ATTRIBUTES & ~(1 << 16),
                scheme=sim.ECDSA_SHA256,
            )
        )
        self.refused('AK_ATTRIBUTES', self.tpm.quote(NONCE), ak=signer)


class CreationTest(unittest.TestCase):
    def setUp(self):
        super().setUp()
        self.tpm = sim.SimTpm()
        self.ak = objects.parse_public(self.tpm.ak_public)
        public, self.data, self.attest, self.signature = self.tpm.create_msk(
            b'o' * 32, NONCE
        )
        self.public = objects.parse_public(public)

    def verify(self, **changes):
        quote.verify_creation(
            **{
                'attest': self.attest,
                'signature': self.signature,
                'ak': self.ak,
                'qualifying': NONCE,
                'public': self.public,
                'creation_data': self.data,
                'outside_info': b'o' * 32,
                **changes,
            }
        )

    def refused(self, reason, **changes):
        with self.assertRaises(errors.EvidenceError) as caught:
            self.verify(**changes)
        self.assertEqual(reason, caught.exception.reason)

    def test_good(self):
        self.verify()

    def test_everything_is_compared(self):
        other = objects.parse_public(self.tpm.create_msk(b'', b'')[0])
        stranger = objects.parse_public(sim.SimTpm().ak_public)
        self.refused('QUOTE_SIGNATURE', ak=stranger)
        self.refused('QUOTE_NONCE', qualifying=b'm' * 32)
        self.refused('QUOTE_CREATION', public=other)
        self.refused('QUOTE_CREATION', outside_info=b'p' * 32)
        self.refused('QUOTE_CREATION', creation_data=self.data + b'\0')
        self.refused(
            'QUOTE_TYPE',
            attest=(value := self.tpm.quote(NONCE)).attest,
            signature=value.signature,
        )
