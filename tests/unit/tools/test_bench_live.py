# SPDX-License-Identifier: Apache-2.0
"""What tools/bench makes of migrations and starts, without a lab."""

from __future__ import annotations

import os
import pathlib
import tempfile
import time

import testtools

from korora_nova.attester import server, socket_client
from korora_nova.custody import answers
from korora_tools.bench import arms, cli, pairs, slow, spanlog
from korora_tools.bench.pairs import KORORA, STOCK, STOCK_TLS, Sample
from tests.support import fakes

SERVER = '6b6f726f-7261-4000-8000-000000000001'
OTHER = '6b6f726f-7261-4000-8000-000000000002'
PHASES = ('precheck', 'post')


class BlocksTest(testtools.TestCase):
    def test_abba(self) -> None:
        order = pairs.blocks(20)
        self.assertEqual(
            'ABBAABBA',
            ''.join({STOCK: 'A', KORORA: 'B'}.get(arm, '') for arm in order),
        )
        self.assertEqual(4, order.count(STOCK_TLS))
        self.assertEqual(list(pairs.SLEEPS), order[-2:])

    def test_enough_pairs(self) -> None:
        for count in (1, 12, 13, 20, 24, 25):
            order = pairs.blocks(count, tls=False)
            self.assertEqual(order.count(STOCK), order.count(KORORA))
            self.assertGreaterEqual(order.count(KORORA) * pairs.BLOCK, count)
            self.assertNotIn(STOCK_TLS, order)

    def test_each_block_ends_where_it_began(self) -> None:
        self.assertGreaterEqual(pairs.BLOCK, 5)
        self.assertEqual(2, pairs.DROPPED)
        self.assertEqual(0, (pairs.BLOCK + pairs.DROPPED) % 2)


def cost(precheck: float, **counts: int) -> spanlog.Cost:
    return spanlog.Cost({'precheck': precheck, 'post': 10.0}, 3.0, counts)


class ReportTest(testtools.TestCase):
    def samples(self, sleep: float = 1.0) -> dict[str, list[Sample]]:
        return {
            STOCK: [Sample(t, 100.0) for t in (4.0, 2.0, 3.0)],
            STOCK_TLS: [Sample(3.1, 110.0)],
            KORORA: [
                Sample(3.3, 120.0, cost(ms, http=7, tpm=30, sql=90))
                for ms in (100.0, 120.0, 400.0)
            ],
            pairs.LONG_SLEEP: [Sample(3.3 + sleep, 120.0, cost(1120.0))],
            pairs.SHORT_SLEEP: [Sample(3.3, 120.0, cost(171.0))],
        }

    def test_figures(self) -> None:
        found = pairs.report(self.samples(), PHASES)
        self.assertEqual(
            (3, 3.0, 3.1, 3.3, 1.1),
            tuple(
                found[key]
                for key in (
                    'pairs',
                    'stock_total_s',
                    'stock_tls_total_s',
                    'korora_total_s',
                    'ratio_total',
                )
            ),
        )
        self.assertEqual(
            (1000.0, 1000.0, 50.0, 51.0),
            tuple(
                found[key]
                for key in (
                    'injected_ms',
                    'recovered_ms',
                    'spans_injected_ms',
                    'spans_recovered_ms',
                )
            ),
        )
        self.assertEqual(
            {'precheck': 120.0, 'post': 10.0}, found['spans_ms_p50']
        )
        self.assertEqual(130.0, found['added_serial_ms_p50'])
        self.assertEqual(410.0, found['added_serial_ms_p95'])
        self.assertEqual(
            (7, 30, 90),
            tuple(found['counts'][k] for k in ('http', 'tpm', 'sql')),
        )
        self.assertEqual(
            {
                'stock_downtime_ms': 100.0,
                'stock_tls_downtime_ms': 110.0,
                'korora_downtime_ms': 120.0,
            },
            pairs.downtimes(self.samples()),
        )

    def test_quantile(self) -> None:
        values = [float(value) for value in range(1, 21)]
        self.assertEqual(19.0, pairs.quantile(values, 0.95))
        self.assertEqual(1.0, pairs.quantile([1.0], 0.95))

    def test_second_that_is_not_found_is_a_failure(self) -> None:
        for sleep, status in ((1.0, 0), (1.29, 0), (0.6, 1), (0.0, 1)):
            report = pairs.report(self.samples(sleep), PHASES)
            self.assertEqual(status, cli._conclude(report), sleep)


def span(name: str, trace: str, process: str, **more: object) -> spanlog.Json:
    return {
        'span': name,
        'trace': trace,
        'process': process,
        'root': True,
        'wall_ms': 10.0,
        'cpu_ms': 1.0,
        'counts': {},
        'instance': SERVER,
        **more,
    }


