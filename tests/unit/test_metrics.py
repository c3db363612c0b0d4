# SPDX-License-Identifier: Apache-2.0
"""Metrics: nothing while off; what is written, and goes wrong, while on."""

from __future__ import annotations

import errno
import os
import pathlib
import re
import subprocess
import sys
import threading
from unittest import mock

import fixtures
import testtools
from prometheus_client import parser

from korora_nova import errors, metrics
from korora_nova.metrics import counting

#: Names and units of https://prometheus.io/docs/practices/naming/.
NAME = re.compile(r'korora_(api|agent|filter|enforcer|placement)_[a-z_]+')


def read(path: pathlib.Path) -> dict[str, float]:
    """Samples, each as it is written in a query."""
    return {
        one.name
        + '{'
        + ','.join(f'{k}="{v}"' for k, v in sorted(one.labels.items()))
        + '}': one.value
        for family in parser.text_string_to_metric_families(path.read_text())
        for one in family.samples
    }


class Case(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.directory = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        self.addCleanup(metrics.stop)

    def start(self, process: str = metrics.FILTER) -> None:
        metrics.start(str(self.directory), process)

    def written(self, name: str = 'korora-filter-0') -> dict[str, float]:
        metrics.write()
        return read(self.directory / f'{name}.prom')


class OffTest(testtools.TestCase):
    def test_a_point_is_one_call(self) -> None:
        called: list[str] = []

        def seen(frame, event, what) -> None:
            if event == 'call':
                called.append(frame.f_code.co_name)
            elif event == 'c_call' and what is not sys.setprofile:
                called.append(what.__qualname__)

        self.assertFalse(metrics.enabled())
        labels = {'op': 'open'}
        for point in (
            lambda: metrics.FILTER_HOSTS.add(3, outcome='passed'),
            lambda: metrics.AGENT_EXPIRES.set(1.0),
            lambda: metrics.AGENT_SECONDS.time(labels),
            lambda: metrics.counted(metrics.AGENT_ATTESTATIONS),
        ):
            called.clear()
            sys.setprofile(seen)
            try:
                point()
            finally:
                sys.setprofile(None)
            self.assertEqual(2, len(called), called)  # this one, and that

    def test_nothing_is_imported_written_or_started(self) -> None:
        code = (
            'import sys, threading\n'
            'from korora_nova import metrics\n'
            'metrics.start(None, metrics.API)\n'
            'metrics.start("", metrics.API)\n'
            'metrics.FILTER_HOSTS.add(outcome="passed")\n'
            'metrics.write()\n'
            'metrics.stop()\n'
            'assert "prometheus_client" not in sys.modules\n'
            'assert threading.active_count() == 1\n'
        )
        subprocess.run([sys.executable, '-c', code], check=True)


class OnTest(Case):
    def test_what_is_written(self) -> None:
        self.start()
        metrics.FILTER_HOSTS.add(3, outcome='passed')
        metrics.FILTER_HOSTS.add(outcome='HOST_PENDING')
        metrics.FILTER_REFRESHED.set(7.5)
        with metrics.FILTER_SECONDS.time({}):
            pass
        found = self.written()
        self.assertEqual(
            (3, 1, 7.5, 1, 1),
            (
                found[
                    'korora_filter_hosts_total{outcome="passed",worker="0"}'
                ],
                found[
                    'korora_filter_hosts_total'
                    '{outcome="HOST_PENDING",worker="0"}'
                ],
                found['korora_filter_refresh_timestamp_seconds{worker="0"}'],
                found['korora_filter_duration_seconds_count{worker="0"}'],
                found[
                    'korora_filter_duration_seconds_bucket'
                    '{le="+Inf",worker="0"}'
                ],
            ),
        )
        # One series more for each, of no use to anybody.
        self.assertEqual([], [name for name in found if '_created' in name])

    def test_the_thread_writes(self) -> None:
        with mock.patch.object(counting, 'INTERVAL', 0.01):
            self.start()
            metrics.FILTER_REFRESHED.set(1)
            path = self.directory / 'korora-filter-0.prom'
            for _ in range(1000):
                if path.exists():
                    return
                threading.Event().wait(0.01)
        self.fail('nothing was written')

    def test_others_can_read_it_whatever_the_umask(self) -> None:
        before = os.umask(0o077)
        try:
            self.start()
            metrics.FILTER_REFRESHED.set(1)
            self.written()
        finally:
            os.umask(before)
        mode = (self.directory / 'korora-filter-0.prom').stat().st_mode
        self.assertEqual(0o644, mode & 0o777)

    def test_what_ends_with_an_error_is_counted_by_its_reason(self) -> None:
        self.start(metrics.AGENT)
        for error in (
            errors.Unavailable('TPM_UNAVAILABLE'),
            ValueError('x'),
            errors.KororaError('WHATEVER A PEER SAYS 0b1c2d3e'),
        ):
            with testtools.ExpectedException(type(error)):
                with (
                    metrics.AGENT_SECONDS.time({'op': 'open'}),
                    metrics.counted(metrics.AGENT_OPERATIONS, op='open'),
                ):
                    raise error
        found = self.written('korora-agent-0')
        name = (
            'korora_agent_operations_total{op="open",outcome="%s",worker="0"}'
        )
        self.assertEqual(
            (1, 2), (found[name % 'TPM_UNAVAILABLE'], found[name % 'OTHER'])
        )
        self.assertEqual(
            3,
            found[
                'korora_agent_operation_duration_seconds_count'
                '{op="open",worker="0"}'
            ],
        )

    def test_two_processes_of_one_name(self) -> None:
        self.start()
        metrics.FILTER_REFRESHED.set(1)
        code = (
            'from korora_nova import metrics\n'
            f'metrics.start({str(self.directory)!r}, metrics.FILTER)\n'
            'metrics.FILTER_REFRESHED.set(2)\n'
            'metrics.stop()\n'
        )
        for _ in range(2):  # the second one gets the number of the first
            subprocess.run([sys.executable, '-c', code], check=True)
        self.written()
        self.assertEqual(
            ['korora-filter-0.prom', 'korora-filter-1.prom'],
            sorted(path.name for path in self.directory.glob('*.prom')),
        )

    def test_a_child_counts_for_itself(self) -> None:
        self.start()
        metrics.FILTER_HOSTS.add(5, outcome='passed')
        child = os.fork()
        if not child:
            metrics.FILTER_HOSTS.add(1, outcome='passed')
            metrics.write()
            os._exit(0)
        self.assertEqual(0, os.waitpid(child, 0)[1])
        name = 'korora_filter_hosts_total{outcome="passed",worker="%d"}'
        self.assertEqual(5, self.written()[name % 0])
        self.assertEqual(1, self.written('korora-filter-1')[name % 1])

    def test_a_crash_leaves_nothing_in_the_way(self) -> None:
        (self.directory / '.korora-filter-0.prom.new').write_text('half of')
        (self.directory / 'korora-filter-0.prom').write_text('old')
        (self.directory / 'korora-filter-0.lock').touch()
        self.start()
        metrics.FILTER_REFRESHED.set(1)
        self.assertIn(
            'korora_filter_refresh_timestamp_seconds{worker="0"}',
            self.written(),
        )
        self.assertEqual(
            ['korora-filter-0.lock', 'korora-filter-0.prom'],
            sorted(os.listdir(self.directory)),
        )


class BadDayTest(Case):
    def test_a_full_disk_is_told_once_and_harms_nothing(self) -> None:
        log = self.useFixture(fixtures.FakeLogger())
        self.start()
        metrics.FILTER_REFRESHED.set(1)
        good = self.written()
        full = OSError(errno.ENOSPC, 'No space left on device')
        with mock.patch.object(counting.os, 'replace', side_effect=full):
            for _ in range(3):
                metrics.FILTER_HOSTS.add(outcome='passed')
                metrics.write()
        self.assertEqual(1, log.output.count('No space left'))
        self.assertEqual(good, read(self.directory / 'korora-filter-0.prom'))
        self.assertIn(
            'korora_filter_hosts_total{outcome="passed",worker="0"}',
            self.written(),
        )

    def test_a_directory_that_comes_later(self) -> None:
        log = self.useFixture(fixtures.FakeLogger())
        late = self.directory / 'late'
        metrics.start(str(late), metrics.FILTER)
        for _ in range(3):
            metrics.FILTER_REFRESHED.set(1)
        self.assertEqual(1, log.output.count('Nothing is counted'))
        late.mkdir()
        with mock.patch.object(counting, '_not_before', 0.0):
            metrics.FILTER_REFRESHED.set(2)
            metrics.write()
        self.assertTrue((late / 'korora-filter-0.prom').exists())

    def test_no_prometheus_client(self) -> None:
        log = self.useFixture(fixtures.FakeLogger())
        self.start()
        with mock.patch.dict(sys.modules, {'prometheus_client': None}):
            metrics.FILTER_REFRESHED.set(1)
            with metrics.FILTER_SECONDS.time({}):
                pass
        self.assertIn('Nothing is counted', log.output)

    def test_links_of_others_are_not_followed(self) -> None:
        prey = self.directory / 'prey'
        prey.write_text('precious')
        for name in ('.korora-filter-0.prom.new', 'korora-filter-0.prom'):
            (self.directory / name).symlink_to(prey)
        self.start()
        metrics.FILTER_REFRESHED.set(1)
        self.written()
        self.assertEqual('precious', prey.read_text())
        self.useFixture(fixtures.FakeLogger())
        metrics.stop()
        (self.directory / 'korora-agent-0.lock').symlink_to(prey)
        self.start(metrics.AGENT)
        metrics.AGENT_EXPIRES.set(1)
        self.assertEqual('precious', prey.read_text())

    def test_no_more_workers(self) -> None:
        log = self.useFixture(fixtures.FakeLogger())
        with mock.patch.object(counting, 'MAX_WORKERS', 0):
            self.start()
            metrics.FILTER_REFRESHED.set(1)
        self.assertIn('Nothing is counted', log.output)


class NamesTest(testtools.TestCase):
    def test_they_follow_the_conventions(self) -> None:
        for name, metric in metrics.METRICS.items():
            self.assertIsNotNone(NAME.fullmatch(name), name)
            self.assertEqual(
                isinstance(metric, metrics.Counter),
                name.endswith('_total'),
                name,
            )
            if isinstance(metric, metrics.Histogram):
                self.assertTrue(name.endswith('_seconds'), name)
            self.assertTrue(metric.help.endswith('.'), name)

    def test_no_label_names_hosts_servers_or_users(self) -> None:
        self.assertLessEqual(
            {
                label
                for metric in metrics.METRICS.values()
                for label in metric.labels
            },
            {
                'code',
                'handler',
                'method',
                'op',
                'outcome',
                'purpose',
                'reason',
                'state',
                'tier',
            },
        )
