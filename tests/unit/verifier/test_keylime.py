# SPDX-License-Identifier: Apache-2.0
"""The source "keylime", with what a real Keylime was recorded to answer."""

import json
import time

import fixtures
import testtools

from korora_nova import errors, transport
from korora_nova.rats.words import Tier
from korora_nova.verifier.sources.base import Enrolled, Known
from korora_nova.verifier.sources.keylime import client, identity, status
from korora_nova.verifier.sources.keylime.source import KeylimeSource
from tests.support import keylime

BULK = keylime.BULK
AFFIRMING = (Tier.AFFIRMING, ())
REFUSES = (Tier.CONTRAINDICATED, ('SOURCE_REFUSES',))
STALE = (Tier.NONE, ('SOURCE_STALE',))
UNKNOWN = (Tier.NONE, ('SOURCE_HOST_UNKNOWN',))
IDENTITY = (Tier.NONE, ('SOURCE_IDENTITY',))

#: What has to come of each recording, one after the other.
EXPECTED = {
    'unknown': UNKNOWN,
    'passing': AFFIRMING,
    'restarted': AFFIRMING,
    'silent': STALE,
    'again': AFFIRMING,
    'refused': REFUSES,
    'corrected': AFFIRMING,
    'reassigned': IDENTITY,
    'namesake': IDENTITY,
}


class KeylimeTestCase(testtools.TestCase):
    def setUp(self):
        super().setUp()
        self.replay = keylime.Replay(self.useFixture(fixtures.TempDir()).path)
        self.addCleanup(self.replay.close)
        self.known = {}
        self.source = KeylimeSource(self.replay.conf())

    def play(self, stage):
        self.replay.recording = keylime.Recording(stage)
        return self.replay.recording

    def ask(self, now=None, hosts=None):
        """The verdict on the recorded host."""
        recording = self.replay.recording
        asked = self.source.ask(
            hosts or [recording.host],
            self.known,
            recording.at if now is None else now,
        )
        self.known = asked.known
        return asked.said[recording.host.host]

    def word(self, **kwargs):
        said = self.ask(**kwargs)
        return said.tier, said.reasons

    def refused(self, why='', **kwargs):
        exc = self.assertRaises(errors.Unavailable, self.ask, **kwargs)
        self.assertEqual('SOURCE_UNAVAILABLE', exc.reason)
        self.assertIn(why, exc.message)


class TestRecorded(KeylimeTestCase):
    def test_each_situation(self):
        self.assertEqual(keylime.STAGES, tuple(EXPECTED))
        for stage, expected in EXPECTED.items():
            with self.subTest(stage=stage):
                self.play(stage)
                self.assertEqual(expected, self.word())

    def test_all_recordings_are_played(self):
        self.assertEqual(
            set(keylime.STAGES),
            {path.name for path in keylime.ROOT.iterdir()},
        )

    def test_subject_and_times(self):
        recording = self.play('passing')
        said = self.ask()
        self.assertEqual(recording.agent, said.subject)
        self.assertLess(recording.at - 3, said.issued)
        self.assertLessEqual(said.issued, recording.at)
        self.assertEqual(said.issued + 180, said.expires)

    def test_two_requests_for_all_agents(self):
        """The registrar is asked once for each, and again later."""
        recording = self.play('passing')
        self.ask()
        self.ask()
        self.assertEqual(
            [
                ('verifier', '/version'),
                ('verifier', BULK),
                ('registrar', '/version'),
                ('registrar', f'/v2.6/agents/{recording.agent}'),
                ('verifier', '/version'),
                ('verifier', BULK),
            ],
            self.replay.asked,
        )
        self.ask(now=recording.at + 11)
        self.assertEqual(
            ('registrar', f'/v2.6/agents/{recording.agent}'),
            self.replay.asked[-1],
        )


