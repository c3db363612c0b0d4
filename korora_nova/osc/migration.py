# SPDX-License-Identifier: Apache-2.0
"""``openstack attestation migration ...``: hand-overs of keys."""

import argparse

from korora_nova import client
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
STAMPS = ('created_at', 'updated_at')


def _readable(migration: client.Answer) -> dict[str, object]:
    return {
        **migration,
        **{name: base.when(migration.get(name)) for name in STAMPS},
    }


class ListMigration(base.Lister):
    """List the hand-overs of vTPM keys between hosts"""

    def take_action(self, parsed_args: argparse.Namespace) -> base.Table:
        migrations = self.attestation.list_migrations()
        return base.table(COLUMNS, [_readable(one) for one in migrations])


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
