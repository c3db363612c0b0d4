# SPDX-License-Identifier: Apache-2.0
"""Rows 1 and 2 of the protocol: a host's name and its TPM, bound once."""

import base64
import hashlib

from cryptography.hazmat.primitives.asymmetric import ec

from tests.functional.api import base
from tests.support import agent, makers, service, simulator


class TestEnrolment(base.ApiTestCase):
    def test_waits_for_an_operator(self):
        host = self.stranger('h1')
        self.assertEqual('pending', host.enrol())
        with self.refused('HOST_PENDING'):
            host.challenge()
        shown = self.admin.approve_host('h1', host.ek_hash)
        self.assertEqual('approved', shown['status'])
        self.assertEqual(host.tpm.ak_name.hex(), shown['ak_name'])
        host.challenge()

    def test_preloaded(self):
        host = self.stranger('h1')
        shown = self.admin.approve_host('h1', host.ek_hash)
        self.assertEqual('preloaded', shown['status'])
        with self.refused('HOST_UNKNOWN'):
            host.challenge()
        self.assertEqual('approved', host.enrol())

    def test_preloaded_with_another_tpm(self):
        host = self.stranger('h1')
        self.admin.approve_host('h1', 'ab' * 32)
        with self.refused('IDENTITY_CONFLICT'):
            host.ask_credential()
        with self.refused('IDENTITY_CONFLICT'):
            self.admin.approve_host('h1', host.ek_hash)

    def test_again_with_the_same_identity(self):
        host = self.stranger('h1')
        host.join(self.admin)
        self.assertEqual('approved', host.enrol())

    def test_name_with_another_tpm(self):
        """T16: a name, or a TPM, is taken over by enrolling again."""
        self.stranger('h1').join(self.admin)
        with self.refused('IDENTITY_CONFLICT'):
            self.stranger('h1', ek='other').ask_credential()

    def test_tpm_with_another_name(self):
        """T16: a name, or a TPM, is taken over by enrolling again."""
        self.stranger('h1').join(self.admin)
        with self.refused('IDENTITY_CONFLICT'):
            self.stranger('h2', ek='h1').ask_credential()

    def test_tpm_with_a_renewed_certificate_and_another_name(self):
        first = self.stranger('h1')
        first.join(self.admin)
        again = self.stranger('h2', ek='h1')
        self.assertNotEqual(first.ek_hash, again.ek_hash)
        with self.refused('IDENTITY_CONFLICT'):
            again.ask_credential()

    def test_other_attestation_key_in_the_same_tpm(self):
        """T35: the TPM is cleared, and old approvals are shown."""
        first, cleared = self.stranger('h1'), self.stranger('h1')
        first.join(self.admin)
        cleared.ek_cert = first.ek_cert
        with self.refused('IDENTITY_CONFLICT'):
            cleared.ask_credential()

    def test_race_for_a_name(self):
        one, two = self.stranger('h1'), self.stranger('h1', ek='other')
        first, second = one.ask_credential(), two.ask_credential()
        one.api.prove('h1', one.open_credential(first))
        with self.refused('IDENTITY_CONFLICT'):
            two.api.prove('h1', two.open_credential(second))
        self.assertEqual(one.ek_hash, self.admin.get_host('h1')['ek_hash'])

    def test_race_for_a_tpm(self):
        one, two = self.stranger('h1'), self.stranger('h2', ek='h1')
        first, second = one.ask_credential(), two.ask_credential()
        two.api.prove('h2', two.open_credential(second))
        with self.refused('IDENTITY_CONFLICT'):
            one.api.prove('h1', one.open_credential(first))

    def test_nothing_is_recorded_before_the_proof(self):
        self.stranger('h1').ask_credential()
        with self.refused('HOST_UNKNOWN'):
            self.admin.get_host('h1')

    def test_credential_is_for_this_tpm_and_key(self):
        host, other = self.stranger('h1'), self.stranger('h2')
        answer = host.ask_credential()
        self.assertRaises(ValueError, other.open_credential, answer)
        other.ek = host.ek
        self.assertRaises(ValueError, other.open_credential, answer)

    def test_wrong_proof(self):
        host = self.stranger('h1')
        host.ask_credential()
        with self.refused('CREDENTIAL_WRONG'):
            host.api.prove('h1', agent.b64(bytes(32)))
        with self.refused('HOST_UNKNOWN'):
            self.admin.get_host('h1')

    def test_proof_of_another_host(self):
        host, other = self.stranger('h1'), self.stranger('h2')
        proof = host.open_credential(host.ask_credential())
        other.ask_credential()
        with self.refused('CREDENTIAL_WRONG'):
            other.api.prove('h2', proof)

    def test_proof_twice(self):
        host = self.stranger('h1')
        proof = host.open_credential(host.ask_credential())
        host.api.prove('h1', proof)
        with self.refused('CREDENTIAL_EXPIRED'):
            host.api.prove('h1', proof)

    def test_proof_too_late(self):
        host = self.stranger('h1')
        proof = host.open_credential(host.ask_credential())
        self.korora.clock.advance(301)
        with self.refused('CREDENTIAL_EXPIRED'):
            host.api.prove('h1', proof)

    def test_vendor_is_not_trusted(self):
        host = agent.SimAgent('h1', self.korora.client, service.VendorCa())
        with self.refused('EK_CHAIN'):
            host.ask_credential()

    def test_certificate_of_another_ek(self):
        host, other = self.stranger('h1'), self.stranger('h2')
        with self.refused('EK_MISMATCH'):
            host.ask_credential(ek_cert=agent.b64(other.ek_cert))

    def test_keys_of_the_wrong_kind(self):
        host = self.stranger('h1')
        loose = simulator.ecc_public(
            ec.generate_private_key(ec.SECP256R1()).public_key(),
            simulator.AK_ATTRIBUTES & ~0x10000,
            scheme=simulator.ECDSA_SHA256,
        )
        with self.refused('AK_ATTRIBUTES'):
            host.ask_credential(ak_public=agent.b64(loose))
        with self.refused('SRK_ATTRIBUTES'):
            host.ask_credential(srk_public=agent.b64(host.tpm.ak_public))
        with self.refused('EK_MISMATCH'):
            host.ask_credential(ek_public=agent.b64(host.tpm.ak_public))
        with self.refused('QUOTE_MALFORMED'):
            host.ask_credential(ak_public=agent.b64(b'\0\x01x'))


