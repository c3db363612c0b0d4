# SPDX-License-Identifier: Apache-2.0
"""Alerts and dashboard: they ask for what is exported, and are explained."""

from __future__ import annotations

import json
import pathlib
import re
from collections.abc import Iterator, Mapping

import testtools
import yaml

from korora_nova import metrics, reasons
from korora_nova.verifier import figures, health, placement
from korora_nova.wsgi import exposition

ROOT = pathlib.Path(__file__).resolve().parents[2]
ALERTS = ROOT / 'etc/korora/prometheus/korora-alerts.yml'
DASHBOARD = ROOT / 'etc/korora/grafana/korora.json'
PAGE = ROOT / 'doc/source/admin/monitoring.rst'

#: Of Prometheus and node_exporter, and their labels.
FOREIGN = {
    'up': {'job'},
    'node_textfile_mtime_seconds': {'file'},
}
FUNCTIONS = {
    'count',
    'histogram_quantile',
    'increase',
    'max',
    'max_over_time',
    'min',
    'rate',
    'sum',
    'time',
}
SELECTOR = re.compile(r'(\w+)\{([^{}]*)\}')
MATCHER = re.compile(r'\s*(\w+)\s*(=|!=|=~|!~)\s*"([^"]*)"\s*')
GROUPING = re.compile(r'\bby\s*\(([^()]*)\)')
NAME = re.compile(r'[a-zA-Z_]\w*')
#: What is left of an expression without names.
REST = re.compile(r'(?:\s|\[\d+[smhd]\]|\d+(?:[.]\d+)?|[-+*/<>=!(),])*')
#: What Prometheus adds to every series.
TARGET = {'instance', 'job'}


def exported() -> dict[str, set[str]]:
    """Names in queries -> labels."""
    found: dict[str, set[str]] = {}
    for name, metric in metrics.METRICS.items():
        labels = {*metric.labels, 'worker'}
        if isinstance(metric, metrics.Histogram):
            found[f'{name}_bucket'] = labels | {'le'}
            found[f'{name}_sum'] = found[f'{name}_count'] = labels
        else:
            found[name] = labels
    for family in (*figures.FAMILIES, exposition.USABLE):
        labels = set(family.labels)
        if family.kind == 'gaugehistogram':
            found[f'{family.name}_bucket'] = labels | {'le'}
            found[f'{family.name}_gcount'] = labels
            found[f'{family.name}_gsum'] = labels
        elif family.kind == 'counter':
            found[f'{family.name}_total'] = labels
        else:
            found[family.name] = labels
    return found


def values() -> Mapping[str, set[str]]:
    """Label -> what it can be."""
    return {
        'status': set(figures.STATUSES),
        'tier': {'affirming', 'contraindicated', 'none'},
        'state': {
            *figures.STATES,
            *(str(one) for one in figures.OPEN),
            *(str(one) for one in placement.Done),
            'trusted',
        },
        'what': set(health.CHECKS),
        'reason': {*reasons.TABLE, metrics.OTHER},
        'outcome': {
            *reasons.TABLE,
            metrics.OTHER,
            metrics.OK,
            'none',
            'passed',
        },
        'handler': {'create_evidence'},
    }


def check(expression: str) -> set[str]:
    """The metrics that it asks for. Raises ValueError.

    Expressions of another kind are no PromQL that is known here.
    """
    known = {**exported(), **FOREIGN}
    for name, matchers in SELECTOR.findall(expression):
        check_matchers(known.get(name, set()) | TARGET, name, matchers)
    rest = SELECTOR.sub(r'\1', expression)
    for labels in GROUPING.findall(rest):
        for label in labels.split(','):
            if label.strip() not in TARGET.union(*known.values()):
                raise ValueError(f'nothing has a label {label}')
    rest = GROUPING.sub('', rest)
    names = set(NAME.findall(re.sub(r'\[\w+\]', '', rest)))
    if not names <= {*known, *FUNCTIONS, 'or'}:
        raise ValueError(f'not exported: {names - set(known)}')
    if not REST.fullmatch(NAME.sub('', re.sub(r'\[\d+[smhd]\]', '', rest))):
        raise ValueError(f'{rest!r} is no expression')
    if rest.count('(') != rest.count(')'):
        raise ValueError(f'{rest!r}: brackets')
    return names & set(known)


