# SPDX-License-Identifier: Apache-2.0
"""Other verifiers have a word in results, and each bad day of theirs."""

import dataclasses
import json
import os
import threading
import uuid
from unittest import mock

import sqlalchemy as sa

from korora_nova import errors
from korora_nova.rats.signed import result
from korora_nova.rats.words import Tier
from korora_nova.verifier import service as services
from korora_nova.verifier.db import models
from korora_nova.verifier.sources import (
    asking,
    base,
    chosen,
    lowering,
    verdicts,
)
from tests.functional.api import base as api
from tests.support import keylime

GOOD = 'affirming'
BAD = 'contraindicated'


class Fake:
    """Another verifier: says of each host what a test says."""

    PROOF = True
    ASKED = True

    def __init__(self, conf=None):
        self.words = {}
        self.ttl = 120.0
        self.down = False

    def ask(self, hosts, known, now):
        if self.down:
            raise base.unavailable('fake', 'it is down')
        return base.Asked(
            {
                host: base.Said(
                    Tier(self.words.get(host, 'none')),
                    {
                        GOOD: (),
                        BAD: ('SOURCE_REFUSES',),
                    }.get(self.words.get(host), ('SOURCE_HOST_UNKNOWN',)),
                    f'agent of {host}',
                    now,
                    now + self.ttl,
                )
                for host, _ in hosts
            }
        )


class SourcesTestCase(api.ApiTestCase):
    """One service with a source "fake", or others."""

    SOURCES: dict = {'required': ['native', 'fake']}

    def setUp(self):
        self.fake = Fake()
        found = chosen._find
        patch = mock.patch.object(
            chosen,
            '_find',
            lambda name: Fake if name == 'fake' else found(name),
        )
        patch.start()
        self.addCleanup(patch.stop)
        super().setUp()
        self.korora.conf.clear_override('required', 'sources')
        for name, value in self.SOURCES.items():
            self.korora.conf.set_override(name, value, 'sources')
        self.fake.words['h1'] = GOOD
        self.korora.restart()
        self.h1 = self.stranger('h1')
        self.h1.join(self.admin)
        self.h1.attest_now()
        self.admin.create_reference('golden', 'h1')
        self.asker = self.make_asker()

    def make_asker(self):
        return asking.Asker(self.korora.service, 'fake', self.fake, 15)

    def says(self, word, host='h1'):
        self.fake.words[host] = word
        self.assertTrue(self.asker.step())

    def token(self, host='h1'):
        return result.verify_result(
            self.admin.get_result(host)['token'],
            self.korora.service.ring,
            host=host,
            cloud=self.korora.service.cloud,
            now=self.korora.clock(),
        ).result

    def word(self, host='h1'):
        """Tier and reasons, of which the signed result says the same."""
        shown = self.admin.get_host(host)
        if shown['tier'] != 'none' or shown['reasons'] != ['RESULT_EXPIRED']:
            signed = self.token(host)
            self.assertEqual(shown['tier'], signed.tier)
            self.assertEqual(shown['reasons'], list(signed.reasons))
        return shown['tier'], shown['reasons']

    def signed(self, host='h1'):
        """source -> what the result says that it said."""
        return {one.source: one for one in self.token(host).sources}


class TestRequired(SourcesTestCase):
    def test_both_affirm(self):
        self.says(GOOD)
        self.h1.attest_now()
        self.assertEqual((GOOD, []), self.word())
        signed = self.signed()
        self.assertEqual(['native', 'fake'], list(signed))
        self.assertEqual('agent of h1', signed['fake'].subject)
        self.assertEqual('h1', signed['native'].subject)
        for one in signed.values():
            self.assertEqual(Tier.AFFIRMING, one.tier)
            self.assertTrue(one.required and one.proof)

    def test_it_was_never_asked(self):
        self.h1.attest_now()
        self.assertEqual(('none', ['SOURCE_SILENT']), self.word())
        self.assertEqual(Tier.AFFIRMING, self.signed()['native'].tier)

    def test_it_does_not_know_the_host(self):
        self.says('none')
        self.h1.attest_now()
        self.assertEqual(('none', ['SOURCE_HOST_UNKNOWN']), self.word())

    def test_it_refuses(self):
        self.says(BAD)
        self.h1.attest_now()
        self.assertEqual((BAD, ['SOURCE_REFUSES']), self.word())
        found = self.admin.get_result('h1')['findings']
        self.assertEqual(
            [('SOURCE_REFUSES', 'fake', 'agent of h1')],
            [
                (
                    one['reason'],
                    one['details']['source'],
                    one['details']['subject'],
                )
                for one in found
            ],
        )

    def test_native_refuses(self):
        """T52: another verifier never makes a host better."""
        self.says(GOOD)
        self.h1.attest_now()
        self.h1.measure('/usr/bin/miner')
        self.h1.attest_now()
        self.assertEqual(BAD, self.word()[0])
        self.assertNotIn('SOURCE_REFUSES', self.word()[1])
        self.assertEqual(Tier.AFFIRMING, self.signed()['fake'].tier)

    def test_no_key_for_a_host_that_it_refuses(self):
        """T52, I4: a claim is a decision of custody."""
        self.says(BAD)
        with self.refused('HOST_UNTRUSTED') as caught:
            self.h1.claim(str(uuid.uuid4()))
        self.assertEqual('SOURCE_REFUSES', caught[0].details['reasons'])
        self.says(GOOD)
        self.h1.claim(str(uuid.uuid4()))

    def test_no_key_for_a_host_of_which_it_is_silent(self):
        with self.refused('HOST_UNTRUSTED'):
            self.h1.claim(str(uuid.uuid4()))


