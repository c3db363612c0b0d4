# SPDX-License-Identifier: Apache-2.0
"""Forgeries that no kind of signed document may survive (T20)."""

import dataclasses
import hashlib
import hmac
import unittest

import hypothesis
import jwt
from cryptography.hazmat.primitives import serialization
from hypothesis import strategies as st

from korora_nova import errors
from korora_nova.custody import documents as custody
from korora_nova.custody.permit import Permit
from korora_nova.custody.receipt import Receipt
from korora_nova.rats import verdict
from korora_nova.rats.signed import keys, result, token
from korora_nova.rats.words import Tier
from tests.support import documents

KINDS = {
    'result': result.KIND,
    'permit': Permit.KIND,
    'receipt': Receipt.KIND,
}


class TokenTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.keys = documents.Keys()
        cls.tokens = {
            'result': result.sign_result(
                documents.a_result(), cls.keys.result
            ),
            'permit': custody.sign(documents.a_permit(), cls.keys.custody),
            'receipt': custody.sign(documents.a_receipt(), cls.keys.custody),
        }

    def refused(self, forged, kind):
        with self.assertRaises(token.TokenError):
            token.verify(forged, self.keys.ring, kind)

    def resigned(self, name, header=None, claims=None, key=None):
        """The named token with changed parts, signed again."""
        old_header, old_claims, _ = documents.split(self.tokens[name])
        header = {**old_header, **(header or {})}
        claims = {**old_claims, **(claims or {})}
        key = key or (
            self.keys.result if name == 'result' else self.keys.custody
        )
        return jwt.encode(
            claims, key.private, algorithm='ES256', headers=header
        )

    def test_good_tokens_verify_as_their_own_kind_only(self):
        for name, text in self.tokens.items():
            for other, kind in KINDS.items():
                if name == other:
                    claims = token.verify(text, self.keys.ring, kind)
                    self.assertEqual(documents.CLOUD, claims['cloud'])
                else:
                    self.refused(text, kind)

    def test_another_signature_is_no_other_token(self):
        for name, text in self.tokens.items():
            twin = documents.other_signature(text)
            self.assertNotEqual(text, twin)
            self.assertEqual(
                token.verify(text, self.keys.ring, KINDS[name]),
                token.verify(twin, self.keys.ring, KINDS[name]),
            )
            self.assertEqual(token.digest(text), token.digest(twin))
        self.assertEqual(3, len(set(map(token.digest, self.tokens.values()))))

    def test_key_of_another_use(self):
        for name, kind in KINDS.items():
            wrong = self.keys.custody if name == 'result' else self.keys.result
            for key in (wrong, self.keys.approval):
                self.refused(
                    self.resigned(name, header={'kid': key.kid}, key=key), kind
                )

    def test_stranger_signs_under_a_pinned_id(self):
        stranger = keys.SigningKey.generate()
        for name, kind in KINDS.items():
            self.refused(self.resigned(name, key=stranger), kind)
            self.refused(
                self.resigned(
                    name, header={'kid': stranger.kid}, key=stranger
                ),
                kind,
            )

    def test_alg_none_and_hmac_with_the_public_key(self):
        pem = self.keys.result.public.public_bytes(
            serialization.Encoding.PEM,
            serialization.PublicFormat.SubjectPublicKeyInfo,
        )
        header, claims, _ = documents.split(self.tokens['result'])
        for algorithm in ('none', 'None', 'HS256', 'ES384', ''):
            unsigned = documents.join({**header, 'alg': algorithm}, claims, '')
            mac = hmac.digest(pem, unsigned[:-1].encode(), hashlib.sha256)
            self.refused(unsigned, result.KIND)
            self.refused(unsigned + documents.b64url(mac), result.KIND)

    def test_header_is_exact(self):
        for change in (
            {'crit': ['x'], 'x': 1},
            {'jku': 'http://a'},
            {'jwk': {}},
            {'typ': 'JWT'},
            {'x5c': []},
        ):
            self.refused(self.resigned('result', header=change), result.KIND)
        header, claims, signature = documents.split(self.tokens['result'])
        for field in header:
            less = {
                key: value for key, value in header.items() if key != field
            }
            self.refused(documents.join(less, claims, signature), result.KIND)
        self.refused(
            documents.join({**header, 'kid': ['a']}, claims, signature),
            result.KIND,
        )

    def test_every_claim_is_required_and_closed(self):
        for name, kind in KINDS.items():
            header, claims, _ = documents.split(self.tokens[name])
            key = self.keys.result if name == 'result' else self.keys.custody
            for field in claims:
                less = {k: v for k, v in claims.items() if k != field}
                self.refused(
                    jwt.encode(less, key.private, 'ES256', headers=header),
                    kind,
                )
            self.refused(self.resigned(name, claims={'more': 1}), kind)

    def test_version_audience_issuer_cloud(self):
        for name, kind in KINDS.items():
            for change in (
                {'version': 0},
                {'version': None},
                {'aud': 'other'},
                {'iss': 'other'},
                {'aud': ['a', 'b']},
                {'iat': 'x'},
                {'cloud': documents.OTHER},
            ):
                self.refused(self.resigned(name, claims=change), kind)

    def test_size_is_bounded(self):
        self.refused('a' * (token.MAX_TOKEN + 1), result.KIND)

    @hypothesis.given(st.data())
    @hypothesis.settings(deadline=None, database=None, max_examples=300)
    def test_any_other_text_is_refused(self, data):
        text = self.tokens['permit']
        at = data.draw(st.integers(0, len(text) - 1))
        forged = data.draw(
            st.one_of(
                st.text(max_size=200),
                st.just(text[:at]),
                st.characters().map(lambda c: text[:at] + c + text[at + 1 :]),
            )
        )
        try:
            claims = token.verify(forged, self.keys.ring, Permit.KIND)
        except token.TokenError:
            return
        # The last character of base64 has bits that carry nothing.
        self.assertEqual(
            token.verify(text, self.keys.ring, Permit.KIND), claims
        )


class ResultTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.keys = documents.Keys()

    def verify(self, value, host='h1', now=1100.0, cloud=documents.CLOUD):
        return result.verify_result(
            result.sign_result(value, self.keys.result),
            self.keys.ring,
            host=host,
            cloud=cloud,
            now=now,
        )

    def refused(self, reason, function, *args, **kwargs):
        with self.assertRaises(errors.Untrusted) as caught:
            function(*args, **kwargs)
        self.assertEqual(reason, caught.exception.reason)

    def test_round_trip(self):
        verified = self.verify(documents.a_result())
        self.assertEqual(
            documents.a_result(issuer=f'korora:{documents.CLOUD}'),
            verified.result,
        )
        verified.require_affirming(1100.0)
        verified.require_affirming(1100.0, max_age=100)

    def test_other_host_or_cloud(self):
        self.refused(
            'RESULT_FORGED', self.verify, documents.a_result(), host='h2'
        )
        self.refused(
            'RESULT_FORGED',
            self.verify,
            documents.a_result(),
            cloud=documents.OTHER,
        )
        self.refused(
            'RESULT_FORGED',
            self.verify,
            documents.a_result(reasons=('PCR_NOT_GOLDEN',)),
        )

    def test_staleness_is_the_readers(self):
        self.refused(
            'RESULT_EXPIRED', self.verify, documents.a_result(), now=1180.0
        )
        self.refused(
            'RESULT_EXPIRED', self.verify, documents.a_result(), now=900.0
        )
        verified = self.verify(documents.a_result(), now=1179.9)
        self.refused('RESULT_EXPIRED', verified.require_affirming, 1180.0)
        self.refused(
            'RESULT_EXPIRED', verified.require_affirming, 1150.0, max_age=149.0
        )

    def test_enforcer(self):
        """What the host is, and whether it enforces, are two statements."""
        for reason in ('ENFORCER_ABSENT', 'ENFORCER_DRIFT'):
            verified = self.verify(documents.a_result(enforcer=reason))
            verified.require_affirming(1100.0)
            self.refused(reason, verified.require_enforcing)
        self.verify(documents.a_result()).require_enforcing()

    def test_sources(self):
        """Which verifier said what, and none of them by default."""
        native = verdict.Verdict(
            'native', True, True, Tier.AFFIRMING, (), 'h1', 1000.0, 1180.0
        )
        shown = verdict.Verdict(
            'b', False, False, Tier.CONTRAINDICATED, ('X',), 'y', 1.0, 1180.0
        )
        said = (native, shown)
        verified = self.verify(documents.a_result(sources=said))
        self.assertEqual(said, verified.result.sources)
        signed = result.sign_result(documents.a_result(), self.keys.result)
        self.assertNotIn('sources', documents.split(signed)[1])
        for tier in (Tier.NONE, Tier.CONTRAINDICATED):
            lies = dataclasses.replace(native, tier=tier, reasons=('X',))
            self.refused(
                'RESULT_FORGED',
                self.verify,
                documents.a_result(sources=(lies,)),
            )
        self.refused(
            'RESULT_FORGED',
            self.verify,
            documents.a_result(sources=(native,) * 9),
        )

    def test_contradictions(self):
        signed = result.sign_result(documents.a_result(), self.keys.result)
        header, good, _ = documents.split(signed)
        for claims in (
            {'enforcing': False},
            {'enforcer': 'ENFORCER_ABSENT'},
            {'enforcer': 'HOST_UNTRUSTED', 'enforcing': False},
            {'enforcing': 1},
        ):
            forged = jwt.encode(
                {**good, **claims},
                self.keys.result.private,
                'ES256',
                headers=header,
            )
            self.refused(
                'RESULT_FORGED',
                result.verify_result,
                forged,
                self.keys.ring,
                host='h1',
                cloud=documents.CLOUD,
                now=1100.0,
            )

    def test_contraindicated(self):
        verified = self.verify(
            documents.a_result(
                tier='contraindicated', reasons=('PCR_NOT_GOLDEN',)
            )
        )
        self.refused('HOST_UNTRUSTED', verified.require_affirming, 1100.0)
        self.refused(
            'HOST_UNTRUSTED',
            self.verify(documents.a_result(tier='none')).require_affirming,
            1100.0,
        )

    def test_forged_token_is_never_unavailable(self):
        with self.assertRaises(errors.Untrusted) as caught:
            result.verify_result(
                'a.b.c',
                self.keys.ring,
                host='h1',
                cloud=documents.CLOUD,
                now=0,
            )
        self.assertEqual('RESULT_FORGED', caught.exception.reason)