class TestIdentity(KeylimeTestCase):
    def test_a_host_with_another_tpm(self):
        recording = self.play('passing')
        other = Enrolled('h2', '000b' + '00' * 32)
        asked = self.source.ask([recording.host, other], {}, now=recording.at)
        self.assertEqual(Tier.AFFIRMING, asked.said['h1'].tier)
        self.assertEqual(('SOURCE_HOST_UNKNOWN',), asked.said['h2'].reasons)

    def test_taking_over_an_id_gives_no_trust(self):
        """T51: whoever registers with the id of a good machine gets nothing.

        The verifier still asks that machine; the registrar has another one.
        """
        self.play('passing')
        self.ask()
        taken = self.play('reassigned')
        key = json.loads(
            taken.answers['registrar', f'/v2.6/agents/{taken.agent}']['body']
        )['results']
        thief = Enrolled('thief', identity.ek_name(key))
        self.assertNotEqual(taken.host.ek_name, thief.ek_name)
        asked = self.source.ask([thief, taken.host], self.known, taken.at)
        self.assertEqual(('SOURCE_HOST_UNKNOWN',), asked.said['thief'].reasons)
        self.assertEqual(('SOURCE_IDENTITY',), asked.said['h1'].reasons)

    def test_it_stays_so_until_it_is_added_anew(self):
        self.play('passing')
        self.ask()
        taken = self.play('reassigned')
        self.ask()
        self.assertFalse(self.known[taken.agent].agrees)
        # The verifier has a new record of it: it counts from 0.
        taken.change_agent(attestation_count=1)
        self.known[taken.agent] = Known(
            self.known[taken.agent].ek_name, False, 500, taken.at
        )
        self.assertEqual(UNKNOWN, self.word())
        self.assertNotEqual(
            taken.host.ek_name, self.known[taken.agent].ek_name
        )

    def test_the_registrar_forgets_it(self):
        recording = self.play('passing')
        self.ask()
        del recording.answers['registrar', f'/v2.6/agents/{recording.agent}']
        self.assertEqual(AFFIRMING, self.word())
        self.assertEqual(IDENTITY, self.word(now=recording.at + 11))

    def test_a_registrar_that_is_down_takes_no_word_away(self):
        recording = self.play('passing')
        self.ask()
        self.replay.stop('registrar')
        self.assertEqual(AFFIRMING, self.word(now=recording.at + 11))

    def test_but_gives_none(self):
        self.play('passing')
        self.replay.stop('registrar')
        self.assertEqual(UNKNOWN, self.word())

    def test_two_agents_on_one_machine(self):
        """One that was left over counts, too."""
        recording = self.play('passing')
        agents = json.loads(recording.answers['verifier', BULK]['body'])
        old = {
            **agents['results'][recording.agent],
            'last_successful_attestation': 1,
        }
        recording.change('verifier', BULK, old=old)
        recording.answers['registrar', '/v2.6/agents/old'] = recording.answers[
            'registrar', f'/v2.6/agents/{recording.agent}'
        ]
        self.assertEqual(STALE, self.word())

    def test_a_key_that_is_none(self):
        for key in (None, 7, '', 'AAAA', '!', 'A' * 10000):
            recording = self.play('passing')
            recording.change(
                'registrar', f'/v2.6/agents/{recording.agent}', ek_tpm=key
            )
            self.known = {}
            self.assertEqual(UNKNOWN, self.word(), key)


class TestStatus(testtools.TestCase):
    """What the verifier says, field by field."""

    GOOD = {
        'operational_state': 5,
        'attestation_status': 'PASS',
        'attestation_count': 7,
        'last_successful_attestation': 1000,
    }

    def word(self, record, at=1010.0):
        said = status.verdict('a', record, at=at, now=at, max_age=60)
        return said.tier, said.reasons

    def test_good(self):
        self.assertEqual(AFFIRMING, self.word(self.GOOD))

    def test_no_word(self):
        for changed in (
            # Never reached: it says PASS all the same.
            {'attestation_count': 0},
            {'last_successful_attestation': 0},
            # Not reached for long.
            {'last_successful_attestation': 950},
            {'last_successful_attestation': 949},
            # Its clock went back.
            {'last_successful_attestation': 1013},
            {'operational_state': 0},
            {'operational_state': 2},
            {'operational_state': 7},
            {'operational_state': 7, 'attestation_status': 'FAIL'},
            {'operational_state': 8},
            {'operational_state': 10, 'attestation_status': 'FAIL'},
            {'operational_state': 11},
            {'operational_state': '5'},
            {'operational_state': True},
            {'attestation_status': 'PENDING'},
            {'attestation_status': 'TIMEOUT'},
            {'attestation_status': 'pass'},
            {'attestation_status': 1},
            {'attestation_count': '7'},
            {'attestation_count': True},
            {'attestation_count': -1},
            {'attestation_count': 7.5},
            {'last_successful_attestation': '1000'},
            {'last_successful_attestation': 1e3},
            {'last_successful_attestation': None},
            {'last_successful_attestation': float('nan')},
            {'operational_state': None, 'attestation_status': None},
        ):
            with self.subTest(**changed):
                self.assertEqual(STALE, self.word({**self.GOOD, **changed}))

    def test_bad(self):
        for changed in (
            {'operational_state': 9},
            {'operational_state': 9, 'attestation_status': None},
            {'attestation_status': 'FAIL'},
            {'operational_state': None, 'attestation_status': 'FAIL'},
        ):
            with self.subTest(**changed):
                self.assertEqual(REFUSES, self.word({**self.GOOD, **changed}))

    def test_also_good(self):
        for changed in (
            {'operational_state': 1, 'attestation_status': 'PENDING'},
            {'operational_state': 4},
            # It sends by itself.
            {'operational_state': None},
            # Releases that do not say it.
            {'attestation_status': None},
            {'last_successful_attestation': 1011},
        ):
            with self.subTest(**changed):
                self.assertEqual(
                    AFFIRMING, self.word({**self.GOOD, **changed})
                )

    def test_no_record(self):
        for record in (None, 7, 'PASS', [], {}):
            self.assertEqual(STALE, self.word(record))

    def test_without_a_field(self):
        for name in self.GOOD:
            record = {**self.GOOD}
            del record[name]
            self.assertEqual(
                AFFIRMING if name == 'attestation_status' else STALE,
                self.word(record),
                name,
            )