class TestTime(SourcesTestCase):
    def test_a_result_ends_with_the_word(self):
        self.fake.ttl = 60
        self.says(GOOD)
        self.h1.attest_now()
        self.assertLess(self.token().expires, self.korora.clock() + 60)
        self.korora.clock.advance(61)
        self.assertEqual(('none', ['RESULT_EXPIRED']), self.word())

    def test_down_while_hosts_are_fine(self):
        """Its last word counts until it expires; then nothing does."""
        self.says(GOOD)
        self.h1.attest_now()
        self.fake.down = True
        self.korora.clock.advance(100)
        self.assertFalse(self.asker.step())
        self.h1.attest_now()
        self.assertEqual((GOOD, []), self.word())
        self.korora.clock.advance(21)
        self.assertFalse(self.asker.step())
        self.assertEqual(('none', ['RESULT_EXPIRED']), self.word())
        self.h1.attest_now()
        self.assertEqual(('none', ['SOURCE_SILENT']), self.word())
        self.fake.down = False
        self.says(GOOD)
        self.assertEqual('none', self.word()[0])
        self.h1.attest_now()
        self.assertEqual((GOOD, []), self.word())

    def test_nobody_asks_any_more(self):
        """T52: korora-sources is dead."""
        self.says(GOOD)
        self.h1.attest_now()
        self.korora.clock.advance(121)
        self.h1.attest_now()
        self.assertEqual(('none', ['SOURCE_SILENT']), self.word())

    def test_a_word_of_the_past_does_not_replace_a_later_one(self):
        """Two processes ask; one of them is slow."""
        service = self.korora.service
        hosts = verdicts.enrolled(service)
        self.fake.words['h1'] = GOOD
        slow_at = service.clock()
        slow = self.fake.ask(hosts, {}, slow_at)
        self.says(BAD)
        verdicts.keep(service, 'fake', slow, slow_at)
        self.h1.attest_now()
        self.assertEqual(BAD, self.word()[0])

    def test_a_driver_that_fails(self):
        for exc in (ValueError('x'), KeyError('y'), RecursionError()):
            with mock.patch.object(self.fake, 'ask', side_effect=exc):
                self.assertFalse(self.asker.step())

    def test_a_driver_that_says_nonsense(self):
        """It would be signed."""
        now = self.korora.clock()
        good = base.Said(Tier.AFFIRMING, (), 'x', now, now + 60)
        self.says(GOOD)
        for changed in (
            {'tier': 'good'},
            {'tier': None},
            {'reasons': ('NO_SUCH_REASON',)},
            {'reasons': ('SOURCE_STALE',) * 9},
            {'expires': float('inf')},
            {'expires': float('nan')},
            {'issued': float('nan')},
            {'issued': -1.0},
            {'issued': now + 61},
        ):
            said = dataclasses.replace(good, **changed)
            with mock.patch.object(
                self.fake, 'ask', return_value=base.Asked({'h1': said})
            ):
                self.assertFalse(self.asker.step(), changed)
        self.h1.attest_now()
        self.assertEqual((GOOD, []), self.word())

    def test_a_database_that_fails(self):
        down = errors.Unavailable(errors.Reason.DATABASE_UNAVAILABLE)
        with mock.patch.object(verdicts, 'enrolled', side_effect=down):
            self.assertFalse(self.asker.step())
        self.says(GOOD)


