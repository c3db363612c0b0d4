# SPDX-License-Identifier: Apache-2.0
"""What is remembered of states: only of the same, and only so many."""

import dataclasses
from typing import Any

import testtools

from korora_nova.rats import remembered
from korora_nova.rats.evidence import Evidence
from korora_nova.rats.quote.verify import Clock

JUDGED = remembered.Judged(None, (), ())


@dataclasses.dataclass(frozen=True)
class Quote:
    pcrs: dict[int, bytes]
    clock: Clock
    firmware_version: int = 1


QUOTE: Any = Quote({0: b'\0' * 32, 10: b'\1' * 32}, Clock(5, 1, 2, True))
EVIDENCE = Evidence(QUOTE, b'log', b'list')
POLICY: Any = object()


class TestKey(testtools.TestCase):
    def key(
        self, quote: Any = QUOTE, evidence=EVIDENCE, before=None, policies=()
    ) -> remembered.Key:
        return remembered.key(quote, evidence, before or {}, policies)

    def test_what_rules_do_not_look_at(self) -> None:
        """PCR 10, the clock, and where the log is."""
        digest = EVIDENCE.log_digest
        for quote, evidence in (
            (
                dataclasses.replace(
                    QUOTE, pcrs={0: b'\0' * 32, 10: b'\2' * 32}
                ),
                EVIDENCE,
            ),
            (
                dataclasses.replace(QUOTE, clock=Clock(6, 1, 2, True)),
                EVIDENCE,
            ),
            (QUOTE, Evidence(QUOTE, b'', b'', 4, b'', digest)),
        ):
            self.assertEqual(self.key(), self.key(quote, evidence))

    def test_all_that_they_look_at(self) -> None:
        keys = [
            self.key(),
            self.key(dataclasses.replace(QUOTE, pcrs={0: b'\3' * 32})),
            self.key(
                dataclasses.replace(QUOTE, pcrs={**QUOTE.pcrs, 1: b'\0' * 32})
            ),
            self.key(dataclasses.replace(QUOTE, clock=Clock(5, 2, 2, True))),
            self.key(dataclasses.replace(QUOTE, clock=Clock(5, 1, 3, True))),
            self.key(dataclasses.replace(QUOTE, clock=Clock(5, 1, 2, False))),
            self.key(dataclasses.replace(QUOTE, firmware_version=2)),
            self.key(evidence=Evidence(QUOTE, b'Log', b'list')),
            self.key(evidence=Evidence(QUOTE, b'log', b'list', 0, b'units')),
            self.key(before={0: b'\0' * 32}),
            self.key(before={11: b'\0' * 32}),
            self.key(policies=(POLICY,)),
            self.key(policies=(POLICY, POLICY)),
        ]
        self.assertEqual(len(keys), len(set(keys)))


class TestJudgements(testtools.TestCase):
    def test_so_many(self) -> None:
        """Those go that were not asked for longest."""
        known = remembered.Judgements(3)
        keys = [(bytes((number,)), ()) for number in range(4)]
        for key in keys[:3]:
            known.put(key, JUDGED)
        self.assertIs(JUDGED, known.get(keys[0]))
        known.put(keys[3], JUDGED)
        self.assertEqual(
            [True, False, True, True],
            [known.get(key) is not None for key in keys],
        )
        known.clear()
        self.assertIsNone(known.get(keys[3]))
