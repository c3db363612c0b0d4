# SPDX-License-Identifier: Apache-2.0
"""States that real TPMs are in: the cause in words, or it works anyway."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

import fixtures
from tpm2_pytss import ESAPI, TSS2_Exception
from tpm2_pytss.constants import ESYS_TR, TPM2_CAP, TPMA_NV
from tpm2_pytss.types import TPM2B_NV_PUBLIC, TPMS_NV_PUBLIC

from korora_nova import errors
from korora_nova.attester import attest
from korora_nova.secret import Secret
from korora_nova.tpm import device, inspection, keys
from korora_nova.tpm.authorisation import Authorisation
from tests.functional.tpm import base
from tests.support import swtpm

CERT = 0x01C00002
RIGHT, WRONG = Secret(b'right'), Secret(b'wrong')


class StatesTest(base.TpmTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.hardware = swtpm.SwTpm('A')
        self.hardware.start()
        self.addCleanup(self.hardware.stop)

    def provision(self, **values: Secret) -> keys.Identity:
        tpm = device.Tpm(self.hardware.tcti, Authorisation(**values))
        with tpm.operation() as operation:
            return keys.provision(operation)

    def refused(self, *words: str, **values: Secret) -> str:
        error = self.assertRaises(errors.Unavailable, self.provision, **values)
        self.assertEqual('TPM_UNAVAILABLE', error.reason)
        for word in words:
            self.assertIn(word, error.message)
        self.assertNotIn('right', error.message.replace('copyright', ''))
        self.assertNotIn('wrong', error.message)
        self.assertEqual(0, self.hardware.transient_objects())
        return error.message

    # Passwords

    def test_owner_password(self) -> None:
        self.hardware.password('owner', b'right')
        for values in ({}, {'owner': WRONG}):
            self.refused(
                'the owner hierarchy has a password',
                '[attester] owner_auth',
                'korora.owner-auth',
                **values,
            )
        self.provision(owner=RIGHT)
        # Once the keys are there, it is needed no more.
        self.provision()

    def test_endorsement_password(self) -> None:
        self.hardware.password('endorsement', b'right')
        for values in ({}, {'endorsement': WRONG}):
            self.refused('[attester] endorsement_auth', **values)
        identity = self.provision(endorsement=RIGHT)
        self.assertTrue(identity.ek_fits)

    def test_both_passwords_and_that_of_lockout(self) -> None:
        for hierarchy in ('owner', 'endorsement', 'lockout'):
            self.hardware.password(hierarchy, b'right')
        self.provision(owner=RIGHT, endorsement=RIGHT)
        found = inspection.properties(device.Tpm(self.hardware.tcti))
        self.assertEqual(('owner', 'endorsement', 'lockout'), found.passwords)

    # Hierarchies

    @contextlib.contextmanager
    def disabled(self, hierarchy: ESYS_TR) -> Iterator[None]:
        """A hierarchy that firmware has switched off until the reboot."""
        with ESAPI(self.hardware.tcti) as esapi:
            esapi.hierarchy_control(
                auth_handle=ESYS_TR.PLATFORM,
                enable=hierarchy,
                state=False,
            )
        yield
        self.hardware.reboot()

    def test_hierarchies_that_are_disabled(self) -> None:
        for hierarchy, word in (
            (ESYS_TR.OWNER, 'the owner hierarchy is disabled'),
            (ESYS_TR.ENDORSEMENT, 'the endorsement hierarchy is disabled'),
        ):
            with self.disabled(hierarchy):
                self.refused(word, 'firmware setup')
        self.provision()

    # The index of the certificate

    def test_index_that_was_never_written(self) -> None:
        self.hardware.nv_write(CERT, None)
        self.hardware.nv_remove(0x01C00016)
        self.assertEqual(b'', self.provision().ek_cert)
        found = inspection.found_keys(device.Tpm(self.hardware.tcti)).endorsed
        self.assertEqual(
            'the NV index 0x01c00002 (never written)', found.place
        )

    def test_index_that_only_the_owner_reads(self) -> None:
        cert = self.provision().ek_cert
        self.hardware.nv_write(CERT, cert, TPMA_NV.OWNERREAD)
        self.assertEqual(cert, self.provision().ek_cert)
        self.hardware.evict(keys.AK_HANDLE)
        self.hardware.nv_remove(0x01C00016)
        self.hardware.password('owner', b'right')
        self.refused('the owner hierarchy has a password')
        self.assertEqual(cert, self.provision(owner=RIGHT).ek_cert)

    def test_index_that_only_firmware_reads(self) -> None:
        self.hardware.nv_write(CERT, b'x', 0)
        self.hardware.nv_remove(0x01C00016)
        self.refused(
            '0x01c00002', 'only by firmware', '[attester] ek_certificate'
        )

    # Lock-out and room

    def lock_out(self) -> None:
        """Somebody tries wrong passwords until the TPM locks."""
        with ESAPI(self.hardware.tcti) as esapi:
            esapi.dictionary_attack_parameters(
                lock_handle=ESYS_TR.LOCKOUT,
                new_max_tries=1,
                new_recovery_time=1000,
                lockout_recovery=1000,
            )
            area = TPMS_NV_PUBLIC(
                nvIndex=0x01800100,
                nameAlg=0x0B,
                attributes=TPMA_NV.AUTHREAD | TPMA_NV.AUTHWRITE,
                dataSize=8,
            )
            index = esapi.nv_define_space(
                auth=b'right', public_info=TPM2B_NV_PUBLIC(area)
            )
            esapi.tr_set_auth(esys_handle=index, auth_value=b'wrong')
            for _ in range(2):
                with contextlib.suppress(TSS2_Exception):
                    esapi.nv_write(nv_index=index, data=bytes(8))

    def test_dictionary_lockout(self) -> None:
        """The keys of the agent are exempt, those of the TPM, too."""
        self.lock_out()
        tpm = device.Tpm(self.hardware.tcti)
        self.assertTrue(inspection.properties(tpm).in_lockout)
        identity = self.provision()
        self.assertTrue(identity.ek_fits)
        with tpm.operation() as operation:
            keys.quote(operation, identity, b'n' * 32)

    def test_lockout_keeps_an_index_with_consequences_closed(self) -> None:
        self.lock_out()

        def read() -> None:
            with device.Tpm(self.hardware.tcti).operation() as operation:
                index = operation.esys.tr_from_tpmpublic(0x01800100)
                operation.esys.nv_read(nv_index=index, size=8)

        error = self.assertRaises(errors.Unavailable, read)
        self.assertIn('locked after too many wrong passwords', error.message)
        self.assertIn('--clear-lockout', error.message)

    def persistent(self) -> list[int]:
        with ESAPI(self.hardware.tcti) as esapi:
            _more, data = esapi.get_capability(
                capability=TPM2_CAP.HANDLES,
                prop=0x81000000,
                property_count=254,
            )
            return [int(one) for one in data.data.handles]

    def test_memory_that_is_full(self) -> None:
        for handle in range(0x81000100, 0x81000200):
            try:
                self.hardware.occupy(handle)
            except TSS2_Exception:
                break
        before = self.persistent()
        said = self.refused(
            'memory is full',
            'make another key persistent',
            'tpm2_getcap handles-persistent',
            'of the TPM maker',
        )
        self.assertIn('0x81010000', said)
        self.assertEqual(before, self.persistent())
        self.hardware.evict(*[at for at in before if at < 0x81000200][-4:])
        self.provision()

    # Keys of others

    def test_keys_of_others_stay(self) -> None:
        self.hardware.evict(keys.EK_HANDLE)
        firsts = (keys.EK_HANDLE, keys.AK_HANDLE, keys.SRK_HANDLE)
        self.hardware.occupy(*firsts)
        identity = self.provision()
        self.assertTrue(identity.ek_fits)
        self.assertEqual(identity, self.provision())
        self.assertLess(
            {*firsts, 0x81010021, 0x81010022, 0x81000011},
            {*self.persistent(), 0},
        )

    def test_the_maker_s_keys_are_never_to_be_evicted(self) -> None:
        self.hardware.occupy(*keys.AK_PLACES)
        said = self.refused('0x81010020 and 0x81010022', 'leave it')
        self.assertNotIn('evict', said)

    def test_keys_of_applications(self) -> None:
        self.hardware.occupy(*keys.SRK_PLACES)
        self.refused('0x81000010 and 0x81000011', 'only if nothing needs it')

    # Upgrades and suspends

    def test_an_upgrade_that_changes_the_ek(self) -> None:
        first = self.provision()
        with ESAPI(self.hardware.tcti) as esapi:
            esapi.change_eps(ESYS_TR.PLATFORM)
        second = self.provision()
        self.assertNotEqual(first.ek_name, second.ek_name)
        self.assertNotEqual(first.ak_name, second.ak_name)
        self.assertEqual(first.srk_name, second.srk_name)
        self.assertFalse(second.ek_fits)

    def test_hibernation_is_noticed(self) -> None:
        """Registers begin anew while the process runs on."""
        log = self.useFixture(fixtures.FakeLogger(level=logging.ERROR))
        tpm = device.Tpm(self.hardware.tcti)
        identity = self.provision()
        counters = attest.Counters()

        def note() -> str:
            with tpm.operation() as operation:
                counters.note(keys.quote(operation, identity, b'n' * 32))
            return log.output

        self.assertEqual('', note())
        self.assertEqual('', note())
        with ESAPI(self.hardware.tcti) as esapi:
            esapi.shutdown(0x0001)  # TPM_SU_STATE, as the kernel does
        self.hardware.reboot()
        said = note()
        self.assertIn('hibernated', said)
        self.assertIn('reboot it', said)
        self.assertEqual(said, note())
        _clock, since = inspection.clock(tpm)
        self.assertLess(since, 60)
