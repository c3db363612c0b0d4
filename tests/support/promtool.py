# SPDX-License-Identifier: Apache-2.0
"""Prometheus's own evaluation of our alert rules (``promtool test rules``).

What was exported before and after something happened becomes a history of
minutes: a state that lasts, and counters that go on as they did in between.
"""

from __future__ import annotations

import dataclasses
import pathlib
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from typing import Any

import yaml
from prometheus_client import parser

RULES = (
    pathlib.Path(__file__).resolve().parents[2]
    / 'etc/korora/prometheus/korora-alerts.yml'
)
#: Minutes of the state before, and of the state after beyond the rule's own.
BEFORE, BEYOND = 10, 25
_COUNTERS = ('_total', '_bucket', '_count', '_sum')
_MOMENTS = ('_timestamp_seconds', '_mtime_seconds')
_GONE = 'stale'


@dataclasses.dataclass(frozen=True)
class Scrape:
    """What was exported at one moment.

    :param at: seconds since 1970, by the clock of who exported.
    :param samples: series, as Prometheus writes them -> value.
    """

    at: float
    samples: Mapping[str, float]

    def with_file(self, text: str, **target: str) -> Scrape:
        """And what else is exported, with these labels."""
        return Scrape(self.at, {**self.samples, **read(text, **target)})


def read(text: str, **target: str) -> dict[str, float]:
    """Prometheus's text format; the target's labels are added."""
    return {
        series(one.name, {**one.labels, **target}): one.value
        for family in parser.text_string_to_metric_families(text)
        for one in family.samples
    }


def series(name: str, labels: Mapping[str, str]) -> str:
    inner = ','.join(f'{key}="{labels[key]}"' for key in sorted(labels))
    return f'{name}{{{inner}}}'


def program() -> str | None:
    """Where promtool is; Debian has it in the package prometheus."""
    return shutil.which('promtool')


def rules() -> dict[str, Mapping[str, Any]]:
    """Alert -> its rule."""
    groups = yaml.safe_load(RULES.read_text())['groups']
    return {rule['alert']: rule for group in groups for rule in group['rules']}


def minutes(text: str) -> int:
    """A duration of a rule, rounded up."""
    number, unit = int(text[:-1]), text[-1]
    return {'s': (number + 59) // 60, 'm': number, 'h': number * 60}[unit]


def history(
    before: Scrape, after: Scrape, length: int
) -> list[dict[str, str]]:
    """Input series of a test: one value for each minute.

    If both are the same scrape, the state lasts, and time stamps are kept up
    to date.
    """
    found = []
    for name in sorted({*before.samples, *after.samples}):
        values = [
            _before(name, before, minute) for minute in range(BEFORE)
        ] + [_after(name, before, after, minute) for minute in range(length)]
        found.append({'series': name, 'values': ' '.join(values)})
    return found


def _before(name: str, before: Scrape, minute: int) -> str:
    value = before.samples.get(name)
    if value is None:
        return '_'
    if _is(name, _MOMENTS):
        value = value - before.at + 60 * minute
    return _text(value)


def _after(name: str, before: Scrape, after: Scrape, minute: int) -> str:
    value, old = after.samples.get(name), before.samples.get(name, 0.0)
    if value is None:
        return _GONE
    if _is(name, _MOMENTS):
        moving = minute if before is after else 0
        value = value - after.at + 60 * (BEFORE + moving)
    elif _is(name, _COUNTERS) and value > old:
        value = old + (minute + 1) * (value - old)
    return _text(value)


def _is(name: str, endings: tuple[str, ...]) -> bool:
    return name.partition('{')[0].endswith(endings)


def _text(value: float) -> str:
    return f'{value:.6f}'


def document(
    alert: str, before: Scrape, after: Scrape, firing: bool
) -> dict[str, Any]:
    """A test that an alert fires, or not, when its state has lasted."""
    length = minutes(rules()[alert]['for']) + BEYOND
    expression = (
        f'(count(ALERTS{{alertname="{alert}",alertstate="firing"}}) > bool 0)'
        ' or vector(0)'
    )
    return {
        'rule_files': [str(RULES)],
        'evaluation_interval': '1m',
        'tests': [
            {
                'interval': '1m',
                'input_series': history(before, after, length),
                'promql_expr_test': [
                    {
                        'expr': expression,
                        'eval_time': f'{BEFORE + length - 1}m',
                        'exp_samples': [
                            {'labels': '{}', 'value': int(firing)}
                        ],
                    }
                ],
            }
        ],
    }


def fires(alert: str, before: Scrape, after: Scrape) -> bool:
    """Whether an alert fires once this has lasted.

    :raises RuntimeError: promtool cannot tell.
    """
    said = ''
    for firing in (True, False):
        passed, said = _run(document(alert, before, after, firing))
        if passed:
            return firing
    raise RuntimeError(said)


def _run(content: Mapping[str, Any]) -> tuple[bool, str]:
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, 'test.yml')
        path.write_text(yaml.safe_dump(content))
        done = subprocess.run(
            [program() or 'promtool', 'test', 'rules', str(path)],
            capture_output=True,
            text=True,
        )
    return done.returncode == 0, done.stdout + done.stderr
