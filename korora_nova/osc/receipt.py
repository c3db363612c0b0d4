# SPDX-License-Identifier: Apache-2.0
"""``openstack attestation receipt ...``: the audit trail."""

import argparse

from korora_nova.osc import base

COLUMNS = {
    'Seq': 'seq',
    'Outcome': 'outcome',
    'Server': 'instance',
    'Epoch': 'epoch',
    'Migration': 'migration',
    'Source': 'source',
    'Destination': 'dest',
    'Issued': 'issued',
}


class ListReceipt(base.Lister):
    """List receipts of hand-overs, aborts and deletions, oldest first.

    "korora-manage audit verify" checks their signatures and their chain.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            '--since',
            metavar='<seq>',
            type=int,
            default=0,
            help='Only receipts after this sequence number',
        )
        parser.add_argument(
            '--signed',
            action='store_true',
            help='Also show each receipt in its signed form',
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> base.Table:
        tokens = self.attestation.list_receipts(parsed_args.since)
        columns = dict(COLUMNS)
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
