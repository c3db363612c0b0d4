# SPDX-License-Identifier: Apache-2.0
"""Results as EAT attestation results, as another relying party reads them.

jwcrypto verifies, with the keys that the service publishes; what signs is
another library.
"""

import dataclasses
import json

import jwt
import sqlalchemy as sa
from jwcrypto import jwk, jws
from jwcrypto.common import JWException

from korora_nova import errors
from korora_nova.rats.signed import ear, keys, result, snapshot
from korora_nova.rats.signed import token as tokens
from korora_nova.verifier.db import models
from tests.functional.api import base

EAT = 'application/eat+jwt'
NONCE = 'bm9uY2Utb2YtYS1yZWx5aW5nLXBhcnR5'


class EarTestCase(base.ApiTestCase):
    def setUp(self):
        super().setUp()
        self.h1 = self.host('h1')

    def get(self, accept=EAT, path='/v1/results/h1', roles='service'):
        return self.korora.request('GET', path, roles=roles, accept=accept)

    def token(self, path='/v1/results/h1'):
        answer = self.get(path=path)
        self.assertEqual(200, answer.status_code, answer.text)
        return answer.text

    def claims(self, path='/v1/results/h1', token=None):
        """What another relying party reads."""
        token = token or self.token(path)
        published = json.loads(self.get('application/json', '/v1/keys').text)
        signed = jws.JWS()
        signed.deserialize(token)
        header = signed.jose_header
        self.assertEqual({'alg', 'typ', 'kid'}, set(header))
        self.assertEqual(('ES256', 'eat+jwt'), (header['alg'], header['typ']))
        (pem,) = [
            one['pem']
            for one in published['result']
            if one['kid'] == header['kid']
        ]
        signed.verify(jwk.JWK.from_pem(pem.encode()))
        return json.loads(signed.payload)

    def host_of(self, claims):
        self.assertEqual(['host'], list(claims['submods']))
        return claims['submods']['host']


