# SPDX-License-Identifier: Apache-2.0
"""To which hosts something is done: dampening, caps, approval."""

import dataclasses
import unittest

from hypothesis import given, settings
from hypothesis import strategies as st

from korora_nova.response import decide
from korora_nova.response.decide import Belief, Fleet, Seen
from korora_nova.verifier.responses.words import FLEET, State

TOUCHES, TELLS = 'disable', 'notify'
BASE = decide.Settings(
    bad_results=3,
    good_results=2,
    max_share=0.1,
    max_hosts=5,
    window=3600.0,
    approval=False,
    dry_run=False,
    drivers={TELLS: False, TOUCHES: True},
)


def having(**changes):
    return dataclasses.replace(BASE, **changes)


def fleet(count=100, **bad):
    return {
        **{f'h{number:03}': Belief() for number in range(count)},
        **bad,
    }


def good(issued=1.0):
    return Seen(True, issued)


def bad(issued=1.0, *reasons):
    return Seen(False, issued, reasons or ('PCR_NOT_GOLDEN',))


class BeliefTest(unittest.TestCase):
    def walk(self, *looks, belief=None, wanted=BASE):
        for seen in looks:
            belief = decide.believe(belief, seen, wanted)
        return belief

    def test_a_host_that_was_never_trusted_has_nothing_to_lose(self):
        self.assertIsNone(self.walk(*(bad(n) for n in range(9))))

    def test_silence_moves_nothing(self):
        for belief in (None, Belief(), Belief(True), Belief(False, 2, 7.0)):
            self.assertEqual(belief, self.walk(None, None, belief=belief))

    def test_trust_is_lost_after_several_results_in_a_row(self):
        self.assertEqual(
            [0, 1, 2, 0],
            [
                self.walk(good(), *(bad(n + 2) for n in range(count))).streak
                for count in range(4)
            ],
        )
        self.assertTrue(self.walk(good(), bad(2), bad(3), bad(4)).lost)

    def test_one_good_result_begins_anew(self):
        self.assertFalse(
            self.walk(good(), bad(2), bad(3), good(4), bad(5), bad(6)).lost
        )

    def test_the_same_result_counts_once(self):
        self.assertEqual(
            Belief(False, 1, 2.0), self.walk(good(), *[bad(2.0)] * 9)
        )

    def test_silence_between_bad_results_does_not_make_them_good(self):
        self.assertTrue(
            self.walk(good(), bad(2), None, bad(3), None, bad(4)).lost
        )

    def test_a_clock_that_went_back_still_counts(self):
        self.assertTrue(self.walk(good(9), bad(5), bad(4), bad(3)).lost)

    def test_an_operators_word_counts_at_once(self):
        evicted = Seen(False, 1.0, ('EVICTED',), final=True)
        self.assertTrue(self.walk(good(), evicted).lost)

    def test_trust_is_back_after_several_good_results(self):
        lost = Belief(True, 0, 4.0)
        self.assertTrue(self.walk(good(5), belief=lost).lost)
        self.assertTrue(self.walk(good(5), bad(6), good(7), belief=lost).lost)
        self.assertFalse(self.walk(good(5), good(6), belief=lost).lost)


class DecisionTest(unittest.TestCase):
    ALMOST = Belief(False, 2, 1.0)

    def decide(self, beliefs, looked, wanted=BASE, **known):
        return decide.decide(Fleet(beliefs, **known), looked, wanted)

    def states(self, decision):
        return {(one.host, one.driver): one.state for one in decision.new}

    def test_one_host(self):
        found = self.decide(fleet(x=self.ALMOST), {'x': bad(2)})
        self.assertEqual(['x'], found.lost)
        self.assertEqual('', found.hold)
        self.assertEqual(
            {('x', TELLS): State.DUE, ('x', TOUCHES): State.DUE},
            self.states(found),
        )
        self.assertEqual(
            [('PCR_NOT_GOLDEN',)] * 2, [one.reasons for one in found.new]
        )

    def test_approval(self):
        found = self.decide(
            fleet(x=self.ALMOST), {'x': bad(2)}, having(approval=True)
        )
        self.assertEqual(
            {('x', TELLS): State.DUE, ('x', TOUCHES): State.WAITING},
            self.states(found),
        )

    def test_dry_run_does_and_holds_nothing(self):
        beliefs = {f'h{n}': self.ALMOST for n in range(9)}
        looked = {host: bad() for host in beliefs} | {'h0': bad(2)}
        found = self.decide(beliefs, looked, having(dry_run=True))
        self.assertEqual(('', 2), (found.hold, len(found.new)))
        self.assertEqual(
            {'It would be due.', 'It would be waiting.'},
            {one.why for one in found.new},
        )
        self.assertEqual({State.DRY_RUN}, {one.state for one in found.new})

    def test_a_wrong_policy_touches_no_host(self):
        """T23: all hosts fail it, the first one most often."""
        beliefs = {host: Belief(False, 1, 1.0) for host in fleet()}
        beliefs['h000'] = self.ALMOST
        looked = {host: bad() for host in beliefs} | {'h000': bad(2)}
        found = self.decide(beliefs, looked)
        self.assertIn('100 of 100 hosts', found.hold)
        self.assertEqual(
            {
                ('h000', TELLS): State.DUE,
                ('h000', TOUCHES): State.WAITING,
                (FLEET, TELLS): State.DUE,
            },
            self.states(found),
        )

    def test_one_that_fell_silent_on_its_way_does_not_count(self):
        beliefs = {host: Belief(False, 1, 1.0) for host in fleet()}
        beliefs['h000'] = self.ALMOST
        self.assertEqual('', self.decide(beliefs, {'h000': bad(2)}).hold)

    def test_share(self):
        lost = {f'l{n}': Belief(True) for n in range(9)}
        for many, held in ((90, False), (89, True)):
            # With x, of 100 hosts; then of 99.
            found = self.decide(
                fleet(many, x=self.ALMOST, **lost), {'x': bad(2)}
            )
            self.assertEqual(held, bool(found.hold), many)

    def test_one_host_may_always(self):
        found = self.decide(
            fleet(1, x=self.ALMOST), {'x': bad(2)}, having(max_share=0.0)
        )
        self.assertEqual('', found.hold)

    def test_count_per_time(self):
        before = {f'h{n:03}' for n in range(4)}
        for looked, held in ((['x'], False), (['x', 'y'], True)):
            found = self.decide(
                fleet(x=self.ALMOST, y=self.ALMOST),
                {host: bad(2) for host in looked},
                touched=before,
            )
            self.assertEqual(held, bool(found.hold), looked)

    def test_held_stays_held(self):
        found = self.decide(fleet(x=self.ALMOST), {'x': bad(2)}, held=True)
        self.assertEqual(State.WAITING, self.states(found)['x', TOUCHES])
        self.assertEqual('', found.hold)
        self.assertNotIn((FLEET, TELLS), self.states(found))

    def test_no_second_response(self):
        found = self.decide(
            fleet(x=self.ALMOST), {'x': bad(2)}, open={('x', TOUCHES)}
        )
        self.assertEqual({('x', TELLS)}, set(self.states(found)))

    def test_silence_of_all_is_nothing(self):
        found = self.decide(fleet(x=Belief(True), y=self.ALMOST), {})
        self.assertEqual(decide.Decision({}, [], [], []), found)


