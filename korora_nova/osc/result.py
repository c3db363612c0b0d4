# SPDX-License-Identifier: Apache-2.0
"""``openstack attestation result ...``: what the service says of hosts."""

import argparse
import textwrap
import time

from korora_nova.osc import base

COLUMNS = {
    'Host': 'host',
    'Tier': 'tier',
    'Reasons': 'reasons',
    'Expires': 'expires',
    'Expired': 'expired',
}


class _Findings(base.Listing):
    """A sentence each for people, the whole for machines."""

    def human_readable(self) -> str:
        return '\n'.join(
            textwrap.fill(
                f'{one["reason"]}: {one["message"]}',
                100,
                subsequent_indent='  ',
                break_on_hyphens=False,
            )
            for one in self._value
        )


def _readable(result: base.Row, now: float) -> dict[str, object]:
    """The result, with the times that stand in its signed form.

    A reader decides for itself whether a result is too old, so this does.
    """
    claims = base.unverified_claims(result.get('token'))
    expires = claims.get('exp')
    return {
        **result,
        'issued': base.when(claims.get('iat')),
        'expires': base.when(expires),
        'expired': expires is None or expires <= now,
    }


class ListResult(base.Lister):
    """List the latest attestation result of each host"""

    def take_action(self, parsed_args: argparse.Namespace) -> base.Table:
        now = time.time()
        return base.table(
            COLUMNS,
            [_readable(one, now) for one in self.attestation.list_results()],
        )


class ShowResult(base.ShowOne):
    """Show the latest attestation result of a host, signed form included.

    The findings are what its last attestation found, in sentences. They are
    not signed: nothing is decided by them.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            'host', metavar='<host>', help='Name of the compute host'
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> base.Record:
        result = self.attestation.get_result(parsed_args.host)
        return base.record(
            {
                **_readable(result, time.time()),
                'findings': _Findings(result.get('findings') or []),
            }
        )