class TestClaims(EarTestCase):
    def test_affirming(self):
        now = self.korora.clock()
        claims = self.claims()
        self.assertEqual(
            'tag:ietf.org,2026:rats/ear#04', claims['eat_profile']
        )
        self.assertEqual('h1', claims['sub'])
        self.assertEqual(f'korora:{self.korora.ring.cloud}', claims['iss'])
        self.assertEqual(
            {'developer', 'build'}, set(claims['ear_verifier_id'])
        )
        for name in ('iat', 'exp'):
            self.assertIsInstance(claims[name], int)
        self.assertEqual(int(now), claims['iat'])
        self.assertLess(claims['exp'], now + 180)
        self.assertGreater(claims['exp'], now)
        host = self.host_of(claims)
        self.assertEqual('affirming', host['ear_status'])
        self.assertEqual('affirming', claims['ear_status'])
        self.assertEqual(
            {'instance-identity': 2, 'hardware': 2, 'executables': 2},
            host['ear_trustworthiness_vector'],
        )
        self.assertEqual(['exact'], host['ear_appraisal_policy_ids'])
        self.assertEqual([], host['korora_nova']['reasons'])
        for absent in ('aud', 'version', 'eat_nonce', 'nbf'):
            self.assertNotIn(absent, claims)

    def test_contraindicated(self):
        self.h1.measure('/usr/bin/miner')
        self.h1.attest_now()
        host = self.host_of(self.claims())
        self.assertEqual('contraindicated', host['ear_status'])
        self.assertEqual(
            {'instance-identity': 2, 'hardware': 2, 'executables': 96},
            host['ear_trustworthiness_vector'],
        )
        self.assertEqual(['IMA_UNKNOWN_FILE'], host['korora_nova']['reasons'])

    def test_never_better_than_the_vector(self):
        """Of every reason that there is; the draft's rule."""
        for reason in errors.REASONS:
            found = ear.vector(
                ear.Appraised(
                    'h1',
                    result.Tier.CONTRAINDICATED,
                    (reason,),
                    '',
                    1.0,
                    2.0,
                    certified=True,
                )
            )
            self.assertLessEqual(max(found.values()), 96)
            self.assertTrue(found)

    def test_expired(self):
        self.korora.clock.advance(200)
        claims = self.claims()
        host = self.host_of(claims)
        self.assertEqual('none', host['ear_status'])
        self.assertEqual(
            {'instance-identity': 0}, host['ear_trustworthiness_vector']
        )
        self.assertEqual(['RESULT_EXPIRED'], host['korora_nova']['reasons'])
        self.assertLessEqual(claims['exp'], claims['iat'] + 10)

    def test_evicted(self):
        self.admin.evict_host('h1', 'burnt', dry_run=False, after='')
        host = self.host_of(self.claims())
        self.assertEqual('contraindicated', host['ear_status'])
        self.assertEqual(
            96, host['ear_trustworthiness_vector']['instance-identity']
        )

    def test_what_was_not_signed(self):
        """Writing to the database makes nobody trusted."""
        self.h1.measure('/usr/bin/miner')
        self.h1.attest_now()
        with self.korora.service.db.write() as session:
            session.execute(
                sa.update(models.Host).values(tier='affirming', reasons=[])
            )
        self.assertEqual(
            'contraindicated', self.host_of(self.claims())['ear_status']
        )
        with self.korora.service.db.write() as session:
            session.execute(sa.update(models.Host).values(token='a.b.c'))
        host = self.host_of(self.claims())
        self.assertEqual('none', host['ear_status'])
        self.assertEqual(['RESULT_FORGED'], host['korora_nova']['reasons'])

    def test_policies(self):
        """No claim on what no policy judged, or not this one."""
        pinned = {'pcrs': {'registers': [0, 4], 'references': True}}
        document = {
            'version': 1,
            'name': 'p',
            'rules': [pinned, {'ima': 'not-appraised'}],
        }
        self.admin.create_policy(document)
        self.h1.attest_now()

        def executables(ids):
            host = self.host_of(self.claims())
            self.assertEqual('affirming', host['ear_status'])
            self.assertEqual(ids, host['ear_appraisal_policy_ids'])
            return host['ear_trustworthiness_vector'].get('executables')

        self.assertIsNone(executables(['p/1']))
        document['rules'][1] = {'ima': {'references': True}}
        self.admin.update_policy('p', document, 1)
        self.assertIsNone(executables(['p/2']))
        self.h1.attest_now()
        self.assertEqual(2, executables(['p/2']))

    def test_nonce(self):
        claims = self.claims(f'/v1/results/h1?nonce={NONCE}')
        self.assertEqual(NONCE, claims['eat_nonce'])
        for bad in ('short', 'a' * 89, 'bm9uY2Ut b2Yt', 'bm9u%0aY2Utb2Y', 'é'):
            answer = self.get(path=f'/v1/results/h1?nonce={bad}')
            self.assertEqual(400, answer.status_code, bad)
        answer = self.get(path='/v1/results/h1?other=1')
        self.assertEqual(400, answer.status_code)
        # It would not be in the answer.
        answer = self.get('application/json', f'/v1/results/h1?nonce={NONCE}')
        self.assertEqual(400, answer.status_code)


class TestConfusion(EarTestCase):
    """Signed by one key, and never taken for one of our tokens."""

    def test_readers_of_ours_refuse_it(self):
        eat = self.token()
        for kind in (result.KIND, snapshot.KIND):
            self.assertRaises(
                tokens.TokenError,
                tokens.verify,
                eat,
                self.korora.ring,
                kind,
            )
            self.assertRaises(
                tokens.TokenError,
                tokens.authentic,
                eat,
                self.korora.ring,
                kind,
            )

    def test_even_if_they_forgot_the_type(self):
        """The claims alone are no result either."""
        published = self.korora.ring
        header = jwt.get_unverified_header(self.token())
        self.assertRaises(
            jwt.MissingRequiredClaimError,
            jwt.decode,
            self.token(),
            published.result[header['kid']],
            algorithms=['ES256'],
            audience=result.KIND.audience,
            options={'require': ['aud']},
        )

    def test_others_read_it_with_pyjwt(self):
        header = jwt.get_unverified_header(self.token())
        claims = jwt.decode(
            self.token(),
            self.korora.ring.result[header['kid']],
            algorithms=['ES256'],
            options={'verify_exp': False, 'verify_iat': False},
        )
        self.assertEqual('h1', claims['sub'])

    def test_a_result_is_no_eat(self):
        token = self.admin.get_result('h1')['token']
        claims = jwt.decode(token, options={'verify_signature': False})
        self.assertNotIn('eat_profile', claims)
        self.assertNotIn('submods', claims)

    def test_another_key(self):
        token = self.token()
        stranger = keys.SigningKey.generate()
        signed = jws.JWS()
        signed.deserialize(token)
        pem = stranger.public.public_bytes(*self._pem_format())
        self.assertRaises(JWException, signed.verify, jwk.JWK.from_pem(pem))
        head, payload, signature = token.split('.')
        changed = '.'.join([head, payload[:-4] + 'AAAA', signature])
        self.assertRaises(JWException, self.claims, token=changed)

    def _pem_format(self):
        from cryptography.hazmat.primitives import serialization as s

        return s.Encoding.PEM, s.PublicFormat.SubjectPublicKeyInfo


