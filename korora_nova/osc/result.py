# SPDX-License-Identifier: Apache-2.0
"""``openstack attestation result ...``: what the service says about hosts."""

import argparse
import textwrap
import time

from korora_nova import client
from korora_nova.osc import base
from korora_nova.rats.words import Tier

COLUMNS = {
    'Host': 'host',
    'Tier': 'tier',
    'Reasons': 'reasons',
    'Expires': 'expires',
    'Expired': 'expired',
}


LONG = {'Issued': 'issued', 'Sources': 'verifiers', 'Cloud': 'cloud'}


class _Findings(base.Listing):
    """One sentence each for people, everything for machines."""

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


def _readable(result: client.Answer, now: float) -> dict[str, object]:
    """The result, with the times in its signed form.

    Each reader decides for itself whether a result is too old; so do we.
    """
    claims = base.unverified_claims(result.get('token'))
    expires = claims.get('exp')
    return {
        **result,
        'issued': base.when(claims.get('iat')),
        'expires': base.when(expires),
        'expired': expires is None or expires <= now,
    }


def _long(result: client.Answer, now: float) -> dict[str, object]:
    claims = base.unverified_claims(result.get('token'))
    said = claims.get('sources') or []
    return {
        **_readable(result, now),
        'verifiers': base.Verdicts(said),
        'cloud': claims.get('cloud'),
    }


class ListResult(base.LongLister):
    """List the latest attestation result of each host"""

    SHORT, MORE = COLUMNS, LONG
    FILTERS = {'tier': tuple(map(str, Tier))}

    def take_action(self, parsed_args: argparse.Namespace) -> base.Table:
        now = time.time()
        results = self.attestation.list_results(tier=parsed_args.tier)
        return self.rows(parsed_args, [_long(one, now) for one in results])


class ShowResult(base.ShowOne):
    """Show the latest attestation result of a host.

    The findings say in sentences what its last attestation found. They are
    not signed, and no decision depends on them. The signed form, one very
    long line, is shown with "--token" or "-f json".
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            'host', metavar='<host>', help='Name of the compute host'
        )
        parser.add_argument(
            '--token',
            action='store_true',
            help='Also show the result in its signed form',
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> base.Record:
        result = self.attestation.get_result(parsed_args.host)
        fields = {
            **_readable(result, time.time()),
            'findings': _Findings(result.get('findings') or []),
            'sources': base.Verdicts(result.get('sources') or []),
        }
        if not _wants_token(parsed_args):
            del fields['token']
        return base.record(fields)


def _wants_token(parsed_args: argparse.Namespace) -> bool:
    return (
        parsed_args.token
        or parsed_args.formatter == 'json'
        or 'token' in parsed_args.columns
    )
