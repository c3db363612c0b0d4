# SPDX-License-Identifier: Apache-2.0
"""The pure TPM code against what a TPM itself computes.

Nothing of :mod:`korora_nova.tpm` takes part but the provisioned keys: the
TPM is driven by tpm2_pytss directly.
"""

from __future__ import annotations

import datetime
import hashlib
import struct

from tpm2_pytss import ESAPI
from tpm2_pytss.constants import (
    ESYS_TR,
    TPM2_ALG,
    TPM2_CC,
    TPM2_EO,
    TPM2_SE,
    TPMA_SESSION,
)
from tpm2_pytss.types import (
    TPM2B_DIGEST,
    TPM2B_ENCRYPTED_SECRET,
    TPM2B_ID_OBJECT,
    TPM2B_PUBLIC,
    TPM2B_SENSITIVE_CREATE,
    TPML_PCR_SELECTION,
    TPMS_SIGNATURE_ECC,
    TPMT_SIG_SCHEME,
    TPMT_SIGNATURE,
    TPMT_SYM_DEF,
    TPMU_SIGNATURE,
)

from korora_nova import errors
from korora_nova.custody import approval, transcript
from korora_nova.rats import endorsement
from korora_nova.rats.quote import verify as quote
from korora_nova.rats.signed import keys
from korora_nova.rats.tpm2 import objects, structure
from korora_nova.rats.tpm2 import policy as tpm2_policy
from tests.functional.tpm import base
from tests.support import swtpm

POLICY = TPML_PCR_SELECTION.parse('sha256:0,1,2,3,4,5,6,7,8,9,11,12,13,14,15')
QUOTED = TPML_PCR_SELECTION.parse(
    'sha256:0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15'
)
NO_SYM = TPMT_SYM_DEF(algorithm=TPM2_ALG.NULL)
NO_SCHEME = TPMT_SIG_SCHEME(scheme=TPM2_ALG.NULL)
INSTANCE = '00000000-0000-4000-8000-000000000004'
NONCE = hashlib.sha256(b'nonce').digest()


