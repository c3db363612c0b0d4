# SPDX-License-Identifier: Apache-2.0
"""Kinds of endorsement keys, against what other software knows of them."""

import unittest

from korora_nova.rats.tpm2 import templates

# As tpm2-tools has them (tpm2_createek.c), from the EK credential profile.
POLICY_B_SHA384 = (
    'b26e7d28d11a50bc53d882bcf5fd3a1a074148bb35d3b4e4cb1c0ad9bde419ca'
    'cb47ba09699646150f9fc000f3f80e12'
)
POLICY_B_SHA256 = (
    'ca3d0a99a2b93906f7a3342414efcfb3a385d44cd1fd459089d19b5071c0b7a0'
)


class TemplatesTest(unittest.TestCase):
    def test_policies_of_the_high_range(self):
        self.assertEqual(POLICY_B_SHA256, templates.policy_b(0x0B).hex())
        self.assertEqual(POLICY_B_SHA384, templates.policy_b(0x0C).hex())

    def test_places(self):
        for name in ('certificate', 'template', 'handle', 'id'):
            values = [getattr(kind, name) for kind in templates.KINDS]
            self.assertEqual(len(values), len(set(values)), name)
        for kind in templates.KINDS:
            self.assertEqual(kind.nonce == 0, kind.high)
            self.assertEqual(0x01C00000, kind.certificate & ~0xFF)
            self.assertNotEqual(bool(kind.bits), bool(kind.curve))
            self.assertEqual(
                0x000300F2 if kind.high else 0x000300B2, kind.attributes
            )
