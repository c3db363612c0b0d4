# SPDX-License-Identifier: Apache-2.0
import hashlib
import hmac
import struct
import unittest

import hypothesis
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from hypothesis import strategies as st

from korora_nova import errors
from korora_nova.rats.tpm2 import objects
from tests.support import simulator as sim

FUZZ = hypothesis.settings(deadline=None, database=None, max_examples=400)


def mutations(valid):
    """Bytes near a valid structure, and any others."""

    def change(args):
        at, value, kind = args
        at %= len(valid)
        if kind == 'set':
            return valid[:at] + bytes((value,)) + valid[at + 1 :]
        if kind == 'cut':
            return valid[:at]
        return valid[:at] + bytes((value,)) + valid[at:]

    return st.one_of(
        st.binary(max_size=300),
        st.tuples(
            st.integers(0, 4095),
            st.integers(0, 255),
            st.sampled_from(('set', 'cut', 'insert')),
        ).map(change),
    )


class ParseTest(unittest.TestCase):
    tpm = sim.SimTpm()
    valid = {
        objects.parse_public: tpm.ak_public,
        objects.parse_attest: tpm.quote(b'q' * 32).attest,
        objects.parse_signature: tpm.quote(b'q' * 32).signature,
        objects.parse_creation_data: tpm.create_msk(b'o' * 32, b'q' * 32)[1],
    }

    def refused(self, parse, data):
        with self.assertRaises(errors.EvidenceError):
            parse(data)

    def test_exactly_one_structure(self):
        for parse, data in self.valid.items():
            parse(data)
            self.refused(parse, data + b'\0')
            for size in range(len(data)):
                self.refused(parse, data[:size])

    def test_too_long(self):
        for parse in self.valid:
            self.refused(parse, bytes(objects.MAX_STRUCTURE + 1))

    @hypothesis.given(st.data())
    @FUZZ
    def test_only_evidence_errors(self, data):
        """T26: malformed evidence."""
        parse, valid = data.draw(st.sampled_from(list(self.valid.items())))
        try:
            parsed = parse(data.draw(mutations(valid)))
            if isinstance(parsed, objects.Public):
                for check in (
                    objects.check_ak,
                    objects.check_srk,
                    objects.check_msk,
                    objects.check_ek,
                ):
                    try:
                        check(parsed)
                    except errors.EvidenceError:
                        pass
                self.assertEqual(34, len(parsed.name))
        except errors.EvidenceError as exc:
            self.assertIn(exc.reason, errors.REASONS)

    def test_attest_fields(self):
        attest = objects.parse_attest(self.valid[objects.parse_attest])
        self.assertEqual(b'q' * 32, attest.extra_data)
        self.assertEqual(1, attest.clock.reset_count)
        self.assertTrue(attest.clock.safe)
        self.assertEqual(0x20191023, attest.firmware_version)
        self.assertEqual(((0x0B, b'\xff\xff\0'),), attest.info.selection)

    def test_reset_restart_is_big_endian(self):
        clock = objects.Clock(1, 0x01020304, 0x0A0B0C0D, True)
        self.assertEqual(
            bytes.fromhex('010203040a0b0c0d'), clock.reset_restart
        )

    def test_safe_is_yes_or_no(self):
        tpm = sim.SimTpm()
        tpm.fields.safe = 2
        self.refused(objects.parse_attest, tpm.quote(b'').attest)

    def test_signature_algorithms(self):
        good = self.valid[objects.parse_signature]
        for bad in (b'\0\x1a' + good[2:], b'\0\x10' + good[2:]):
            with self.assertRaises(errors.EvidenceError) as caught:
                objects.parse_signature(bad)
            self.assertEqual('QUOTE_ALGORITHM', caught.exception.reason)

    def test_name(self):
        public = objects.parse_public(self.tpm.ak_public)
        self.assertEqual(self.tpm.ak_name, public.name)
        self.assertEqual(self.tpm.ak.public_key(), public.key)

    def test_point_off_the_curve(self):
        raw = bytearray(self.tpm.ak_public)
        raw[-1] ^= 1
        public = objects.parse_public(bytes(raw))
        with self.assertRaises(errors.EvidenceError):
            public.key  # noqa: B018
        with self.assertRaises(errors.EvidenceError) as caught:
            objects.check_ak(public)
        self.assertEqual('AK_ATTRIBUTES', caught.exception.reason)

    def test_name_algorithm_is_sha256(self):
        raw = sim.ecc_public(self.tpm.ak.public_key(), 0, name_alg=4)
        with self.assertRaises(errors.EvidenceError) as caught:
            objects.parse_public(raw)
        self.assertEqual('QUOTE_ALGORITHM', caught.exception.reason)


class KindsTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.key = ec.generate_private_key(ec.SECP256R1()).public_key()
        cls.ek = rsa.generate_private_key(65537, 2048)

    def refused(self, reason, check, raw):
        with self.assertRaises(errors.EvidenceError) as caught:
            check(objects.parse_public(raw))
        self.assertEqual(reason, caught.exception.reason)

    def test_ak(self):
        def ak(attributes=sim.AK_ATTRIBUTES, **kwargs):
            return sim.ecc_public(
                self.key, attributes, **{'scheme': sim.ECDSA_SHA256, **kwargs}
            )

        objects.check_ak(objects.parse_public(ak()))
        for bit in (1, 4, 5, 16, 18):
            self.refused(
                'AK_ATTRIBUTES',
                objects.check_ak,
                ak(sim.AK_ATTRIBUTES & ~(1 << bit)),
            )
        for bad in (
            ak(sim.AK_ATTRIBUTES | 1 << 17),
            ak(scheme=sim.NULL),
            ak(scheme=struct.pack('>HH', 0x18, 0x0C)),
            ak(curve=4),
            ak(symmetric=sim.AES_128_CFB),
            sim.rsa_public(self.ek.public_key(), sim.AK_ATTRIBUTES),
        ):
            self.refused('AK_ATTRIBUTES', objects.check_ak, bad)

    def test_storage_templates_are_exact(self):
        for attributes, check, reason in (
            (sim.SRK_ATTRIBUTES, objects.check_srk, 'SRK_ATTRIBUTES'),
            (sim.MSK_ATTRIBUTES, objects.check_msk, 'MSK_TEMPLATE'),
        ):

            def storage(bits, **kwargs):
                return sim.ecc_public(
                    self.key, bits, **{'symmetric': sim.AES_128_CFB, **kwargs}
                )

            check(objects.parse_public(storage(attributes)))
            for bit in range(32):
                self.refused(reason, check, storage(attributes ^ 1 << bit))
            for change in (
                {'policy': bytes(32)},
                {'symmetric': sim.NULL},
                {'scheme': sim.ECDSA_SHA256},
                {'curve': 4},
                {'kdf': struct.pack('>HH', 0x20, 0x0B)},
                {'symmetric': struct.pack('>HHH', 6, 256, 0x43)},
                {'symmetric': struct.pack('>HHH', 6, 128, 0x42)},
            ):
                self.refused(reason, check, storage(attributes, **change))

    def test_ek(self):
        good = sim.rsa_public(self.ek.public_key())
        objects.check_ek(objects.parse_public(good))
        large = ec.generate_private_key(ec.SECP384R1()).public_key()
        for fine in (
            # the maker's own policy, of a template in NV memory
            sim.rsa_public(self.ek.public_key(), policy=bytes(32)),
            sim.ecc_ek(self.key),
            sim.ecc_ek(large),
        ):
            objects.check_ek(objects.parse_public(fine))
        for bit in (1, 4, 5, 16, 17, 18):
            wrong = sim.EK_ATTRIBUTES ^ 1 << bit
            self.refused(
                'EK_MISMATCH',
                objects.check_ek,
                sim.rsa_public(self.ek.public_key(), wrong),
            )
        for bad in (
            sim.rsa_public(self.ek.public_key(), 0),
            sim.ecc_public(self.key, sim.EK_ATTRIBUTES),
            sim.ecc_ek(self.key, scheme=sim.ECDSA_SHA256),
            sim.ecc_ek(self.key, kdf=struct.pack('>HH', 0x20, 0x0B)),
            sim.ecc_ek(self.key, curve=5),
            sim.ecc_ek(self.key, name_alg=0x0D),
            sim.ecc_ek(self.key, curve=4),  # no point of it
        ):
            self.refused('EK_MISMATCH', objects.check_ek, bad)

    def test_transit(self):
        def transit(attributes=0x480, policy=b'p' * 32, scheme=sim.NULL):
            return objects.parse_public(
                sim.sized(
                    struct.pack('>HHI', 8, 0x0B, attributes)
                    + sim.sized(policy)
                    + scheme
                    + sim.sized(bytes(32))
                )
            )

        objects.check_transit(transit(), b'p' * 32)
        for public, policy in (
            (transit(), b'x' * 32),
            (transit(policy=b''), b''),
            (transit(attributes=0x4C0), b'p' * 32),
            (transit(attributes=0x482), b'p' * 32),
            (
                objects.parse_public(sim.rsa_public(self.ek.public_key())),
                sim.EK_POLICY,
            ),
        ):
            with self.assertRaises(errors.CustodyError) as caught:
                objects.check_transit(public, policy)
            self.assertEqual('TRANSFER_INVALID', caught.exception.reason)

    def test_external(self):
        public = objects.parse_public(objects.external_ecc_public(self.key))
        self.assertEqual(
            sim.ecc_public(self.key, 0x00040040, scheme=sim.ECDSA_SHA256),
            public.raw,
        )
        self.assertEqual(public.name, objects.external_ecc_name(self.key))
        self.assertEqual(self.key, public.key)
        with self.assertRaises(ValueError):
            objects.external_ecc_public(
                ec.generate_private_key(ec.SECP384R1()).public_key()
            )


