# SPDX-License-Identifier: Apache-2.0
"""``openstack attestation receipt ...``: the audit trail."""

import argparse

from korora_nova.osc import base

COLUMNS = {
    'Server': 'instance',
    'Version': 'version',
    'Outcome': 'outcome',
    'Holder': 'holder',
    'Epoch': 'epoch',
    'Migration': 'migration',
    'Source': 'source',
    'Destination': 'dest',
    'Issued': 'issued',
}
LONG = {
    'Source Said': 'source_word',
    'Destination Said': 'dest_word',
    'Permit': 'permit_hash',
}


class ListReceipt(base.LongLister):
    """List what became of keys, oldest first.

    "korora-manage audit verify" checks all documents and their chains.
    """

    SHORT, MORE = COLUMNS, LONG
    FILTERS = {'server': None}

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            '--since',
            metavar='<place>',
            type=int,
            default=0,
            help='Only receipts after this place in the log of all documents',
        )
        parser.add_argument(
            '--signed',
            action='store_true',
            help='Also show each receipt in its signed form',
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> base.Table:
        tokens = self.attestation.list_receipts(
            parsed_args.since, instance=parsed_args.server
        )
        columns = {**COLUMNS, **(LONG if parsed_args.long else {})}
        if parsed_args.signed:
            columns['Receipt'] = 'token'
        return base.table(columns, [_readable(token) for token in tokens])


def _readable(token: str) -> dict[str, object]:
    claims = base.unverified_claims(token)
    return {
        **claims,
        'issued': base.when(claims.get('iat')),
        'token': token,
    }
