# SPDX-License-Identifier: Apache-2.0
"""A real Keylime verifier has a word in the results of this service.

Registrar and verifier of Keylime run as processes of their own, an agent of
ours (Keylime's is not to be had here) and korora-agent share one software TPM,
and the service has ``[sources] required = native, keylime``. Each situation is
made at Keylime; the source is asked, the host attests, and its signed result
must be as expected. Then Keylime dies: what it said counts until it expires,
and no longer.
"""

from __future__ import annotations

import argparse
import contextlib
import pathlib
import signal
import tempfile
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from korora_tools import ui

if TYPE_CHECKING:
    from korora_nova.rats.signed.result import Result
    from korora_tools.keylime import stages

ABOUT = 'a real Keylime verifier has a word in results'
NEEDS_SETUP = True

#: Seconds for which a word of Keylime counts here, and after which its
#: registrar is asked again.
MAX_AGE, REFRESH = 20.0, 10.0
#: Seconds for a result to become as expected.
WAIT = 2 * REFRESH
HOST = 'h1'

Row = dict[str, Any]


def add_options(to: argparse.ArgumentParser) -> None:
    to.add_argument(
        '--python',
        type=pathlib.Path,
        help='one that has Keylime (default: an environment is made)',
    )


def prove(options: argparse.Namespace) -> tuple[Any, bool]:
    from korora_tools.keylime import services, stages

    started = time.monotonic()
    rows: list[Row] = []
    with world(options.python or services.ensure()) as (keylime, service):
        for stage, expected in stages.STAGES.items():
            stage(keylime)
            rows.append(_row(stage, expected, service))
        rows += _dying(keylime, service)
    for row in rows:
        ui.note(
            f'{row["stage"]:12} {row["tier"]:16} '
            f'{" ".join(row["reasons"]):20} '
            f'{"as expected" if row["right"] else "WRONG"}'
        )
    report = {
        'stages': rows,
        'right': sum(row['right'] for row in rows),
        'n': len(rows),
        's': round(time.monotonic() - started, 1),
    }
    return report, report['right'] == report['n']


def _row(
    stage: stages.Stage, expected: stages.Expected, service: Service
) -> Row:
    from korora_tools.keylime import stages

    began = time.monotonic()
    while True:
        answered = service.ask()
        # Before the host has attested: a source alone can only lower it.
        lowered = service.result().tier
        result = service.attest()
        right = _is(result, expected) and (
            expected.tier == 'affirming' or lowered != 'affirming'
        )
        if right or time.monotonic() - began > WAIT:
            break
        time.sleep(1)
    return {
        'stage': stage.__name__,
        'about': stages.about(stage),
        'answered': answered,
        'before_attestation': str(lowered),
        'tier': str(result.tier),
        'reasons': list(result.reasons),
        'sources': [one.to_json() for one in result.sources],
        'after_s': round(time.monotonic() - began, 1),
        'right': right,
    }


def _is(result: Result, expected: stages.Expected) -> bool:
    return (
        result.tier == expected.tier
        and result.reasons == tuple(filter(None, [expected.reason]))
        and [one.source for one in result.sources] == ['native', 'keylime']
        # What this service found itself is in it as it was.
        and result.sources[0].tier == 'affirming'
    )


def _dying(keylime: stages.Keylime, service: Service) -> Iterator[Row]:
    """Both services are killed while the host is trusted."""
    from korora_tools.keylime import stages

    stages.back(keylime)
    yield _row(stages.back, stages.Expected('affirming'), service)
    for name in ('verifier', 'registrar'):
        keylime.services.stop_one(name, signal.SIGKILL)
    died = time.monotonic()

    def dead(_: object) -> None:
        """Killed a moment ago: its last word counts."""

    yield _row(dead, stages.Expected('affirming'), service)
    while service.attest().tier == 'affirming' and (
        time.monotonic() - died < 2 * MAX_AGE
    ):
        time.sleep(1)
    expired = time.monotonic() - died

    def expiring(_: object) -> None:
        """Killed longer ago than a word counts."""

    row = _row(expiring, stages.Expected('none', 'SOURCE_SILENT'), service)
    row['expired_after_s'] = round(expired, 1)
    row['right'] = row['right'] and expired <= MAX_AGE + 2
    yield row


class Service:
    """This service, one host, and what is signed of it."""

    def __init__(self, korora: Any, machine: Any) -> None:
        from korora_nova.verifier.sources import asking

        self._korora, self._machine = korora, machine
        (self._asker,) = asking.askers(korora.service, korora.conf)

    def ask(self) -> bool:
        """Ask the source; whether it answered."""
        return self._asker.step()

    def attest(self) -> Result:
        self._machine.agent.attestation.step()
        return self.result()

    def result(self) -> Result:
        from korora_nova.rats.signed import result

        client = self._korora.client_as('admin')
        return result.verify_result(
            client.get_result(HOST)['token'],
            self._korora.service.ring,
            host=HOST,
            cloud=self._korora.service.cloud,
            now=time.time(),
        ).result


@contextlib.contextmanager
def world(python: pathlib.Path) -> Iterator[tuple[stages.Keylime, Service]]:
    """Keylime, and a service whose host is the same machine."""
    from korora_tools.keylime import services, stages
    from tests.support import hosts, swtpm

    with contextlib.ExitStack() as life:
        directory = pathlib.Path(
            life.enter_context(
                tempfile.TemporaryDirectory(prefix='korora-keylime-')
            )
        )
        (directory / 'keylime').mkdir()
        made = services.Services(python, directory / 'keylime')
        life.callback(made.stop)
        with ui.step("Keylime's verifier and registrar"):
            made.start()
        korora = life.enter_context(
            hosts.LiveKorora(
                sources={
                    'required': ['native', 'keylime'],
                    'max_age': MAX_AGE,
                },
                keylime={**made.options(), 'refresh': REFRESH},
            )
        )
        machine = hosts.Machine(HOST, korora, directory)
        life.callback(machine.scrap)
        admin = korora.client_as('admin')
        machine.join(admin)
        admin.create_reference('golden', HOST)
        other = life.enter_context(swtpm.SwTpm('B'))
        keylime = stages.Keylime(made, machine.hardware, other, HOST)
        life.callback(keylime.stop)
        yield keylime, Service(korora, machine)
