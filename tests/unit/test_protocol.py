# SPDX-License-Identifier: Apache-2.0
"""The protocol's test vectors: the code makes them, and agrees with them.

This is also how another implementation would use them: it reads the files
and nothing else.
"""

from __future__ import annotations

import hashlib
import json
import pathlib
from typing import Any

import testtools
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils

from korora_nova import errors
from korora_nova.custody import approval, bodies, chain, envelope, transcript
from korora_nova.rats import evidence
from korora_nova.rats.quote import verify as quotes
from korora_nova.rats.signed import keys, result, snapshot
from korora_nova.rats.signed import token as tokens
from korora_nova.rats.signed.transcript import bind
from korora_nova.rats.tpm2 import objects
from korora_nova.rats.tpm2 import policy as tpm2_policy
from korora_nova.rats.x509 import stream
from korora_nova.secret import Secret
from tests.support import protocol, simulator, vectors

FOLDER = vectors.ROOT / 'protocol'
PAGES = pathlib.Path(__file__).parents[2] / 'doc' / 'source' / 'protocol'
unhex = bytes.fromhex


def read(name: str) -> Any:
    return json.loads((FOLDER / f'{name}.json').read_text())


def ring() -> keys.KeyRing:
    return keys.KeyRing.load(read('keys')['keys_json'])


class FilesTest(testtools.TestCase):
    def test_the_code_makes_them(self) -> None:
        """tools/vectors record 'protocol/*' writes the same bytes."""
        for name in protocol.FILES:
            text = (FOLDER / f'{name}.json').read_text()
            self.assertEqual(protocol.text(name), text, name)

    def test_there_are_no_others(self) -> None:
        found = {path.stem for path in FOLDER.glob('*')}
        self.assertEqual(set(protocol.FILES), found)

    def test_the_specification_names_each(self) -> None:
        text = (PAGES / 'vectors.rst').read_text()
        for name in protocol.FILES:
            self.assertIn(f'``{name}.json``', text)


class HashedTest(testtools.TestCase):
    def test_bindings(self) -> None:
        listed = read('bindings')['vectors']
        for one in listed:
            fields = [unhex(field) for field in one['fields']]
            self.assertEqual(one['digest'], bind(one['label'], *fields).hex())
        digests = {one['digest'] for one in listed}
        self.assertEqual(len(listed), len(digests))

    def test_policies(self) -> None:
        file = read('policies')
        pcrs = {int(n): unhex(value) for n, value in file['pcrs'].items()}
        which = tpm2_policy.PCRS_POLICY
        digest = tpm2_policy.pcr_digest(pcrs, which)
        self.assertEqual(file['pcr_digest'], digest.hex())
        self.assertEqual(file['selection'], tpm2_policy.selection(which).hex())
        boot = unhex(file['reset_restart'])
        for name, command in (
            ('transit_policy', None),
            ('approved_policy', tpm2_policy.CC_UNSEAL),
        ):
            made = tpm2_policy.state_policy(
                digest, boot, file['deadline'], command
            )
            self.assertEqual(file[name], made.hex())
        key = serialization.load_pem_public_key(file['approval_key'].encode())
        name = objects.external_ecc_name(key)
        self.assertEqual(file['approval_name'], name.hex())
        made = tpm2_policy.policy_authorize(name, unhex(file['ref']))
        self.assertEqual(file['rest_policy'], made.hex())

    def test_names(self) -> None:
        for one in read('names')['vectors']:
            key = serialization.load_pem_public_key(one['public'].encode())
            self.assertEqual(one['kid'], keys.key_id(key))
            self.assertEqual(one['stream_name'], stream.name_of(key))


class SignedTest(testtools.TestCase):
    def test_private_keys_are_those_that_are_pinned(self) -> None:
        file = read('keys')
        for use, scalar in file['private'].items():
            made = ec.derive_private_key(int(scalar, 16), ec.SECP256R1())
            self.assertEqual(
                [keys.key_id(made.public_key())],
                [entry['kid'] for entry in file['keys_json'][use]],
            )

    def test_results(self) -> None:
        file, refused = read('results'), set()
        for one in file['vectors']:
            found = ''
            try:
                result.verify_result(
                    one['token'],
                    ring(),
                    host=file['host'],
                    cloud=file['cloud'],
                    now=one['now'],
                )
            except errors.Untrusted as exc:
                found = exc.reason
            self.assertEqual(one['refused'], found, one['what'])
            refused.add(found)
        self.assertEqual({'', 'RESULT_FORGED', 'RESULT_EXPIRED'}, refused)

    def test_documents(self) -> None:
        file = read('custody')
        good = [one['token'] for one in file['vectors']]
        verified = chain.verify_chain(good, ring())
        self.assertEqual(
            [one['digest'] for one in file['vectors']],
            [one.hash for one in verified],
        )
        same = chain.read(file['same']['token'], ring())
        self.assertEqual(verified[1].hash, same.hash)
        self.assertNotEqual(verified[1].token, same.token)
        for one in file['broken']:
            error = self.assertRaises(
                errors.CustodyError, chain.verify_chain, one['chain'], ring()
            )
            self.assertEqual(
                str(one['at']), error.details['version'], one['what']
            )

    def test_approvals(self) -> None:
        file = read('approvals')
        made = approval.Approval.from_json(file['approval'])
        approval.verify_approval(
            made,
            ring(),
            instance=made.instance,
            epoch=made.epoch,
            ref=made.ref,
        )
        self.assertEqual(file['approved_policy'], made.approved_policy.hex())
        ring().approval[made.key_kid].verify(
            unhex(file['signature_der']),
            unhex(file['signed_digest']),
            ec.ECDSA(utils.Prehashed(hashes.SHA256())),
        )

    def test_snapshots(self) -> None:
        file = read('snapshots')
        whole, change = file['whole'], file['change']
        held = snapshot.verify(
            snapshot.Update(whole['token'], '', whole['rows']),
            ring(),
            now=file['now'],
        )
        self.assertEqual(whole['mark'], held.head.mark)
        update = snapshot.Update(
            change['token'],
            change['base'],
            change['rows'],
            tuple(change['gone']),
        )
        after = snapshot.verify(update, ring(), now=file['now'], held=held)
        self.assertEqual(change['digest'], after.head.digest)
        self.assertEqual(set(held.rows) - set(change['gone']), set(after.rows))
        missed = update._replace(gone=())
        self.assertRaises(
            errors.Untrusted,
            snapshot.verify,
            missed,
            ring(),
            now=file['now'],
            held=held,
        )


