# SPDX-License-Identifier: Apache-2.0
"""Endorsement keys as makers have them, on software TPMs.

The sources are the TCG EK Credential Profile 2.5, 2.2.1 and annex B, and the
reports that tests/field/clause4.py names.
"""

from __future__ import annotations

import datetime
import pathlib

import fixtures
from cryptography.hazmat.primitives.serialization import Encoding
from tpm2_pytss import ESAPI
from tpm2_pytss.constants import ESYS_TR
from tpm2_pytss.types import TPM2B_PUBLIC

from korora_nova import errors
from korora_nova.rats import endorsement as rats
from korora_nova.rats.tpm2 import objects
from korora_nova.rats.tpm2 import templates as kinds
from korora_nova.tpm import device, endorsement, inspection, keys, templates
from tests.functional.tpm import base
from tests.support import makers, swtpm

RSA_CERT, ECC_CERT = 0x01C00002, 0x01C00016
NOW = datetime.datetime.now(datetime.timezone.utc)
UNTIL = NOW + datetime.timedelta(days=1)
KIND = {kind.id: kind for kind in kinds.KINDS}
SECRET = bytes(range(32))


class EndorsementTest(base.TpmTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.hardware = swtpm.SwTpm('A')
        self.hardware.start()
        self.addCleanup(self.hardware.stop)
        self.tpm = device.Tpm(self.hardware.tcti)
        self.root = makers.Authority('root', until=UNTIL)

    def provision(self, *supplied: bytes) -> keys.Identity:
        """The identity, which works: its credential opens."""
        with self.tpm.operation() as operation:
            identity = keys.provision(operation, supplied)
        self.assertEqual(0, self.hardware.transient_objects())
        ek = objects.parse_public(identity.ek_public)
        objects.check_ek(ek)
        made = objects.make_credential(ek, identity.ak_name, SECRET)
        with self.tpm.operation() as operation:
            proof = keys.activate_credential(operation, identity, *made)
        self.assertEqual(SECRET, proof)
        with self.tpm.operation() as operation:
            again = keys.provision(operation, supplied)
        self.assertEqual(identity, again)
        return identity

    def without_certificates(self) -> None:
        self.hardware.nv_remove(RSA_CERT)
        self.hardware.nv_remove(ECC_CERT)

    def make(self, template: TPM2B_PUBLIC) -> objects.Public:
        """The EK that a template makes."""
        with ESAPI(self.hardware.tcti) as esapi:
            made, public, *_ = esapi.create_primary(
                in_sensitive=None,
                in_public=template,
                primary_handle=ESYS_TR.ENDORSEMENT,
            )
            esapi.flush_context(made)
        return objects.parse_public(bytes(public.marshal()))

    def verify(
        self, identity: keys.Identity, *roots: makers.Authority
    ) -> None:
        rats.verify_ek(
            identity.ek_cert,
            objects.parse_public(identity.ek_public),
            rats.Endorsers.read(
                {f'{n}.pem': one.pem for n, one in enumerate(roots)}
            ),
            makers.NOW,
            identity.ek_chain,
        )

    # Kinds of keys

    def test_the_maker_s_p384_key_of_the_high_range(self) -> None:
        """As swtpm_setup has certified it; there is no RSA certificate."""
        self.hardware.nv_remove(RSA_CERT)
        identity = self.provision()
        rats.verify_ek(
            identity.ek_cert,
            objects.parse_public(identity.ek_public),
            swtpm.factory().endorsers(),
            datetime.datetime.now(datetime.timezone.utc),
        )
        self.assertEqual('H-3', inspection.found_keys(self.tpm).endorsed.kind)

    def test_each_kind(self) -> None:
        """A certificate at the index of a kind has its key used."""
        self.without_certificates()
        for name in ('L-2', 'H-1', 'H-2', 'H-6'):
            kind = KIND[name]
            made = self.make(templates.ek(kind))
            self.hardware.nv_write(
                kind.certificate, self.root.certify(made.key)
            )
            identity = self.provision()
            self.assertEqual(made.raw, identity.ek_public, name)
            self.assertTrue(identity.ek_fits)
            self.verify(identity, self.root)
            found = inspection.found_keys(self.tpm).endorsed
            self.assertEqual(
                (name, f'the NV index 0x{kind.certificate:08x}'),
                (found.kind, found.place),
            )
            self.assertEqual(
                'ours', inspection.found_keys(self.tpm).places['AK'].what
            )
            self.hardware.nv_remove(kind.certificate)
            self.hardware.evict(keys.AK_HANDLE, kind.handle)

    def test_an_enrolled_host_keeps_its_key(self) -> None:
        """Although there is a better certificate now."""
        self.hardware.nv_remove(RSA_CERT)
        first = self.provision()
        made = self.make(templates.ek())
        self.hardware.nv_write(RSA_CERT, self.root.certify(made.key))
        self.assertEqual(first, self.provision())

    # Templates and nonces

    def test_template_in_nv_memory(self) -> None:
        for name, index in (('L-1', 0x01C00004), ('L-2', 0x01C0000C)):
            self.without_certificates()
            kind = KIND[name]
            template = templates.ek(kind)
            template.publicArea.unique = templates.ek_unique(kind, b'maker')
            made = self.make(template)
            self.assertNotEqual(made.raw, self.make(templates.ek(kind)).raw)
            self.hardware.nv_write(index, bytes(template.publicArea.marshal()))
            self.hardware.nv_write(
                kind.certificate, self.root.certify(made.key)
            )
            identity = self.provision()
            self.assertEqual(made.raw, identity.ek_public)
            self.verify(identity, self.root)
            self.hardware.nv_remove(index)
            self.hardware.nv_remove(kind.certificate)
            self.hardware.evict(keys.AK_HANDLE)

    def test_template_with_a_policy_of_its_maker(self) -> None:
        """It is used with its empty password, if it may be."""
        self.without_certificates()
        template = templates.ek(KIND['H-1'])
        template.publicArea.authPolicy = b'p' * 32
        made = self.make(template)
        self.hardware.nv_write(
            0x01C00013, bytes(template.publicArea.marshal())
        )
        self.hardware.nv_write(0x01C00012, self.root.certify(made.key))
        self.verify(self.provision(), self.root)

    def test_template_that_nobody_here_can_use(self) -> None:
        self.without_certificates()
        template = templates.ek()
        template.publicArea.authPolicy = b'p' * 32
        made = self.make(template)
        self.hardware.nv_write(
            0x01C00004, bytes(template.publicArea.marshal())
        )
        self.hardware.nv_write(RSA_CERT, self.root.certify(made.key))
        with self.tpm.operation() as operation:
            error = self.assertRaises(
                errors.Unavailable, keys.provision, operation
            )
        self.assertIn('policy of its maker', error.message)

    def test_nonce_in_nv_memory(self) -> None:
        """Alone, and with a template, whose unique field it begins."""
        for name, nonce_at, template_at in (
            ('L-1', 0x01C00003, 0x01C00004),
            ('L-2', 0x01C0000B, 0x01C0000C),
        ):
            for whole in (False, True):
                self.without_certificates()
                kind = KIND[name]
                template = templates.ek(kind)
                if whole:
                    self.hardware.nv_write(
                        template_at, bytes(template.publicArea.marshal())
                    )
                template.publicArea.unique = templates.ek_unique(
                    kind, b'nonce'
                )
                made = self.make(template)
                self.hardware.nv_write(nonce_at, b'nonce')
                self.hardware.nv_write(
                    kind.certificate, self.root.certify(made.key)
                )
                identity = self.provision()
                self.assertEqual(made.raw, identity.ek_public)
                self.verify(identity, self.root)
                for index in (nonce_at, template_at, kind.certificate):
                    self.hardware.nv_remove(index)
                self.hardware.evict(keys.AK_HANDLE, 0x81010021, kind.handle)

    def test_template_that_is_none(self) -> None:
        """The default one is left."""
        for content in (b'\xff' * 64, b'', None):
            self.hardware.nv_write(0x01C00004, content)
            self.assertTrue(self.provision().ek_fits)

    # The chain

    def test_intermediates_in_nv_memory(self) -> None:
        """One goes on in the next index; padding is between others."""
        first = makers.Authority('first', self.root, until=UNTIL)
        second = makers.Authority('second', first, until=UNTIL)
        third = makers.Authority('third', second, until=UNTIL)
        made = self.make(templates.ek())
        self.hardware.nv_write(RSA_CERT, third.certify(made.key))
        for index, content in (
            (0x01C00100, third.der + second.der[:100]),
            (0x01C00101, second.der[100:] + bytes(7)),
            (0x01C001FF, first.der + b'\xff' * 9),
            (0x01C00200, self.root.der),  # behind the range
        ):
            self.hardware.nv_write(index, content)
        identity = self.provision()
        self.assertEqual((third.der, second.der, first.der), identity.ek_chain)
        self.verify(identity, self.root)

    def test_a_root_in_the_tpm_is_none(self) -> None:
        made = self.make(templates.ek())
        self.hardware.nv_write(RSA_CERT, self.root.certify(made.key))
        self.hardware.nv_write(0x01C00100, self.root.der)
        identity = self.provision()
        self.assertEqual((self.root.der,), identity.ek_chain)
        other = makers.Authority('other')
        error = self.assertRaises(
            errors.EvidenceError, self.verify, identity, other
        )
        self.assertEqual('EK_CHAIN', error.reason)
        self.assertIn('root that only the TPM itself names', error.message)

    def test_a_chain_that_cannot_be_read(self) -> None:
        for index in (0x01C00100, 0x01C00101):
            self.hardware.nv_write(index, b'x', 0)
        self.hardware.nv_write(0x01C00102, None)
        self.assertEqual((), self.provision().ek_chain)

    # No certificate, or another one

    def test_none_at_all(self) -> None:
        self.without_certificates()
        identity = self.provision()
        self.assertEqual(
            (b'', (), False),
            (identity.ek_cert, identity.ek_chain, identity.ek_fits),
        )

    def test_one_of_a_file(self) -> None:
        middle = makers.Authority('middle', self.root, until=UNTIL)
        directory = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        self.without_certificates()
        for name in ('L-1', 'L-2', 'H-3'):
            made = self.make(templates.ek(KIND[name]))
            der = middle.certify(made.key)
            pem = rats.certificate.load(der).x509.public_bytes(Encoding.PEM)
            for content, above in (
                (der, ()),
                (der + b'\n', ()),
                (pem + middle.pem, (middle.der,)),
            ):
                file = directory / 'ek'
                file.write_bytes(content)
                identity = self.provision(*endorsement.read(str(file)))
                self.assertEqual(
                    (der, above), (identity.ek_cert, identity.ek_chain)
                )
                self.assertEqual(made.raw, identity.ek_public)
            self.hardware.evict(keys.AK_HANDLE)

    def test_a_file_of_another_key_than_that_in_use(self) -> None:
        """Who names a file means it; its key comes with another AK."""
        self.without_certificates()
        first = self.provision()
        made = self.make(templates.ek(KIND['H-3']))
        second = self.provision(self.root.certify(made.key))
        self.assertEqual(made.raw, second.ek_public)
        self.assertNotEqual(first.ak_name, second.ak_name)
        self.assertEqual(first.srk_name, second.srk_name)

    def test_a_chain_is_no_longer_than_the_service_reads(self) -> None:
        made = self.make(templates.ek())
        above = [self.root.der] * 20
        identity = self.provision(self.root.certify(made.key), *above)
        self.assertEqual(rats.MAX_CHAIN, len(identity.ek_chain))

    def test_file_of_another_tpm(self) -> None:
        other = swtpm.SwTpm('B')
        other.start()
        self.addCleanup(other.stop)
        with device.Tpm(other.tcti).operation() as operation:
            cert = keys.provision(operation).ek_cert
        with self.tpm.operation() as operation:
            error = self.assertRaises(
                errors.Unavailable, keys.provision, operation, [cert]
            )
        self.assertIn('of no endorsement key of this TPM', error.message)
        self.assertEqual(0, self.hardware.transient_objects())

    def test_file_that_is_none(self) -> None:
        directory = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        (directory / 'rubbish').write_bytes(b'rubbish')
        for name, why in (
            (directory / 'rubbish', 'not one of X.509'),
            (directory / 'nothing', 'No such file'),
        ):
            error = self.assertRaises(
                errors.Unavailable, endorsement.read, str(name)
            )
            self.assertIn(why, error.message)

    def test_certificate_of_a_key_from_before_an_upgrade(self) -> None:
        """The service refuses it; the agent knows why, and goes on."""
        with ESAPI(self.hardware.tcti) as esapi:
            esapi.change_eps(ESYS_TR.PLATFORM)
        identity = self.provision()
        self.assertFalse(identity.ek_fits)
        error = self.assertRaises(
            errors.EvidenceError, self.verify, identity, self.root
        )
        self.assertEqual('EK_MISMATCH', error.reason)
        self.assertIn('firmware', error.message)
        made = objects.parse_public(identity.ek_public)
        again = self.provision(self.root.certify(made.key))
        self.assertTrue(again.ek_fits)
        self.assertEqual(identity.ek_public, again.ek_public)
