# SPDX-License-Identifier: Apache-2.0
"""Quotes of any TPM: every algorithm, bank and framing; every refusal."""

import hashlib
import struct
import unittest

from cryptography.hazmat.primitives.asymmetric import padding, utils
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
)

from korora_nova import errors
from korora_nova.rats.quote import key as attestation_key
from korora_nova.rats.quote import verify as quote
from tests.support import quoter

KINDS = (
    ('p256', 'ecdsa'),
    ('p384', 'ecdsa'),
    ('rsa2048', 'rsassa'),
    ('rsa2048', 'rsapss'),
    ('rsa3072', 'rsassa'),
    ('rsa3072', 'rsapss'),
)
HASHES = ('sha256', 'sha384', 'sha512')
BANKS = (
    {'sha256': tuple(range(16))},
    {'sha384': (0, 7, 23)},
    {'sha1': (0, 1), 'sha256': (0, 1), 'sha384': (10,), 'sha512': (2,)},
    {'sha384': (3,), 'sha256': (1,)},
)


def spki(signer):
    return signer.key.public_key().public_bytes(
        Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    )


class VerifyCase(unittest.TestCase):
    def setUp(self):
        super().setUp()
        self.signer = quoter.Quoter()
        self.pcrs = quoter.values({'sha256': (0, 1, 7)})

    def verify(
        self,
        *,
        attest=None,
        signature=None,
        key=None,
        pcrs=None,
        nonce=None,
        select=None,
    ):
        signer = self.signer
        pcrs = self.pcrs if pcrs is None else pcrs
        attest = signer.attest(self.pcrs) if attest is None else attest
        signature = signer.sign(attest) if signature is None else signature
        return quote.verify(
            attest,
            signature,
            attestation_key.load(key or signer.public()),
            signer.nonce if nonce is None else nonce,
            pcrs,
            select,
        )

    def refused(self, reason, **kwargs):
        with self.assertRaises(errors.EvidenceError) as caught:
            self.verify(**kwargs)
        self.assertEqual(reason, caught.exception.reason)
        self.assertTrue(caught.exception.place)
        return caught.exception


class AlgorithmsTest(VerifyCase):
    def test_every_key_hash_and_bank(self):
        for kind, scheme in KINDS:
            for name in HASHES:
                self.signer = signer = quoter.Quoter(kind, scheme, name)
                for banks in BANKS:
                    self.pcrs = quoter.values(banks)
                    found = self.verify(select=banks)
                    self.assertEqual(self.pcrs, found.banks)
                    self.assertEqual(self.pcrs.get('sha256', {}), found.pcrs)
                    self.assertEqual(f'{scheme}-{name}'.upper(), found.scheme)
                # A key that names no scheme accepts each of its own.
                self.verify(key=spki(signer))

    def test_what_is_returned(self):
        found = self.verify()
        self.assertEqual(
            (5000, 7, 2, True),
            (
                found.clock.clock_ms,
                found.clock.reset_count,
                found.clock.restart_count,
                found.clock.safe,
            ),
        )
        self.assertEqual(0x20191023, found.firmware_version)
        self.assertEqual(b'\0\x0b' + bytes(32), found.qualified_signer)

    def test_salt_as_long_as_fits(self):
        for salt in (0, 20, padding.PSS.MAX_LENGTH):
            self.signer = quoter.Quoter('rsa2048', 'rsapss', salt=salt)
            self.verify()

    def test_scheme_of_the_key_counts(self):
        signer = self.signer = quoter.Quoter('rsa2048', 'rsassa')
        key = quoter.Quoter('rsa2048', 'rsapss').public()
        error = self.refused('QUOTE_ALGORITHM', key=key)
        self.assertEqual('RSAPSS-SHA256', error.details['want'])
        self.assertEqual('RSASSA', error.details['got'])
        key = quoter.Quoter('rsa2048', 'rsassa', 'sha384').public()
        error = self.refused('QUOTE_ALGORITHM', key=key)
        self.assertEqual(
            ('RSASSA-SHA384', 'RSASSA-SHA256'),
            (error.details['want'], error.details['got']),
        )
        # Also where the signature says nothing about itself.
        attest = signer.attest(self.pcrs)
        self.refused(
            'QUOTE_SIGNATURE',
            key=key,
            attest=attest,
            signature=signer.raw(attest),
        )

    def test_other_algorithms(self):
        good = self.signer.sign(self.signer.attest(self.pcrs))
        for head in (
            b'\0\x1a\0\x0b',
            b'\0\x14\0\x0b',
            b'\0\x05\0\x0b',
            b'\0\x10\0\x10',
            b'\0\x18\0\x04',
            b'\0\x18\xff\xff',
        ):
            for key in (None, spki(self.signer)):
                self.refused(
                    'QUOTE_ALGORITHM', signature=head + good[4:], key=key
                )

    def test_weak_signature_hash(self):
        self.signer = quoter.Quoter(hash='sha1')
        self.refused('QUOTE_ALGORITHM', key=spki(self.signer))
        attest = self.signer.attest(self.pcrs)
        self.refused(
            'QUOTE_ALGORITHM',
            key=spki(self.signer),
            attest=attest,
            signature=self.signer.raw(attest),
        )

    def test_header_lies_about_the_hash(self):
        attest = self.signer.attest(self.pcrs)
        good = self.signer.sign(attest)
        self.refused(
            'QUOTE_SIGNATURE',
            key=spki(self.signer),
            attest=attest,
            signature=b'\0\x18\0\x0c' + good[4:],
        )