class TestLowering(SourcesTestCase):
    def setUp(self):
        super().setUp()
        self.says(GOOD)
        self.h1.attest_now()
        self.before = self.token()

    def test_at_once(self):
        """Without the host, which may not attest any more."""
        self.says(BAD)
        self.assertEqual((BAD, ['SOURCE_REFUSES']), self.word())
        after = self.token()
        self.assertEqual(
            (self.before.issued, self.before.expires, self.before.ak_name),
            (after.issued, after.expires, after.ak_name),
        )
        self.assertEqual(Tier.AFFIRMING, self.signed()['native'].tier)

    def test_readers_of_snapshots_are_told(self):
        first = self.admin.snapshot()
        claims = json.loads(first.rows)
        self.assertEqual(GOOD, claims[1])
        self.korora.clock.advance(5)
        self.says(BAD)
        second = self.admin.snapshot()
        self.assertEqual(BAD, json.loads(second.rows)[1])

    def test_it_takes_the_host_to_get_better(self):
        self.says(BAD)
        self.says(GOOD)
        self.assertEqual(BAD, self.word()[0])
        self.h1.attest_now()
        self.assertEqual(GOOD, self.word()[0])

    def test_nothing_to_do(self):
        self.assertEqual(0, lowering.lower(self.korora.service))
        self.assertEqual(self.before, self.token())

    def test_many(self):
        others = [f'x{number}' for number in range(3)]
        for name in others:
            self.host_with_word(name)
        with mock.patch.object(lowering, 'BATCH', 2):
            for name in others:
                self.fake.words[name] = BAD
            self.asker.step()
        for name in others:
            self.assertEqual(BAD, self.word(name)[0])
        self.assertEqual(GOOD, self.word()[0])

    def host_with_word(self, name):
        self.fake.words[name] = GOOD
        made = self.stranger(name)
        made.join(self.admin)
        self.asker.step()
        made.attest_now()
        self.assertEqual(GOOD, self.word(name)[0])

    def test_an_attestation_that_began_before(self):
        """It may still affirm, until the next question."""
        with self.korora.service.db.write() as session:
            session.execute(
                sa.update(models.SourceVerdict).values(
                    tier=BAD, reasons=['SOURCE_REFUSES']
                )
            )
        self.assertEqual(GOOD, self.word()[0])
        self.fake.down = True
        self.assertFalse(self.asker.step())
        self.assertEqual(BAD, self.word()[0])

    def test_audit(self):
        self.says(BAD)
        with self.korora.service.db.read() as session:
            row = session.scalars(
                sa.select(models.Audit).where(
                    models.Audit.actor == lowering.ACTOR
                )
            ).one()
        self.assertEqual(
            ('h1', BAD, 'SOURCE_REFUSES'), (row.subject, row.action, row.note)
        )

    def test_evicted_and_deleted_hosts(self):
        self.admin.evict_host('h1', 'burnt', dry_run=False, after='')
        self.says(BAD)
        self.assertEqual(['EVICTED'], self.admin.get_host('h1')['reasons'])
        self.admin.delete_host('h1', force=True)
        self.asker.step()
        with self.korora.service.db.read() as session:
            self.assertEqual(
                [], session.scalars(sa.select(models.SourceVerdict)).all()
            )

    def test_the_source_becomes_required_later(self):
        """What was signed without it does not stand."""
        self.korora.conf.set_override('required', ['native'], 'sources')
        self.korora.restart()
        self.h1.attest_now()
        self.assertEqual((), self.token().sources)
        self.korora.conf.set_override(
            'required', ['native', 'fake'], 'sources'
        )
        self.korora.restart()
        self.asker = self.make_asker()
        self.says(BAD)
        self.assertEqual(BAD, self.word()[0])


class TestWrites(SourcesTestCase):
    def rows(self):
        with self.korora.service.db.read() as session:
            return {
                row.host: (row.tier, row.expires)
                for row in session.scalars(sa.select(models.SourceVerdict))
            }

    def test_only_what_changes(self):
        """And what has a quarter of its life behind it."""
        self.says(GOOD)
        before = self.rows()
        self.korora.clock.advance(15)
        self.says(GOOD)
        self.assertEqual(before, self.rows())
        self.korora.clock.advance(20)
        self.says(GOOD)
        self.assertNotEqual(before, self.rows())
        self.says(BAD)
        self.assertEqual(BAD, self.rows()['h1'][0])

    def test_it_takes_back_what_it_promised(self):
        self.says(GOOD)
        before = self.rows()['h1'][1]
        self.fake.ttl = 30
        self.says(GOOD)
        self.assertLess(self.rows()['h1'][1], before)

    def test_statements(self):
        """One more for each attestation, none without other sources."""
        self.says(GOOD)

        def count():
            seen = []
            engine = self.korora.service.db.engine

            def note(conn, cursor, statement, *_):
                if 'source_verdicts' in statement:
                    seen.append(statement)

            sa.event.listen(engine, 'before_cursor_execute', note)
            self.h1.attest_now()
            sa.event.remove(engine, 'before_cursor_execute', note)
            return len(seen)

        self.assertEqual(1, count())
        self.korora.conf.set_override('required', ['native'], 'sources')
        self.korora.restart()
        self.assertEqual(0, count())


