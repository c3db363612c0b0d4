# SPDX-License-Identifier: Apache-2.0
"""The service answers as its OpenAPI document says, whatever it is asked.

schemathesis makes requests of the document, good and bad ones, and follows
its links (stateful), against the real application with a database that has
something of everything. No answer may be a 500, or have a status, type or
body that the document does not have.
"""

from __future__ import annotations

import contextlib
import json
import logging
import pathlib
import re
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from korora_tools import checkout, environment, ui
from korora_tools.prove.ecosystem import loopback, stage

ABOUT = 'schemathesis finds no answer that the OpenAPI document has not'

#: Cases that must have been tried.
CASES = 5000
VENV = checkout.ROOT / '.ecosystem' / 'schemathesis'
PINS = pathlib.Path(__file__).parents[1] / 'schemathesis.txt'

#: What each answer is held against.
CHECKS = (
    'not_a_server_error',
    'status_code_conformance',
    'content_type_conformance',
    'response_headers_conformance',
    'response_schema_conformance',
    'unsupported_method',
    'allow_header_conformance',
    'ignored_auth',
)
#: In 1.0 some lists ignore what they are asked with, so that bad parameters
#: are refused only since.
SINCE_1_1 = ('negative_data_rejection',)
#: Each call by itself; and calls that follow from answers.
ALONE, LINKED = ('coverage', 'fuzzing'), ('stateful',)
#: Links that must have been followed.
LINKS = 20
SEED = 1
REPORT = 'report.json'


class Round(NamedTuple):
    """One run of schemathesis.

    :param version: that is asked for; '' for whatever comes.
    :param phases: of schemathesis.
    :param cases: for each operation, or runs through links.
    """

    version: str
    phases: tuple[str, ...]
    cases: int


ROUNDS = (
    Round('attestation 1.1', ALONE, 20),
    Round('', ALONE, 12),
    Round('attestation 1.1', LINKED, 30),
)


def run() -> stage.Outcome:
    from korora_nova.api import routes
    from korora_nova.api.openapi import document

    python = environment.ensure(VENV, PINS)
    built = document.build()
    report: dict[str, Any] = {
        'operations': sum(map(len, _paths(built).values())),
        'routes': sum(map(len, routes.ROUTES.values())),
        'schemathesis_cases': 0,
        'failures': 0,
        'links': 0,
        'rounds': [],
    }
    wrong: list[str] = []
    for one in ROUNDS:
        found, said = _run(python.with_name('st'), built, one)
        made = summary(found, one.phases, report['operations'])
        report['schemathesis_cases'] += made['cases']
        report['failures'] += made['failures']
        report['links'] = max(report['links'], links(said))
        report['rounds'].append({**one._asdict(), **made})
        if made['failures'] or made['wrong']:
            ui.note(said)
        wrong += made['wrong']
    return stage.Outcome(report, [*wrong, *_missing(report)])


def _paths(built: Any) -> dict[str, Any]:
    return built['paths']


def _missing(report: dict[str, Any]) -> list[str]:
    wrong = stage.too_few(report, schemathesis_cases=CASES, links=LINKS)
    if report['failures']:
        wrong.append(f'{report["failures"]} kinds of answers are wrong.')
    if report['operations'] != report['routes']:
        wrong.append('The document does not have the operations of the API.')
    return wrong


def links(said: str) -> int:
    """How many kinds of links were followed, as schemathesis prints it."""
    found = re.search(r'API Links:\s+(\d+) covered', said)
    return int(found[1]) if found else 0


def summary(
    found: Any, wanted: Sequence[str], operations: int
) -> dict[str, Any]:
    """What a report of schemathesis comes to, with what it did not do."""
    wrong = [f'{one["title"]} ({one["count"]})' for one in found['errors']]
    if not found['complete']:
        wrong.append(f'schemathesis stopped: {found["stop_reason"]}.')
    phases = found['phases'] or {}
    for name in wanted:
        status = phases.get(name, {}).get('status')
        if status not in ('success', 'failure'):
            wrong.append(f'The phase {name} was not run: {status}.')
    tested = (found['operations'] or {}).get('tested', 0)
    if wanted == ALONE and tested != operations:
        wrong.append(f'{tested} of {operations} operations were tested.')
    return {
        'cases': found['test_cases']['generated'],
        'failures': found['test_cases']['unique_failures'],
        'tested': tested,
        'wrong': wrong,
    }


def _run(program: pathlib.Path, built: object, one: Round) -> tuple[Any, str]:
    """Its report, and what it printed."""
    from tests.support import life, service

    with (
        service.KororaFixture() as korora,
        tempfile.TemporaryDirectory() as scratch,
        _silent(),
    ):
        life.populate(korora)
        # Not in the fixture's own check, which would end the connection.
        plain = korora.application.application
        pathlib.Path(scratch, 'openapi.json').write_text(json.dumps(built))
        with loopback.serving(plain) as url:
            done = subprocess.run(
                [str(program), *_arguments(url, one)],
                cwd=scratch,
                capture_output=True,
                text=True,
                stdin=subprocess.DEVNULL,
            )
        report = pathlib.Path(scratch, REPORT)
        if not report.exists():
            raise ui.Problem(f'schemathesis: {done.stdout}{done.stderr}')
        return json.loads(report.read_text()), done.stdout


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """The service logs each refusal, of which there are thousands."""
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


def _arguments(url: str, one: Round) -> list[str]:
    checks = (*CHECKS, *(SINCE_1_1 if one.version else ()))
    asked = f'--header=OpenStack-API-Version: {one.version}'
    return [
        'run',
        'openapi.json',
        f'--url={url}',
        f'--header=X-Auth-Token: {loopback.TOKEN}',
        *([asked] if one.version else []),
        f'--phases={",".join(one.phases)}',
        f'--checks={",".join(checks)}',
        f'--max-examples={one.cases}',
        f'--seed={SEED}',
        '--generation-database=none',
        '--suppress-health-check=all',
        '--continue-on-failure',
        '--request-timeout=60',
        '--no-color',
        '--report=json',
        f'--report-json-path={REPORT}',
    ]
