# SPDX-License-Identifier: Apache-2.0
"""``openstack attestation host ...``: who may attest."""

import argparse

from korora_nova import client
from korora_nova.osc import base

COLUMNS = {
    'Name': 'name',
    'Status': 'status',
    'Tier': 'tier',
    'Last Attested': 'last_attested',
    'Reasons': 'reasons',
    'EK Hash': 'ek_hash',
}
STAMPS = ('enrolled_at', 'last_attested')


def _readable(host: client.Answer) -> dict[str, object]:
    return {
        **host,
        **{name: base.when(host.get(name)) for name in STAMPS},
    }


class ListHost(base.Lister):
    """List the hosts that have enrolled or were approved in advance"""

    def take_action(self, parsed_args: argparse.Namespace) -> base.Table:
        hosts = self.attestation.list_hosts()
        return base.table(COLUMNS, [_readable(host) for host in hosts])


class _OneHost(base.AttestationCommand):
    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            'host', metavar='<host>', help='Name of the compute host'
        )
        return parser


class ShowHost(_OneHost, base.ShowOne):
    """Show the identity and state of one host"""

    def take_action(self, parsed_args: argparse.Namespace) -> base.Record:
        host = self.attestation.get_host(parsed_args.host)
        return base.record(_readable(host))


class ApproveHost(_OneHost, base.ShowOne):
    """Approve the TPM of a host, before or after it has enrolled.

    Before you approve it, compare the hash with what the TPM holds, or with
    the list of your hardware vendor.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            'ek_hash',
            metavar='<ek-hash>',
            help="SHA-256 of the EK certificate's DER form, in hex",
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> base.Record:
        host = self.attestation.approve_host(
            parsed_args.host, parsed_args.ek_hash
        )
        return base.record(_readable(host))


class DeleteHost(_OneHost):
    """Forget a host and its TPM"""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            '--force',
            action='store_true',
            help=(
                'Delete it even if the ledger says that it holds keys of '
                'servers, which can then no longer be started there'
            ),
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        self.attestation.delete_host(parsed_args.host, force=parsed_args.force)
