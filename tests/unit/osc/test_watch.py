# SPDX-License-Identifier: Apache-2.0
"""What is told of changes, and how the service is asked about them."""

import io
import json
import time
from collections.abc import Callable, Iterator

import fixtures
import jwt

from korora_nova import client, errors
from korora_nova.osc import events, progress, watch, watcher
from tests.unit.osc.base import CommandTest


def signed(**claims: object) -> str:
    return jwt.encode(claims, 'x' * 32, algorithm='HS256')


def result(host: str, tier: str, exp: float = 10**10) -> dict:
    return {
        'host': host,
        'tier': tier,
        'reasons': [] if tier == 'affirming' else ['X'],
        'token': signed(exp=exp),
    }


class Service:
    """Answers as the client does; a test changes what is the case."""

    def __init__(self) -> None:
        self.results_now: dict[str, dict] = {}
        self.incarnation, self.seq = 'i', 1
        self.migrations: list[dict] = []
        self.receipts: list[str] = []
        self.asked: list[object] = []
        self.down = False

    def results(self, *, changes_since=None, etag=None):
        if self.down:
            raise errors.Unavailable('SERVICE_UNAVAILABLE')
        self.asked.append(changes_since)
        tag = f'{self.seq}-{self.incarnation}'
        if etag == tag:
            return None
        return client.Results(
            tag,
            self.seq,
            self.incarnation,
            tuple(map(client.Answer, self.results_now.values())),
        )

    def newest_migrations(self, etag=''):
        tag = json.dumps(self.migrations)
        if tag == etag:
            return None
        return tag, list(map(client.Answer, self.migrations))

    def newest_receipts(self, marker=''):
        found = self.receipts[int(marker) :] if marker else []
        return str(len(self.receipts)), found

    def says(self, host: str, tier: str, **more: float) -> None:
        self.results_now[host] = result(host, tier, **more)
        self.seq += 1


class TestWatcher(CommandTest):
    def setUp(self) -> None:
        super().setUp()
        self.service = Service()
        self.service.says('h1', 'affirming')
        self.watcher = watcher.Watcher(self.service)
        self.now = 1000.0
        self.watcher.begin(self.now)

    def look(self, seconds: float = 1.0) -> list[tuple[str, str, str]]:
        self.now += seconds
        return [
            (one.kind, one.subject, one.what)
            for one in self.watcher.look(self.now)
        ]

    def test_nothing(self) -> None:
        self.assertEqual([], self.look())
        self.assertEqual([None, 2], self.service.asked)

    def test_tiers(self) -> None:
        self.service.says('h1', 'contraindicated')
        self.service.says('h2', 'affirming')
        self.assertEqual(
            [
                ('tier', 'h1', 'affirming -> contraindicated X'),
                ('tier', 'h2', 'unknown -> affirming'),
            ],
            self.look(),
        )
        self.assertEqual([], self.look())

    def test_a_result_that_expires(self) -> None:
        self.service.says('h1', 'affirming', exp=1030)
        self.assertEqual([], self.look())
        self.assertEqual([], self.look(28))
        self.assertEqual(
            [('tier', 'h1', 'affirming -> none RESULT_EXPIRED')], self.look()
        )
        self.service.says('h1', 'affirming')
        self.assertEqual(
            [('tier', 'h1', 'none RESULT_EXPIRED -> affirming')], self.look()
        )

    def test_a_host_that_is_gone(self) -> None:
        del self.service.results_now['h1']
        self.service.seq += 1
        self.assertEqual([], self.look())
        self.assertEqual(
            [('tier', 'h1', 'affirming -> unknown')], self.look(watcher.WHOLE)
        )
        self.assertIsNone(self.service.asked[-1])

    def test_a_service_that_counts_anew(self) -> None:
        self.service.seq, self.service.incarnation = 0, 'j'
        self.assertEqual([], self.look())
        self.look()
        self.assertIsNone(self.service.asked[-1])

    def test_migrations(self) -> None:
        moving = {
            'id': 'm',
            'instance': 's',
            'source': 'h1',
            'dest': 'h2',
            'kind': 'live',
            'status': 'moving',
        }
        self.service.migrations = [moving]
        self.assertEqual([('migration', 's', 'h1 -> h2: moving')], self.look())
        self.assertEqual([], self.look())
        self.service.migrations = [{**moving, 'status': 'committed'}]
        self.assertEqual(
            [('migration', 's', 'h1 -> h2: committed')], self.look()
        )

    def test_receipts(self) -> None:
        self.service.receipts = [
            signed(instance='s', outcome='committed', holder='h2'),
            signed(instance='t', outcome='deleted', holder=''),
        ]
        self.assertEqual(
            [
                ('receipt', 's', 'committed: held by h2'),
                ('receipt', 't', 'deleted: held by nobody'),
            ],
            self.look(),
        )
        self.assertEqual([], self.look())


