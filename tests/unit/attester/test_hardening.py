# SPDX-License-Identifier: Apache-2.0
"""What keeps the memory of a custodian to itself, in processes of its own."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import time
from collections.abc import Callable
from unittest import mock

import testtools

from korora_nova.attester.custodian import hardening

_PR_GET_DUMPABLE = 3


class HardeningTest(testtools.TestCase):
    def forked(self, work: Callable[[], bool]) -> int:
        """What a child of this process ends with: 0 if it is as it says."""
        pid = os.fork()
        if not pid:
            code = 2
            try:
                code = 0 if work() else 1
            finally:
                os._exit(code)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def test_no_core(self) -> None:
        def work() -> bool:
            before = hardening._libc.prctl(_PR_GET_DUMPABLE, 0, 0, 0, 0)
            hardening.conceal()
            return (
                before == 1
                and hardening._libc.prctl(_PR_GET_DUMPABLE, 0, 0, 0, 0) == 0
                and resource.getrlimit(resource.RLIMIT_CORE) == (0, 0)
            )

        self.assertEqual(0, self.forked(work))

    def test_a_refusal_of_the_kernel_is_none_of_ours(self) -> None:
        def work() -> bool:
            try:
                hardening._prctl(-1, 0)
            except OSError:
                return True
            return False

        self.assertEqual(0, self.forked(work))

    def test_locked_memory(self) -> None:
        """As far as this user may; what is written later is locked, too."""
        _soft, hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)
        if os.geteuid() and hard != resource.RLIM_INFINITY:
            self.skipTest('this user may not lock memory')

        def locked() -> int:
            with open('/proc/self/smaps_rollup') as file:
                (line,) = [x for x in file if x.startswith('Locked:')]
            return int(line.split()[1])

        def work() -> bool:
            if not hardening.lock_memory():
                return False
            before = locked()
            kept = ctypes.create_string_buffer(b'x' * (1 << 22), 1 << 22)
            return len(kept) > 0 and locked() >= before + (1 << 12)

        self.assertEqual(0, self.forked(work))

    def test_lock_that_is_not_granted(self) -> None:
        with mock.patch.object(hardening, '_MCL', 1 << 20):
            self.assertEqual(
                0, self.forked(lambda: not hardening.lock_memory())
            )

    def test_ends_with_its_parent(self) -> None:
        """Also if that ended before it could say so."""
        self.assertEqual(
            1, self.forked(lambda: hardening.die_with(os.getpid()) is None)
        )
        read, write = os.pipe()

        def work() -> bool:
            middle = os.getpid()
            if not os.fork():
                hardening.die_with(middle)
                os.write(write, b'x')
                time.sleep(60)
            os.read(read, 1)
            os.kill(middle, signal.SIGKILL)
            return False

        self.assertEqual(-signal.SIGKILL, self.forked(work))
        os.close(write)
        # Its end of the pipe is closed, too
        self.assertEqual(b'', os.read(read, 1))
        os.close(read)