class TestMariaDb(api.MariaDbTestCase, SourcesTestCase):
    def test_several_processes(self):
        """They ask at the same time, and see the same hosts first."""
        service = self.korora.service
        names = [f'x{number}' for number in range(20)]
        at = service.clock()
        said = {
            name: base.Said(Tier.AFFIRMING, (), name, at, at + 60)
            for name in names
        }
        known = {
            name: base.Known('000b' + '00' * 32, True, 1, at) for name in names
        }
        barrier = threading.Barrier(4)
        failed = []

        def keep(offset):
            barrier.wait()
            try:
                verdicts.keep(
                    service, 'fake', base.Asked(said, known), at + offset
                )
            except Exception as exc:  # noqa: BLE001 - told below
                failed.append(exc)

        threads = [
            threading.Thread(target=keep, args=(number,))
            for number in range(4)
        ]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
        self.assertEqual([], failed)
        with service.db.read() as session:
            rows = session.scalars(sa.select(models.SourceVerdict)).all()
        self.assertEqual(sorted(names), sorted(row.host for row in rows))
        self.assertEqual(known, verdicts.known(service, 'fake'))

    def test_life(self):
        self.says(GOOD)
        self.h1.attest_now()
        self.assertEqual((GOOD, []), self.word())
        self.says(BAD)
        self.assertEqual((BAD, ['SOURCE_REFUSES']), self.word())
        self.admin.delete_host('h1', force=True)
        self.assertTrue(self.asker.step())


class TestPostgreSql(TestMariaDb):
    SERVER = api.PostgreSqlTestCase.SERVER


class TestAdvisory(SourcesTestCase):
    SOURCES = {'required': ['native'], 'advisory': ['fake']}

    def test_it_is_only_shown(self):
        for word in (GOOD, BAD, 'none'):
            self.says(word)
            self.h1.attest_now()
            self.assertEqual((GOOD, []), self.word())
            self.assertEqual(word, self.signed()['fake'].tier)
            self.assertFalse(self.signed()['fake'].required)

    def test_down(self):
        self.fake.down = True
        self.asker.step()
        self.h1.attest_now()
        self.assertEqual((GOOD, []), self.word())
        self.assertEqual(('SOURCE_SILENT',), self.signed()['fake'].reasons)


class TestNativeAdvisory(SourcesTestCase):
    SOURCES = {'required': ['fake'], 'advisory': ['native']}

    def test_the_other_decides(self):
        self.says(GOOD)
        self.h1.measure('/usr/bin/miner')
        self.h1.attest_now()
        self.assertEqual((GOOD, []), self.word())
        self.assertEqual(Tier.CONTRAINDICATED, self.signed()['native'].tier)
        self.says(BAD)
        self.assertEqual((BAD, ['SOURCE_REFUSES']), self.word())

    def test_evidence_must_be_authentic(self):
        """Whatever another verifier says: the quote is ours to verify."""
        self.says(GOOD)
        challenge = self.h1.challenge('steady')
        message = self.h1.message(
            'attest', json.dumps({'version': 1, 'known': []}), challenge
        )
        message['body'] = json.dumps({'version': 1, 'known': [], 'x': 1})
        with self.refused('INVALID_REQUEST'):
            self.h1.api.evidence('h1', message)


