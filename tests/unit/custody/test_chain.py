# SPDX-License-Identifier: Apache-2.0
import unittest

from korora_nova import errors
from korora_nova.custody import chain
from korora_nova.custody import documents as sealed
from tests.support import documents


class ChainTest(unittest.TestCase):
    """The life of a server: granted, handed over, deleted."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.keys = documents.Keys()
        cls.tokens = cls.life()

    @classmethod
    def life(cls, **changes):
        tokens, prev = [], sealed.GENESIS
        for make, fields in (
            (documents.a_grant, {}),
            (documents.a_permit, {'epoch': 1}),
            (documents.a_start, {'epoch': 1}),
            (documents.a_receipt, {'epoch': 2, 'held': 2}),
            (documents.a_receipt, {**documents.DELETED, 'epoch': 2}),
        ):
            place = {'version': len(tokens) + 1, 'prev': prev}
            token = sealed.sign(
                make(**{**fields, **place, **changes}), cls.keys.custody
            )
            tokens.append(token)
            prev = chain.read(token, cls.keys.ring).hash
        return tokens

    def refused(self, reason, function, *args, **kwargs):
        with self.assertRaises(errors.CustodyError) as caught:
            function(*args, **kwargs)
        self.assertEqual(reason, caught.exception.reason)
        return caught.exception

    def breaks(self, tokens, version, **kwargs):
        error = self.refused(
            'DOCUMENT_INVALID',
            chain.verify_chain,
            tokens,
            self.keys.ring,
            **kwargs,
        )
        self.assertEqual(str(version), error.details['version'])

    def test_any_kind(self):
        self.assertEqual(
            ['Grant', 'Permit', 'Start', 'Receipt', 'Receipt'],
            [
                type(chain.read(token, self.keys.ring).content).__name__
                for token in self.tokens
            ],
        )

    def test_no_document(self):
        result = documents.result.sign_result(
            documents.a_result(), self.keys.result
        )
        for token in ('', 'rubbish', 'a.b.c', result, None):
            self.refused('DOCUMENT_INVALID', chain.read, token, self.keys.ring)
        for token, reason in zip(
            self.tokens,
            ('DOCUMENT_INVALID', 'PERMIT_INVALID', 'DOCUMENT_INVALID'),
            strict=False,
        ):
            for ring, incarnation in (
                (documents.Keys().ring, None),
                (self.keys.ring, documents.OTHER),
            ):
                self.refused(
                    reason, chain.read, token, ring, incarnation=incarnation
                )

    def test_chain(self):
        """T25: an edit, a gap or another order is found and named."""
        tokens = self.tokens
        self.assertEqual(
            [1, 2, 3, 4, 5],
            [
                item.content.version
                for item in chain.verify_chain(tokens, self.keys.ring)
            ],
        )
        self.assertEqual((), chain.verify_chain([], self.keys.ring))
        self.breaks(tokens[:2] + tokens[3:], 3)
        self.breaks(tokens[1:], 1)
        self.breaks([tokens[0], tokens[2], tokens[1]], 2)
        self.breaks(tokens[:2] + tokens[1:], 3)
        other = self.life(issued=1001.0)
        self.breaks([tokens[0], *other[1:]], 2)
        self.breaks([tokens[0], tokens[1][:-4] + 'AAAA'], 2)
        self.breaks([tokens[0], 'rubbish'], 2)

    def test_part_of_a_chain(self):
        second = chain.read(self.tokens[1], self.keys.ring)
        self.assertEqual(
            3,
            len(
                chain.verify_chain(
                    self.tokens[2:], self.keys.ring, after=second
                )
            ),
        )
        self.breaks(self.tokens[3:], 3, after=second)
        elsewhere = self.life(instance=documents.OTHER)
        self.breaks(elsewhere[2:], 3, after=second)
