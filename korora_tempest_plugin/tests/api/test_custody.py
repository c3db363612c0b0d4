# SPDX-License-Identifier: Apache-2.0
"""The ledger, hand-overs and receipts, where there is nothing to hand over.

The scenarios test what becomes of them when servers move.
"""

from __future__ import annotations

import uuid

from tempest.lib import decorators
from tempest.lib import exceptions as lib_exc

from korora_tempest_plugin.tests import base


class CustodyTest(base.BaseAttestationTest):
    @decorators.idempotent_id('5b0d3f6e-0c53-4d0a-b7a5-6c6a2d5b9e11')
    def test_list_servers(self) -> None:
        for query in ({}, {'limit': '1'}, {'issues': 'true', 'limit': '1'}):
            answer = self.client.list_servers(**query)
            for server in answer['servers']:
                self.assertIn('state', server)
            self.assertLessEqual(
                len(answer['servers']), int(query.get('limit', 1000))
            )

    @decorators.idempotent_id('7dc5f902-1db4-432c-ac82-8052cfc74fc2')
    def test_list_migrations(self) -> None:
        for migration in self.client.list_migrations()['migrations']:
            self.assertIn(
                migration['status'],
                (
                    'receiving',
                    'permitted',
                    'sealed',
                    'moving',
                    'committed',
                    'aborted',
                    'disputed',
                ),
            )

    @decorators.idempotent_id('0b60c80b-7a3e-419c-94ad-0586a12f56f6')
    def test_list_receipts(self) -> None:
        receipts = self.client.list_receipts()['receipts']
        for receipt in receipts:
            self.assertEqual(2, receipt.count('.'))
        self.assertEqual(len(receipts), len(set(receipts)))

    @decorators.idempotent_id('f5968fe6-8344-45c5-b820-0102e1bef8a4')
    def test_list_receipts_since(self) -> None:
        self.assertEqual(
            [], self.client.list_receipts(since=10**17)['receipts']
        )
        everything = self.client.list_receipts()['receipts']
        self.assertEqual(
            everything,
            self.client.list_receipts(since=0)['receipts'][: len(everything)],
        )


class CustodyNegativeTest(base.BaseAttestationTest):
    @decorators.idempotent_id('3c5b81f4-3619-47c2-8ddf-b476e95a9ac5')
    @decorators.attr(type='negative')
    def test_bad_since(self) -> None:
        for bad in ('', '-1', 'all', '1.5', '9' * 19):
            self.assert_refused(
                lib_exc.BadRequest,
                'INVALID_REQUEST',
                self.client.list_receipts,
                since=bad,
            )

    @decorators.idempotent_id('2a73d388-ffc4-42a5-b27f-c6af2a9a2f97')
    @decorators.attr(type='negative')
    def test_unknown_server(self) -> None:
        self.assert_refused(
            lib_exc.NotFound,
            'NOT_FOUND',
            self.client.show_server,
            str(uuid.uuid4()),
        )
        for call in (self.client.reissue_server, self.client.release_server):
            self.assert_refused(
                lib_exc.NotFound,
                'NOT_FOUND',
                call,
                str(uuid.uuid4()),
                reason='Tempest tries.',
                dry_run=True,
            )

    @decorators.idempotent_id('842cdd76-6105-4d3c-b060-31c70d16a337')
    @decorators.attr(type='negative')
    def test_unknown_migration(self) -> None:
        unknown = str(uuid.uuid4())
        self.assert_refused(
            lib_exc.NotFound,
            'MIGRATION_UNKNOWN',
            self.client.show_migration,
            unknown,
        )
        self.assert_refused(
            lib_exc.NotFound,
            'MIGRATION_UNKNOWN',
            self.client.resolve_migration,
            unknown,
            keep='source',
            reason='Tempest tries.',
        )

    @decorators.idempotent_id('d7fb0411-9a9d-4d12-98d0-f59f2d8e1387')
    @decorators.attr(type='negative')
    def test_what_is_no_uuid_is_no_path(self) -> None:
        for name in (
            '1',
            'a' * 36,
            str(uuid.uuid4()).upper(),
            str(uuid.uuid4()) + '0',
        ):
            for call in (self.client.show_server, self.client.show_migration):
                self.assert_refused(lib_exc.NotFound, 'NOT_FOUND', call, name)

    @decorators.idempotent_id('0cc92b6b-f791-48ab-b62d-e7938d680a6a')
    @decorators.attr(type='negative')
    def test_resolve_without_good_reason(self) -> None:
        unknown = str(uuid.uuid4())
        for body in (
            {},
            {'reason': ''},
            {'reason': None},
            {'reason': 'x' * 1025},
            {'reason': 'two\nlines'},
            {'reason': 'fine', 'force': True},
            {'reason': 'fine', 'keep': 'both'},
        ):
            self.assert_refused(
                lib_exc.BadRequest,
                'INVALID_REQUEST',
                self.client.resolve_migration,
                unknown,
                **{'keep': 'source', **body},
            )

    @decorators.idempotent_id('d121e9f9-3b8f-46eb-927a-ac89d417b20a')
    @decorators.attr(type='negative')
    def test_document_of_nobody(self) -> None:
        """A document that the service did not sign changes nothing."""
        before = self.client.list_results()['incarnation']
        self.assert_refused(
            lib_exc.Forbidden,
            'DOCUMENT_INVALID',
            self.client.present_documents,
            ['eyJ.eyJ.AAAA'],
        )
        self.assert_refused(
            lib_exc.BadRequest,
            'INVALID_REQUEST',
            self.client.present_documents,
            ['no document'],
        )
        self.assertEqual(before, self.client.list_results()['incarnation'])
