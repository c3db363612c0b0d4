# SPDX-License-Identifier: Apache-2.0
"""What several verifiers' words come to."""

import itertools

import hypothesis
import testtools
from hypothesis import strategies as st

from korora_nova.rats import schemas, verdict
from korora_nova.rats.verdict import Verdict
from korora_nova.rats.words import Tier

NOW = 1000.0
A, N, C = Tier.AFFIRMING, Tier.NONE, Tier.CONTRAINDICATED
WORST = {A: 2, N: 1, C: 0}


def say(source, tier, *reasons, required=True, expires=NOW + 60):
    return Verdict(
        source, required, True, tier, reasons, 'x', NOW - 10, expires
    )


VERDICTS = st.builds(
    Verdict,
    source=st.sampled_from(['native', 'a', 'b']),
    required=st.booleans(),
    proof=st.booleans(),
    tier=st.sampled_from(list(Tier)),
    reasons=st.lists(st.sampled_from(['R1', 'R2']), max_size=2).map(tuple),
    subject=st.text('abc', max_size=3),
    issued=st.floats(0, 2000),
    expires=st.floats(0, 2000),
)


class TestCombine(testtools.TestCase):
    def test_table(self):
        for left, right in itertools.product(Tier, repeat=2):
            found = verdict.combine(
                [say('native', left, 'L'), say('a', right, 'R')], NOW
            )
            self.assertEqual(min(WORST[left], WORST[right]), WORST[found.tier])
            self.assertEqual(
                tuple(
                    reason
                    for tier, reason in ((left, 'L'), (right, 'R'))
                    if tier is not A
                ),
                found.reasons,
            )

    def test_advisory_counts_for_nothing(self):
        for tier in Tier:
            found = verdict.combine(
                [
                    say('native', A),
                    say('a', tier, 'R', required=False, expires=NOW + 1),
                ],
                NOW,
            )
            self.assertEqual(
                (A, (), NOW + 60), (found.tier, found.reasons, found.expires)
            )

    def test_nothing_required(self):
        for verdicts in ([], [say('a', A, required=False)]):
            found = verdict.combine(verdicts, NOW)
            self.assertEqual((N, 0), (found.tier, found.expires))

    def test_expired(self):
        for expires in (NOW, NOW - 1, 0.0):
            found = verdict.combine(
                [say('native', A), say('a', A, expires=expires)], NOW
            )
            self.assertEqual(N, found.tier)
            self.assertEqual(('SOURCE_SILENT',), found.reasons)
            self.assertEqual(NOW + 60, found.expires)

    def test_refusal_that_expired(self):
        """It is no trust either."""
        found = verdict.combine(
            [say('native', A), say('a', C, 'R', expires=NOW)], NOW
        )
        self.assertEqual((N, ('SOURCE_SILENT',)), (found.tier, found.reasons))

    def test_the_first_to_end(self):
        found = verdict.combine(
            [say('native', A), say('a', A, expires=NOW + 5)], NOW
        )
        self.assertEqual(NOW + 5, found.expires)

    def test_a_refusal_without_reason(self):
        found = verdict.combine([say('native', C)], NOW)
        self.assertEqual(('SOURCE_SILENT',), found.reasons)

    @hypothesis.given(st.lists(VERDICTS, max_size=4))
    def test_never_better_than_any_that_is_required(self, verdicts):
        found = verdict.combine(verdicts, NOW)
        if found.tier is A:
            required = [one for one in verdicts if one.required]
            self.assertTrue(required)
            for one in required:
                self.assertIs(A, one.tier)
                self.assertGreater(one.expires, NOW)
                self.assertLessEqual(found.expires, one.expires)
            self.assertEqual((), found.reasons)
        else:
            required = [one for one in verdicts if one.required]
            self.assertEqual(bool(required), bool(found.reasons))

    @hypothesis.given(VERDICTS)
    def test_json(self, one):
        document = one.to_json()
        self.assertIsNone(schemas.fault(verdict.SCHEMA, [document]))
        self.assertEqual(one, Verdict.from_json(document))