class FramingTest(VerifyCase):
    def test_bare_signatures(self):
        for kind, scheme in KINDS:
            for name in HASHES:
                self.signer = signer = quoter.Quoter(kind, scheme, name)
                attest = signer.attest(self.pcrs)
                forms = [signer.raw(attest)]
                if scheme == 'ecdsa':
                    forms.append(b''.join(signer.halves(attest)))
                for signature in forms:
                    for key in (signer.public(), spki(signer)):
                        found = self.verify(
                            attest=attest, key=key, signature=signature
                        )
                        self.assertEqual(
                            f'{scheme}-{name}'.upper(), found.scheme
                        )

    def test_short_and_long_halves(self):
        attest = self.signer.attest(self.pcrs)
        while True:
            r, s = utils.decode_dss_signature(self.signer.raw(attest))
            if r < 1 << 248:
                break
        for size in (31, 32, 48):
            self.verify(
                attest=attest,
                signature=b'\0\x18\0\x0b'
                + quoter.sized(r.to_bytes(size, 'big'))
                + quoter.sized(s.to_bytes(32, 'big')),
            )

    def test_size_before_the_attestation(self):
        attest = self.signer.attest(self.pcrs)
        signature = self.signer.sign(attest)
        self.verify(attest=quoter.sized(attest), signature=signature)
        for bad in (
            quoter.sized(attest) + b'\0',
            b'\0\0' + attest,
            quoter.sized(quoter.sized(attest)),
        ):
            self.refused('QUOTE_MAGIC', attest=bad, signature=signature)

    def test_trailing_bytes(self):
        attest = self.signer.attest(self.pcrs)
        signature = self.signer.sign(attest)
        self.refused(
            'QUOTE_MALFORMED', attest=attest, signature=signature + b'\0'
        )
        self.refused(
            'QUOTE_MALFORMED',
            attest=attest,
            signature=self.signer.raw(attest) + b'\0',
        )
        self.signer.trailing = b'\0'
        self.refused('QUOTE_MALFORMED')

    def test_truncated(self):
        attest = self.signer.attest(self.pcrs)
        signature = self.signer.sign(attest)
        for size in range(len(attest)):
            with self.assertRaises(errors.EvidenceError):
                self.verify(attest=attest[:size], signature=signature)
        for size in range(len(signature)):
            with self.assertRaises(errors.EvidenceError):
                self.verify(attest=attest, signature=signature[:size])


