# SPDX-License-Identifier: Apache-2.0
"""Sealing at rest and from TPM to TPM, and the attacks on both."""

from __future__ import annotations

import dataclasses
import hashlib
import time
from typing import Any

from korora_nova import errors
from korora_nova.custody import approval as approvals
from korora_nova.custody import transcript
from korora_nova.rats.quote import verify as rats_quote
from korora_nova.rats.signed import keys as signing
from korora_nova.rats.tpm2 import objects
from korora_nova.rats.tpm2 import policy as tpm2_policy
from korora_nova.secret import Secret
from korora_nova.tpm import handover, keys, seal
from korora_nova.tpm.seal import SealedKey
from tests.functional.tpm import base

INSTANCE = '6a3b2c1d-0000-4000-8000-000000000001'
NONCE = hashlib.sha256(b'nonce').digest()
KEY = bytes(range(32))
PAYLOAD = Secret(b'KOR1' + bytes(range(72)))


def attested(machine: base.Machine) -> rats_quote.VerifiedQuote:
    with machine.tpm.operation() as operation:
        quote = keys.quote(operation, machine.identity, NONCE)
    ak = objects.parse_public(machine.identity.ak_public)
    return rats_quote.verify_quote(quote, ak, NONCE)


class CustodyTestCase(base.TpmTestCase):
    def assert_refused(self, reason: str, call: Any, *args: Any) -> None:
        error = self.assertRaises(errors.CustodyError, call, *args)
        self.assertEqual(reason, error.reason)