HOSTS = [f'h{number}' for number in range(12)]
#: What one host does in one look: nothing, a good or a bad result.
LOOKS = st.lists(
    st.dictionaries(st.sampled_from(HOSTS), st.booleans()), max_size=40
)
SETTINGS = st.builds(
    decide.Settings,
    bad_results=st.integers(1, 4),
    good_results=st.integers(1, 3),
    max_share=st.floats(0.0, 1.0),
    max_hosts=st.integers(0, 12),
    window=st.just(3600.0),
    approval=st.booleans(),
    dry_run=st.booleans(),
    drivers=st.just({TELLS: False, TOUCHES: True}),
)


class Walk:
    """Looks one after the other, as the database keeps what they leave."""

    def __init__(self, wanted):
        self.wanted = wanted
        self.beliefs, self.open, self.touched = {}, {}, set()
        self.held, self.count = False, 0

    def look(self, results):
        self.count += 1
        looked = {
            host: Seen(said, float(self.count), ())
            for host, said in results.items()
        }
        found = decide.decide(
            Fleet(self.beliefs, self.touched, set(self.open), self.held),
            looked,
            self.wanted,
        )
        self.beliefs = {**self.beliefs, **found.beliefs}
        for host in found.regained:
            for driver in self.wanted.drivers:
                self.open.pop((host, driver), None)
        for one in found.new:
            assert (one.host, one.driver) not in self.open
            self.open[one.host, one.driver] = one.state
            if self.wanted.drivers[one.driver] and one.state == State.DUE:
                self.touched.add(one.host)
        self.held = self.held or bool(found.hold)
        return found


class PropertiesTest(unittest.TestCase):
    @settings(max_examples=150, deadline=None)
    @given(SETTINGS, LOOKS)
    def test_never_more_than_the_cap(self, wanted, looks):
        walk = Walk(wanted)
        for results in looks:
            walk.look(results)
            touched = [
                host
                for (host, driver), state in walk.open.items()
                if driver == TOUCHES and state == State.DUE
            ]
            self.assertLessEqual(len(walk.touched), wanted.max_hosts)
            # Hosts may be known only after another one was touched.
            self.assertLessEqual(
                len(touched), decide.limit(len(HOSTS), wanted)
            )
            if wanted.approval or wanted.dry_run:
                self.assertEqual([], touched)

    @settings(max_examples=150, deadline=None)
    @given(SETTINGS, LOOKS)
    def test_nothing_before_so_many_bad_results(self, wanted, looks):
        walk, streak = Walk(wanted), dict.fromkeys(HOSTS, 0)
        known = set()
        for results in looks:
            for host, said in results.items():
                streak[host] = 0 if said else streak[host] + 1
                known |= {host} if said else set()
            for host in walk.look(results).lost:
                self.assertIn(host, known)
                self.assertGreaterEqual(streak[host], wanted.bad_results)

    @settings(max_examples=150, deadline=None)
    @given(SETTINGS, LOOKS, st.sampled_from(HOSTS))
    def test_no_host_moves_another_ones_belief(self, wanted, looks, one):
        alone, all_ = Walk(wanted), Walk(wanted)
        for results in looks:
            all_.look(results)
            alone.look({h: said for h, said in results.items() if h == one})
        self.assertEqual(all_.beliefs.get(one), alone.beliefs.get(one))

    @settings(max_examples=150, deadline=None)
    @given(SETTINGS, LOOKS)
    def test_a_look_repeated_changes_nothing(self, wanted, looks):
        walk = Walk(wanted)
        for results in looks:
            walk.look(results)
            before = walk.beliefs, dict(walk.open), walk.held
            walk.count -= 1
            walk.look(results)
            self.assertEqual(
                before, (walk.beliefs, dict(walk.open), walk.held)
            )