class ContentTest(VerifyCase):
    def test_magic_and_type(self):
        self.signer.magic = 0xFF544348
        error = self.refused('QUOTE_MAGIC')
        self.assertEqual(
            {'want': 'ff544347', 'got': 'ff544348', 'place': 'attest: magic'},
            error.details,
        )
        self.signer = quoter.Quoter(type=0x8017)
        self.assertEqual('8017', self.refused('QUOTE_TYPE').details['got'])

    def test_nonce(self):
        for nonce in (b'', b'm' * 32, self.signer.nonce[:-1]):
            error = self.refused('QUOTE_NONCE', nonce=nonce)
            self.assertEqual(nonce.hex(), error.details['want'])
            self.assertEqual(self.signer.nonce.hex(), error.details['got'])
        self.signer.nonce = b'n' * 66
        self.verify()
        self.signer.nonce = b'n' * 67
        self.refused('QUOTE_MALFORMED')

    def test_unsigned_content_is_not_believed(self):
        attest = self.signer.attest(self.pcrs)
        signature = self.signer.sign(attest)
        self.signer.nonce = b'x' * 32
        self.refused(
            'QUOTE_SIGNATURE',
            attest=self.signer.attest(self.pcrs),
            signature=signature,
        )

    def test_every_bit_counts(self):
        for kind, scheme in KINDS[:4]:
            self.signer = quoter.Quoter(kind, scheme)
            attest = self.signer.attest(self.pcrs)
            for signature in (
                self.signer.sign(attest),
                self.signer.raw(attest),
            ):
                good = {'attest': attest, 'signature': signature}
                self.verify(**good)
                for field, value in good.items():
                    for at in range(0, len(value), 2):
                        bad = bytearray(value)
                        bad[at] ^= 1 << at % 8
                        with self.assertRaises(errors.EvidenceError):
                            self.verify(**{**good, field: bytes(bad)})

    def test_another_key(self):
        self.refused(
            'QUOTE_SIGNATURE',
            signature=b'\0\x18\0\x0b' + 2 * quoter.sized(b'\1' * 32),
        )
        self.refused(
            'QUOTE_ALGORITHM', key=quoter.Quoter('rsa2048', 'rsassa').public()
        )

    def test_zero_signature(self):
        for size in (0, 32):
            self.refused(
                'QUOTE_SIGNATURE',
                signature=b'\0\x18\0\x0b' + 2 * quoter.sized(bytes(size)),
            )


