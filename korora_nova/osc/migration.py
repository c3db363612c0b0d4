# SPDX-License-Identifier: Apache-2.0
"""``openstack attestation migration ...``: hand-overs of keys."""

import argparse

from korora_nova import client
from korora_nova.custody.moves import Move
from korora_nova.custody.words import MigrationState
from korora_nova.osc import base, steps

COLUMNS = {
    'ID': 'id',
    'Server': 'instance',
    'Source': 'source',
    'Destination': 'dest',
    'Kind': 'kind',
    'Status': 'status',
    'Source Says': 'source_word',
    'Destination Says': 'dest_word',
    'Epoch': 'epoch',
    'Created At': 'created_at',
}
LONG = {
    'Taint': 'taint',
    'Updated At': 'updated_at',
    'Receipt': 'has_receipt',
}
STAMPS = ('created_at', 'updated_at')


def _readable(migration: client.Answer) -> dict[str, object]:
    return {
        **migration,
        **{name: base.when(migration.get(name)) for name in STAMPS},
    }


def _long(migration: client.Answer) -> dict[str, object]:
    return {
        **_readable(migration),
        'has_receipt': bool(migration.get('receipt')),
    }


class ListMigration(base.LongLister):
    """List the hand-overs of vTPM keys between hosts"""

    SHORT, MORE = COLUMNS, LONG
    FILTERS = {
        'server': None,
        'host': None,
        'status': tuple(map(str, MigrationState)),
        'kind': tuple(map(str, Move)),
    }

    def take_action(self, parsed_args: argparse.Namespace) -> base.Table:
        migrations = self.attestation.list_migrations(
            instance=parsed_args.server,
            host=parsed_args.host,
            status=parsed_args.status,
            kind=parsed_args.kind,
        )
        return self.rows(parsed_args, [_long(one) for one in migrations])


class _OneMigration(base.ShowOne):
    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            'migration',
            metavar='<migration>',
            help='UUID of the migration, as listed by Nova',
        )
        return parser


class ShowMigration(_OneMigration):
    """Show one hand-over with its receipt"""

    def take_action(self, parsed_args: argparse.Namespace) -> base.Record:
        migration = self.attestation.get_migration(parsed_args.migration)
        return base.record(_readable(migration))


class ResolveMigration(steps.Step):
    """Decide a hand-over that is open, pending or disputed.

    The end that is not kept never opens its copy again. If the guest runs
    there, stop it.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            'migration',
            metavar='<migration>',
            help='UUID of the migration, as listed by Nova',
        )
        parser.add_argument(
            '--keep',
            choices=('source', 'destination'),
            required=True,
            help='The end whose copy is the key from now on',
        )
        return parser

    def call(
        self, parsed_args: argparse.Namespace, dry_run: bool
    ) -> client.Answer:
        return self.attestation.resolve_migration(
            parsed_args.migration,
            parsed_args.keep,
            parsed_args.reason,
            dry_run=dry_run,
        )
