# SPDX-License-Identifier: Apache-2.0
"""Policies: who is judged by what, from when on, and what is missing."""

import json
import time
import uuid
from unittest import mock

import sqlalchemy as sa

from korora_nova.rats import policy
from korora_nova.verifier.appraisal import (
    documents,
    extensions,
    packed,
    policies,
)
from korora_nova.verifier.db import models
from tests.functional.api import base

PINNED = {'pcrs': {'registers': [0, 2, 4, 7], 'references': True}}
LOOSE = {
    'version': 1,
    'name': 'loose',
    'rules': [PINNED, {'ima': 'not-appraised'}],
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


class FewResets(policy.Rule):
    """A rule of a site's own."""

    NAME = 'few-resets'
    HELP = 'The TPM was never reset.'
    SCHEMA = {'type': 'object', 'additionalProperties': False}

    @classmethod
    def parse(cls, params, path):
        return cls(path)

    def check(self, state):
        count = state.clock.reset_count
        return [] if not count else [self.fails('SITE_RULE', f'{count}')]


class Policies(base.ApiTestCase):
    def judged(self, host) -> tuple[str, list[str]]:
        """Tier and reasons of a new attestation."""
        host.attest_now()
        shown = self.admin.get_host(host.name)
        return shown['tier'], shown['reasons']

    def test_life(self):
        made = self.admin.create_policy(LOOSE)
        self.assertEqual(
            ('loose', 1, ['*'], ['pcrs', 'ima'], 'user'),
            (
                made['name'],
                made['revision'],
                made['hosts'],
                made['rules'],
                made['actor'],
            ),
        )
        self.assertNotIn('document', made)
        self.assertEqual([made], self.admin.list_policies())
        shown = self.admin.get_policy('loose')
        self.assertEqual({**made, 'document': LOOSE}, shown)
        changed = {**LOOSE, 'description': 'more words', 'hosts': ['h?']}
        again = self.admin.update_policy('loose', changed, 1)
        self.assertEqual(
            (2, 'more words', ['h?'], made['uuid']),
            (
                again['revision'],
                again['description'],
                again['hosts'],
                again['uuid'],
            ),
        )
        self.assertLess(made['updated_at'], again['updated_at'])
        self.assertEqual(made['created_at'], again['created_at'])
        self.assertEqual(changed, self.admin.get_policy('loose')['document'])
        self.admin.delete_policy('loose')
        self.assertEqual([], self.admin.list_policies())
        with self.korora.service.db.read() as session:
            self.assertEqual(
                [], session.scalars(sa.select(models.PolicyPart)).all()
            )
            self.assertEqual(
                ['policy created', 'policy changed', 'policy deleted'],
                [
                    row.action
                    for row in session.scalars(
                        sa.select(models.Audit).order_by(models.Audit.id)
                    )
                ],
            )

    def test_not_there(self):
        for call in (
            self.admin.get_policy,
            self.admin.delete_policy,
            lambda name: self.admin.policy_differences(name, 'h1'),
            lambda name: self.admin.update_policy(
                name, {**LOOSE, 'name': name}, 1
            ),
        ):
            with self.refused('NOT_FOUND'):
                call('x')

    def test_name_is_taken(self):
        self.admin.create_policy(LOOSE)
        with self.refused('POLICY_CONFLICT'):
            self.admin.create_policy(LOOSE)

    def test_somebody_was_faster(self):
        self.admin.create_policy(LOOSE)
        self.admin.update_policy('loose', LOOSE, 1)
        with self.refused('POLICY_CONFLICT'):
            self.admin.update_policy('loose', LOOSE, 1)
        self.assertEqual(2, self.admin.get_policy('loose')['revision'])

    def test_number_is_bounded(self):
        with mock.patch.object(policies, 'MAX_POLICIES', 1):
            self.admin.create_policy(LOOSE)
            with self.refused('POLICY_CONFLICT'):
                self.admin.create_policy({**LOOSE, 'name': 'other'})

    def test_invalid(self):
        """The answer names the place."""
        for pointer, document in {
            '': {},
            '/rules': {**LOOSE, 'rules': []},
            '/rules/0': {**LOOSE, 'rules': [{'nothing': {}}]},
            '/rules/0/pcrs/registers/0': {
                **LOOSE,
                'rules': [{'pcrs': {'registers': ['x'], 'references': True}}],
            },
            '/name': {**LOOSE, 'name': 'exact'},
        }.items():
            with self.refused('POLICY_INVALID') as error:
                self.admin.create_policy(document)
            self.assertEqual(pointer, error[0].details['pointer'])
            self.assertIn(pointer, error[0].message)
        self.admin.create_policy(LOOSE)
        with self.refused('POLICY_INVALID'):
            self.admin.update_policy('loose', {**LOOSE, 'name': 'x'}, 1)
        self.assertEqual(1, self.admin.get_policy('loose')['revision'])

    def test_applies_from_the_next_attestation_on(self):
        host = self.host('h1')
        host.measure('/tmp/new')
        self.assertEqual(
            ('contraindicated', ['IMA_UNKNOWN_FILE']), self.judged(host)
        )
        self.admin.create_policy(LOOSE)
        self.assertEqual('contraindicated', self.tier('h1'))
        self.assertEqual(('affirming', []), self.judged(host))
        self.admin.update_policy('loose', {**OFF, 'name': 'loose'}, 1)
        self.assertEqual(
            ('contraindicated', ['SECURE_BOOT_OFF']), self.judged(host)
        )
        self.admin.delete_policy('loose')
        self.assertEqual(
            ('contraindicated', ['IMA_UNKNOWN_FILE']), self.judged(host)
        )

    def test_every_policy_that_names_a_host_counts(self):
        one, two = self.host('h1'), self.host('h2')
        for host in (one, two):
            host.measure('/tmp/new')
        self.admin.create_policy(LOOSE)
        self.admin.create_policy({**OFF, 'hosts': ['x*', 'h2']})
        self.assertEqual('affirming', self.judged(one)[0])
        self.assertEqual(
            ('contraindicated', ['SECURE_BOOT_OFF']), self.judged(two)
        )
        self.assertEqual(
            ['loose', 'secure'], self.admin.get_host('h2')['policies']
        )
        (finding,) = self.admin.get_result('h2')['findings']
        self.assertEqual(
            ('secure', 'rules/1/secure-boot'),
            (finding['details']['policy'], finding['details']['rule']),
        )

    def test_hosts_that_none_names_are_judged_by_the_built_in_one(self):
        host = self.host('h1')
        host.measure('/tmp/new')
        self.admin.create_policy({**LOOSE, 'hosts': ['h10', 'H1', '?']})
        self.assertEqual(['exact'], self.admin.get_host('h1')['policies'])
        self.assertEqual(
            ('contraindicated', ['IMA_UNKNOWN_FILE']), self.judged(host)
        )

    def test_other_worker_sees_it(self):
        host = self.host('h1')
        host.measure('/tmp/new')
        old = host.api
        host.attest_now()
        self.korora.restart()
        self.korora.client_as('admin').create_policy(LOOSE)
        host.api = old
        self.assertEqual('affirming', self.judged(host)[0])

    def test_compiled_once(self):
        host = self.host('h1')
        self.admin.create_policy(LOOSE)
        load = policy.load
        with mock.patch.object(policy, 'load', side_effect=load) as loaded:
            for _ in range(3):
                host.attest_now()
            self.assertEqual(1, loaded.call_count)
            self.admin.create_reference('more', 'h1')
            host.attest_now()
            self.assertEqual(1, loaded.call_count)
        held = self.korora.service.policies
        self.assertEqual(
            1, len(held._policies) - (documents.EXACT_KEY in held._policies)
        )
        self.admin.delete_policy('loose')
        host.attest_now()
        self.assertEqual({documents.EXACT_KEY}, set(held._policies))
        self.assertEqual({documents.EXACT_KEY}, set(held._bound))

    def test_stored_policy_that_this_release_cannot_read(self):
        """That says nothing about the host."""
        host = self.host('h1')
        self.admin.create_policy(LOOSE)
        with self.korora.service.db.write() as session:
            row = session.scalars(sa.select(models.Policy)).one()
            document = {**LOOSE, 'rules': [{'of-the-future': {}}]}
            documents.store(session, row.uuid, 1, packed.pack(document))
        with self.refused('INTERNAL'):
            host.attest_now()

    def test_rule_of_a_site(self):
        """It judges hosts where it is installed, and is missed elsewhere."""
        own = {
            'version': 1,
            'name': 'own',
            'rules': [PINNED, {'few-resets': {}}, {'ima': 'not-appraised'}],
        }
        with self.refused('POLICY_INVALID') as refused:
            self.admin.create_policy(own)
        self.assertIn('ima, all-of, any-of', refused[0].message)
        known = policy.Registry((*policy.BUILT_IN.values(), FewResets))
        with mock.patch.object(extensions, 'load', return_value=known):
            self.korora.restart()
        self.admin = self.korora.client_as('admin')
        host = self.host('h1')
        self.assertEqual('affirming', self.judged(host)[0])
        made = self.admin.create_policy(own)
        self.assertEqual(['pcrs', 'few-resets', 'ima'], made['rules'])
        self.assertEqual(('contraindicated', ['SITE_RULE']), self.judged(host))
        self.korora.restart()
        with self.refused('INTERNAL'):
            self.host('h2')

    def test_built_in_one_can_be_shown_only(self):
        shown = self.admin.get_policy('exact')
        self.assertEqual((0, None), (shown['revision'], shown['uuid']))
        self.assertEqual('exact', shown['document']['name'])
        with self.refused('NOT_FOUND'):
            self.admin.delete_policy('exact')
        with self.refused('POLICY_INVALID'):
            self.admin.update_policy('exact', shown['document'], 0 + 1)

    def test_large(self):
        """More than one statement holds; loaded in seconds, once."""
        digests = [
            f'sha256:{uuid.uuid4().hex}{uuid.uuid4().hex}'
            for _ in range(200_000)
        ]
        document = {**LOOSE, 'rules': [PINNED, {'ima': {'digests': digests}}]}
        with mock.patch.object(packed, 'PART', 1 << 20):
            self.admin.create_policy(document)
        with self.korora.service.db.read() as session:
            self.assertLess(
                4, len(session.scalars(sa.select(models.PolicyPart.seq)).all())
            )
        shown = self.admin.get_policy('loose')['document']
        self.assertEqual(document, shown)
        host = self.host_of(digests)
        self.assertEqual('affirming', self.judged(host)[0])
        started = time.thread_time()
        for _ in range(3):
            host.attest_now()
        self.assertLess(time.thread_time() - started, 4)

    def host_of(self, digests):
        host = self.stranger('h1')
        host.join(self.admin)
        host.reboot()
        host.attest_now()
        self.admin.create_reference('golden', 'h1')
        known = digests + self.admin.get_reference('golden')['ima_digests']
        document = {**LOOSE, 'rules': [PINNED, {'ima': {'digests': known}}]}
        self.admin.update_policy('loose', document, 1)
        host.measure('/usr/bin/late', bytes.fromhex(digests[-1][7:]))
        return host

    # Differences

    def test_differences(self):
        host = self.host('h1')
        self.assertEqual(
            [], self.admin.policy_differences('exact', 'h1')['differences']
        )
        host.measure('/tmp/rootkit')
        host.attest_now()
        found = self.admin.policy_differences('exact', 'h1')
        self.assertEqual(
            ('exact', 0, 'h1'),
            (found['policy'], found['revision'], found['host']),
        )
        (row,) = found['differences']
        self.assertEqual(
            {'rule', 'reason', 'what', 'last_good', 'advice'}, set(row)
        )
        self.assertEqual('IMA_UNKNOWN_FILE', row['reason'])
        self.assertIn('/tmp/rootkit', row['what'])
        json.dumps(found)

    def test_differences_from_a_policy_that_does_not_apply(self):
        self.host('h1')
        self.admin.create_policy({**OFF, 'hosts': ['nobody']})
        (row,) = self.admin.policy_differences('secure', 'h1')['differences']
        self.assertEqual('SECURE_BOOT_OFF', row['reason'])
        self.assertEqual('affirming', self.tier('h1'))

    def test_differences_of_a_host_that_is_down(self):
        host = self.host('h1')
        host.measure('/tmp/rootkit')
        host.attest_now()
        self.korora.clock.advance(86400)
        self.assertEqual(
            1, len(self.admin.policy_differences('exact', 'h1')['differences'])
        )

    def test_differences_of_strangers(self):
        with self.refused('HOST_UNKNOWN'):
            self.admin.policy_differences('exact', 'h9')
        self.stranger('h1').join(self.admin)
        with self.refused('RESULT_MISSING'):
            self.admin.policy_differences('exact', 'h1')


class TestSqlite(Policies):
    pass


class TestMariaDb(base.MariaDbTestCase, Policies):
    pass


class TestPostgreSql(base.PostgreSqlTestCase, Policies):
    pass


del Policies
