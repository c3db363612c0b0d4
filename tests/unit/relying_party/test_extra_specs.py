# SPDX-License-Identifier: Apache-2.0
"""Validators as Nova's API uses them."""

from unittest import mock

import testtools
from nova import exception
from nova.api.validation.extra_specs import validators

from korora_nova.relying_party import extra_specs, requirement


class TestExtraSpecs(testtools.TestCase):
    def setUp(self):
        super().setUp()
        known = {item.name: item for item in extra_specs.register()}
        for name, value in (
            ('VALIDATORS', known),
            ('NAMESPACES', {'korora', 'trust'}),
        ):
            patch = mock.patch.object(validators, name, value)
            patch.start()
            self.addCleanup(patch.stop)

    def test_good(self):
        for name, value in (
            (requirement.TRUST, 'trusted'),
            (requirement.TRUSTED_HOST, 'required'),
            (requirement.MAX_AGE, '30'),
            (requirement.PROTECTED, 'true'),
        ):
            validators.validate(name, value)

    def test_bad(self):
        for name, value in (
            (requirement.TRUST, 'yes'),
            (requirement.TRUSTED_HOST, 'true'),
            (requirement.MAX_AGE, '0'),
            (requirement.MAX_AGE, 'soon'),
            (requirement.PROTECTED, 'yes'),
            ('korora:unknown', 'x'),
            ('korora:trusted_hosts', 'required'),
        ):
            self.assertRaises(
                exception.ValidationError, validators.validate, name, value
            )

    def test_every_admitted_value_is_understood(self):
        """The API admits nothing that the requirement reads as a typo."""
        for validator in extra_specs.register():
            for value in validator.value.get('enum', ('1',)):
                found = requirement.requirement(
                    {validator.name: value}, {}, True
                )
                self.assertEqual(
                    value in ('trusted', 'required', '1', 'true'),
                    found.trusted,
                    (validator.name, value),
                )