class MakeCredentialTest(unittest.TestCase):
    def setUp(self):
        super().setUp()
        self.key = rsa.generate_private_key(65537, 2048)
        self.ek = objects.parse_public(sim.rsa_public(self.key.public_key()))

    def test_ecc_keys(self):
        """What a TPM finds with its private key: C.6.4."""
        name, secret = b'\0\x0b' + bytes(32), bytes(range(32))
        for curve, hash_name in (
            (ec.SECP256R1(), 'sha256'),
            (ec.SECP384R1(), 'sha384'),
        ):
            key = ec.generate_private_key(curve)
            ek = objects.parse_public(sim.ecc_ek(key.public_key()))
            blob, encrypted = objects.make_credential(ek, name, secret)
            self.assertEqual(
                secret,
                sim.activate_ecc(key, name, blob, encrypted, hash_name),
            )
            self.assertNotEqual(
                encrypted, objects.make_credential(ek, name, secret)[1]
            )

    def test_refuses_other_keys_and_sizes(self):
        ak = objects.parse_public(sim.SimTpm().ak_public)
        with self.assertRaises(errors.EvidenceError):
            objects.make_credential(ak, bytes(34), b's')
        for secret in (b'', bytes(33)):
            with self.assertRaises(ValueError):
                objects.make_credential(self.ek, bytes(34), secret)

    def test_structure(self):
        seed = bytes(range(32))
        blob, encrypted = objects.make_credential(
            self.ek, b'\0\x0b' + b'n' * 32, b's' * 32, lambda size: seed
        )
        self.assertEqual(
            seed,
            self.key.decrypt(
                encrypted[2:],
                padding.OAEP(
                    padding.MGF1(hashes.SHA256()),
                    hashes.SHA256(),
                    b'IDENTITY\0',
                ),
            ),
        )
        self.assertEqual(2 + 2 + 32 + 34, len(blob))
        mac_key = hmac.digest(
            seed, b'\0\0\0\1INTEGRITY\0\0\0\1\0', hashlib.sha256
        )
        mac = hmac.digest(
            mac_key, blob[36:] + b'\0\x0b' + b'n' * 32, hashlib.sha256
        )
        self.assertEqual(mac, blob[4:36])