def check_matchers(labels: set[str], name: str, text: str) -> None:
    for one in text.split(','):
        found = MATCHER.fullmatch(one)
        if found is None or found[1] not in labels:
            raise ValueError(f'{name} has no label as in {one!r}')
        known = values().get(found[1])
        if '~' not in found[2] and known is not None and found[3] not in known:
            raise ValueError(f'{found[1]} is never {found[3]}')


def alerts() -> Iterator[dict[str, object]]:
    for group in yaml.safe_load(ALERTS.read_text())['groups']:
        yield from group['rules']


def panels() -> list[dict]:
    return json.loads(DASHBOARD.read_text())['panels']


class CheckerTest(testtools.TestCase):
    """It can fail."""

    def test_wrong_ones(self) -> None:
        for wrong in (
            'korora_nothing > 0',
            'korora_hosts{host="h1"}',
            'korora_hosts{status="lost"}',
            'sum by (server) (korora_hosts)',
            'sum(korora_hosts',
            'korora_hosts)',
            'guess(korora_hosts)',
            'korora_hosts $ 1',
            'korora_api_requests > 0',
            'rate(korora_api_requests_total[5 minutes])',
        ):
            self.assertRaises(ValueError, check, wrong)

    def test_right_ones(self) -> None:
        self.assertEqual(
            {'korora_api_requests_total', 'korora_hosts'},
            check(
                'sum by (code) (rate(korora_api_requests_total'
                '{code=~"5.."}[5m])) / max(korora_hosts{tier!="none"}) > 0.5'
            ),
        )


class AlertsTest(testtools.TestCase):
    def test_expressions(self) -> None:
        for alert in alerts():
            self.assertNotEqual(set(), check(str(alert['expr'])), alert)

    def test_form(self) -> None:
        names = [alert['alert'] for alert in alerts()]
        self.assertEqual(len(names), len(set(names)))
        self.assertGreater(len(names), 10)
        for alert in alerts():
            self.assertLessEqual(
                set(alert), {'alert', 'expr', 'for', 'labels', 'annotations'}
            )
            self.assertRegex(str(alert['for']), r'^\d+[smh]$')
            self.assertIn(
                alert['labels']['severity'], ('critical', 'warning', 'info')
            )
            for label in re.findall(
                r'\$labels[.](\w+)', alert['annotations']['summary']
            ):
                self.assertIn(label, {'instance', 'what', 'reason'})

    def test_each_has_its_lines_in_the_runbook(self) -> None:
        page = PAGE.read_text()
        for alert in alerts():
            name = str(alert['alert'])
            self.assertIn(f'\n{name}\n{"-" * len(name)}\n', page)
            self.assertEqual(
                f'admin/monitoring#{name.lower()}',
                alert['annotations']['runbook'],
            )

    def test_the_runbook_has_no_others(self) -> None:
        named = re.findall(r'\n(Korora\w+)\n-+\n', PAGE.read_text())
        self.assertEqual([alert['alert'] for alert in alerts()], named)


class DashboardTest(testtools.TestCase):
    def test_expressions(self) -> None:
        asked = set()
        for panel in panels():
            for target in panel.get('targets', ()):
                asked |= check(target['expr'])
        # Of a histogram one series is enough, and one of ours is for alerts.
        unseen = {
            name
            for name in exported()
            if not name.endswith(('_sum', '_count', '_gsum', '_gcount'))
        } - asked
        self.assertEqual(
            {
                'korora_ledger_document_timestamp_seconds',
                'korora_placement_sync_timestamp_seconds',
            },
            unseen,
        )

    def test_form(self) -> None:
        ids = [panel['id'] for panel in panels()]
        self.assertEqual(len(ids), len(set(ids)))
        for panel in panels():
            self.assertTrue(panel['title'])
            place = panel['gridPos']
            self.assertLessEqual(place['x'] + place['w'], 24)
            for target in panel.get('targets', ()):
                self.assertEqual('${datasource}', target['datasource']['uid'])


class PageTest(testtools.TestCase):
    def test_it_names_every_metric(self) -> None:
        page = PAGE.read_text()
        for name in metrics.METRICS:
            self.assertIn(f'``{name}``', page)
        for family in (*figures.FAMILIES, exposition.USABLE):
            suffix = '_total' if family.kind == 'counter' else ''
            self.assertIn(f'``{family.name}{suffix}``', page)

    def test_it_names_no_other(self) -> None:
        known = set(exported()) | set(metrics.METRICS)
        known |= {family.name for family in figures.FAMILIES}
        for name in re.findall(r'``(korora_[a-z_]+)``', PAGE.read_text()):
            self.assertIn(name, known)
