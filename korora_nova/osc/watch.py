# SPDX-License-Identifier: Apache-2.0
"""``openstack attestation watch``: what happens, as it happens."""

from __future__ import annotations

import argparse
import json
import time
import typing
from collections.abc import Iterable

from osc_lib import exceptions

from korora_nova import errors
from korora_nova.osc import base, events, progress, steps, watcher


class Watch(base.AttestationCommand):
    """Follow tiers of hosts, hand-overs and receipts as they change.

    A line for each change, until it is interrupted; with "-f json" each line
    is a JSON object. What is the case at the beginning is not told. Results
    and receipts are shown, and not verified.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            '-f',
            '--format',
            choices=('value', 'json'),
            default='value',
            help='The form of a line, by default value',
        )
        parser.add_argument(
            '--interval',
            metavar='<seconds>',
            type=float,
            default=2.0,
            help='Between two looks, by default 2',
        )
        parser.add_argument(
            '--for',
            dest='seconds',
            metavar='<seconds>',
            type=float,
            help='End after this time',
        )
        parser.add_argument(
            '--host', metavar='<host>', help='Only the tier of this host'
        )
        parser.add_argument(
            '--server', metavar='<server>', help='Only what is of this server'
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        if not parsed_args.interval > 0:
            raise exceptions.CommandError('The interval is more than 0.')
        looks = watcher.Watcher(self.attestation)
        with progress.paused():
            looks.begin(time.time())
            try:
                self._follow(looks, parsed_args)
            except KeyboardInterrupt:
                pass

    def _follow(
        self, looks: watcher.Watcher, parsed_args: argparse.Namespace
    ) -> None:
        end = time.monotonic() + (parsed_args.seconds or float('inf'))
        silent = False
        while time.monotonic() < end:
            time.sleep(parsed_args.interval)
            try:
                self._print(looks.look(time.time()), parsed_args)
            except errors.Unavailable as exc:
                if not silent:
                    steps.say(f'{exc} Still trying.')
                silent = True
            else:
                silent = False

    def _print(
        self,
        found: Iterable[events.Event],
        parsed_args: argparse.Namespace,
    ) -> None:
        stdout: typing.Any = self.app.stdout
        wanted = {parsed_args.host, parsed_args.server} - {None}
        for one in found:
            if wanted and one.subject not in wanted:
                continue
            now = base.when(time.time())
            if parsed_args.format == 'json':
                line = json.dumps({'time': now, **one.to_json()})
            else:
                line = f'{now} {one.kind:9} {one.subject} {one.what}'
            stdout.write(line + '\n')
            stdout.flush()
