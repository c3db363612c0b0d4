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
import subprocess
import tempfile
from collections.abc import Iterator
from typing import Any

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
#: Version asked for ('' for whatever comes), and cases per operation.
ROUNDS = (('attestation 1.1', 20), ('', 12))
SEED = 1
PHASES = ('coverage', 'fuzzing', 'stateful')
REPORT = 'report.json'


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
        'rounds': [],
    }
    wrong: list[str] = []
    for version, cases in ROUNDS:
        found, said = _round(python.with_name('st'), built, version, cases)
        made = summary(found, report['operations'])
        report['schemathesis_cases'] += made['cases']
        report['failures'] += made['failures']
        report['rounds'].append({'version': version or 'any', **made})
        if made['failures'] or made['wrong']:
            ui.note(said)
        wrong += made['wrong']
    return stage.Outcome(report, [*wrong, *_missing(report)])


def _paths(built: Any) -> dict[str, Any]:
    return built['paths']


def _missing(report: dict[str, Any]) -> list[str]:
    wrong = stage.too_few(report, schemathesis_cases=CASES)
    if report['failures']:
        wrong.append(f'{report["failures"]} kinds of answers are wrong.')
    if report['operations'] != report['routes']:
        wrong.append('The document does not have the operations of the API.')
    return wrong


def summary(found: Any, operations: int) -> dict[str, Any]:
    """What a report of schemathesis comes to, with what it did not do."""
    wrong = [f'{one["title"]} ({one["count"]})' for one in found['errors']]
    if not found['complete']:
        wrong.append(f'schemathesis stopped: {found["stop_reason"]}.')
    phases = found['phases'] or {}
    for name in PHASES:
        status = phases.get(name, {}).get('status')
        if status not in ('success', 'failure'):
            wrong.append(f'The phase {name} was not run: {status}.')
    tested = (found['operations'] or {}).get('tested', 0)
    if tested != operations:
        wrong.append(f'{tested} of {operations} operations were tested.')
    return {
        'cases': found['test_cases']['generated'],
        'failures': found['test_cases']['unique_failures'],
        'tested': tested,
        'wrong': wrong,
    }


def _round(
    program: pathlib.Path, built: object, version: str, cases: int
) -> tuple[Any, str]:
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
                [str(program), *_arguments(url, version, cases)],
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


def _arguments(url: str, version: str, cases: int) -> list[str]:
    checks = (*CHECKS, *(SINCE_1_1 if version else ()))
    asked = ['-H', f'OpenStack-API-Version: {version}'] if version else []
    return [
        'run',
        'openapi.json',
        f'--url={url}',
        f'--header=X-Auth-Token: {loopback.TOKEN}',
        *asked,
        f'--phases={",".join(PHASES)}',
        f'--checks={",".join(checks)}',
        f'--max-examples={cases}',
        f'--seed={SEED}',
        '--generation-database=none',
        '--suppress-health-check=all',
        '--continue-on-failure',
        '--request-timeout=60',
        '--no-color',
        '--report=json',
        f'--report-json-path={REPORT}',
    ]
