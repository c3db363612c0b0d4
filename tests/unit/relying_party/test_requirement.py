# SPDX-License-Identifier: Apache-2.0
"""What flavors and images demand."""

import testtools

from korora_nova import errors
from korora_nova.relying_party import requirement as req

HOST_TPM = {'hw:tpm_version': '2.0', 'hw:tpm_secret_security': 'host'}


def read(specs=None, props=None, protect=True):
    return req.requirement(specs or {}, props or {}, protect)


class TestRequirement(testtools.TestCase):
    def test_plain(self):
        self.assertEqual(req.Requirement(), read())
        self.assertEqual(req.Requirement(), read({'hw:cpu_policy': 'shared'}))

    def test_host_mode_vtpm_is_custody(self):
        expected = req.Requirement(trusted=True, custody=True, vtpm=True)
        self.assertEqual(expected, read(HOST_TPM))
        self.assertEqual(
            expected,
            read(
                {'hw:tpm_secret_security': 'host'}, {'hw_tpm_version': '2.0'}
            ),
        )
        self.assertEqual(
            expected,
            read({'hw:tpm_secret_security': 'host'}, {'hw_tpm_model': 'x'}),
        )

    def test_host_mode_without_vtpm_is_plain(self):
        self.assertEqual(
            req.Requirement(), read({'hw:tpm_secret_security': 'host'})
        )

    def test_other_modes_are_stock(self):
        for mode in ('user', 'deployment', None):
            specs = {'hw:tpm_version': '2.0', 'hw:tpm_secret_security': mode}
            self.assertEqual(req.Requirement(vtpm=True), read(specs), mode)

    def test_image_cannot_choose_the_mode(self):
        self.assertFalse(
            read(
                {'hw:tpm_version': '2.0'}, {'hw_tpm_secret_security': 'host'}
            ).custody
        )

    def test_protect_vtpm_off(self):
        self.assertEqual(
            req.Requirement(vtpm=True), read(HOST_TPM, protect=False)
        )

    def test_protected_overrides_the_default(self):
        self.assertTrue(
            read(
                {**HOST_TPM, 'korora:protected': 'true'}, protect=False
            ).custody
        )
        self.assertTrue(
            read({'hw:tpm_version': '2.0', 'korora:protected': 'true'}).custody
        )

    def test_protected_without_vtpm_demands_trust(self):
        self.assertEqual(
            req.Requirement(trusted=True), read({'korora:protected': 'true'})
        )

    def test_protected_false_does_not_lower(self):
        self.assertTrue(
            read({**HOST_TPM, 'korora:protected': 'false'}).custody
        )

    def test_both_spellings_of_trust(self):
        for specs in (
            {req.TRUST: 'trusted'},
            {req.TRUST: ' Trusted '},
            {req.TRUSTED_HOST: 'required'},
            {req.TRUSTED_HOST: 'REQUIRED'},
        ):
            self.assertEqual(req.Requirement(trusted=True), read(specs), specs)

    def test_values_that_demand_nothing(self):
        for specs in (
            {req.TRUST: 'untrusted'},
            {req.TRUST: 'unknown'},
            {req.TRUSTED_HOST: 'none'},
            {req.TRUSTED_HOST: ''},
            {req.TRUSTED_HOST: None},
        ):
            self.assertEqual(req.Requirement(), read(specs), specs)

    def test_unknown_values_demand_trust(self):
        for specs in (
            {req.TRUST: 'yes'},
            {req.TRUSTED_HOST: 'requird'},
            {req.PROTECTED: '1'},
        ):
            self.assertTrue(read(specs).trusted, specs)

    def test_max_age(self):
        self.assertEqual(
            req.Requirement(trusted=True, max_age=30),
            read({req.MAX_AGE: '30'}),
        )

    def test_bad_max_age_is_refused(self):
        for value in ('0', '-1', '1.5', 'soon', '٣'):
            error = self.assertRaises(
                errors.Invalid, read, {req.MAX_AGE: value}
            )
            self.assertEqual('INVALID_REQUEST', error.reason)
