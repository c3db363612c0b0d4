# SPDX-License-Identifier: Apache-2.0
"""``openstack attestation document ...``: what the service has signed."""

import argparse
import json
import sys

from osc_lib import exceptions

from korora_nova.osc import base, progress

#: Documents in one request.
PAGE = 1024


class PresentDocument(base.ShowOne):
    """Show documents to the service in the place of a host that has them.

    After its database went back, the service signs nothing for a server
    (LEDGER_BEHIND) until it has seen the server's newest document. Hosts show
    theirs by themselves; this is for those that do not come back. What the
    service did not sign changes nothing.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            'file',
            metavar='<file>',
            nargs='+',
            help=(
                'Documents of one host: the journal of its agent in its state '
                'directory, or signed documents one per line; - for standard '
                'input'
            ),
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> base.Record:
        found: dict[str, None] = {}
        for name in parsed_args.file:
            found.update(dict.fromkeys(_documents(_read(name), name)))
        documents = list(found)
        total = {'documents': len(documents), 'servers': 0, 'current': 0}
        for start in range(0, len(documents), PAGE):
            progress.at(f'{start} of {len(documents)} documents are shown')
            answer = self.attestation.present_documents(
                documents[start : start + PAGE]
            )
            for field in ('servers', 'current'):
                total[field] += int(answer.get(field) or 0)
        return base.record(total)


def _read(name: str) -> str:
    try:
        if name == '-':
            return sys.stdin.read()
        with open(name, encoding='utf-8') as file:
            return file.read()
    except (OSError, UnicodeDecodeError) as exc:
        raise exceptions.CommandError(f'{name}: {exc}') from exc


def _documents(text: str, name: str) -> list[str]:
    """Signed documents from a file.

    Each line is one of an agent's journal, ``{"token": TOKEN, ...}``, or
    just a signed document.

    :raises exceptions.CommandError: there is anything else, or nothing.
    """
    found: list[str] = []
    lines = text.splitlines()
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        token = _token(line.strip())
        if not token and found and number == len(lines):
            # The agent was writing it when the host died.
            continue
        if token.count('.') != 2:
            raise exceptions.CommandError(
                f'{name}: line {number} is not a signed document'
            )
        found.append(token)
    if not found:
        raise exceptions.CommandError(f'{name}: it has no signed documents')
    return found


def _token(line: str) -> str:
    if not line.startswith('{'):
        return line
    try:
        return str(json.loads(line).get('token'))
    except ValueError:
        return ''
