# SPDX-License-Identifier: Apache-2.0
"""Did one guest keep running, with one vTPM, across all its hosts?

The guest extends PCR 16 of its vTPM every second with SHA-256 of the tick's
number and prints the result.  Whoever reads the consoles of all hosts can
recompute the chain: a restart, a restored state or a second copy breaks it.
"""

import collections.abc
import dataclasses
import hashlib
import itertools
import pathlib
import re
import threading
import time

TICK = re.compile(
    r'TICK n=(\d+) up=([\d.]+) boot=(\S+) ext=(\S+) pcr16=([0-9A-Fa-f]{64})'
)
TROUBLE = re.compile(r'BUG:|corruption|Kernel panic|Oops|segfault')


@dataclasses.dataclass(frozen=True)
class Tick:
    """One line of a guest's console and when it was first seen."""

    number: int
    boot: str
    extended: bool
    pcr16: str
    seen: float


@dataclasses.dataclass(frozen=True)
class Report:
    """What the consoles prove."""

    continuity: bool
    boot_ids: int
    ticks: int
    max_gap_s: float
    emulator_trouble: bool


class Watcher(threading.Thread):
    """Follow one guest's console on several hosts at the same time."""

    def __init__(
        self,
        consoles: collections.abc.Sequence[pathlib.Path],
        period: float = 0.1,
        without: collections.abc.Collection[str] = (),
    ) -> None:
        super().__init__(name='console-watcher', daemon=True)
        self._consoles = consoles
        self._period = period
        self._without = frozenset(without)
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._ticks: dict[tuple[str, int], Tick] = {}
        self._wrong: list[Tick] = []
        self._trouble = False

    def run(self) -> None:
        while not self._ended.wait(self._period):
            self.read_now()

    def read_now(self) -> None:
        """Take in what the consoles show at this moment."""
        for console in self._consoles:
            try:
                text = console.read_text(errors='replace')
            except (FileNotFoundError, NotADirectoryError):
                continue
            self._take(text, time.monotonic())

    def _take(self, text: str, now: float) -> None:
        with self._lock:
            self._trouble |= bool(TROUBLE.search(text))
            for number, _, boot, ext, pcr16 in TICK.findall(text):
                if boot in self._without:
                    continue
                key = (boot, int(number))
                tick = Tick(int(number), boot, ext == 'ok', pcr16.upper(), now)
                known = self._ticks.setdefault(key, tick)
                if known.pcr16 != tick.pcr16:
                    # Two copies of one guest went separate ways.
                    self._wrong.append(tick)

    def stop(self) -> None:
        self._ended.set()
        self.join()

    @property
    def boots(self) -> set[str]:
        """All boots seen so far, and those that do not count."""
        with self._lock:
            return {t.boot for t in self._ticks.values()} | self._without

    def latest(self) -> int:
        """Number of the newest tick, 0 before the first."""
        with self._lock:
            return max((t.number for t in self._ticks.values()), default=0)

    def wait_past(self, number: int, timeout: float) -> None:
        """Wait for a tick newer than ``number``.

        :raises TimeoutError: the guest does not run.
        """
        end = time.monotonic() + timeout
        while self.latest() <= number:
            if time.monotonic() > end:
                raise TimeoutError(
                    f'the guest printed nothing after tick {number} '
                    f'for {timeout:.0f} s'
                )
            time.sleep(0.1)

    def report(self) -> Report:
        """Judge everything seen so far."""
        with self._lock:
            ticks = sorted(self._ticks.values(), key=lambda t: t.number)
            wrong = list(self._wrong)
        boots = {t.boot for t in ticks}
        chain = all(
            t.extended and t.pcr16 == expected
            for t, expected in zip(ticks, _chain(ticks), strict=True)
        )
        gaps = [b.seen - a.seen for a, b in itertools.pairwise(ticks)]
        return Report(
            continuity=bool(ticks) and chain and len(boots) == 1 and not wrong,
            boot_ids=len(boots),
            ticks=len(ticks),
            max_gap_s=round(max(gaps, default=0.0), 2),
            emulator_trouble=self._trouble,
        )


def _chain(ticks: list[Tick]) -> collections.abc.Iterator[str]:
    value, done = bytes(32), 0
    for tick in ticks:
        for number in range(done + 1, tick.number + 1):
            digest = hashlib.sha256(str(number).encode()).digest()
            value = hashlib.sha256(value + digest).digest()
        done = max(done, tick.number)
        yield value.hex().upper()