class TestTransport(KeylimeTestCase):
    def test_down(self):
        self.play('passing')
        self.replay.stop('verifier')
        self.refused('ConnectionError')

    def test_a_clock_that_differs(self):
        recording = self.play('passing')
        self.refused('clock', now=recording.at + 40)
        self.refused('clock', now=recording.at - 70)

    def test_without_a_time(self):
        recording = self.play('passing')
        for date in (None, 'today'):
            headers = recording.answers['verifier', BULK]['headers']
            headers.pop('Date', None)
            if date:
                headers['Date'] = date
            self.refused('no time')

    def test_slow(self):
        """All requests have one time; a byte now and then does not help."""
        self.source = KeylimeSource(self.replay.conf(timeout=1))
        self.play('passing')
        self.replay.delay = 0.05
        began = time.monotonic()
        self.refused()
        self.assertLess(time.monotonic() - began, 15)

    def test_long(self):
        self.useFixture(
            fixtures.MonkeyPatch('korora_nova.transport.MAX_BODY', 64)
        )
        self.assertEqual(64, transport.MAX_BODY)
        self.play('passing')
        self.refused('TooLong')

    def test_what_is_not_keylime(self):
        for body in ('', '{', '[]', 'null', '{}', '{"results": []}'):
            recording = self.play('passing')
            recording.answers['verifier', BULK]['body'] = body
            self.refused('verifier')

    def test_refusals(self):
        for code in (301, 400, 401, 403, 404, 500, 503):
            recording = self.play('passing')
            recording.answers['verifier', BULK]['status'] = code
            recording.answers['verifier', BULK]['headers']['Location'] = '/'
            self.refused(str(code))

    def test_versions(self):
        for spoken, want in (
            (['1.0', '2.0'], '2.0'),
            (['2.1', '2.3', '9.9'], '2.3'),
        ):
            recording = self.play('passing')
            for service in ('verifier', 'registrar'):
                recording.change(
                    service, '/version', supported_versions=spoken
                )
                for path in (BULK, f'/v2.6/agents/{recording.agent}'):
                    if (service, path) in recording.answers:
                        recording.answers[
                            service, path.replace('2.6', want)
                        ] = recording.answers.pop((service, path))
            self.known = {}
            self.assertEqual(AFFIRMING, self.word())

    def test_no_version(self):
        for spoken in (['1.0'], ['3.0'], [], None, '2.6', [2.6]):
            recording = self.play('passing')
            recording.change('verifier', '/version', supported_versions=spoken)
            self.refused()

    def test_a_verifier_in_push_mode(self):
        recording = self.play('passing')
        recording.answers['verifier', '/version']['status'] = 410
        self.assertEqual(AFFIRMING, self.word())

    def test_certificates(self):
        self.play('passing')
        other = keylime.Replay(self.useFixture(fixtures.TempDir()).path)
        self.addCleanup(other.close)
        for name, path in (
            ('ca_file', other.files.authority),
            ('ca_file', '/nonexistent'),
            ('cert_file', '/nonexistent'),
        ):
            self.source = KeylimeSource(self.replay.conf(**{name: path}))
            self.refused()
        self.source = KeylimeSource(
            self.replay.conf(
                cert_file=other.files.client, key_file=other.files.client_key
            )
        )
        self.refused()

    def test_the_name_in_certificates(self):
        self.play('passing')
        self.source = KeylimeSource(
            self.replay.conf(server_name='keylime.example.org')
        )
        self.refused('SSLError')

    def test_what_cannot_work(self):
        for name, value in (
            ('verifier_url', None),
            ('verifier_url', 'http://127.0.0.1:8881'),
            ('registrar_url', 'https://'),
            ('registrar_url', 'https://a:b'),
            ('cert_file', ''),
        ):
            exc = self.assertRaises(
                errors.Unavailable,
                KeylimeSource,
                self.replay.conf(**{name: value}),
            )
            self.assertEqual('SOURCE_INVALID', exc.reason)

    def test_deadline(self):
        now = [0.0]
        deadline = client.Deadline(3, lambda: now[0])
        now[0] = 2.0
        self.assertEqual(1.0, deadline.left())
        now[0] = 9.0
        self.assertEqual(0.0, deadline.left())
