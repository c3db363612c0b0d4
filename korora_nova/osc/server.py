# SPDX-License-Identifier: Apache-2.0
"""``openstack attestation server ...``: who holds the key of a server."""

import argparse

from korora_nova import client
from korora_nova.osc import base, progress, steps

COLUMNS = {
    'Server': 'instance',
    'State': 'state',
    'Holder': 'holder',
    'Epoch': 'epoch',
    'Issues': 'issues',
}
LONG = {
    'Version': 'version',
    'Pending': 'pending',
    'Approval Key': 'approval_kid',
    'Reported At': 'reported_at',
}


def _ids(server: client.Answer) -> dict[str, object]:
    return {
        **server,
        'reported_at': base.when(server.get('reported_at')),
        'issues': base.Sentences(
            [
                f'{one.get("id")}: {one.get("message")}'
                for one in server.objects('issues')
            ]
        ),
    }


class ListServer(base.LongLister):
    """List servers whose keys are in custody, and what is the matter.

    With "--issues" only those are listed of which something is the matter,
    and Nova is asked whether it still has them.
    """

    SHORT, MORE = COLUMNS, LONG

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            '--issues',
            action='store_true',
            help='Only servers that need somebody',
        )
        parser.add_argument(
            '--holder',
            metavar='<host>',
            help='Only servers whose key this host holds',
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> base.Table:
        found: list[client.Answer] = []
        asked = True
        for page in self.attestation.server_pages(
            issues=parsed_args.issues, holder=parsed_args.holder
        ):
            found += page.objects('servers')
            progress.at(f'{len(found)} servers so far')
            asked = asked and bool(page.get('nova'))
        if parsed_args.issues and not asked:
            steps.say(
                'Nova does not answer: servers that are gone from it are not '
                'all listed.'
            )
        return self.rows(parsed_args, [_ids(one) for one in found])


class _OneServer(base.AttestationCommand):
    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            'server', metavar='<server>', help='UUID of the server'
        )
        return parser


class ShowServer(_OneServer, base.ShowOne):
    """Show who holds the key of a server, and the ways out of its state"""

    def take_action(self, parsed_args: argparse.Namespace) -> base.Record:
        shown = self.attestation.get_server(parsed_args.server)
        return base.record(_readable(shown))


def _readable(server: client.Answer) -> dict[str, object]:
    holder = server.get('holder_state')
    return {
        **_ids(server),
        'refused': steps.refusal(server.get('refused')),
        'holder_state': steps.end_sentence(client.Answer(holder))
        if holder
        else None,
        'ends': base.Sentences(steps.ends(server)),
        'documents': base.Sentences(
            [
                f'{one.get("version")} {one.get("kind")} '
                f'{base.when(one.get("stored_at"))}'
                for one in server.objects('documents')
            ],
            server.get('documents'),
        ),
        'exits': base.Sentences(
            [
                f'{one.get("command")}\n  {one.get("consequence")}'
                for one in server.objects('exits')
            ],
            server.get('exits'),
        ),
    }


class ReissueServer(_OneServer, steps.Step):
    """Let the next start of a server have a new key.

    For a server whose key is lost: its host is dead, or has no copy. The next
    start reads the passphrase from the key manager. No copy of the old key
    opens again; so be sure that nobody runs the server with it.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            '--fenced',
            metavar='<text>',
            default='',
            help='How the old holder is kept from running the server, if the '
            'service cannot know it',
        )
        return parser

    def call(
        self, parsed_args: argparse.Namespace, dry_run: bool
    ) -> client.Answer:
        return self.attestation.reissue_server(
            parsed_args.server,
            parsed_args.reason,
            fenced=parsed_args.fenced,
            dry_run=dry_run,
        )


class ReleaseServer(_OneServer, steps.Step):
    """Forget a server that is gone from Nova"""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            '--force',
            metavar='<text>',
            default='',
            help='Why its key may go although Nova has it, or does not answer',
        )
        return parser

    def call(
        self, parsed_args: argparse.Namespace, dry_run: bool
    ) -> client.Answer:
        return self.attestation.release_server(
            parsed_args.server,
            parsed_args.reason,
            force=parsed_args.force,
            dry_run=dry_run,
        )