class CoreTestCase(base.TpmTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.host = self.machine()
        self.identity = self.host.identity
        self.esys = ESAPI(self.host.hardware.tcti)
        self.addCleanup(self.esys.close)
        self.ak_public = objects.parse_public(self.identity.ak_public)

    def session(self, kind: TPM2_SE) -> ESYS_TR:
        session = self.esys.start_auth_session(
            tpm_key=ESYS_TR.NONE,
            bind=ESYS_TR.NONE,
            session_type=kind,
            symmetric=NO_SYM,
            auth_hash=TPM2_ALG.SHA256,
        )
        self.esys.trsess_set_attributes(
            session=session, attributes=TPMA_SESSION.CONTINUESESSION
        )
        self.addCleanup(self.esys.flush_context, session)
        return session

    def digest(self, session: ESYS_TR) -> bytes:
        return bytes(self.esys.policy_get_digest(session))

    def read_pcrs(self) -> dict[int, bytes]:
        values: dict[int, bytes] = {}
        for half in ('0,1,2,3,4,5,6,7', '8,9,10,11,12,13,14,15'):
            _, _, digests = self.esys.pcr_read(f'sha256:{half}')
            values.update(
                zip(
                    map(int, half.split(',')), map(bytes, digests), strict=True
                )
            )
        return values

    def ak(self) -> ESYS_TR:
        return self.esys.tr_deserialize(self.identity.ak_tr)

    def quote(
        self, nonce: bytes = NONCE, selection: TPML_PCR_SELECTION = QUOTED
    ) -> quote.Quote:
        attest, signature = self.esys.quote(
            sign_handle=self.ak(), pcr_select=selection, qualifying_data=nonce
        )
        return quote.Quote(
            bytes(attest.attestationData),
            bytes(signature.marshal()),
            self.read_pcrs(),
        )


class PolicyTest(CoreTestCase):
    def test_selections(self) -> None:
        for ours, theirs in (
            (tpm2_policy.PCRS_POLICY, POLICY),
            (tpm2_policy.PCRS_QUOTED, QUOTED),
        ):
            self.assertEqual(theirs.marshal(), tpm2_policy.selection(ours))

    def test_each_command(self) -> None:
        pcrs = tpm2_policy.pcr_digest(
            self.read_pcrs(), tpm2_policy.PCRS_POLICY
        )
        session = self.session(TPM2_SE.TRIAL)
        self.esys.policy_pcr(
            policy_session=session, pcr_digest=b'', pcrs=POLICY
        )
        expected = tpm2_policy.policy_pcr(
            tpm2_policy.START,
            tpm2_policy.selection(tpm2_policy.PCRS_POLICY),
            pcrs,
        )
        self.assertEqual(expected, self.digest(session))
        for operand, offset, operation, number in (
            (b'\0' * 8, 16, TPM2_EO.EQ, tpm2_policy.EO_EQ),
            (b'\1' * 8, 8, TPM2_EO.UNSIGNED_LT, tpm2_policy.EO_UNSIGNED_LT),
        ):
            self.esys.policy_counter_timer(
                policy_session=session,
                operand_b=operand,
                operation=operation,
                offset=offset,
            )
            expected = tpm2_policy.policy_counter_timer(
                expected, operand, offset, number
            )
            self.assertEqual(expected, self.digest(session))
        self.esys.policy_command_code(
            policy_session=session, code=TPM2_CC.Unseal
        )
        expected = tpm2_policy.policy_command_code(
            expected, tpm2_policy.CC_UNSEAL
        )
        self.assertEqual(expected, self.digest(session))

    def state(self, deadline_in: int) -> tuple[bytes, bytes, int]:
        verified = quote.verify_quote(self.quote(), self.ak_public, NONCE)
        return (
            verified.policy_pcr_digest,
            verified.clock.reset_restart,
            verified.clock.clock_ms + deadline_in,
        )

    def walk(
        self,
        session: ESYS_TR,
        reset_restart: bytes,
        deadline: int,
        command: int | None,
    ) -> None:
        self.esys.policy_pcr(
            policy_session=session, pcr_digest=b'', pcrs=POLICY
        )
        self.esys.policy_counter_timer(
            policy_session=session,
            operand_b=reset_restart,
            operation=TPM2_EO.EQ,
            offset=16,
        )
        self.esys.policy_counter_timer(
            policy_session=session,
            operand_b=struct.pack('>Q', deadline),
            operation=TPM2_EO.UNSIGNED_LT,
            offset=8,
        )
        if command is not None:
            self.esys.policy_command_code(policy_session=session, code=command)

    def test_state_of_a_quote_is_the_state_of_a_session(self) -> None:
        """The TPM compares its counters and clock with the quote's."""
        pcrs, counters, deadline = self.state(60000)
        for command in (None, tpm2_policy.CC_UNSEAL):
            session = self.session(TPM2_SE.POLICY)
            self.walk(session, counters, deadline, command)
            self.assertEqual(
                tpm2_policy.state_policy(pcrs, counters, deadline, command),
                self.digest(session),
            )

    def test_approval_opens_policy_authorize(self) -> None:
        pcrs, counters, deadline = self.state(60000)
        key = keys.SigningKey.generate()
        ref = transcript.rest_ref(
            self.identity.ak_name, self.identity.srk_name, INSTANCE, 1
        )
        signed = approval.sign_approval(
            instance=INSTANCE,
            epoch=1,
            pcr_digest=pcrs,
            reset_restart=counters,
            deadline=deadline,
            ref=ref,
            key=key,
        )
        public = TPM2B_PUBLIC.unmarshal(
            objects.external_ecc_public(key.public)
        )[0]
        loaded = self.esys.load_external(
            in_public=public, hierarchy=ESYS_TR.OWNER
        )
        self.addCleanup(self.esys.flush_context, loaded)
        _, name, _ = self.esys.read_public(loaded)
        self.assertEqual(bytes(name), objects.external_ecc_name(key.public))
        ticket = self.esys.verify_signature(
            key_handle=loaded,
            digest=TPM2B_DIGEST(signed.signed_digest),
            signature=TPMT_SIGNATURE(
                sigAlg=TPM2_ALG.ECDSA,
                signature=TPMU_SIGNATURE(
                    ecdsa=TPMS_SIGNATURE_ECC(
                        hash=TPM2_ALG.SHA256,
                        signatureR=signed.signature_r,
                        signatureS=signed.signature_s,
                    )
                ),
            ),
        )
        session = self.session(TPM2_SE.POLICY)
        self.walk(session, counters, deadline, tpm2_policy.CC_UNSEAL)
        self.assertEqual(signed.approved_policy, self.digest(session))
        self.esys.policy_authorize(
            policy_session=session,
            approved_policy=signed.approved_policy,
            key_sign=bytes(name),
            check_ticket=ticket,
            policy_ref=ref,
        )
        self.assertEqual(
            tpm2_policy.policy_authorize(bytes(name), ref),
            self.digest(session),
        )


class AttestTest(CoreTestCase):
    def refused(self, reason: str, value: quote.Quote) -> None:
        error = self.assertRaises(
            errors.EvidenceError,
            quote.verify_quote,
            value,
            self.ak_public,
            NONCE,
        )
        self.assertEqual(reason, error.reason)

    def test_quote(self) -> None:
        verified = quote.verify_quote(self.quote(), self.ak_public, NONCE)
        self.assertEqual(self.read_pcrs(), verified.pcrs)
        clock = self.esys.read_clock().clockInfo
        self.assertEqual(
            (clock.resetCount, clock.restartCount),
            (verified.clock.reset_count, verified.clock.restart_count),
        )
        self.assertLessEqual(verified.clock.clock_ms, clock.clock)

    def test_quote_of_other_pcrs_or_nonce(self) -> None:
        self.refused('QUOTE_SELECTION', self.quote(selection=POLICY))
        self.refused('QUOTE_NONCE', self.quote(bytes(32)))

    def test_other_attestations(self) -> None:
        handle = self.esys.tr_deserialize(self.identity.srk_tr)
        attest, signature = self.esys.certify(
            object_handle=handle,
            sign_handle=self.ak(),
            qualifying_data=NONCE,
            in_scheme=NO_SCHEME,
        )
        self.refused(
            'QUOTE_TYPE',
            quote.Quote(
                bytes(attest.attestationData), bytes(signature.marshal()), {}
            ),
        )

    def test_certified_creation(self) -> None:
        parent = self.esys.tr_deserialize(self.identity.srk_tr)
        template = TPM2B_PUBLIC.unmarshal(self.identity.srk_public)[0]
        template.publicArea.objectAttributes |= structure.ST_CLEAR
        outside = hashlib.sha256(b'outside').digest()
        private, public, data, digest, ticket = self.esys.create(
            parent_handle=parent,
            in_sensitive=TPM2B_SENSITIVE_CREATE(),
            in_public=template,
            outside_info=outside,
        )
        loaded = self.esys.load(
            parent_handle=parent, in_private=private, in_public=public
        )
        self.addCleanup(self.esys.flush_context, loaded)
        attest, signature = self.esys.certify_creation(
            sign_handle=self.ak(),
            object_handle=loaded,
            qualifying_data=NONCE,
            creation_hash=digest,
            in_scheme=NO_SCHEME,
            creation_ticket=ticket,
        )
        parsed = objects.parse_public(bytes(public.marshal()))
        objects.check_msk(parsed)
        self.assertEqual(bytes(public.get_name()), parsed.name)
        creation = bytes(data.creationData.marshal())
        arguments = [
            bytes(attest.attestationData),
            bytes(signature.marshal()),
            self.ak_public,
            NONCE,
            parsed,
            creation,
            outside,
        ]
        quote.verify_creation(*arguments)
        self.assertEqual(
            self.identity.srk_name,
            objects.parse_creation_data(creation).parent_name,
        )
        arguments[-1] = bytes(32)
        error = self.assertRaises(
            errors.EvidenceError, quote.verify_creation, *arguments
        )
        self.assertEqual('QUOTE_CREATION', error.reason)

    def test_endorsement(self) -> None:
        ek = objects.parse_public(self.identity.ek_public)
        now = datetime.datetime.now(datetime.timezone.utc)
        endorsers = swtpm.factory().endorsers()
        endorsement.verify_ek(self.identity.ek_cert, ek, endorsers, now)
        error = self.assertRaises(
            errors.EvidenceError,
            endorsement.verify_ek,
            self.identity.ek_cert,
            ek,
            endorsement.Endorsers(),
            now,
        )
        self.assertEqual('EK_CHAIN', error.reason)

    def test_credential(self) -> None:
        """ActivateCredential opens what software made, of any length."""
        ek = objects.parse_public(self.identity.ek_public)
        handle = self.esys.tr_deserialize(self.identity.ek_tr)
        for secret in (b'x', bytes(range(16)), bytes(range(32))):
            blob, seed = objects.make_credential(
                ek, self.identity.ak_name, secret
            )
            session = self.session(TPM2_SE.POLICY)
            self.esys.policy_secret(
                auth_handle=ESYS_TR.ENDORSEMENT,
                policy_session=session,
                nonce_tpm=b'',
                cp_hash_a=b'',
                policy_ref=b'',
                expiration=0,
            )
            opened = self.esys.activate_credential(
                activate_handle=self.ak(),
                key_handle=handle,
                credential_blob=TPM2B_ID_OBJECT.unmarshal(blob)[0],
                secret=TPM2B_ENCRYPTED_SECRET.unmarshal(seed)[0],
                session2=session,
            )
            self.assertEqual(secret, bytes(opened))
