# SPDX-License-Identifier: Apache-2.0
"""What all commands share: the client, errors, and how fields look."""

import argparse
import collections.abc
import datetime
import textwrap
import typing

import jwt
from cliff import columns
from osc_lib import exceptions
from osc_lib.cli import format_columns
from osc_lib.command import command

from korora_nova import client, errors
from korora_nova.osc import progress

# Generic in newer releases of cliff only.
_Column: typing.Any = columns.FormattableColumn
Row = collections.abc.Mapping[str, object]
Table = tuple[tuple[str, ...], list[tuple[typing.Any, ...]]]
Record = tuple[tuple[str, ...], tuple[typing.Any, ...]]


class AttestationCommand(command.Command):
    """A command that fails with the reason id when the service refuses."""

    @property
    def attestation(self) -> client.AttestationClient:
        manager: typing.Any = self.app.client_manager
        made: client.AttestationClient = manager.attestation
        return made

    def run(self, parsed_args: argparse.Namespace) -> int:
        try:
            with progress.shown():
                return int(super().run(parsed_args) or 0)
        except errors.KororaError as exc:
            raise exceptions.CommandError(str(exc)) from exc


class Lister(AttestationCommand, command.Lister):
    """A command that prints a table."""


class LongLister(Lister):
    """A command that prints a list of all that there is of a kind.

    :cvar SHORT: heading -> field; ``MORE`` are those that --long adds.
    :cvar FILTERS: option -> words that it takes, or None for any text.
    """

    SHORT: typing.ClassVar[collections.abc.Mapping[str, str]]
    MORE: typing.ClassVar[collections.abc.Mapping[str, str]]
    FILTERS: typing.ClassVar[
        collections.abc.Mapping[str, tuple[str, ...] | None]
    ] = {}

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument('--long', action='store_true', help='More columns')
        for name, words in self.FILTERS.items():
            parser.add_argument(
                f'--{name}',
                metavar=f'<{name}>',
                choices=words,
                help=f'Only those of this {name}'
                + (f': {", ".join(words)}' if words else ''),
            )
        return parser

    def rows(
        self,
        parsed_args: argparse.Namespace,
        rows: collections.abc.Iterable[Row],
    ) -> Table:
        """The table that was asked for."""
        more = self.MORE if parsed_args.long else {}
        return table({**self.SHORT, **more}, rows)


class ShowOne(AttestationCommand, command.ShowOne):
    """A command that prints one record."""


class Listing(format_columns.ListColumn):
    """A list in its own order, of any items; osc-lib's sorts strings."""

    def human_readable(self) -> str:
        return ', '.join(str(item) for item in self._value)


class Sentences(_Column):  # type: ignore[misc]
    """Sentences, one a line for people; a list for machines.

    :param machine: what machines are given instead.
    """

    def __init__(
        self, sentences: list[str], machine: typing.Any = None
    ) -> None:
        super().__init__(sentences)
        self._machine = sentences if machine is None else machine

    def human_readable(self) -> str:
        return '\n'.join(
            textwrap.fill(
                line, 76, subsequent_indent='  ', break_on_hyphens=False
            )
            for sentence in self._value
            for line in sentence.split('\n')
        )

    def machine_readable(self) -> typing.Any:
        return self._machine


class Verdicts(Listing):
    """Which verifier says what of a host: a line each for people."""

    def human_readable(self) -> str:
        return '\n'.join(_verdict(one) for one in self._value)


def _verdict(one: Row) -> str:
    marks = ['required' if one.get('required') else 'advisory']
    if not one.get('proof'):
        marks.append('NO PROOF')
    said = ' '.join([str(one.get('tier')), *_strings(one.get('reasons'))])
    line = f'{one.get("source")} ({", ".join(marks)}): {said}'
    if one.get('subject'):
        line += f', as {one["subject"]}'
    expires = one.get('expires')
    if isinstance(expires, (int, float)) and expires:
        line += f', until {when(expires)}'
    return line


def _strings(value: object) -> list[str]:
    return [str(one) for one in value] if isinstance(value, list) else []


class Text(_Column):  # type: ignore[misc]
    """A sentence, in lines that leave room for other columns."""

    width = 44

    def human_readable(self) -> str:
        return textwrap.fill(self._value, self.width, break_on_hyphens=False)


def when(stamp: float | str | None) -> str | None:
    """Seconds since the epoch as ISO 8601 UTC; text is passed through."""
    if stamp is None or isinstance(stamp, str):
        return stamp
    moment = datetime.datetime.fromtimestamp(stamp, datetime.timezone.utc)
    return moment.strftime('%Y-%m-%dT%H:%M:%SZ')


def unverified_claims(token: str | None) -> dict[str, typing.Any]:
    """The claims of a signed object, for display only.

    The reader of a table trusts the service that it came from, so the
    signature is not checked. Text that is not a signed object has no claims.
    """
    if not token:
        return {}
    try:
        claims = jwt.decode(token, options={'verify_signature': False})
    except jwt.InvalidTokenError:
        return {}
    return dict(claims)


def cell(value: typing.Any) -> typing.Any:
    """A value in the form that both tables and ``-f json`` can show."""
    if isinstance(value, (list, tuple)):
        return Listing(list(value))
    if isinstance(value, dict):
        return format_columns.DictColumn(value)
    return value


def table(
    headings: collections.abc.Mapping[str, str],
    rows: collections.abc.Iterable[Row],
) -> Table:
    """Rows of the API under their headings: heading -> field."""
    return tuple(headings), [
        tuple(cell(row.get(field)) for field in headings.values())
        for row in rows
    ]


def record(fields: Row) -> Record:
    """One resource of the API, fields in alphabetical order."""
    names = tuple(sorted(fields))
    return names, tuple(cell(fields[name]) for name in names)
