# SPDX-License-Identifier: Apache-2.0
"""What was sent, what came of it, and what was judged wrongly."""

from __future__ import annotations

import collections
import dataclasses
import statistics
import threading
import time
from typing import Any

from korora_nova import errors
from korora_nova.client.http import TIMEOUT

#: Refusals that say something about the evidence or its host.
_OF_EVIDENCE = (errors.EvidenceError, errors.Untrusted, errors.Invalid)
#: Refusals by which a host only comes at another time.
_LATER = frozenset(
    (
        errors.Reason.CHALLENGE_UNKNOWN,
        errors.Reason.CHALLENGE_USED,
        errors.Reason.CHALLENGE_EXPIRED,
        errors.Reason.RESULT_EXPIRED,
    )
)
#: Seconds for which results are valid, by default; and after which readers
#: must have heard that a host was found bad: what a replica lags behind.
RESULT_TTL = 180.0
GRACE = 5.0
_SHOWN = 20
_AFFIRMING = 'affirming'


@dataclasses.dataclass(frozen=True)
class Said:
    """One answer.

    :param at: ``time.monotonic`` when it was there; ``took`` seconds.
    :param what: ``attest``, ``custody`` or ``garbage``.
    :param answer: tier, or reason id.
    :param available: false if the way to the service, or it, was broken.
    """

    at: float
    took: float
    what: str
    answer: str
    available: bool


class Tally:
    """Counts, from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.said: list[Said] = []
        self.sent: collections.Counter[str] = collections.Counter()
        self.false_trusted: list[str] = []
        self.false_untrusted: list[str] = []
        self.wrong: list[str] = []

    def acted(self, act: str) -> None:
        with self._lock:
            self.sent[act] += 1

    def answered(self, what: str, began: float, answer: str) -> None:
        """A request was served."""
        self._say(what, began, answer, True)

    def refused(
        self, what: str, began: float, error: errors.KororaError
    ) -> None:
        available = not isinstance(error, errors.Unavailable)
        self._say(what, began, str(error.reason), available)
        if error.reason == errors.Reason.INTERNAL:
            self.blame(f'{what}: {error}')

    def _say(
        self, what: str, began: float, answer: str, available: bool
    ) -> None:
        now = time.monotonic()
        said = Said(now, now - began, what, answer, available)
        with self._lock:
            self.said.append(said)

    def judge(self, host: str, *, good: bool, tier: str) -> None:
        """The service's word on a host, against what the host is."""
        if good == (tier == _AFFIRMING):
            return
        with self._lock:
            wrong = self.false_untrusted if good else self.false_trusted
            wrong.append(f'{host}: {tier}')

    def judge_refusal(
        self, host: str, *, good: bool, error: errors.KororaError
    ) -> None:
        """A good host is not to be told that its evidence is bad."""
        if (
            good
            and isinstance(error, _OF_EVIDENCE)
            and error.reason not in _LATER
        ):
            with self._lock:
                self.false_untrusted.append(f'{host}: {error.reason}')

    def blame(self, sentence: str) -> None:
        """Something happened that must not."""
        with self._lock:
            self.wrong.append(sentence)

    def summary(self) -> dict[str, Any]:
        """The report's part."""
        with self._lock:
            said = list(self.said)
            return {
                'sent': dict(sorted(self.sent.items())),
                'answers': {
                    what: _counted(said, what)
                    for what in sorted({one.what for one in said})
                },
                'ms_p50': {
                    what: _median_ms(said, what)
                    for what in sorted({one.what for one in said})
                },
                'false_trusted': len(self.false_trusted),
                'false_untrusted': len(self.false_untrusted),
                'wrong': len(self.wrong),
                'details': [
                    *self.false_trusted[:_SHOWN],
                    *self.false_untrusted[:_SHOWN],
                    *self.wrong[:_SHOWN],
                ],
            }


def _counted(said: list[Said], what: str) -> dict[str, int]:
    found = collections.Counter(one.answer for one in said if one.what == what)
    return dict(sorted(found.items()))


def _median_ms(said: list[Said], what: str) -> float:
    took = [one.took for one in said if one.what == what]
    return round(statistics.median(took) * 1000, 1)


def failed(said: list[Said], began: float, ended: float) -> list[Said]:
    """Requests of a span of time that failed, or took longer than agents wait.

    Only failures of the way to the service, or of what it needs, count; a
    request belongs to the span in which it was made.
    """
    return [
        one
        for one in said
        if began <= one.at - one.took < ended
        and (not one.available or one.took > TIMEOUT)
    ]


def recovery(said: list[Said], began: float, ended: float) -> float:
    """Seconds after ``began`` until the last of these had failed; 0: none."""
    ends = [one.at for one in failed(said, began, ended)]
    return round(max(ends) - began, 1) if ends else 0.0


def overdue(now: float, turned: float, told: float, *, told_bad: bool) -> bool:
    """Whether readers of results must know by now that a host is bad.

    :param turned: when it became bad; ``told`` when the service last judged
        it; all by one clock, seconds.
    :param told_bad: whether it was found bad then.
    """
    if told_bad:
        return now - max(turned, told) > GRACE
    return now - max(turned, told) > RESULT_TTL + GRACE