class TestKeys(EarTestCase):
    TYPE = 'application/jwk-set+json'

    def test_set(self):
        answer = self.get(self.TYPE, '/v1/keys', roles='')
        self.assertEqual(self.TYPE, answer.headers['Content-Type'])
        self.assertIn('Accept', answer.vary)
        found = jwk.JWKSet.from_json(answer.text)
        signed = jws.JWS()
        signed.deserialize(self.token())
        kid = signed.jose_header['kid']
        signed.verify(found.get_key(kid))
        (one,) = json.loads(answer.text)['keys']
        self.assertEqual(
            {'kty', 'crv', 'x', 'y', 'kid', 'use', 'alg'}, set(one)
        )

    def test_as_before(self):
        answer = self.get(None, '/v1/keys', roles='')
        self.assertEqual(self.korora.ring.to_json(), json.loads(answer.text))

    def test_revoked(self):
        """Others believe it no longer than we do."""
        kid = next(iter(self.korora.ring.result))
        ring = self.korora.ring.having(
            dataclasses.replace(
                self.korora.ring.find(kid), state=keys.State.REVOKED
            )
        )
        self.assertEqual({'keys': []}, ear.jwks(ring))


class TestNegotiation(EarTestCase):
    def test_types(self):
        for accept, want in (
            (None, 'application/json'),
            ('*/*', 'application/json'),
            ('application/*', 'application/json'),
            ('application/json, application/eat+jwt', 'application/json'),
            ('application/json;q=0.1, application/eat+jwt', EAT),
            (EAT, EAT),
            (f'{EAT}; eat_profile="{ear.PROFILE}"', EAT),
        ):
            answer = self.get(accept)
            self.assertEqual(200, answer.status_code, accept)
            self.assertEqual(want, answer.content_type, accept)
            self.assertIn('Accept', answer.vary)

    def test_profile_and_caches(self):
        answer = self.get()
        self.assertEqual(ear.CONTENT_TYPE, answer.headers['Content-Type'])
        self.assertEqual('no-store', answer.headers['Cache-Control'])

    def test_unknown_types(self):
        for accept in (
            'text/html',
            'application/jwt',
            'application/eat+cwt',
            f'{EAT};q=0',
            f'{EAT}; eat_profile="tag:example.org,2026:other"',
        ):
            answer = self.get(accept)
            self.assertEqual(406, answer.status_code, accept)
            self.assertEqual('application/json', answer.content_type)

    def test_elsewhere(self):
        for path in ('/v1/results', '/v1/snapshot', '/v1/hosts/h1'):
            answer = self.get(path=path, roles='admin')
            self.assertEqual(406, answer.status_code)

    def test_errors_are_json(self):
        answer = self.get(path='/v1/results/h9')
        self.assertEqual(404, answer.status_code)
        self.assertEqual(
            'HOST_UNKNOWN', json.loads(answer.text)['error']['reason']
        )

    def test_who_may(self):
        """As the JSON form."""
        for roles in ('attester', 'member', ''):
            for accept in (EAT, 'application/json'):
                self.assertEqual(
                    self.get('application/json', roles=roles).status_code,
                    self.get(accept, roles=roles).status_code,
                )
        self.assertEqual(403, self.get(roles='member').status_code)
