# SPDX-License-Identifier: Apache-2.0
"""``openstack attestation ledger ...``: who holds the key of a server."""

import argparse
import json
import sys

from osc_lib import exceptions

from korora_nova.osc import base


class ShowLedger(base.ShowOne):
    """Show which host holds the key of a server, and its epoch"""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            'server', metavar='<server>', help='UUID of the server'
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> base.Record:
        return base.record(self.attestation.get_server(parsed_args.server))


class RecoverLedger(base.ShowOne):
    """Reconcile a restored database with the receipts that hosts kept.

    Until this is done, a service that was restored from a backup signs
    neither permits nor approvals (LEDGER_BEHIND).
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            'file',
            metavar='<file>',
            nargs='+',
            help=(
                'Receipts of one host: the journal of its agent, '
                'journal/receipts.jsonl in its state directory, or signed '
                'receipts one per line; - for standard input'
            ),
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> base.Record:
        receipts: dict[str, None] = {}
        for name in parsed_args.file:
            receipts.update(dict.fromkeys(_receipts(_read(name), name)))
        return base.record(self.attestation.recover_ledger(list(receipts)))


def _read(name: str) -> str:
    try:
        if name == '-':
            return sys.stdin.read()
        with open(name, encoding='utf-8') as file:
            return file.read()
    except (OSError, UnicodeDecodeError) as exc:
        raise exceptions.CommandError(f'{name}: {exc}') from exc


def _receipts(text: str, name: str) -> list[str]:
    """Signed receipts from a file.

    Each line is one of an agent's journal, ``{"token": TOKEN, ...}``, or
    just a signed receipt.

    :raises exceptions.CommandError: there is anything else, or nothing.
    """
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        token = _token(line.strip())
        if token.count('.') != 2:
            raise exceptions.CommandError(
                f'{name}: line {number} is not a signed receipt'
            )
        found.append(token)
    if not found:
        raise exceptions.CommandError(f'{name}: it has no signed receipts')
    return found


def _token(line: str) -> str:
    if not line.startswith('{'):
        return line
    try:
        return str(json.loads(line).get('token'))
    except ValueError:
        return ''