class TestEndorsement(base.ApiTestCase):
    """Endorsement keys of other kinds, and without a certificate."""

    def uncertified(self, name='h1'):
        host = self.stranger(name)
        host.ek_cert = b''
        ek_name = simulator.name_of(host.ek_public)
        return host, hashlib.sha256(ek_name).hexdigest()

    def test_no_certificate(self):
        host, ek_hash = self.uncertified()
        self.assertEqual('pending', host.enrol())
        shown = self.admin.get_host('h1')
        self.assertEqual(
            (ek_hash, False), (shown['ek_hash'], shown['certified'])
        )
        with self.refused('IDENTITY_UNCERTIFIED'):
            self.admin.approve_host('h1', ek_hash)
        with self.refused('HOST_PENDING'):
            host.challenge()
        with self.refused('IDENTITY_CONFLICT'):
            self.admin.approve_host('h1', 'ab' * 32, uncertified=True)
        shown = self.admin.approve_host('h1', ek_hash, uncertified=True)
        self.assertEqual('approved', shown['status'])
        host.attest_now()
        self.assertEqual('approved', host.enrol())
        # After an eviction, too, somebody has to say so.
        self.admin.evict_host('h1', 'gone')
        with self.refused('IDENTITY_UNCERTIFIED'):
            self.admin.approve_host('h1', ek_hash)

    def test_no_certificate_is_never_approved_beforehand(self):
        host, ek_hash = self.uncertified()
        self.admin.approve_host('h1', ek_hash, uncertified=True)
        self.assertEqual('pending', host.enrol())
        with self.refused('HOST_PENDING'):
            host.challenge()

    def test_a_certified_host_cannot_do_without(self):
        self.host('h1')
        again, _ = self.uncertified()
        with self.refused('IDENTITY_CONFLICT'):
            again.ask_credential()
        with self.refused('IDENTITY_CONFLICT'):
            self.uncertified('h2')[0].ask_credential(
                ek_public=agent.b64(again.ek_public)
            )

    def test_vouching_for_a_certified_host_changes_nothing(self):
        host = self.stranger('h1')
        host.enrol()
        self.assertIs(
            None, self.admin.approve_host('h0', 'ab' * 32)['certified']
        )
        shown = self.admin.approve_host('h1', host.ek_hash, uncertified=True)
        self.assertIs(True, shown['certified'])

    def test_ecc(self):
        """P-256 and P-384, the latter with a name of SHA-384."""
        for curve, hash_name in (
            (ec.SECP256R1(), 'sha256'),
            (ec.SECP384R1(), 'sha384'),
        ):
            for certified in (True, False):
                name = f'{hash_name}-{certified}'
                key = ec.generate_private_key(curve)
                host = self.stranger(name)
                host.ek_public = simulator.ecc_ek(key.public_key())
                host.ek_cert = (
                    self.korora.vendor.certify(key.public_key())
                    if certified
                    else b''
                )
                answer = host.ask_credential()
                proof = simulator.activate_ecc(
                    key,
                    host.tpm.ak_name,
                    base64.b64decode(answer['credential']),
                    base64.b64decode(answer['secret']),
                    hash_name,
                )
                host.api.prove(name, agent.b64(proof))
                shown = self.admin.get_host(name)
                self.assertEqual(certified, shown['certified'])
                shown = self.admin.approve_host(
                    name, shown['ek_hash'], uncertified=not certified
                )
                self.assertEqual('approved', shown['status'])
                host.attest_now()
                with self.refused('IDENTITY_CONFLICT'):
                    host.name = 'other'
                    host.ask_credential()

    def test_intermediates_of_the_tpm(self):
        """They lead to a root of the operator's, and are none."""
        vendor = self.korora.vendor
        maker = makers.Authority('maker')
        maker.key, maker.name = vendor.key, vendor.name
        self.korora.clock.advance(makers.NOW.timestamp() - service.START)
        middle = makers.Authority('middle', maker)
        host = self.stranger('h1')
        host.ek_cert = middle.certify(host.ek.public_key())
        with self.refused('EK_CHAIN'):
            host.ask_credential()
        host.ask_credential(ek_chain=[agent.b64(middle.der)])
        own = makers.Authority('own')
        host.ek_cert = own.certify(host.ek.public_key())
        with self.refused('EK_CHAIN'):
            host.ask_credential(ek_chain=[agent.b64(own.der)])

    def test_too_many_intermediates(self):
        host = self.stranger('h1')
        with self.refused('INVALID_REQUEST'):
            host.ask_credential(ek_chain=[agent.b64(b'x')] * 17)
        host.ask_credential(ek_chain=[agent.b64(b'x')] * 16)


