# SPDX-License-Identifier: Apache-2.0
"""Policies before they count: tried on the fleet, learned from hosts."""

import io
import json
import pathlib
import types
from unittest import mock

import fixtures
import sqlalchemy as sa

from korora_nova.osc import policy as osc
from korora_nova.verifier.appraisal import rehearsal
from korora_nova.verifier.db import models
from tests.functional.api import base

PINNED = {'pcrs': {'registers': [0, 2, 4, 7], 'references': True}}
FILES = {
    'version': 1,
    'name': 'files',
    'hosts': ['h?'],
    'rules': [PINNED, {'ima': {'references': True}}],
}
OFF = {
    'version': 1,
    'name': 'secure',
    'rules': [
        PINNED,
        {'secure-boot': {'enabled': True}},
        {'ima': 'not-appraised'},
    ],
}


class RehearsalTest(base.ApiTestCase):
    def state(self) -> list[tuple[object, ...]]:
        """All that a dry run could have changed."""
        with self.korora.service.db.read() as session:
            return [
                tuple(row)
                for table in (
                    models.Host,
                    models.Policy,
                    models.Reference,
                    models.Measurement,
                    models.Audit,
                    models.Counter,
                )
                for row in session.execute(sa.select(*table.__table__.columns))
            ]

    def verdicts(self, answer) -> dict[str, tuple[object, ...]]:
        return {
            one['host']: (one['tier'], one['satisfied'], *one['reasons'])
            for one in answer['hosts']
        }

    def fleet(self):
        """h1 and h2 are affirming; h3 has run another program; x9 waits."""
        good = [self.host('h1'), self.host('h2')]
        self.korora.clock.advance(1)
        third = self.host('h3')
        third.measure('/tmp/new')
        third.attest_now()
        self.stranger('x9').join(self.admin)
        return [*good, third]

    def test_nothing_counts_and_nothing_changes(self) -> None:
        self.fleet()
        before = self.state()
        answer = self.admin.propose_policy(FILES)
        self.assertEqual(
            {
                'h1': ('affirming', True),
                'h2': ('affirming', True),
                'h3': ('contraindicated', False, 'IMA_UNKNOWN_FILE'),
            },
            self.verdicts(answer),
        )
        self.assertEqual(
            ([], [], ''),
            (answer['golden'], answer['differences'], answer['next']),
        )
        answer = self.admin.propose_policy(OFF)
        self.assertEqual(
            {
                'h1': ('affirming', False, 'SECURE_BOOT_OFF'),
                'h2': ('affirming', False, 'SECURE_BOOT_OFF'),
                'h3': ('contraindicated', False, 'SECURE_BOOT_OFF'),
                'x9': ('none', None, 'RESULT_MISSING'),
            },
            self.verdicts(answer),
        )
        self.assertEqual(before, self.state())

    def test_what_it_says_is_what_happens(self) -> None:
        """A rehearsal and the attestation after it agree."""
        fleet = self.fleet()
        self.admin.create_policy({**FILES, 'hosts': ['other']})
        for document in ({**FILES, 'hosts': ['*']}, {**OFF, 'name': 'files'}):
            said = self.verdicts(self.admin.propose_policy(document))
            revision = self.admin.get_policy('files')['revision']
            self.admin.update_policy('files', document, revision)
            for host in fleet:
                host.attest_now()
                shown = self.admin.get_host(host.name)
                _, satisfied, *reasons = said[host.name]
                self.assertEqual(satisfied, shown['tier'] == 'affirming')
                self.assertEqual(reasons, shown['reasons'])

    def test_pages(self) -> None:
        self.fleet()
        self.admin.create_policy(FILES)
        whole = self.verdicts(self.admin.check_policy('files'))
        self.assertEqual({'h1', 'h2', 'h3'}, set(whole))
        found, marker = {}, ''
        with mock.patch.object(rehearsal, 'BUDGET', -1.0):
            for _ in range(3):
                answer = self.admin.check_policy('files', marker=marker)
                self.assertEqual(1, len(answer['hosts']))
                found.update(self.verdicts(answer))
                marker = answer['next']
        self.assertEqual((whole, ''), (found, marker))
        answer = self.korora.request(
            'GET', '/v1/policies/files/check?all=true&limit=2&marker=h2'
        ).json
        self.assertEqual(
            ({'h3', 'x9'}, ''), (set(self.verdicts(answer)), answer['next'])
        )
        built_in = self.admin.check_policy('exact')
        self.assertEqual(('affirming', True), self.verdicts(built_in)['h1'])

    def test_bad_queries(self) -> None:
        for query in ('limit=0', 'limit=x', 'all=maybe', 'who=me'):
            answer = self.korora.request(
                'GET', f'/v1/policies/exact/check?{query}'
            )
            self.assertEqual(400, answer.status_code, query)
        with self.refused('NOT_FOUND'):
            self.admin.check_policy('nothing')
        with self.refused('POLICY_INVALID'):
            self.admin.propose_policy({})
        with self.refused('HOST_UNKNOWN'):
            self.admin.propose_policy(FILES, ['h9'])

    def test_evidence_that_cannot_be_read_is_no_verdict(self) -> None:
        """One host that another release has stored does not end it."""
        self.fleet()
        with self.korora.service.db.write() as session:
            row = session.get(models.Measurement, 'h2')
            row.ima_states = b'\x78\x9c' + row.ima_states[2:]
            session.execute(
                sa.update(models.MeasurementSegment)
                .where(models.MeasurementSegment.host == 'h2')
                .values(content=b'x')
            )
        said = self.verdicts(self.admin.propose_policy(FILES))
        self.assertEqual(('affirming', True), said['h1'])
        self.assertEqual(('affirming', None, 'IMA_CONTINUITY'), said['h2'])

    def test_learned_with_the_policy(self) -> None:
        one, two = self.stranger('h1'), self.stranger('h2')
        for host in (one, two):
            host.join(self.admin)
        two.measure('/usr/bin/two')
        for host in (one, two):
            host.attest_now()
        # Nothing can be compared yet: no reason to distrust a golden host.
        answer = self.admin.propose_policy(FILES, ['h1', 'h2'])
        self.assertEqual(
            [('h1', True), ('h2', True)],
            [(item['host'], item['admitted']) for item in answer['golden']],
        )
        (files,) = (
            item['values']
            for item in answer['differences']
            if item['component'] == 'files'
        )
        self.assertEqual('only what all have', files['h1'])
        self.assertIn('/usr/bin/two', files['h2'])
        self.assertEqual(
            {
                'h1': ('contraindicated', True),
                'h2': ('contraindicated', True),
            },
            self.verdicts(answer),
        )
        self.assertEqual([], self.admin.list_references())
        made = self.admin.create_policy(FILES, self.wanted(answer))
        self.assertEqual('files', made['name'])
        self.assertEqual(
            [('files-h1', 'h1'), ('files-h2', 'h2')],
            [
                (item['name'], item['host'])
                for item in self.admin.list_references()
            ],
        )
        for host in (one, two):
            host.attest_now()
            self.assertEqual('affirming', self.tier(host.name))

    def command(self, command: type, *argv: str, code: int = 0):
        """A command of the plugin, on this service."""
        out = io.StringIO()
        manager = types.SimpleNamespace(attestation=self.admin)
        app = types.SimpleNamespace(
            client_manager=manager, stdout=out, options=None
        )
        made = command(app, None)
        options = made.get_parser('x').parse_args([*argv, '-f', 'json'])
        self.assertEqual(code, made.run(options))
        return json.loads(out.getvalue())

    def test_commands(self) -> None:
        one, two = self.stranger('h1'), self.stranger('h2')
        for host in (one, two):
            host.join(self.admin)
            host.attest_now()
        path = self.useFixture(fixtures.TempDir()).join('files.json')
        pathlib.Path(path).write_text(json.dumps(FILES))
        argv = ('--file', path, '--learn', 'h1')
        shown = self.command(osc.CreatePolicy, *argv, '--dry-run')
        self.assertEqual(
            (2, 2, []),
            (shown['hosts'], shown['satisfied'], shown['would_fall']),
        )
        self.assertEqual([], self.admin.list_policies())
        self.command(osc.CreatePolicy, *argv, '--yes')
        for host in (one, two):
            host.attest_now()
        shown = self.command(osc.CheckPolicy, 'files')
        self.assertEqual((2, 2), (shown['hosts'], shown['satisfied']))
        self.admin.create_policy({**OFF, 'hosts': ['other']})
        shown = self.command(osc.CheckPolicy, 'secure', '--all', code=2)
        self.assertEqual(['h1', 'h2'], shown['would_fall'])
        self.assertEqual({'SECURE_BOOT_OFF': ['h1', 'h2']}, shown['reasons'])

    def wanted(self, answer, **more: object) -> list[dict[str, object]]:
        return [
            {
                'host': item['host'],
                'name': f'files-{item["host"]}',
                'digest': item['digest'],
                **more,
            }
            for item in answer['golden']
        ]

    def test_nothing_is_learned_silently(self) -> None:
        self.fleet()
        answer = self.admin.propose_policy(FILES, ['h1', 'h3'])
        self.assertEqual(
            [(True, []), (False, ['IMA_UNKNOWN_FILE'])],
            [(one['admitted'], one['reasons']) for one in answer['golden']],
        )
        good, other = self.wanted(answer, untrusted=True)
        for reason, learn in (
            # It is not affirming, and nobody has said that it is good.
            ('HOST_UNTRUSTED', [good, {**other, 'untrusted': False}]),
            # It is not what was seen.
            ('POLICY_CONFLICT', [{**good, 'digest': '0' * 64}]),
            # All or nothing: there is a reference of this name.
            ('INVALID_REQUEST', [good, {**other, 'name': 'golden'}]),
            ('HOST_UNKNOWN', [good, {**other, 'host': 'h9'}]),
        ):
            with self.refused(reason):
                self.admin.create_policy(FILES, learn)
        self.assertEqual([], self.admin.list_policies())
        self.assertEqual(1, len(self.admin.list_references()))
        self.admin.create_policy(FILES, [good, other])
        self.assertEqual(3, len(self.admin.list_references()))
        self.admin.evict_host('h2', 'gone')
        with self.refused('EVICTED'):
            self.admin.propose_policy(FILES, ['h2'])
        with self.refused('RESULT_MISSING'):
            self.admin.propose_policy(FILES, ['x9'])
        self.assertNotIn('h2', self.verdicts(self.admin.check_policy('files')))
