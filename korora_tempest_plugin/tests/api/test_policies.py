# SPDX-License-Identifier: Apache-2.0
"""Appraisal policies; those that these tests make judge no host."""

from __future__ import annotations

from typing import Any

from tempest.lib import decorators
from tempest.lib import exceptions as lib_exc

from korora_tempest_plugin.tests import base


class BasePoliciesTest(base.BaseAttestationTest):
    def document(self) -> base.Json:
        return base.policy_document(self.unique('policy'))

    def names(self) -> list[str]:
        return [
            policy['name']
            for policy in self.client.list_policies()['policies']
        ]


class PoliciesTest(BasePoliciesTest):
    @decorators.idempotent_id('a759834c-1c31-4aa6-bd6a-66eab7b5884e')
    def test_create_policy(self) -> None:
        document = self.document()
        policy = self.create_policy(document)
        self.assertEqual(
            (
                document['name'],
                1,
                'Made by Tempest.',
                [base.NOWHERE],
                ['pcrs', 'ima'],
                self.client.user_id,
            ),
            (
                policy['name'],
                policy['revision'],
                policy['description'],
                policy['hosts'],
                policy['rules'],
                policy['actor'],
            ),
        )
        self.assertNotIn('document', policy)

    @decorators.idempotent_id('7c3b298f-ee3f-4b9e-9790-8a87eafc7948')
    def test_show_policy(self) -> None:
        document = self.document()
        policy = self.create_policy(document)
        self.assertEqual(
            {**policy, 'document': document},
            dict(self.client.show_policy(document['name'])),
        )

    @decorators.idempotent_id('d2cbca82-6e69-46d0-b563-697ef1b8428c')
    def test_list_policies(self) -> None:
        policy = self.create_policy(self.document())
        self.assertIn(policy, self.client.list_policies()['policies'])
        self.assertNotIn('exact', self.names())

    @decorators.idempotent_id('c5fc713d-56ed-41f5-8ac8-dd9248633e3a')
    def test_show_built_in_policy(self) -> None:
        policy = self.client.show_policy('exact')
        self.assertEqual((0, None), (policy['revision'], policy['uuid']))
        self.assertNotEqual([], policy['document']['rules'])

    @decorators.idempotent_id('38066c14-3f9d-427a-8f0a-0d28474cea58')
    def test_update_policy(self) -> None:
        document = self.document()
        policy = self.create_policy(document)
        document['description'] = 'Changed.'
        changed = self.client.update_policy(document['name'], document, 1)
        self.assertEqual(
            (2, 'Changed.', policy['uuid']),
            (changed['revision'], changed['description'], changed['uuid']),
        )
        self.assertEqual(
            document, self.client.show_policy(document['name'])['document']
        )

    @decorators.idempotent_id('aab5b643-3b04-49b1-94e2-230ccf56d9a9')
    def test_delete_policy(self) -> None:
        name = self.create_policy(self.document())['name']
        self.assertEqual(204, self.client.delete_policy(name).response.status)
        self.assertNotIn(name, self.names())
        self.assert_refused(
            lib_exc.NotFound, 'NOT_FOUND', self.client.show_policy, name
        )

    @decorators.idempotent_id('d0aca7c7-eae8-487d-a178-c0e450c51974')
    def test_name_is_free_again_after_deletion(self) -> None:
        document = self.document()
        first = self.create_policy(document)
        self.client.delete_policy(document['name'])
        second = self.create_policy(document)
        self.assertEqual(1, second['revision'])
        self.assertNotEqual(first['uuid'], second['uuid'])

    @decorators.idempotent_id('03c10d53-3a54-4afe-b307-4e5ad5b76b0c')
    def test_policy_that_a_host_satisfies(self) -> None:
        """Whoever is affirming has the PCR 4 of a reference."""
        host = self.affirming_hosts()[0]
        name = self.create_policy(self.document())['name']
        found = self.client.show_policy_differences(name, host)
        self.assertEqual(
            (name, 1, host, []),
            (
                found['policy'],
                found['revision'],
                found['host'],
                found['differences'],
            ),
        )

    @decorators.idempotent_id('7dc1977c-c6bc-41f8-8deb-09f841bb769c')
    def test_policy_that_a_host_does_not_satisfy(self) -> None:
        host = self.affirming_hosts()[0]
        name = self.create_policy(
            base.policy_document(self.unique('policy'), pcr_4='ab' * 32)
        )['name']
        (difference,) = self.client.show_policy_differences(name, host)[
            'differences'
        ]
        self.assertEqual('rules/0/pcrs', difference['rule'])
        self.assertEqual('PCR_NOT_GOLDEN', difference['reason'])
        # It was only a comparison.
        self.assertIn(host, self.affirming_hosts())

    @decorators.idempotent_id('8877e4b7-4900-41e8-b563-4bf8c0c52a21')
    def test_policy_of_other_hosts_judges_no_host(self) -> None:
        name = self.create_policy(self.document())['name']
        for host in self.affirming_hosts():
            self.assertNotIn(name, self.client.show_host(host)['policies'])