class TestWatch(CommandTest):
    def setUp(self) -> None:
        super().setUp()
        self.service = Service()
        self.service.says('h1', 'affirming')
        self.app.client_manager.attestation = self.service
        self.said = io.StringIO()
        self.useFixture(fixtures.MonkeyPatch('sys.stderr', self.said))
        self.steps: Iterator[Callable[[], None]] = iter(())
        self.useFixture(
            fixtures.MonkeyPatch('korora_nova.osc.watch.time.sleep', self.nap)
        )

    def nap(self, seconds: float) -> None:
        """Something happens while the command sleeps."""
        for step in self.steps:
            step()
            return
        raise KeyboardInterrupt

    def watch(self, *argv: str) -> list[str]:
        return self.run_command(watch.Watch, *argv).splitlines()

    def falls(self) -> None:
        self.service.says('h1', 'contraindicated')
        self.service.says('h2', 'affirming')

    def test_lines(self) -> None:
        self.steps = iter([self.falls])
        lines = self.watch('--host', 'h1')
        self.assertEqual(1, len(lines))
        self.assertRegex(
            lines[0],
            r'^20\d\d-.*Z tier      h1 affirming -> contraindicated X$',
        )

    def test_json(self) -> None:
        self.steps = iter([self.falls])
        first, second = map(json.loads, self.watch('-f', 'json'))
        self.assertEqual(
            {
                'before': 'affirming',
                'tier': 'contraindicated',
                'reasons': ['X'],
            },
            first['details'],
        )
        self.assertEqual(('tier', 'h2'), (second['kind'], second['subject']))

    def test_it_goes_on_when_the_service_is_back(self) -> None:
        def goes() -> None:
            self.service.down = True

        def comes() -> None:
            self.service.down = False
            self.falls()

        self.steps = iter([goes, lambda: None, comes])
        self.assertEqual(2, len(self.watch()))
        self.assertEqual(1, self.said.getvalue().count('Still trying.'))

    def test_it_ends(self) -> None:
        self.steps = iter([lambda: None] * 3)
        self.assertEqual([], self.watch('--for', '0.000001'))


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class TestProgress(CommandTest):
    def setUp(self) -> None:
        super().setUp()
        for name, value in (('AFTER', 0.01), ('EVERY', 0.01)):
            self.useFixture(
                fixtures.MonkeyPatch(f'korora_nova.osc.progress.{name}', value)
            )

    def said(self, stream: io.StringIO, *, paused: bool = False) -> str:
        self.useFixture(fixtures.MonkeyPatch('sys.stderr', stream))
        with progress.shown():
            progress.at('3 of 4 hosts')
            if paused:
                with progress.paused():
                    time.sleep(0.1)
            else:
                time.sleep(0.1)
        return stream.getvalue()

    def test_on_a_terminal(self) -> None:
        self.assertIn('0 s: 3 of 4 hosts\n', self.said(Terminal()))

    def test_not_in_a_script(self) -> None:
        self.assertEqual('', self.said(io.StringIO()))

    def test_not_while_a_person_is_asked(self) -> None:
        self.assertEqual('', self.said(Terminal(), paused=True))

    def test_what_is_quick_says_nothing(self) -> None:
        stream = Terminal()
        self.useFixture(fixtures.MonkeyPatch('sys.stderr', stream))
        self.useFixture(
            fixtures.MonkeyPatch('korora_nova.osc.progress.AFTER', 2.0)
        )
        with progress.shown():
            pass
        self.assertEqual('', stream.getvalue())


class TestEvents(CommandTest):
    def test_what_has_no_token(self) -> None:
        trust = events.Trust.of({'host': 'h', 'tier': 'none', 'reasons': None})
        self.assertEqual('none', trust.at(10**9).words)
