# SPDX-License-Identifier: Apache-2.0
"""Reference values, learned from a host that is already trusted.

The tests are serial: they must not learn a state that another test has just
tampered with.
"""

from __future__ import annotations

import secrets

from tempest.lib import decorators
from tempest.lib import exceptions as lib_exc

from korora_tempest_plugin.tests import base


@decorators.serial
class ReferencesTest(base.BaseAttestationTest):
    def names(self) -> list[str]:
        return [
            reference['name']
            for reference in self.client.list_references()['references']
        ]

    @decorators.idempotent_id('a2e7bc34-a780-4762-a803-9d3849d86c08')
    def test_create_reference(self) -> None:
        host = self.affirming_hosts()[0]
        reference = self.create_reference(host)
        self.assertEqual((2, host), (reference['version'], reference['host']))
        self.assertNotEqual({}, reference['pcrs'])
        self.assertNotIn('10', reference['pcrs'])
        for values in reference['pcrs'].values():
            self.assertEqual([64], [len(value) for value in values])
        self.assertEqual(
            reference, dict(self.client.show_reference(reference['name']))
        )

    @decorators.idempotent_id('89520c99-41b9-4663-acbf-1e355a570ce2')
    def test_list_references(self) -> None:
        reference = self.create_reference(self.affirming_hosts()[0])
        (brief,) = (
            one
            for one in self.client.list_references()['references']
            if one['name'] == reference['name']
        )
        self.assertEqual(
            len(reference['ima_digests']), brief['ima_digest_count']
        )
        self.assertEqual(
            len(reference['boot']['components']), brief['components']
        )
        self.assertEqual(reference['pcrs'], brief['pcrs'])
        self.assertNotIn('ima_digests', brief)

    @decorators.idempotent_id('74a5a6c4-bd42-48ba-b4cd-b7c17fc90633')
    def test_delete_reference(self) -> None:
        name = self.create_reference(self.affirming_hosts()[0])['name']
        self.assertEqual(
            204, self.client.delete_reference(name).response.status
        )
        self.assertNotIn(name, self.names())
        self.assert_refused(
            lib_exc.NotFound, 'NOT_FOUND', self.client.show_reference, name
        )

    @decorators.idempotent_id('0201a2b6-cc2c-4822-be79-d29d6ac65ac9')
    @decorators.attr(type='negative')
    def test_name_is_taken(self) -> None:
        host = self.affirming_hosts()[0]
        reference = self.create_reference(host)
        self.assert_refused(
            lib_exc.Conflict,
            'INVALID_REQUEST',
            self.client.create_reference,
            name=reference['name'],
            host=host,
        )
        self.assertEqual(
            reference, dict(self.client.show_reference(reference['name']))
        )


class ReferencesNegativeTest(base.BaseAttestationTest):
    @decorators.idempotent_id('f9276ec4-e1c1-467f-b216-621b66f8a309')
    @decorators.attr(type='negative')
    def test_learn_from_unknown_host(self) -> None:
        self.assert_refused(
            lib_exc.NotFound,
            'HOST_UNKNOWN',
            self.client.create_reference,
            name=self.unique('reference'),
            host=base.NOWHERE,
        )

    @decorators.idempotent_id('caf6fd82-8d5a-4c66-bd79-42cf3ae30eb3')
    @decorators.attr(type='negative')
    def test_learn_from_host_that_never_attested(self) -> None:
        host = self.unique('host')
        self.addCleanup(self.forget_host, host)
        self.client.approve_host(host, ek_hash=secrets.token_hex(32))
        self.assert_refused(
            lib_exc.NotFound,
            'RESULT_MISSING',
            self.client.create_reference,
            name=self.unique('reference'),
            host=host,
        )

    @decorators.idempotent_id('88df950d-f0e5-48f0-b5fe-d26cb0af3179')
    @decorators.attr(type='negative')
    def test_bad_bodies(self) -> None:
        for body in (
            {},
            {'name': 'a'},
            {'host': 'b'},
            {'name': '', 'host': base.NOWHERE},
            {'name': 'a b', 'host': base.NOWHERE},
            {'name': '../a', 'host': base.NOWHERE},
            {'name': 'a' * 256, 'host': base.NOWHERE},
            {'name': None, 'host': base.NOWHERE},
            {'name': 'a', 'host': base.NOWHERE, 'force': True},
        ):
            self.assert_refused(
                lib_exc.BadRequest,
                'INVALID_REQUEST',
                self.client.create_reference,
                **body,
            )

    @decorators.idempotent_id('c81f8326-0f45-49a1-b567-8f9358732b92')
    @decorators.attr(type='negative')
    def test_unknown_reference(self) -> None:
        for call in (self.client.show_reference, self.client.delete_reference):
            self.assert_refused(
                lib_exc.NotFound, 'NOT_FOUND', call, base.NOWHERE
            )