class TestHosts(base.ApiTestCase):
    def test_approve_takes_the_right_tpm_only(self):
        self.stranger('h1').enrol()
        with self.refused('IDENTITY_CONFLICT'):
            self.admin.approve_host('h1', '00' * 32)
        self.assertEqual('pending', self.admin.get_host('h1')['status'])

    def test_a_pending_host_is_not_one_that_fell_silent(self):
        """What is to be done differs: approve it, or look at its agent."""
        quiet, tag = self.host('h0'), self.admin.results().etag
        host = self.stranger('h1')
        with self.refused('HOST_UNKNOWN'):
            self.admin.get_result('h1')
        host.enrol()
        with self.refused('HOST_PENDING'):
            self.admin.get_result('h1')
        self.assertEqual(
            ['HOST_PENDING'], self.admin.get_host('h1')['reasons']
        )
        waiting = self.admin.results(etag=tag)
        self.assertEqual(
            [('h0', []), ('h1', ['HOST_PENDING'])],
            [(row['host'], row['reasons']) for row in waiting.results],
        )
        self.assertIsNone(waiting.results[1]['token'])
        # Who asks for changes wants signed results only.
        self.assertEqual(
            (), self.admin.results(changes_since=waiting.seq).results
        )
        self.admin.approve_host('h1', host.ek_hash)
        approved = self.admin.results(etag=waiting.etag)
        self.assertEqual(['h0'], [row['host'] for row in approved.results])
        with self.refused('RESULT_MISSING'):
            self.admin.get_result('h1')
        host.attest_now()
        self.assertEqual('affirming', self.tier('h1'))
        self.assertEqual('affirming', self.tier(quiet.name))

    def test_preload_a_tpm_of_another_host(self):
        host = self.stranger('h1')
        host.join(self.admin)
        with self.refused('IDENTITY_CONFLICT'):
            self.admin.approve_host('h2', host.ek_hash)

    def test_list(self):
        self.host('h1')
        self.admin.approve_host('h0', 'ab' * 32)
        self.assertEqual(
            [('h0', 'preloaded', 'none'), ('h1', 'approved', 'affirming')],
            [
                (host['name'], host['status'], host['tier'])
                for host in self.admin.list_hosts()
            ],
        )

    def test_delete_makes_room(self):
        host = self.host('h1')
        challenge = host.challenge()
        self.admin.delete_host('h1')
        with self.refused('HOST_UNKNOWN'):
            host.say('attest', challenge, known=[])
        with self.refused('HOST_UNKNOWN'):
            self.admin.get_result('h1')
        self.assertEqual('pending', self.stranger('h1', ek='x').enrol())

    def test_delete_of_a_holder(self):
        host = self.host('h1')
        host.claim('00000000-0000-4000-8000-000000000001')
        with self.refused('HOLDS_KEYS'):
            self.admin.delete_host('h1')
        self.admin.delete_host('h1', force=True)
        with self.refused('HOST_UNKNOWN'):
            self.admin.delete_host('h1')
