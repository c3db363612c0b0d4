# SPDX-License-Identifier: Apache-2.0
"""Many hosts are decided as one is."""

import dataclasses
import itertools

import testtools

from korora_nova import errors
from korora_nova.rats.signed import keys
from korora_nova.rats.signed.snapshot import Row
from korora_nova.rats.words import Tier
from korora_nova.relying_party import table

NOW = 1000.0
RING = keys.KeyRing('c', ())


@dataclasses.dataclass
class State:
    host: str


def rows():
    """All sorts of hosts."""
    sorts = itertools.product(
        Tier,
        ('', 'ENFORCER_ABSENT', 'ENFORCER_DRIFT'),
        (0.0, 700.0, NOW - 60, NOW, NOW + 30, NOW + 30.1, 2000.0),
        (0.0, NOW - 0.1, NOW, NOW + 0.1, 3000.0),
        ((), ('HOST_PENDING',), ('EVICTED',), ('PCR_NOT_GOLDEN',)),
    )
    return {
        f'h{number}': Row(f'h{number}', *sort)
        for number, sort in enumerate(sorts)
    }


class TestDecision(testtools.TestCase):
    def setUp(self):
        super().setUp()
        self.rows = rows()
        self.table = table.Table(self.rows, RING, 'k', {'f1': 'RESULT_FORGED'})
        self.decision = table.Decision(self.table)
        self.states = [State(host) for host in (*self.rows, 'f1', 'x1')]

    def reasons(self, max_age, now=NOW):
        found = {}
        for state in self.states:
            try:
                self.decision.require(state.host, now, max_age)
                found[state.host] = ''
            except errors.Untrusted as exc:
                found[state.host] = exc.reason
        return found

    def test_many_as_one(self):
        for max_age in (None, 60, 1, 10**6):
            sifted = self.decision.sift(iter(self.states), NOW, max_age)
            one_by_one = self.reasons(max_age)
            self.assertEqual(
                [host for host, reason in one_by_one.items() if not reason],
                [state.host for state in sifted.passed],
            )
            refused = {
                host: reason
                for reason, hosts in sifted.refused.items()
                for host in hosts
            }
            self.assertEqual(
                {host: why for host, why in one_by_one.items() if why},
                refused,
            )
            self.assertNotIn('', sifted.refused)

    def test_who_passes(self):
        passed = {
            row[1:5]
            for host, row in self.rows.items()
            if not self.reasons(None)[host]
        }
        self.assertEqual(
            {
                (Tier.AFFIRMING, '', issued, expires)
                for issued in (0.0, 700.0, NOW - 60, NOW, NOW + 30)
                for expires in (NOW + 0.1, 3000.0)
            },
            passed,
        )

    def test_reasons(self):
        for row, reason in (
            (Row('h', Tier.NONE, reasons=('HOST_PENDING',)), 'HOST_PENDING'),
            (Row('h', Tier.NONE, reasons=('EVICTED',)), 'EVICTED'),
            (Row('h', Tier.NONE, reasons=('NEWS',)), 'RESULT_MISSING'),
            (Row('h', Tier.NONE), 'RESULT_MISSING'),
            (Row('h', Tier.AFFIRMING, '', 0, NOW), 'RESULT_EXPIRED'),
            (Row('h', Tier.CONTRAINDICATED, '', 0, 2e3), 'HOST_UNTRUSTED'),
        ):
            one = table.Table({'h': row}, RING, 'k')
            self.assertEqual(reason, one.refusal('h', NOW, None))

    def test_time_does_not_go_back(self):
        self.decision = table.Decision(
            table.Table(
                {'h': Row('h', Tier.AFFIRMING, '', 0.0, NOW)}, RING, 'k'
            ),
            since=NOW,
        )
        self.states = [State('h')]
        self.assertEqual({'h': 'RESULT_EXPIRED'}, self.reasons(None, 10.0))
        self.assertEqual([], self.decision.sift(self.states, 10.0).passed)


class TestKeys(testtools.TestCase):
    def test_rows_of_keys_that_are_left(self):
        old, new = (keys.SigningKey.generate() for _ in range(2))

        def ring(*pinned):
            return keys.KeyRing.build(
                'c', result=[k.public for k in pinned], custody=[], approval=[]
            )

        both = ring(old, new)
        found = {
            host: Row(host, Tier.AFFIRMING, '', 0.0, 2e3)
            for host in ('h1', 'h2')
        }
        each = table.Table(found, both, {'h1': old.kid, 'h2': new.kid})
        self.assertIs(each, each.under(both))
        left = each.under(ring(new))
        self.assertEqual('RESULT_FORGED', left.refusal('h1', NOW, None))
        self.assertEqual('', left.refusal('h2', NOW, None))
        self.assertEqual({'h2'}, set(left.windows))
        whole = table.Table(found, both, old.kid)
        self.assertEqual({}, whole.under(ring(new)).windows)
        self.assertEqual(set(found), set(whole.under(ring(old)).windows))
