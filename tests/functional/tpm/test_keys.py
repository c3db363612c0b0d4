# SPDX-License-Identifier: Apache-2.0
"""Identity and quotes on a software TPM, judged by the pure verifier."""

from __future__ import annotations

import datetime
import hashlib
import pathlib
from unittest import mock

import fixtures
from tpm2_pytss import ESAPI
from tpm2_pytss.constants import ESYS_TR
from tpm2_pytss.types import TPML_PCR_SELECTION

from korora_nova import errors
from korora_nova.rats import endorsement
from korora_nova.rats.quote import verify as rats_quote
from korora_nova.rats.tpm2 import objects
from korora_nova.tpm import device, keys, templates
from tests.functional.tpm import base
from tests.support import swtpm

NONCE = hashlib.sha256(b'nonce').digest()


class IdentityTest(base.TpmTestCase):
    def test_created_once_and_accepted_by_the_verifier(self) -> None:
        machine = self.machine()
        identity = machine.identity
        with machine.tpm.operation() as operation:
            again = keys.provision(operation)
        self.assertEqual(identity, again)
        objects.check_ak(objects.parse_public(identity.ak_public))
        objects.check_srk(objects.parse_public(identity.srk_public))
        endorsement.verify_ek(
            identity.ek_cert,
            objects.parse_public(identity.ek_public),
            swtpm.factory().endorsers(),
            datetime.datetime.now(datetime.timezone.utc),
        )
        self.assertEqual(
            identity.ak_name, objects.parse_public(identity.ak_public).name
        )
        self.assert_empty(machine)

    def test_identity_survives_a_reboot(self) -> None:
        machine = self.machine()
        machine.reboot()
        with machine.tpm.operation() as operation:
            self.assertEqual(machine.identity, keys.provision(operation))

    def test_clear_ends_the_attestation_key(self) -> None:
        """T35: the TPM is cleared, and old approvals are shown."""
        machine = self.machine()
        with ESAPI(machine.hardware.tcti) as esapi:
            esapi.clear(ESYS_TR.LOCKOUT)
        with machine.tpm.operation() as operation:
            fresh = keys.provision(operation)
        self.assertEqual(machine.identity.ek_public, fresh.ek_public)
        self.assertNotEqual(machine.identity.ak_name, fresh.ak_name)
        self.assertNotEqual(machine.identity.srk_name, fresh.srk_name)

    def test_foreign_key_at_our_handle_is_not_used(self) -> None:
        machine = self.machine()
        with ESAPI(machine.hardware.tcti) as esapi:
            # the storage key where the attestation key should be
            esapi.evict_control(
                auth=ESYS_TR.OWNER,
                object_handle=esapi.tr_from_tpmpublic(keys.AK_HANDLE),
                persistent_handle=keys.AK_HANDLE,
            )
            parent = esapi.tr_from_tpmpublic(keys.SRK_HANDLE)
            private, public, *_ = esapi.create(
                parent_handle=parent,
                in_sensitive=None,
                in_public=templates.ak(),
            )
            loaded = esapi.load(
                parent_handle=parent, in_private=private, in_public=public
            )
            esapi.evict_control(
                auth=ESYS_TR.OWNER,
                object_handle=loaded,
                persistent_handle=keys.AK_HANDLE,
            )
            esapi.flush_context(loaded)
        with machine.tpm.operation() as operation:
            fresh = keys.provision(operation)
        # It is not below the EK: the spare handle has a new one.
        self.assertEqual(machine.identity.ek_name, fresh.ek_name)
        self.assertNotEqual(bytes(public.get_name()), fresh.ak_name)
        with machine.tpm.operation() as operation:
            self.assertEqual(fresh, keys.provision(operation))

    def test_credential_opens_on_its_own_tpm_only(self) -> None:
        machine, other = self.machine('A'), self.machine('B')
        secret = bytes(range(32))
        blob, seed = objects.make_credential(
            objects.parse_public(machine.identity.ek_public),
            machine.identity.ak_name,
            secret,
        )
        with machine.tpm.operation() as operation:
            self.assertEqual(
                secret,
                keys.activate_credential(
                    operation, machine.identity, blob, seed
                ),
            )
        self.assert_empty(machine)
        with other.tpm.operation() as operation:
            error = self.assertRaises(
                errors.Forbidden,
                keys.activate_credential,
                operation,
                other.identity,
                blob,
                seed,
            )
        self.assertEqual(errors.Reason.CREDENTIAL_WRONG, error.reason)
        self.assert_empty(other)

    def test_credential_for_another_ak_is_refused(self) -> None:
        machine, other = self.machine('A'), self.machine('B')
        blob, seed = objects.make_credential(
            objects.parse_public(machine.identity.ek_public),
            other.identity.ak_name,
            bytes(32),
        )
        with machine.tpm.operation() as operation:
            self.assertRaises(
                errors.Forbidden,
                keys.activate_credential,
                operation,
                machine.identity,
                blob,
                seed,
            )


