# SPDX-License-Identifier: Apache-2.0
"""Steps that cannot be taken back: shown first, then confirmed, then done."""

import argparse
import sys
import typing

from osc_lib import exceptions

from korora_nova import client
from korora_nova.osc import base, progress

#: Sentences that are shown before a question.
SHOWN = 20


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--reason',
        metavar='<text>',
        required=True,
        help='The reason, for the audit trail',
    )
    parser.add_argument(
        '--dry-run',
        action='store_true',
        help='Say what would happen, and do nothing',
    )
    add_yes(parser)


def add_yes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--yes', action='store_true', help='Do not ask for confirmation'
    )


class Step(base.ShowOne):
    """A command that does something to the key of one server."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        add_options(parser)
        return parser

    def call(
        self, parsed_args: argparse.Namespace, dry_run: bool
    ) -> client.Answer:
        """Ask the service for the step, or only for what it would do."""
        raise NotImplementedError

    def take_action(self, parsed_args: argparse.Namespace) -> base.Record:
        if parsed_args.dry_run or not parsed_args.yes:
            plan = self.call(parsed_args, True)
            if parsed_args.dry_run:
                return record(plan)
            confirm(plan)
        return record(self.call(parsed_args, False))


def confirm(*plans: client.Answer) -> None:
    """Show what would happen, and ask.

    :raises exceptions.CommandError: it is refused, or not confirmed.
    """
    if len(plans) == 1 and plans[0].get('refused'):
        raise exceptions.CommandError(refusal(plans[0]['refused']))
    said = [one for plan in plans for one in plan.member('consequences')]
    say(*said[:SHOWN])
    if len(said) > SHOWN:
        say(f'And {len(said) - SHOWN} more; --dry-run shows all.')
    _ask()


def make_sure(parsed_args: argparse.Namespace, *consequences: str) -> None:
    """Say what comes of it, and ask; with --yes do neither.

    :raises exceptions.CommandError: it is not confirmed.
    """
    if not parsed_args.yes:
        say(*consequences)
        _ask()


def _ask() -> None:
    if not sys.stdin.isatty():
        raise exceptions.CommandError(
            'Nothing was done: confirm it with --yes.'
        )
    with progress.paused():
        sys.stderr.write('Do it? [y/N] ')
        sys.stderr.flush()
        answer = sys.stdin.readline().strip().lower()
    if answer not in ('y', 'yes'):
        raise exceptions.CommandError('Nothing was done.')


def say(*sentences: str) -> None:
    """Beside what the command prints as its result."""
    for sentence in sentences:
        sys.stderr.write(f'{sentence}\n')


def refusal(refused: typing.Any) -> str:
    if not refused:
        return ''
    return f'[{refused.get("reason")}] {refused.get("message")}'


def record(plan: client.Answer) -> base.Record:
    """The answer to a step, for people and machines."""
    nova = plan.get('nova')
    return base.record(
        {
            'server': plan.get('instance'),
            'done': plan.get('done'),
            'refused': refusal(plan.get('refused')),
            'consequences': base.Sentences(plan.member('consequences')),
            'ends': base.Sentences(ends(plan)),
            'nova': f'{nova["status"]} on {nova["host"]}' if nova else None,
            'receipt': plan.get('receipt'),
        }
    )


def ends(plan: client.Answer, field: str = 'ends') -> list[str]:
    """A sentence for each host that is concerned."""
    return [end_sentence(one) for one in plan.objects(field)]


def end_sentence(one: client.Answer) -> str:
    said = [f'{one.get("role")} {one.get("host")}: {one.get("tier")}']
    heard = base.when(one.get('last_heard'))
    said.append(f'last heard {heard}' if heard else 'never heard')
    if one.get('evicted_at'):
        said.append(f'evicted {base.when(one["evicted_at"])}')
    if one.get('rebooted'):
        said.append('booted since')
    said.append(f'copy {one.get("copy")}')
    said.append(f'says {one.get("word") or "nothing"}')
    return ', '.join(said)