class TpmTest(testtools.TestCase):
    def test_quotes(self) -> None:
        file = read('quotes')
        ak = objects.parse_public(unhex(file['ak_public']))
        self.assertEqual(file['ak_name'], ak.name.hex())
        qualifying = evidence.qualify(
            unhex(file['challenge']),
            file['purpose'],
            file['host'],
            file['body'].encode(),
        )
        self.assertEqual(file['qualifying'], qualifying.hex())
        for one in file['vectors']:
            quote = quotes.Quote(
                unhex(one['attest']),
                unhex(one['signature']),
                {int(n): unhex(value) for n, value in one['pcrs'].items()},
            )
            found = ''
            try:
                verified = quotes.verify_quote(quote, ak, qualifying)
            except errors.EvidenceError as exc:
                found = exc.reason
            else:
                self.assertEqual(
                    (file['reset_count'], file['restart_count']),
                    (
                        verified.clock.reset_count,
                        verified.clock.restart_count,
                    ),
                )
            self.assertEqual(one['refused'], found, one['what'])

    def creation(self, file: Any, outside: bytes) -> None:
        public = objects.parse_public(unhex(file['msk_public']))
        objects.check_msk(public)
        self.assertEqual(file['msk_name'], public.name.hex())
        body = bodies.receive_key_body(
            file['migration'],
            file['instance'],
            file['source'],
            unhex(file['msk_public']),
        )
        self.assertEqual(file['body'], body.decode())
        quotes.verify_creation(
            unhex(file['attest']),
            unhex(file['signature']),
            objects.parse_public(unhex(file['ak_public'])),
            evidence.qualify(
                unhex(file['challenge']), 'receive-key', file['dest'], body
            ),
            public,
            unhex(file['creation_data']),
            outside,
        )

    def test_creations(self) -> None:
        file = read('creations')
        outside = transcript.msk_outside_info(
            unhex(file['challenge']),
            file['migration'],
            file['instance'],
            file['source'],
            file['dest'],
        )
        self.assertEqual(file['outside_info'], outside.hex())
        self.creation(file, outside)
        self.assertRaises(errors.EvidenceError, self.creation, file, bytes(32))

    def test_credentials(self) -> None:
        file = read('credentials')
        ek = ec.derive_private_key(int(file['ek_private'], 16), ec.SECP256R1())
        self.assertEqual(
            file['secret'],
            simulator.activate_ecc(
                ek,
                unhex(file['ak_name']),
                unhex(file['credential']),
                unhex(file['encrypted_secret']),
                'sha256',
            ).hex(),
        )

    def test_envelopes(self) -> None:
        file = read('envelopes')
        opened = envelope.open_envelope(
            Secret(unhex(file['key'])),
            unhex(file['envelope']),
            unhex(file['aad']),
        )
        self.assertEqual(file['plaintext'], opened.reveal().hex())
        self.assertEqual(file['nonce'], file['envelope'][:24])
        payload = envelope.TransitPayload.unpack(
            Secret(unhex(file['payload']))
        )
        payload.check(
            migration=file['migration'],
            instance=file['instance'],
            epoch=file['epoch'],
        )
        self.assertEqual(file['key'], payload.key.reveal().hex())


class MessagesTest(testtools.TestCase):
    def test_requests(self) -> None:
        seen = set()
        for one in read('requests')['vectors']:
            body = one['body'].encode()
            self.assertEqual(one['sha256'], hashlib.sha256(body).hexdigest())
            kind = bodies.BODIES[one['purpose']]
            if one['refused']:
                self.assertRaises(errors.Invalid, kind.parse, one['body'])
            else:
                kind.parse(one['body'])
                seen.add(one['purpose'])
        self.assertEqual(set(bodies.BODIES), seen)


class TokensTest(testtools.TestCase):
    def test_a_digest_is_of_what_is_signed(self) -> None:
        token = read('custody')['vectors'][0]['token']
        signed = token.rpartition('.')[0].encode()
        self.assertEqual(hashlib.sha256(signed).digest(), tokens.digest(token))