class QuoteTest(base.TpmTestCase):
    def test_verifies_and_carries_the_quoted_values(self) -> None:
        machine = self.machine()
        with machine.tpm.operation() as operation:
            quote = keys.quote(operation, machine.identity, NONCE)
            self.assertEqual(3, operation.commands)
        ak = objects.parse_public(machine.identity.ak_public)
        verified = rats_quote.verify_quote(quote, ak, NONCE)
        expected = hashlib.sha256(
            bytes(32) + hashlib.sha256(b'firmware 1\x00').digest()
        ).digest()
        self.assertEqual(expected, verified.pcrs[0])
        self.assertRaises(
            errors.EvidenceError,
            rats_quote.verify_quote,
            quote,
            ak,
            bytes(32),
        )

    def test_values_that_are_known_are_not_read(self) -> None:
        machine = self.machine()
        ak = objects.parse_public(machine.identity.ak_public)
        with machine.tpm.operation() as operation:
            known = keys.quote(operation, machine.identity, NONCE).pcrs
        for moved, commands in ((False, 1), (True, 3)):
            if moved:
                machine.hardware.extend(10, b'a file')
            with machine.tpm.operation() as operation:
                quote = keys.quote(operation, machine.identity, NONCE, known)
                self.assertEqual(commands, operation.commands)
            verified = rats_quote.verify_quote(quote, ak, NONCE)
            self.assertEqual(moved, verified.pcrs[10] != known[10])

    def test_bank_of_sha1(self) -> None:
        """Quoted beside if it is on; what it says is the TPM's."""
        machine = self.machine()
        ak = objects.parse_public(machine.identity.ak_public)
        with machine.tpm.operation() as operation:
            quote = keys.quote(operation, machine.identity, NONCE, sha1=True)
            self.assertEqual(4, operation.commands)
        self.assertEqual({}, quote.sha1)
        rats_quote.verify_quote(quote, ak, NONCE)
        with ESAPI(machine.hardware.tcti) as esapi:
            esapi.pcr_allocate(TPML_PCR_SELECTION.parse('sha1:all+sha256:all'))
        machine.hardware.reboot()
        with ESAPI(machine.hardware.tcti) as esapi:
            esapi.pcr_event(pcr_handle=ESYS_TR.PCR4, event_data=b'kernel')
        with machine.tpm.operation() as operation:
            quote = keys.quote(operation, machine.identity, NONCE, sha1=True)
        verified = rats_quote.verify_quote(quote, ak, NONCE)
        event = hashlib.sha1(b'kernel').digest()
        self.assertEqual(
            hashlib.sha1(bytes(20) + event).digest(),
            verified.banks['sha1'][4],
        )
        known = quote.pcrs
        with machine.tpm.operation() as operation:
            quote = keys.quote(
                operation, machine.identity, NONCE, known, sha1=True
            )
            self.assertEqual(2, operation.commands)
            plain = keys.quote(operation, machine.identity, NONCE)
        rats_quote.verify_quote(quote, ak, NONCE)
        rats_quote.verify_quote(plain, ak, NONCE)
        self.assertEqual({}, plain.sha1)

    def test_counters_tell_reset_from_resume(self) -> None:
        machine = self.machine()
        ak = objects.parse_public(machine.identity.ak_public)

        def clock() -> rats_quote.Clock:
            with machine.tpm.operation() as operation:
                quote = keys.quote(operation, machine.identity, NONCE)
            return rats_quote.verify_quote(quote, ak, NONCE).clock

        first = clock()
        machine.hardware.suspend_and_resume()
        second = clock()
        machine.reboot()
        third = clock()
        self.assertEqual(first.reset_count, second.reset_count)
        self.assertEqual(first.restart_count + 1, second.restart_count)
        self.assertEqual(second.reset_count + 1, third.reset_count)