class SpanlogTest(testtools.TestCase):
    def test_lines(self) -> None:
        found = spanlog.parse(
            '2026-11-30 12:00:00.1 7 INFO korora_nova.spans [None req-1 - -] '
            'span {"span":"post","wall_ms":1.5}\n'
            '2026-11-30 12:00:00.1 7 INFO korora_nova.spans [-] A span went\n'
            '2026-11-30 12:00:00.1 7 INFO another [-] span {"span":"x"}\n'
        )
        self.assertEqual([{'span': 'post', 'wall_ms': 1.5}], found)

    def test_from_a_moment_on(self) -> None:
        line = 'INFO korora_nova.spans [-] span {"span":"%s"}\n'
        with tempfile.TemporaryDirectory() as folder:
            log = pathlib.Path(folder) / 'x.log'
            log.write_text(line % 'old')
            logs = spanlog.Logs([log, log.with_name('not-there.log')])
            with log.open('a') as file:
                file.write(line % 'new')
            self.assertEqual([{'span': 'new'}], logs.spans())

    def test_cost_is_of_one_operation(self) -> None:
        compute = spanlog.SERIAL
        spans = [
            span('precheck', 't1', compute, counts={'agent': 2}),
            span('precheck', 't1', compute, wall_ms=5.0),
            span('post', 't1', compute),
            # In its trace, of other processes; one is inside another
            span('agent.attest', 't1', 'korora-agent', counts={'tpm': 9}),
            span('ask', 't1', 'korora-agent', root=False, counts={'tpm': 9}),
            span('api', 't1', 'korora-api', counts={'sql': 20}, instance=''),
            # Later, with what that asks
            span('settle', 't2', 'korora-agent', counts={'http': 1}),
            span('api', 't2', 'korora-api', counts={'sql': 3}, instance=''),
            # Of others
            span('post', 't3', compute, instance=OTHER),
            span('settle', 't4', 'korora-agent', instance=OTHER),
            span('api', 't5', 'korora-api', counts={'sql': 99}, instance=''),
            span('gate', 't1', compute, counts={'agent': 1}),
        ]
        found = spanlog.cost(spans, SERVER, PHASES)
        self.assertEqual({'precheck': 15.0, 'post': 10.0}, found.ms)
        self.assertEqual(25.0, found.serial_ms)
        self.assertEqual(
            {'agent': 3, 'tpm': 9, 'sql': 23, 'http': 1}, found.counts
        )

    def test_nothing_is_found_where_nothing_is(self) -> None:
        self.assertEqual(0.0, spanlog.cost([], SERVER, PHASES).serial_ms)


class SlowSocketTest(testtools.TestCase):
    def test_one_operation_is_late(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / 'agent.sock'
            agent = server.Server(
                str(path),
                frozenset({os.getuid()}),
                {
                    'announce': lambda _: answers.Done(),
                    'close': lambda _: answers.Done(),
                },
                fakes.take,
            )
            agent.start()
            self.addCleanup(agent.stop)
            with slow.SlowSocket(path, 'announce') as between:
                client = socket_client.AgentClient(
                    str(path.with_name(slow.NAME)), 5
                )
                between.delay = 2.0
                self.assertGreaterEqual(self.seconds(client.announce), 2.0)
                self.assertLess(self.seconds(client.close), 2.0)
            self.assertFalse(path.with_name(slow.NAME).exists())

    def seconds(self, call: object) -> float:
        began = time.monotonic()
        call(SERVER)
        return time.monotonic() - began


class ArmsTest(testtools.TestCase):
    TEXT = '[DEFAULT]\na = 1\nfilters = x\nfilters = y\n[libvirt]\nb = 2\n'

    def test_edited(self) -> None:
        self.assertEqual(
            '[DEFAULT]\nfilters = x\nfilters = y\na = 5\n'
            '[libvirt]\nb = 2\nc = 3\n[korora]\nspans = log\n',
            arms.edited(
                self.TEXT,
                {
                    'DEFAULT': {'a': '5'},
                    'libvirt': {'c': '3'},
                    'korora': {'spans': 'log'},
                },
            ),
        )

    def test_time_of_nova(self) -> None:
        self.assertEqual(
            1764504000.0, arms._seconds('2025-11-30T12:00:00.000000')
        )


class CommandTest(testtools.TestCase):
    def test_options(self) -> None:
        found = cli.parser().parse_args(['migration', '--json', 'x'])
        self.assertEqual(('migration', 20), (found.what, found.pairs))
