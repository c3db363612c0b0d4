# SPDX-License-Identifier: Apache-2.0
"""Whom the service gives approvals in advance, and what it notes of them."""

import dataclasses
import uuid

from korora_nova.custody.approval import Approval
from korora_nova.custody.bodies import Known
from korora_nova.verifier import hosts
from tests.functional.api import base

SERVERS = [f'00000000-0000-4000-8000-{number:012}' for number in range(4)]
WHY = 'A test.'


class OfflineTestCase(base.ApiTestCase):
    """h1 with four servers, h2 without."""

    SETTINGS = {'offline_window': 3600, 'offline_flavors': ['edge.tpm']}

    def setUp(self) -> None:
        super().setUp()
        self.inline()
        self.nova = self.korora.nova
        self.h1, self.h2 = self.host('h1'), self.host('h2')
        self.grants = {one: self.h1.claim(one) for one in SERVERS}
        self.nova.flavors_of = dict.fromkeys(SERVERS, 'edge.tpm')

    def inline(self) -> None:
        self.korora.service.places._run = lambda job: job()

    def forget(self) -> None:
        """What Nova said."""
        self.korora.service.places._known.clear()

    def report(self, host=None, *, bare: bool = False):
        """Attest with all that a host has; its answer's part, or None."""
        host = host or self.h1
        known = [
            Known(
                one,
                found.content.version,
                found.hash,
                '' if bare else host.approval_kid,
            )
            for one, found in sorted(host.newest.items())
        ]
        return host.attest_now(known=known).get('offline')

    def servers(self, host=None) -> list[str]:
        return [one['instance'] for one in self.report(host)['approvals']]


class TestWhom(OfflineTestCase):
    def test_named_flavor(self):
        self.nova.flavors_of[SERVERS[1]] = 'plain'
        self.assertEqual([SERVERS[0], *SERVERS[2:]], self.servers())

    def test_named_aggregate(self):
        settings = self.korora.conf
        settings.set_override('offline_flavors', [], 'verifier')
        settings.set_override('offline_aggregates', ['edge'], 'verifier')
        self.korora.restart()
        self.inline()
        self.nova.in_aggregates = {'edge': frozenset(('h2',))}
        self.assertEqual([], self.servers())
        self.nova.in_aggregates = {'edge': frozenset(('h1', 'h2'))}
        self.forget()
        self.assertEqual(SERVERS, self.servers())

    def test_no_more_than_so_many(self):
        self.korora.conf.set_override('offline_servers', 2, 'verifier')
        self.korora.restart()
        self.inline()
        self.assertEqual(SERVERS[:2], self.servers())

    def test_nobody_named(self):
        self.korora.conf.set_override('offline_flavors', [], 'verifier')
        self.korora.restart()
        self.assertIsNone(self.report())

    def test_not_affirming(self):
        """O4: the answer that says so brings nothing."""
        self.assertEqual(SERVERS, self.servers())
        self.h1.measure('/usr/bin/unknown', b'\x17' * 32)
        self.assertIsNone(self.report())

    def test_key_is_elsewhere(self):
        """O9: of a server that h1 handed over, only its new host."""
        receipt = self.moved(self.h1, self.h2, SERVERS[0])
        self.h2.keep(receipt)
        self.assertEqual(SERVERS[1:], self.servers())
        self.assertEqual([SERVERS[0]], self.servers(self.h2))

    def test_hand_over_is_undecided(self):
        """O10: from the permit on neither end has anything."""
        self.handed_over(self.h1, self.h2, SERVERS[0])
        self.assertEqual(SERVERS[1:], self.servers())
        self.assertEqual([], self.servers(self.h2))

    def test_no_copy(self):
        self.assertEqual([], self.report(bare=True)['approvals'])

    def test_what_is_signed(self):
        """The deadline is of the TPM's clock; all else as ever."""
        report = self.report()
        self.assertEqual((3, False), (report['starts'], report['kept']))
        given = Approval.from_json(report['approvals'][0])
        usual = Approval.from_json(self.h1.approve((SERVERS[0], 1))[0])
        window = given.deadline - self.h1.tpm.clock_ms
        self.assertLessEqual(window, 3600_000)
        self.assertGreater(window, 3500_000)
        self.assertEqual(
            dataclasses.replace(
                usual,
                deadline=given.deadline,
                signature_r=given.signature_r,
                signature_s=given.signature_s,
            ),
            given,
        )