class SelectionTest(VerifyCase):
    def test_both_ways(self):
        one = self.pcrs['sha256']
        more = {'sha256': {**one, 2: bytes(32)}}
        less = {'sha256': {0: one[0], 1: one[1]}}
        for pcrs in (
            more,
            less,
            {},
            {'sha384': one},
            {'sha256': {}},
            {**self.pcrs, 'sha1': {0: bytes(20)}},
            {**self.pcrs, 'nonsense': {0: b''}},
        ):
            error = self.refused('QUOTE_SELECTION', pcrs=pcrs)
            self.assertEqual('sha256:0,1,7', error.details['got'])
        self.verify(pcrs={**self.pcrs, 'sha1': {}})

    def test_asked_for(self):
        self.verify(select={'sha256': [7, 0, 1], 'sha1': []})
        error = self.refused(
            'QUOTE_SELECTION', select={'sha256': (0,), 'sha1': (3,)}
        )
        self.assertEqual('sha1:3+sha256:0', error.details['want'])
        self.assertIn('sha1:3+sha256:0', error.message)

    def test_sizes_of_the_bitmap(self):
        for size in (1, 2, 3, 4, 8, 32):
            self.signer.select_size = size
            self.verify()
        for size in (33, 255):
            self.signer.select_size = size
            self.refused('QUOTE_MALFORMED')

    def test_high_indices(self):
        self.signer.select_size = 4
        self.pcrs = quoter.values({'sha256': (31,)})
        self.assertEqual({31}, set(self.verify().pcrs))

    def test_empty_banks_and_no_pcr(self):
        attest = self.signer.attest(
            self.pcrs, order=[('sha1', ()), ('sha256', (0, 1, 7))]
        )
        self.assertEqual({'sha256'}, set(self.verify(attest=attest).banks))
        for order in ([('sha256', ())], [('sha1', ()), ('sha256', ())]):
            attest = self.signer.attest(self.pcrs, order=order)
            self.refused('QUOTE_SELECTION', attest=attest, pcrs={})
        attest = self.signer.attest({}, digest=bytes(32))
        self.refused('QUOTE_SELECTION', attest=attest, pcrs={})

    def test_a_bank_twice(self):
        for second in ((1,), ()):
            attest = self.signer.attest(
                self.pcrs, order=[('sha256', (0, 1, 7)), ('sha256', second)]
            )
            self.refused('QUOTE_SELECTION', attest=attest)

    def test_unknown_bank(self):
        digest = hashlib.sha256(
            b''.join(self.pcrs['sha256'].values())
        ).digest()
        attest = self.signer.attest(
            self.pcrs, order=[(0x7777, (0,))], digest=digest
        )
        error = self.refused('QUOTE_ALGORITHM', attest=attest)
        self.assertEqual('7777', error.details['got'])

    def test_many_banks(self):
        attest = self.signer.attest(self.pcrs)
        head = attest[: attest.index(b'\0\0\0\1\0\x0b')]
        bank = b'\0\x0b\3\x83\0\0'
        for count, given, reason in (
            (16, 16, 'QUOTE_SELECTION'),
            (17, 17, 'QUOTE_MALFORMED'),
            (0xFFFFFFFF, 1, 'QUOTE_MALFORMED'),
        ):
            bad = (
                head
                + struct.pack('>I', count)
                + bank * given
                + quoter.sized(bytes(32))
            )
            self.refused(reason, attest=bad)


class DigestTest(VerifyCase):
    def test_wrong_value(self):
        one = self.pcrs['sha256']
        error = self.refused(
            'QUOTE_DIGEST', pcrs={'sha256': {**one, 7: b'\1' * 32}}
        )
        self.assertEqual(
            hashlib.sha256(b''.join(one.values())).hexdigest(),
            error.details['want'],
        )

    def test_moved_bytes(self):
        one = self.pcrs['sha256']
        error = self.refused(
            'QUOTE_DIGEST',
            pcrs={'sha256': {**one, 0: one[0] + one[1][:1], 1: one[1][1:]}},
        )
        self.assertEqual(
            ('32 bytes', '33 bytes', 'sha256:0'),
            (error.details['want'], error.details['got'], error.place),
        )

    def test_moved_between_banks(self):
        self.pcrs = pcrs = quoter.values({'sha1': (0,), 'sha256': (0,)})
        self.refused(
            'QUOTE_DIGEST',
            pcrs={
                'sha1': {0: pcrs['sha1'][0] + pcrs['sha256'][0][:12]},
                'sha256': {0: pcrs['sha256'][0][12:]},
            },
        )

    def test_banks_in_the_order_of_the_selection(self):
        self.pcrs = quoter.values({'sha256': (0,), 'sha1': (0,)})
        order = [('sha1', (0,)), ('sha256', (0,))]
        self.verify(attest=self.signer.attest(self.pcrs, order=order))
        wrong = hashlib.sha256(
            self.pcrs['sha256'][0] + self.pcrs['sha1'][0]
        ).digest()
        self.refused(
            'QUOTE_DIGEST',
            attest=self.signer.attest(self.pcrs, order=order, digest=wrong),
        )

    def test_hash_is_that_of_the_signature(self):
        values = b''.join(self.pcrs['sha256'].values())
        for digest in (hashlib.sha384(values).digest(), b''):
            self.refused(
                'QUOTE_DIGEST',
                attest=self.signer.attest(self.pcrs, digest=digest),
            )