class TestKeylime(api.ApiTestCase):
    """The whole way, with what a real Keylime was recorded to answer."""

    def setUp(self):
        super().setUp()
        self.replay = keylime.Replay(self.korora.directory)
        self.addCleanup(self.replay.close)
        conf = self.korora.conf
        conf.set_override('required', ['native', 'keylime'], 'sources')
        for name, value in self.replay.options().items():
            conf.set_override(name, value, 'keylime')
        self.korora.restart()
        self.h1 = self.stranger('h1')
        self.h1.join(self.admin)
        self.h1.attest_now()
        self.admin.create_reference('golden', 'h1')
        (self.asker,) = asking.askers(self.korora.service, conf)
        self.plays = 0

    def play(self, stage):
        """The recorded machine is the host, and now is then."""
        recording = self.replay.recording = keylime.Recording(stage)
        with self.korora.service.db.write() as session:
            session.execute(
                sa.update(models.Host).values(ek_name=recording.host.ek_name)
            )
        self.plays += 1
        self.korora.clock.now = recording.at + self.plays
        self.assertTrue(self.asker.step())
        self.h1.attest_now()
        shown = self.admin.get_host('h1')
        return shown['tier'], shown['reasons']

    def test_life(self):
        self.assertEqual(
            ('none', ['SOURCE_HOST_UNKNOWN']), self.play('unknown')
        )
        self.assertEqual((GOOD, []), self.play('passing'))
        self.assertEqual((GOOD, []), self.play('restarted'))
        self.assertEqual(('none', ['SOURCE_STALE']), self.play('silent'))
        self.assertEqual((GOOD, []), self.play('again'))
        self.assertEqual((BAD, ['SOURCE_REFUSES']), self.play('refused'))
        self.assertEqual((GOOD, []), self.play('corrected'))
        self.assertEqual(
            ('none', ['SOURCE_IDENTITY']), self.play('reassigned')
        )
        agent = self.replay.recording.agent
        self.assertTrue(verdicts.forget(self.korora.service, 'keylime', agent))
        self.assertFalse(
            verdicts.forget(self.korora.service, 'keylime', agent)
        )
        # Read anew, it is the other machine's.
        self.assertEqual(
            ('none', ['SOURCE_HOST_UNKNOWN']), self.play('reassigned')
        )

    def test_a_restart_of_the_process(self):
        """What is known of agents survives it."""
        self.play('passing')
        (self.asker,) = asking.askers(self.korora.service, self.korora.conf)
        self.assertEqual(
            ('none', ['SOURCE_IDENTITY']), self.play('reassigned')
        )


class TestStatic(api.ApiTestCase):
    def setUp(self):
        super().setUp()
        self.path = os.path.join(self.korora.directory, 'verdicts.json')
        conf = self.korora.conf
        conf.set_override('required', ['native', 'static'], 'sources')
        conf.set_override('static_file', self.path, 'sources')
        self.korora.restart()
        (self.asker,) = asking.askers(self.korora.service, conf)
        self.h1 = self.stranger('h1')
        self.h1.join(self.admin)
        self.h1.attest_now()
        self.admin.create_reference('golden', 'h1')

    def write(self, text):
        with open(self.path, 'w') as file:
            file.write(text)
        answered = self.asker.step()
        self.h1.attest_now()
        shown = self.admin.get_host('h1')
        return answered, shown['tier'], shown['reasons']

    def test_file(self):
        self.assertEqual((True, GOOD, []), self.write('{"h1": "affirming"}'))
        (static,) = [
            one
            for one in self.admin.get_result('h1')['sources']
            if one['source'] == 'static'
        ]
        self.assertIs(False, static['proof'])
        self.assertEqual(
            (True, BAD, ['SOURCE_REFUSES']),
            self.write('{"h1": "contraindicated"}'),
        )
        self.assertEqual(
            (True, 'none', ['SOURCE_HOST_UNKNOWN']), self.write('{}')
        )

    def test_a_file_that_is_none(self):
        self.write('{"h1": "affirming"}')
        for text in ('', '[]', '{"h1": "none"}', '{"h1": 1}', '{"h1": "AFF"'):
            # Nothing changes; the last word counts until it expires.
            self.assertEqual((False, GOOD, []), self.write(text))
        os.unlink(self.path)
        self.assertFalse(self.asker.step())


class TestChosen(api.ApiTestCase):
    def refuses(self, required, advisory=()):
        conf = self.korora.conf
        conf.set_override('required', list(required), 'sources')
        conf.set_override('advisory', list(advisory), 'sources')
        with self.refused('SOURCE_INVALID'):
            services.from_conf(conf, self.korora.nova, self.korora.clock)

    def test_what_cannot_work(self):
        self.refuses([])
        self.refuses(['keylime'])
        self.refuses(['native', 'native'])
        self.refuses(['native'], ['native'])
        self.refuses(['native', 'nonsense'])
        # Nothing that counts proves anything.
        self.refuses(['static'], ['native'])
        self.refuses([], ['native'])

    def test_default(self):
        self.assertEqual(chosen.NATIVE_ONLY, self.korora.service.sources)
        made = self.host('h1')
        made.attest_now()
        claims = self.admin.get_result('h1')
        self.assertEqual([], claims['sources'])
