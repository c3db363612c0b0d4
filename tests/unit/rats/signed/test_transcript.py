# SPDX-License-Identifier: Apache-2.0
import hashlib
import unittest

import hypothesis
from hypothesis import strategies as st

from korora_nova.rats.signed.transcript import bind


class BindTest(unittest.TestCase):
    def test_construction(self):
        expected = hashlib.sha256(
            b'\0\0\0\1l' + b'\0\0\0\2ab' + b'\0\0\0\0'
        ).digest()
        self.assertEqual(expected, bind('l', b'ab', b''))

    @hypothesis.given(
        st.lists(st.binary(max_size=4), max_size=4),
        st.lists(st.binary(max_size=4), max_size=4),
    )
    @hypothesis.settings(deadline=None, database=None)
    def test_no_two_lists_collide(self, left, right):
        self.assertEqual(left == right, bind('l', *left) == bind('l', *right))

    def test_label_counts(self):
        self.assertNotEqual(bind('a', b'b'), bind('b', b'b'))
        self.assertNotEqual(bind('a', b'b'), bind('ab'))
