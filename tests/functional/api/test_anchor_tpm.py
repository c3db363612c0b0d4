# SPDX-License-Identifier: Apache-2.0
"""The anchor in a file that a counter of a TPM dates."""

from __future__ import annotations

import os
import shutil
import threading
import time
from unittest import mock

import fixtures
from tpm2_pytss import ESAPI
from tpm2_pytss.types import TPM2B_NV_PUBLIC, TPMS_NV_PUBLIC

from korora_nova import errors
from korora_nova.tpm import counter
from korora_nova.verifier.anchor import sql
from tests.support import anchors, swtpm
from tests.support.anchors import LEDGER, SERVER, mark

INDEX = '0x01804b4f'


class TestTpm(anchors.AnchorMixin):
    def settings(self):
        self.hardware = self.tpm('A')
        directory = self.useFixture(fixtures.TempDir()).path
        self.path = os.path.join(directory, 'anchor')
        return {
            'backend': 'tpm',
            'path': self.path,
            'tcti': self.hardware.tcti,
            'nv_index': INDEX,
            # Seconds that one waits for the others; they are many
            'timeout': 120,
        }

    def tpm(self, name: str) -> swtpm.SwTpm:
        made = swtpm.SwTpm(name)
        made.start()
        self.addCleanup(made.stop)
        return made

    def copy(self) -> str:
        """A backup of the file as it is now."""
        return shutil.copy(self.path, f'{self.path}.{time.monotonic_ns()}')

    def commands(self, call) -> int:
        before = self.anchor.counter.tpm.count.total()
        call()
        return self.anchor.counter.tpm.count.total() - before

    def test_guarantees(self) -> None:
        self.assertTrue(self.anchor.GUARANTEES)

    def test_commands(self) -> None:
        self.assertLessEqual(
            self.commands(lambda: self.anchor.create(LEDGER)), 10
        )
        rise = self.commands(lambda: self.anchor.rise(LEDGER, SERVER, mark(1)))
        again = self.commands(
            lambda: self.anchor.rise(LEDGER, SERVER, mark(1))
        )
        get = self.commands(lambda: self.anchor.get(LEDGER, [SERVER]))
        self.assertEqual((5, 2, 2), (rise, again, get))
        self.assertEqual(0, self.hardware.transient_objects())

    def test_restored(self) -> None:
        self.anchor.create(LEDGER)
        for version in range(1, 4):
            self.anchor.rise(LEDGER, SERVER, mark(version))
            backup = self.copy()
        self.anchor.rise(LEDGER, SERVER, mark(9))
        shutil.copy(backup, self.path)
        for anchor in (self.anchor, self.another()):
            with self.refused('ANCHOR_MISSING', 'restored from a backup'):
                anchor.get(LEDGER, [SERVER])
            with self.refused('ANCHOR_MISSING', 'restored from a backup'):
                anchor.rise(LEDGER, SERVER, mark(9))
        with self.refused('ANCHOR_EXISTS'):
            self.another().create(LEDGER)

    def test_put_aside_and_made_anew(self) -> None:
        """The file that was put aside cannot be put back."""
        self.anchor.create(LEDGER)
        self.anchor.rise(LEDGER, SERVER, mark(1))
        aside = self.copy()
        os.remove(self.path)
        with self.refused('ANCHOR_MISSING'):
            self.anchor.get(LEDGER, [SERVER])
        self.another().create(LEDGER)
        self.assertMark(None)
        shutil.copy(aside, self.path)
        with self.refused('ANCHOR_MISSING', 'restored from a backup'):
            self.another().get(LEDGER, [SERVER])

    def test_power_lost(self) -> None:
        self.anchor.create(LEDGER)
        for version in range(1, 4):
            self.anchor.rise(LEDGER, SERVER, mark(version))
            self.hardware.reboot()
            self.assertMark(mark(version))

    def test_crash_between_the_two_writes(self) -> None:
        self.anchor.create(LEDGER)
        self.anchor.rise(LEDGER, SERVER, mark(1))
        before = self.copy()

        class Crash(BaseException):
            pass

        with mock.patch.object(
            counter.Counter, 'increment', side_effect=Crash
        ):
            self.assertRaises(Crash, self.anchor.rise, LEDGER, SERVER, mark(2))
        ahead = self.copy()
        # Nobody was told: what was before may come back
        shutil.copy(before, self.path)
        self.assertMark(mark(1))
        # Whoever looks at what is ahead makes it the only one
        shutil.copy(ahead, self.path)
        self.assertMark(mark(2))
        shutil.copy(before, self.path)
        with self.refused('ANCHOR_MISSING'):
            self.another().get(LEDGER, [SERVER])
        shutil.copy(ahead, self.path)
        self.anchor.rise(LEDGER, SERVER, mark(3))
        self.assertMark(mark(3))

    def test_crash_while_it_was_made(self) -> None:
        class Crash(BaseException):
            pass

        for target, name in (
            (counter.Counter, 'define'),
            (sql.Marks, 'create'),
        ):
            with mock.patch.object(target, name, side_effect=Crash):
                self.assertRaises(Crash, self.anchor.create, LEDGER)
            with self.refused('ANCHOR_MISSING'):
                self.anchor.get(LEDGER, [SERVER])
        with mock.patch.object(
            counter.Counter, 'increment', side_effect=Crash
        ):
            self.assertRaises(Crash, self.anchor.create, LEDGER)
        self.assertMark(None)

    def test_full_disk(self) -> None:
        """Refused before the counter has counted."""
        self.anchor.create(LEDGER)
        self.anchor.rise(LEDGER, SERVER, mark(1))
        full = errors.Unavailable(errors.Reason.ANCHOR_UNAVAILABLE)
        with mock.patch.object(sql.Marks, 'rise', side_effect=full):
            with self.refused('ANCHOR_UNAVAILABLE'):
                self.anchor.rise(LEDGER, SERVER, mark(2))
        self.assertMark(mark(1))
        self.anchor.rise(LEDGER, SERVER, mark(2))
        self.assertMark(mark(2))

    def test_of_another_tpm(self) -> None:
        self.anchor.create(LEDGER)
        for version in range(1, 5):
            self.anchor.rise(LEDGER, SERVER, mark(version))
        other = self.tpm('B')
        with self.refused('ANCHOR_MISSING', 'no such counter'):
            self.another(tcti=other.tcti).get(LEDGER, [SERVER])
        counter.Counter(other.tcti, int(INDEX, 16)).define()
        with self.refused('ANCHOR_MISSING', 'another TPM'):
            self.another(tcti=other.tcti).get(LEDGER, [SERVER])

    def test_a_counter_that_is_removed_does_not_go_back(self) -> None:
        self.anchor.create(LEDGER)
        self.anchor.rise(LEDGER, SERVER, mark(1))
        backup = self.copy()
        for version in range(2, 5):
            self.anchor.rise(LEDGER, SERVER, mark(version))
        with ESAPI(self.hardware.tcti) as esapi:
            handle = esapi.tr_from_tpmpublic(int(INDEX, 16))
            esapi.nv_undefine_space(nv_index=handle)
        with self.refused('ANCHOR_MISSING', 'no such counter'):
            self.anchor.get(LEDGER, [SERVER])
        shutil.copy(backup, self.path)
        again = counter.Counter(self.hardware.tcti, int(INDEX, 16))
        again.define()
        with self.refused('ANCHOR_MISSING', 'restored from a backup'):
            self.another().get(LEDGER, [SERVER])

    def test_the_index_is_taken(self) -> None:
        with ESAPI(self.hardware.tcti) as esapi:
            esapi.nv_define_space(
                auth=b'',
                public_info=TPM2B_NV_PUBLIC(
                    TPMS_NV_PUBLIC(
                        nvIndex=int(INDEX, 16),
                        nameAlg=0x000B,
                        attributes=0x02040004,
                        dataSize=8,
                    )
                ),
            )
        with self.refused('ANCHOR_UNAVAILABLE', 'taken'):
            self.anchor.create(LEDGER)

    def test_no_tpm(self) -> None:
        self.anchor.create(LEDGER)
        self.hardware.kill()
        for call in (
            lambda: self.anchor.get(LEDGER, [SERVER]),
            lambda: self.anchor.rise(LEDGER, SERVER, mark(1)),
        ):
            with self.refused('ANCHOR_UNAVAILABLE', self.hardware.tcti):
                call()
        self.hardware.start()
        self.anchor.rise(LEDGER, SERVER, mark(1))
        self.assertMark(mark(1))

    def test_busy(self) -> None:
        """Who waits gives up; who holds it is not disturbed."""
        self.anchor.create(LEDGER)
        asleep, awake = threading.Event(), threading.Event()
        increment = self.anchor.counter.increment

        def slow() -> int:
            asleep.set()
            awake.wait(20)
            return increment()

        with mock.patch.object(self.anchor.counter, 'increment', slow):
            thread = threading.Thread(
                target=self.anchor.rise, args=(LEDGER, SERVER, mark(1))
            )
            thread.start()
            asleep.wait(20)
            with self.refused('ANCHOR_UNAVAILABLE', 'busy'):
                self.another(timeout=0.2).get(LEDGER, [SERVER])
            awake.set()
            thread.join()
        self.assertMark(mark(1))

    def test_not_configured(self) -> None:
        with self.refused('ANCHOR_UNAVAILABLE', 'path'):
            self.another(path=None)
        with self.refused('ANCHOR_UNAVAILABLE'):
            self.another(tcti='nonsense').create(LEDGER)