class RestTest(CustodyTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.signer = signing.SigningKey.generate()
        self.public = objects.external_ecc_public(self.signer.public)
        self.host = self.machine('A')
        self.blob = self.seal(1)

    def ref(self, machine: base.Machine, epoch: int) -> bytes:
        return transcript.rest_ref(
            machine.identity.ak_name,
            machine.identity.srk_name,
            INSTANCE,
            epoch,
        )

    def seal(self, epoch: int) -> SealedKey:
        policy = tpm2_policy.policy_authorize(
            objects.external_ecc_name(self.signer.public),
            self.ref(self.host, epoch),
        )
        with self.host.tpm.operation() as operation:
            return seal.seal(
                operation, self.host.identity, Secret(KEY), policy
            )

    def approve(
        self,
        machine: base.Machine | None = None,
        epoch: int = 1,
        ms: int = 20000,
        key: signing.SigningKey | None = None,
    ) -> approvals.Approval:
        machine = machine or self.host
        state = attested(machine)
        return approvals.sign_approval(
            instance=INSTANCE,
            epoch=epoch,
            pcr_digest=state.policy_pcr_digest,
            reset_restart=state.clock.reset_restart,
            deadline=state.clock.clock_ms + ms,
            ref=self.ref(machine, epoch),
            key=key or self.signer,
        )

    def unseal(
        self,
        approval: approvals.Approval,
        blob: SealedKey | None = None,
    ) -> bytes:
        with self.host.tpm.operation() as operation:
            key = seal.unseal(
                operation,
                self.host.identity,
                blob or self.blob,
                approval,
                self.public,
            )
        self.assertNotIn(KEY, repr(key).encode())
        return key.reveal()

    def assert_closed(
        self, approval: approvals.Approval, reason: str = 'UNSEAL_REFUSED'
    ) -> None:
        self.assert_refused(reason, self.unseal, approval)
        self.assert_empty(self.host)

    def test_opens_with_a_fresh_approval(self) -> None:
        self.host.tpm.count.clear()
        approval = self.approve()
        self.host.tpm.count.clear()
        self.assertEqual(KEY, self.unseal(approval))
        self.assertEqual(12, self.host.tpm.count.total())
        self.assert_empty(self.host)

    def test_opens_again_after_reboot_and_update_without_resealing(
        self,
    ) -> None:
        self.host.reboot(b'firmware 2')
        self.assertEqual(KEY, self.unseal(self.approve()))

    def test_runtime_measurements_do_not_matter_to_the_policy(self) -> None:
        approval = self.approve()
        self.host.hardware.extend(10, b'a file was run')
        self.assertEqual(KEY, self.unseal(approval))

    def test_closed_after_the_deadline(self) -> None:
        approval = self.approve(ms=200)
        time.sleep(0.4)
        self.assert_closed(approval)

    def test_closed_after_a_reboot(self) -> None:
        approval = self.approve()
        self.host.reboot()
        self.assert_closed(approval)

    def test_closed_after_a_suspend(self) -> None:
        approval = self.approve()
        self.host.hardware.suspend_and_resume()
        self.assert_closed(approval)

    def test_closed_when_a_pcr_changed(self) -> None:
        approval = self.approve()
        self.host.hardware.extend(14, b'mok')
        self.assert_closed(approval)

    def test_closed_to_an_approval_of_another_epoch(self) -> None:
        """T11: an old key, or an old epoch, comes back."""
        self.assert_closed(self.approve(epoch=2))
        newer = self.seal(2)
        self.assertEqual(KEY, self.unseal(self.approve(epoch=2), newer))
        self.assert_refused(
            'UNSEAL_REFUSED', self.unseal, self.approve(), newer
        )

    def test_closed_to_another_hosts_approval(self) -> None:
        self.assert_closed(self.approve(self.machine('B')))

    def test_closed_to_another_key(self) -> None:
        other = signing.SigningKey.generate()
        self.assert_closed(self.approve(key=other), 'APPROVAL_INVALID')
        self.public = objects.external_ecc_public(other.public)
        self.assert_closed(self.approve(key=other))

    def test_closed_to_an_edited_approval(self) -> None:
        approval = self.approve()
        edited = dataclasses.replace(
            approval, deadline=approval.deadline + 10**6
        )
        self.assert_closed(edited, 'APPROVAL_INVALID')

    def test_closed_on_another_tpm(self) -> None:
        approval = self.approve()
        self.host = self.machine('B')
        self.assert_closed(approval)

    def test_altered_blob_is_refused(self) -> None:
        approval = self.approve()
        for part in ('public', 'private'):
            content = bytearray(getattr(self.blob, part))
            content[-1] ^= 1
            blob = dataclasses.replace(self.blob, **{part: bytes(content)})
            self.assertRaises(errors.CustodyError, self.unseal, approval, blob)
            self.assert_empty(self.host)

    def test_unavailable_is_not_a_refusal(self) -> None:
        approval = self.approve()
        self.host.hardware.kill()
        error = self.assertRaises(errors.Unavailable, self.unseal, approval)
        self.assertEqual(errors.Reason.TPM_UNAVAILABLE, error.reason)
        self.assertIn(self.host.hardware.tcti, error.message)


class HandoverTest(CustodyTestCase):
    OUTSIDE = hashlib.sha256(b'outside').digest()

    def setUp(self) -> None:
        super().setUp()
        self.dest = self.machine('B')

    def create(self) -> handover.MigrationKey:
        with self.dest.tpm.operation() as operation:
            return handover.create_msk(
                operation,
                self.dest.identity,
                self.OUTSIDE,
                lambda _public: NONCE,
            )

    def state(self, ms: int = 20000) -> handover.TransitState:
        state = attested(self.dest)
        return handover.TransitState(
            state.policy_pcr_digest,
            state.clock.reset_restart,
            state.clock.clock_ms + ms,
        )

    def receive(
        self,
        msk: handover.MigrationKey,
        wrapped: handover.Wrapped,
        state: handover.TransitState,
    ) -> bytes:
        with self.dest.tpm.operation() as operation:
            return handover.import_transfer(
                operation, self.dest.identity, msk.context, wrapped, state
            ).reveal()

    def test_payload_arrives(self) -> None:
        self.dest.tpm.count.clear()
        msk = self.create()
        self.assertEqual(5, self.dest.tpm.count.total())
        self.assert_empty(self.dest)
        ak = objects.parse_public(self.dest.identity.ak_public)
        public = objects.parse_public(msk.public)
        objects.check_msk(public)
        rats_quote.verify_creation(
            msk.creation_attest,
            msk.creation_signature,
            ak,
            NONCE,
            public,
            msk.creation_data,
            self.OUTSIDE,
        )
        state = self.state()
        wrapped = handover.wrap(msk.public, PAYLOAD, state)
        self.dest.tpm.count.clear()
        self.assertEqual(PAYLOAD.reveal(), self.receive(msk, wrapped, state))
        self.assertEqual(10, self.dest.tpm.count.total())
        self.assert_empty(self.dest)

    def test_abandoned_keys_fill_nothing(self) -> None:
        abandoned = [self.create() for _ in range(8)]
        self.assert_empty(self.dest)
        state = self.state()
        for msk in (abandoned[0], abandoned[7]):
            wrapped = handover.wrap(msk.public, PAYLOAD, state)
            self.assertEqual(
                PAYLOAD.reveal(), self.receive(msk, wrapped, state)
            )

    def test_each_altered_part_is_refused(self) -> None:
        msk = self.create()
        state = self.state()
        wrapped = handover.wrap(msk.public, PAYLOAD, state)
        for part in ('public', 'duplicate', 'seed'):
            content = bytearray(getattr(wrapped, part))
            for index in (0, 1, len(content) // 2, len(content) - 1):
                altered = bytearray(content)
                altered[index] ^= 1
                self.assert_refused(
                    'TRANSFER_INVALID',
                    self.receive,
                    msk,
                    dataclasses.replace(wrapped, **{part: bytes(altered)}),
                    state,
                )
                self.assert_empty(self.dest)
            longer = dataclasses.replace(
                wrapped, **{part: bytes(content) + b'\0'}
            )
            self.assert_refused(
                'TRANSFER_INVALID', self.receive, msk, longer, state
            )

    def test_another_policy_is_refused_before_the_tpm_sees_it(self) -> None:
        msk = self.create()
        state = self.state()
        weaker = dataclasses.replace(state, deadline=2**63)
        wrapped = handover.wrap(msk.public, PAYLOAD, weaker)
        self.dest.tpm.count.clear()
        self.assert_refused(
            'TRANSFER_INVALID', self.receive, msk, wrapped, state
        )
        self.assertEqual(0, self.dest.tpm.count.total())

    def test_refused_after_a_change_of_state(self) -> None:
        """T2: a key is used in another state of the platform."""
        msk = self.create()
        state = self.state()
        wrapped = handover.wrap(msk.public, PAYLOAD, state)
        self.dest.hardware.extend(7, b'another key was enrolled')
        self.assert_refused(
            'UNSEAL_REFUSED', self.receive, msk, wrapped, state
        )

    def test_refused_after_the_deadline(self) -> None:
        msk = self.create()
        state = self.state(ms=200)
        wrapped = handover.wrap(msk.public, PAYLOAD, state)
        time.sleep(0.4)
        self.assert_refused(
            'UNSEAL_REFUSED', self.receive, msk, wrapped, state
        )

    def test_refused_after_a_reboot(self) -> None:
        msk = self.create()
        state = self.state()
        wrapped = handover.wrap(msk.public, PAYLOAD, state)
        self.dest.reboot()
        self.assert_refused(
            'UNSEAL_REFUSED', self.receive, msk, wrapped, state
        )

    def test_refused_below_another_key(self) -> None:
        state = self.state()
        wrapped = handover.wrap(self.create().public, PAYLOAD, state)
        self.assert_refused(
            'TRANSFER_INVALID', self.receive, self.create(), wrapped, state
        )