class TestDoubt(OfflineTestCase):
    def kept(self) -> None:
        report = self.report()
        self.assertEqual(([], True), (report['approvals'], report['kept']))

    def test_nova_does_not_answer(self):
        """What it said before counts for a while; at first nothing does."""
        self.nova.down = True
        self.kept()
        self.nova.down = False
        self.assertEqual(SERVERS, self.servers())
        self.nova.down = True
        self.assertEqual(SERVERS, self.servers())

    def test_nobody_waits_for_nova(self):
        jobs = []
        self.korora.service.places._run = jobs.append
        self.kept()
        self.kept()
        self.assertEqual(1, len(jobs))
        jobs.pop()()
        self.assertEqual(SERVERS, self.servers())

    def test_one_is_behind(self):
        """A restored database: its server is left out, others are not."""
        anchor = self.korora.service.anchor
        genuine = anchor.get

        def get(ledger, instances):
            marks = dict(genuine(ledger, instances))
            if SERVERS[0] in marks:
                mark = marks[SERVERS[0]]
                marks[SERVERS[0]] = mark._replace(version=mark.version + 1)
            return marks

        self.servers()
        object.__setattr__(anchor, 'get', get)
        self.assertEqual(SERVERS[1:], self.servers())


class TestUnheard(OfflineTestCase):
    ANCHOR = {'backend': 'none'}

    def test_service_was_started(self):
        """Nothing is signed until all have reported; nothing ends, either."""
        self.report()
        self.report(self.h2)
        self.assertEqual(SERVERS, self.servers())
        self.korora.restart()
        self.inline()
        self.assertTrue(self.report()['kept'])
        self.report(self.h2)
        self.assertEqual(SERVERS, self.servers())


class TestNoted(OfflineTestCase):
    def shown(self):
        return self.admin.get_host('h1')['offline']

    def test_host_list(self):
        self.assertIsNone(self.shown())
        self.report()
        found = self.shown()
        self.assertEqual(4, found['servers'])
        self.assertAlmostEqual(
            self.korora.clock.now + 5400, found['until'], delta=5
        )
        (listed,) = (
            one for one in self.admin.list_hosts() if one['name'] == 'h1'
        )
        self.assertEqual(found, listed['offline'])
        self.korora.clock.advance(5401)
        self.assertIsNone(self.shown())

    def test_a_boot_ends_it(self):
        self.report()
        self.h1.reboot()
        self.assertIsNotNone(self.shown())
        self.h1.measure('/usr/bin/unknown', b'\x17' * 32)
        self.assertIsNone(self.report())
        self.assertIsNone(self.shown())

    def test_it_counts_as_opened(self):
        """O12: a holder that may open a key without asking is not fenced."""
        self.h1.reboot()
        self.report()
        with self.refused('NOT_FENCED'):
            self.admin.reissue_server(SERVERS[0], WHY)

    def test_evicted(self):
        """O4: what a host that is cut off still can is said."""
        self.report()
        plan = self.admin.evict_host('h1', WHY, dry_run=True)
        said = ' '.join(plan['servers'][0]['consequences'])
        self.assertIn('host h1 may start it without asking', said)
        self.admin.evict_host('h1', WHY)
        with self.refused('EVICTED'):
            self.report()

    def test_evicted_meanwhile(self):
        """O11: the eviction comes before the approvals are noted."""
        places = self.korora.service.places
        genuine = places.choose

        def choose(host, instances):
            # It is marked, and no key was taken from it yet.
            hosts.evict(self.korora.service, 'h1', 'admin', WHY)
            return genuine(host, instances)

        places.choose = choose
        self.assertEqual([], self.servers())

    def test_handed_over_meanwhile(self):
        """O10: the permit comes first."""
        places = self.korora.service.places
        genuine = places.choose
        self.servers()

        def choose(host, instances):
            places.choose = genuine
            self.handed_over(self.h1, self.h2, SERVERS[0], str(uuid.uuid4()))
            return genuine(host, instances)

        places.choose = choose
        self.assertNotIn(SERVERS[0], self.servers())


class TestOff(base.ApiTestCase):
    def test_nothing_is_said(self):
        host = self.host('h1')
        host.claim(SERVERS[0])
        self.korora.nova.before_answer = self.fail
        self.assertNotIn('offline', host.attest_now())

    def test_bounds(self):
        for name, value in (
            ('offline_window', 86401),
            ('offline_window', -1),
            ('offline_servers', 65),
            ('offline_servers', 0),
            ('offline_starts', 17),
        ):
            self.assertRaises(
                ValueError,
                self.korora.conf.set_override,
                name,
                value,
                'verifier',
            )
