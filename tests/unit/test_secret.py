# SPDX-License-Identifier: Apache-2.0
import copy
import json
import pickle
import traceback
import unittest

from korora_nova.secret import Secret

CANARY = b'canary-passphrase'


class SecretTest(unittest.TestCase):
    def test_reveals_only_on_request(self):
        secret = Secret(CANARY)
        self.assertEqual(CANARY, secret.reveal())
        for shown in (
            repr(secret),
            str(secret),
            f'{secret}',
            f'{secret:>9}',
            repr([secret]),
            repr({'a': secret}),
        ):
            self.assertNotIn('canary', shown)
            self.assertIn('<Secret>', shown)

    def test_never_serialized(self):
        secret = Secret(CANARY)
        for dump in (
            pickle.dumps,
            json.dumps,
            copy.copy,
            copy.deepcopy,
            bytes,
        ):
            with self.assertRaises(TypeError) as caught:
                dump(secret)
            self.assertNotIn(
                'canary', ''.join(traceback.format_exception(caught.exception))
            )

    def test_equality_is_of_the_bytes_of_secrets_only(self):
        self.assertEqual(Secret(CANARY), Secret(bytearray(CANARY)))
        self.assertNotEqual(Secret(CANARY), Secret(b'x'))
        self.assertNotEqual(Secret(CANARY), CANARY)
        with self.assertRaises(TypeError):
            hash(Secret(CANARY))

    def test_wipe(self):
        source = bytearray(CANARY)
        secret = Secret(source)
        secret.wipe()
        self.assertEqual(b'', secret.reveal())
        self.assertEqual(0, len(secret))
        self.assertEqual(CANARY, bytes(source))