class DeviceTest(base.TpmTestCase):
    def test_unreachable_tpm_is_unavailable(self) -> None:
        machine = self.machine()
        machine.hardware.kill()

        def use() -> None:
            with machine.tpm.operation() as operation:
                keys.read_pcrs(operation)

        error = self.assertRaises(errors.Unavailable, use)
        self.assertEqual(errors.Reason.TPM_UNAVAILABLE, error.reason)
        self.assertIn(f'tcti = {machine.hardware.tcti}', error.message)
        machine.hardware.start()
        use()

    def why(self, tcti: str) -> str:
        """What is said of a TPM that cannot be used."""
        with device.Tpm(tcti).operation() as operation:
            keys.read_pcrs(operation)
        raise AssertionError('it can be used')

    def test_what_is_wrong_is_named(self) -> None:
        locked = self.useFixture(fixtures.TempDir()).join('tpm')
        pathlib.Path(locked).write_bytes(b'not a TPM')
        for tcti, cause in (
            ('device:/no/tpm', 'there is no /no/tpm'),
            ('swtpm:path=/no/socket,x=y', 'there is no /no/socket.'),
            (f'device:{locked}', 'tcti:'),
            ('nonsense', 'tcti:'),
        ):
            error = self.assertRaises(errors.Unavailable, self.why, tcti)
            self.assertEqual(errors.Reason.TPM_UNAVAILABLE, error.reason)
            self.assertIn(f'tcti = {tcti}, ', error.message)
            self.assertIn(cause, error.message)
            self.assertEqual(tcti, error.details['tcti'])

    def test_a_device_of_others_is_named(self) -> None:
        tcti = 'device:/dev/null'
        with mock.patch('os.access', return_value=False):
            error = self.assertRaises(errors.Unavailable, self.why, tcti)
        self.assertIn('/dev/null is not for the user', error.message)

    def test_reclaims_what_a_crash_left(self) -> None:
        machine = self.machine()
        with ESAPI(machine.hardware.tcti) as esapi:
            for _ in range(3):
                esapi.create_primary(
                    in_sensitive=None,
                    in_public=templates.srk(),
                    primary_handle=ESYS_TR.OWNER,
                )
        self.assertEqual(3, machine.hardware.transient_objects())
        self.assertEqual(3, machine.tpm.reclaim())
        self.assert_empty(machine)

    def test_counts_by_command(self) -> None:
        machine = self.machine()
        machine.tpm.count.clear()
        with machine.tpm.operation() as operation:
            keys.read_pcrs(operation)
        self.assertEqual({'pcr_read': 2}, dict(machine.tpm.count))

    def test_errors_of_callers_pass_through(self) -> None:
        tpm = device.Tpm('swtpm:host=127.0.0.1,port=1')

        def use() -> None:
            with tpm.operation():
                pass

        self.assertRaises(errors.Unavailable, use)
