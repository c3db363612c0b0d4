# SPDX-License-Identifier: Apache-2.0
"""Many streams of one host, and few threads; libvirt and service do not
matter here: see tests/functional/attester/test_watch.py.
"""

import threading
import time
import uuid
from types import SimpleNamespace
from unittest import mock

import testtools

from korora_nova.attester import boot, watch
from korora_nova.attester.vault import Record
from korora_nova.custody.moves import Move
from korora_nova.custody.watch import Watched
from korora_nova.custody.words import Statement, VaultState

_S = VaultState


def record(**changed) -> Record:
    fields = {
        'instance': str(uuid.uuid4()),
        'state': _S.MOVING,
        'ak_name': '',
        'srk_name': '',
        'migration': str(uuid.uuid4()),
        'boot_id': boot.boot_id(),
        **changed,
    }
    return Record(**fields)


class Service:
    """Keeps requests that may wait until it is let go."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.asked: list[tuple[str, float, float]] = []
        self.answer = Watched()

    def watch_migration(self, migration, *, wait, heard):
        self.asked.append((migration, wait, heard))
        if wait:
            self.go.wait(20)
        return self.answer.to_json()


class Vault:
    def __init__(self, records) -> None:
        self.records = {one.migration: one for one in records}

    def all(self):
        return list(self.records.values())

    def of_migration(self, instance, migration):
        return self.records.get(migration)

    def current(self, instance):
        found = [
            one for one in self.records.values() if one.instance == instance
        ]
        return found[0] if found else None


class TestWatches(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.service = Service()
        patch = mock.patch.object(watch, 'AGAIN', 0.05)
        patch.start()
        self.addCleanup(patch.stop)

    def watches(self, *records: Record) -> watch.Watches:
        self.vault = Vault(records)
        self.hypervisor = mock.Mock()
        self.hypervisor.has_job.return_value = False
        self.hypervisor.abort.return_value = False
        made = watch.Watches(
            SimpleNamespace(
                vault=self.vault,
                client=self.service,
                hypervisor=self.hypervisor,
            )
        )
        self.addCleanup(self.service.go.set)
        self.addCleanup(made.stop)
        return made

    def until(self, condition) -> None:
        end = time.monotonic() + 20
        while not condition():
            self.assertLess(time.monotonic(), end)
            time.sleep(0.01)

    def test_which_records(self) -> None:
        watched = [record(), record(statement=Statement.KEPT)]
        others = [
            record(state=_S.OUTGOING),
            record(state=_S.STARTING),
            record(state=_S.HELD, migration=''),
            record(state=_S.INCOMING),
            record(kind=Move.COLD),
            record(statement=Statement.STREAM_COMPLETED),
            record(statement=Statement.ENDED_HERE),
            record(boot_id='another'),
        ]
        made = self.watches(*watched, *others)
        made.start()
        self.assertEqual({one.migration for one in watched}, set(made._open))

    def test_nothing_before_the_start(self) -> None:
        one = record()
        made = self.watches(one)
        made.begin(one)
        made.take_up()
        self.assertEqual({}, made._open)

    def test_once_each(self) -> None:
        one = record()
        made = self.watches(one)
        made.start()
        for _ in range(3):
            made.begin(one)
        self.until(lambda: self.service.asked)
        self.assertEqual(1, made._threads)

    def test_few_wait_at_the_service(self) -> None:
        made = self.watches(*(record() for _ in range(watch.WAITING)))
        made.start()
        self.until(lambda: len(self.service.asked) == watch.WAITING)
        self.assertEqual(
            {watch.WAIT}, {wait for _, wait, _ in self.service.asked}
        )

    def test_many_come_round(self) -> None:
        """More streams than threads: each is asked about again and again."""
        records = [record() for _ in range(watch.THREADS + 8)]
        made = self.watches(*records)
        with mock.patch.object(watch, 'WAIT', 0.0):
            made.start()
        self.service.go.set()

        def rounds():
            asked = [one for one, _, _ in list(self.service.asked)]
            return min(asked.count(one.migration) for one in records)

        self.until(lambda: rounds() >= 3)
        self.assertLessEqual(made._threads, watch.THREADS)

    def test_threads_end_with_the_streams(self) -> None:
        records = [record() for _ in range(3)]
        made = self.watches(*records)
        made.start()
        self.until(lambda: len(self.service.asked) == 3)
        self.vault.records.clear()
        self.service.go.set()
        self.until(lambda: not made._threads)
        self.assertEqual({}, made._open)

    def test_heard_without_a_break(self) -> None:
        now = [1000.0]
        one = record()
        made = self.watches(one)
        made._clock = lambda: now[0]
        self.service.go.set()
        held = watch._Watch(one.instance, one.migration)
        for _ in range(3):
            made.step(held)
            now[0] += 20
        self.assertEqual([0, 20, 40], [h for _, _, h in self.service.asked])
        genuine, self.service.answer = self.service.answer, mock.Mock()
        self.service.answer.to_json.return_value = {}
        made.step(held)
        self.service.answer = genuine
        now[0] += 20
        made.step(held)
        self.assertEqual(0, self.service.asked[-1][2])

    def test_retry_after(self) -> None:
        one = record()
        made = self.watches(one)
        self.service.go.set()
        self.service.answer = Watched(retry_after=3.0)
        held = watch._Watch(one.instance, one.migration)
        self.assertEqual(3.0, made.step(held))

    def test_ends_are_remembered_for_a_while(self) -> None:
        made = self.watches()
        for number in range(watch._KEPT + 5):
            one = record()
            self.vault.records = {one.migration: one}
            held = watch._Watch(
                one.instance, one.migration, order=Watched.lost('h2', ('X',))
            )
            made.step(held)
            self.assertEqual('h2', made.why(one.migration).host, number)
        self.assertEqual(watch._KEPT, len(made._ended))
        self.assertEqual('', made.why('unknown').reason)
