# SPDX-License-Identifier: Apache-2.0
"""``host diagnose`` and ``server check``: what is wrong, and what to do."""

import argparse
import collections.abc
import time
import typing

from korora_nova import checks, client, errors
from korora_nova.osc import base, diagnosis

T = typing.TypeVar('T')

COLUMNS = ('Level', 'Check', 'Found', 'Advice')


class _Told(base.Lister):
    """A list of checks; exit code 2 if one of them is bad."""

    _exit_code = 0

    def run(self, parsed_args: argparse.Namespace) -> int:
        return super().run(parsed_args) or self._exit_code

    def told(
        self, found: collections.abc.Sequence[checks.Result], bad: bool
    ) -> base.Table:
        self._exit_code = 2 if bad else 0
        return COLUMNS, [
            (
                one.level.word,
                one.id,
                base.Text(one.text),
                base.Text(one.advice),
            )
            for one in found
        ]


def _or_why(
    ask: collections.abc.Callable[[], T],
) -> T | errors.KororaError:
    try:
        return ask()
    except errors.KororaError as exc:
        return exc


class DiagnoseHost(_Told):
    """Say all that is known about a host, and what to do.

    Exit code 0: nothing is bad; 2: something is; 1: it could not be asked.
    What only the host itself knows, "korora-agent check" says there.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            'host', metavar='<host>', help='Name of the compute host'
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> base.Table:
        name = parsed_args.host
        try:
            host = self.attestation.get_host(name)
        except errors.NotFound:
            return self.told(diagnosis.unknown(name), True)
        result = _or_why(lambda: self.attestation.get_result(name))
        token = (
            None
            if isinstance(result, errors.KororaError)
            else result.get('token')
        )
        offset, whose = self.attestation.clock_offset()
        found = diagnosis.diagnose(
            diagnosis.Known(
                host,
                result,
                base.unverified_claims(token),
                _or_why(
                    lambda: self.attestation.list_servers(
                        issues=True, holder=name
                    )
                ),
                offset,
                whose,
                # By the clock of those who wrote the times.
                time.time() - (offset or 0.0),
            )
        )
        return self.told(found, checks.worst(found) is checks.Level.BAD)


class CheckServer(_Told):
    """Say which hosts a protected server may go to, and why not to others.

    Exit code 0: it may go to one of them; 2: it may not; 1: it could not be
    asked. Only trust and keys are looked at: what else Nova needs of a host,
    such as room, is Nova's.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            'server', metavar='<server>', help='UUID of the server'
        )
        parser.add_argument(
            '--host',
            metavar='<host>',
            help='Only this host',
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> base.Table:
        server = self.attestation.get_server(parsed_args.server)
        hosts = {
            str(one.get('name')): one for one in self.attestation.list_hosts()
        }
        offset, _ = self.attestation.clock_offset()
        now = time.time() - (offset or 0.0)
        staying = list(diagnosis.of_server(server, hosts, now))
        going = self._destinations(parsed_args, server, hosts, now)
        good = checks.worst(staying) is not checks.Level.BAD and any(
            one.level is not checks.Level.BAD for one in going
        )
        return self.told([*staying, *going], not good)

    def _destinations(
        self,
        parsed_args: argparse.Namespace,
        server: client.Answer,
        hosts: collections.abc.Mapping[str, client.Answer],
        now: float,
    ) -> list[checks.Result]:
        """Those where it may go first."""
        holder = server.get('holder')
        wanted = (
            [parsed_args.host]
            if parsed_args.host
            else [name for name in hosts if name != holder]
        )
        found = []
        for name in wanted:
            if name == holder:
                found.append(checks.result(name, 'it is there already'))
            elif name in hosts:
                found.append(diagnosis.of_destination(hosts[name], now))
            else:
                (line,) = diagnosis.unknown(name)
                found.append(
                    checks.Result(name, line.level, line.text, line.advice)
                )
        return sorted(found, key=lambda one: (one.level, one.id))