class PoliciesNegativeTest(BasePoliciesTest):
    def assert_invalid(self, document: Any, pointer: str) -> None:
        name = document['name']
        self.addCleanup(self._ignore_missing, self.client.delete_policy, name)
        error = self.assert_refused(
            lib_exc.BadRequest,
            'POLICY_INVALID',
            self.client.create_policy,
            document,
        )
        self.assertEqual(pointer, error['details']['pointer'], error)
        self.assertNotIn(name, self.names())

    @decorators.idempotent_id('05181ca1-cd3c-4215-b0b1-f6db2c559ad7')
    @decorators.attr(type='negative')
    def test_document_is_no_object(self) -> None:
        for document in (None, 'version: 1\nname: a\n', 1, ['rules']):
            self.assert_refused(
                lib_exc.BadRequest,
                'INVALID_REQUEST',
                self.client.create_policy,
                document,
            )

    @decorators.idempotent_id('99a909d8-4c62-4c72-8df7-9001453d60db')
    @decorators.attr(type='negative')
    def test_unknown_rule(self) -> None:
        document = self.document()
        document['rules'].append({'trust-me': {}})
        self.assert_invalid(document, '/rules/2')

    @decorators.idempotent_id('066df286-0503-43b3-bc84-11ddc0ddf658')
    @decorators.attr(type='negative')
    def test_unknown_parameter_of_rule(self) -> None:
        document = self.document()
        document['rules'][0]['pcrs']['optional'] = True
        self.assert_invalid(document, '/rules/0/pcrs')

    @decorators.idempotent_id('bdafaf57-382c-48c6-8325-a9b2ecc5793e')
    @decorators.attr(type='negative')
    def test_files_forgotten(self) -> None:
        document = self.document()
        del document['rules'][1]
        self.assert_invalid(document, '/rules')

    @decorators.idempotent_id('9b2debf6-2640-41e9-863b-a8469c2e7ecd')
    @decorators.attr(type='negative')
    def test_nothing_pins_the_boot(self) -> None:
        document = self.document()
        document['rules'][0]['pcrs']['registers'] = [0]
        self.assert_invalid(document, '/rules')

    @decorators.idempotent_id('53a554f4-f2c0-4264-bfd2-56287b4327b1')
    @decorators.attr(type='negative')
    def test_no_rules(self) -> None:
        self.assert_invalid({**self.document(), 'rules': []}, '/rules')

    @decorators.idempotent_id('17a90ef0-6c94-4734-a9c8-5eacc203ca84')
    @decorators.attr(type='negative')
    def test_name_is_taken(self) -> None:
        document = self.document()
        policy = self.create_policy(document)
        self.assert_refused(
            lib_exc.Conflict,
            'POLICY_CONFLICT',
            self.client.create_policy,
            {**document, 'description': 'Another one.'},
        )
        self.assertEqual(
            {**policy, 'document': document},
            dict(self.client.show_policy(document['name'])),
        )

    @decorators.idempotent_id('1ca13622-8049-4f6a-be83-c763e3fa4636')
    @decorators.attr(type='negative')
    def test_stale_revision(self) -> None:
        document = self.document()
        self.create_policy(document)
        name = document['name']
        document['description'] = 'The second.'
        self.client.update_policy(name, document, 1)
        for revision in (1, 3):
            self.assert_refused(
                lib_exc.Conflict,
                'POLICY_CONFLICT',
                self.client.update_policy,
                name,
                {**document, 'description': 'Lost.'},
                revision,
            )
        self.assertEqual(
            (2, document),
            (
                (policy := self.client.show_policy(name))['revision'],
                policy['document'],
            ),
        )

    @decorators.idempotent_id('165af7a7-6d94-441b-8c91-21d74fb168b9')
    @decorators.attr(type='negative')
    def test_update_keeps_the_name(self) -> None:
        document = self.document()
        self.create_policy(document)
        error = self.assert_refused(
            lib_exc.BadRequest,
            'POLICY_INVALID',
            self.client.update_policy,
            document['name'],
            {**document, 'name': 'another'},
            1,
        )
        self.assertEqual('/name', error['details']['pointer'])

    @decorators.idempotent_id('3144539e-ca20-40f3-b043-1e622fdcd9e3')
    @decorators.attr(type='negative')
    def test_built_in_policy_stays(self) -> None:
        document = {**self.document(), 'name': 'exact'}
        self.assertRaises(
            (lib_exc.BadRequest, lib_exc.NotFound, lib_exc.Conflict),
            self.client.create_policy,
            document,
        )
        self.assert_refused(
            lib_exc.NotFound, 'NOT_FOUND', self.client.delete_policy, 'exact'
        )
        self.assertEqual(0, self.client.show_policy('exact')['revision'])

    @decorators.idempotent_id('7ed8cfe5-e612-49e8-b492-8f76f7b7331c')
    @decorators.attr(type='negative')
    def test_unknown_policy(self) -> None:
        host, document = self.affirming_hosts()[0], self.document()
        name = document['name']
        for call, arguments in (
            (self.client.show_policy, (name,)),
            (self.client.delete_policy, (name,)),
            (self.client.update_policy, (name, document, 1)),
            (self.client.show_policy_differences, (name, host)),
        ):
            self.assert_refused(
                lib_exc.NotFound, 'NOT_FOUND', call, *arguments
            )

    @decorators.idempotent_id('f7c63340-7539-45ee-b52b-a3c85fb6eb1d')
    @decorators.attr(type='negative')
    def test_compare_with_unknown_host(self) -> None:
        self.assert_refused(
            lib_exc.NotFound,
            'HOST_UNKNOWN',
            self.client.show_policy_differences,
            'exact',
            base.NOWHERE,
        )
