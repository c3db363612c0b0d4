# SPDX-License-Identifier: Apache-2.0
"""``openstack attestation migration ...``: hand-overs of keys."""

import argparse

from korora_nova import client
from korora_nova.osc import base

COLUMNS = {
    'ID': 'id',
    'Server': 'instance',
    'Source': 'source',
    'Destination': 'dest',
    'Status': 'status',
    'Epoch': 'epoch',
    'Created At': 'created_at',
}


def _readable(migration: client.Answer) -> dict[str, object]:
    return {
        **migration,
        'created_at': base.when(migration.get('created_at')),
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


class AbortMigration(_OneMigration):
    """Decide that a pending hand-over did not happen.

    Do this only after fencing the destination: it is powered off, or known
    not to run this server. The key stays with the source.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            '--reason',
            metavar='<text>',
            required=True,
            help='The reason, for the audit trail',
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> base.Record:
        answer = self.attestation.abort_migration(
            parsed_args.migration, parsed_args.reason
        )
        return base.record(answer)
