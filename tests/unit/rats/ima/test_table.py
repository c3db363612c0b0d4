# SPDX-License-Identifier: Apache-2.0
import hashlib
import random
import unittest
from unittest import mock

from korora_nova.rats import ima
from korora_nova.rats.ima import digests, table


def keys(count, name='sha256'):
    return [
        digests.key(f'{name}:' + hashlib.new(name, b'%d' % number).hexdigest())
        for number in range(count)
    ]


class TableTest(unittest.TestCase):
    def test_holds_what_it_was_given(self):
        known = keys(500) + keys(500, 'sha1')
        made = table.Table(known + known[:100])
        self.assertEqual(1000, len(made))
        self.assertEqual(set(known), set(made))
        for key in known:
            self.assertIn(key, made)
            self.assertNotIn(key[:-1] + bytes((key[-1] ^ 1,)), made)
            self.assertNotIn(key[:10] + bytes((key[10] ^ 1,)) + key[11:], made)
            self.assertNotIn(key[:-1], made)
            self.assertNotIn(key + b'\0', made)
        for odd in (b'', b'x', None, 1):
            self.assertNotIn(odd, made)

    def test_a_key_across_two_is_none(self):
        made = table.Table([b'abcd' + b'xx', b'efgh' + b'xx'])
        self.assertNotIn(b'cdef' + b'xx', made)
        made = table.Table([b'aaab' + b'xx', b'aabc' + b'xx'])
        self.assertNotIn(b'abaa' + b'xx', made)
        self.assertIn(b'aabc' + b'xx', made)

    def test_order_is_that_of_a_set(self):
        known = keys(300) + keys(300, 'sha512')
        random.Random(1).shuffle(known)
        self.assertEqual(
            list(table.ordered(frozenset(known))),
            list(table.ordered(table.Table(known))),
        )

    def test_rules_are_the_same_however_their_digests_are_kept(self):
        listed = [digests.text(key) for key in keys(100)]
        small = ima.Rules(listed)
        with mock.patch.object(table, 'LARGE', 10):
            large = ima.Rules(listed)
        self.assertIsInstance(small.digests, frozenset)
        self.assertIsInstance(large.digests, table.Table)
        self.assertEqual(small.fingerprint, large.fingerprint)
        for digest in listed:
            self.assertIsNone(large.check(ima.Entry(digest, b'/a', False)))
        self.assertIsNotNone(
            large.check(ima.Entry('sha256:' + '0' * 64, b'/a', False))
        )
