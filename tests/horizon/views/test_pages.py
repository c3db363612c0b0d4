# SPDX-License-Identifier: Apache-2.0
"""Each page says what the service knows."""

from __future__ import annotations

import json

from django import test

from korora_nova.rats.signed import keys
from tests.horizon.views.base import (
    ADMIN,
    MIGRATION,
    PROJECT,
    SERVER,
    PanelTestCase,
)


class HostsTest(PanelTestCase):
    def test_each_tier_with_its_reason_in_words(self) -> None:
        self.host('h1')
        bad = self.host('h2')
        bad.measure('/tmp/dropped')
        bad.attest_now()
        self.stranger('h3').enrol()
        self.admin.approve_host('h4', '5a' * 32)
        page = self.look()
        self.assertIn('h1 ✓ Approved ✓ Affirming', self.row(page, 'h1'))
        self.assertIn('s ago yes', self.row(page, 'h1'))
        self.assertIn('✗ Contraindicated', self.row(page, 'h2'))
        self.assertIn('IMA_', self.row(page, 'h2'))
        self.assertIn('! Waits for approval ○ No result', self.row(page, 'h3'))
        self.assertIn('HOST_PENDING', self.row(page, 'h3'))
        self.assertIn('○ Never enrolled', self.row(page, 'h4'))
        self.assertIn('never', self.row(page, 'h4'))
        self.assertIn('4 entries', self.words(page))

    def test_filter(self) -> None:
        self.host('h1')
        self.stranger('other').enrol()
        self.assertNotIn('other', self.look(name='h1'))
        self.assertIn('other', self.look(tier='pending'))
        self.assertNotIn('>h1<', self.look(tier='pending'))
        self.assertIn('There is no such host.', self.look(name='nowhere'))

    def test_long_list_comes_in_parts(self) -> None:
        for number in range(53):
            self.admin.approve_host(f'h{number:02}', f'{number:02x}' * 32)
        page = self.look()
        self.assertIn('Part 1 of 2', page)
        self.assertNotIn('>h52<', page)
        self.assertIn('?tier=none&amp;page=2', self.look(tier='none'))
        self.assertIn('>h52<', self.look(page='2'))
        self.assertIn('>h52<', self.look(page='99'))

    def test_host(self) -> None:
        self.host('h1')
        page = self.look('hosts/h1/')
        said = self.words(page)
        self.assertIn('Signed result ✓ Verified', said)
        self.assertIn('no keys are pinned here', said)
        self.assertIn('its TPM is known and approved', self.row(page, '✓ Goo'))
        self.assertIn('Policy exact', said)
        self.assertIn('satisfies it.', said)

    def test_differences_side_by_side(self) -> None:
        self.host('h1')
        bad = self.host('h2')
        bad.measure('/tmp/dropped')
        bad.attest_now()
        page = self.look('hosts/h2/')
        said = self.words(page)
        self.assertIn('The policy wants The host shows What to do', said)
        self.assertIn('/tmp/dropped', said)
        found = self.admin.policy_differences('exact', 'h2')['differences']
        for one in found:
            self.assertIn(' '.join(one['advice'].split()), said)
        self.assertIn(
            'Policy nothing',
            self.words(self.look('hosts/h1/', policy='nothing')),
        )

    def test_pinned_keys(self) -> None:
        self.host('h1')
        with test.override_settings(
            ATTESTATION_TRUSTED_KEYS=self.korora.keys_file
        ):
            said = self.words(self.look('hosts/h1/'))
        self.assertIn('✓ Verified', said)
        self.assertIn('keys that are pinned here', said)

    def test_result_of_another_cloud_is_not_verified(self) -> None:
        self.host('h1')
        other = keys.KeyRing.build(
            self.korora.ring.cloud,
            **{use: [keys.SigningKey.generate().public] for use in keys.USES},
        )
        path = f'{self.korora.directory}/other.json'
        other.save(path)
        with test.override_settings(ATTESTATION_TRUSTED_KEYS=path):
            said = self.words(self.look('hosts/h1/'))
        self.assertIn('✗ Not verified [RESULT_FORGED]', said)
        with test.override_settings(ATTESTATION_TRUSTED_KEYS='/nowhere'):
            said = self.words(self.look('hosts/h1/'))
        self.assertIn('✗ Not verified [KEYS_INVALID]', said)


class MigrationsTest(PanelTestCase):
    def test_decided(self) -> None:
        self.moved()
        page = self.look('migrations/')
        self.assertIn(
            f'{SERVER} h1 h2 live ✓ Committed', self.row(page, MIGRATION)
        )
        page = self.look(f'migrations/{MIGRATION}/')
        for document in ('Permit', 'Start', 'Receipt'):
            self.assertIn(f'{document} ✓ Verified', self.row(page, document))
        said = self.words(page)
        self.assertIn('Receipt: Committed, h2 holds the key', said)
        self.assertIn('h1 says: stream_completed', said)
        self.assertIn('h2 says: activated', said)
        self.assertEqual(7, page.count('<circle'))
        self.assertEqual(7, page.split('id="steps"')[1].count('<li>'))

    def test_what_both_ends_proved(self) -> None:
        source, dest = self.moved()
        page = self.look(f'migrations/{MIGRATION}/')
        names = [one.tpm.ak_name.hex() for one in (source, dest)]
        self.assertIn(' '.join(names), self.row(page, 'Attestation key'))
        self.assertIn('yes yes', self.row(page, 'Enrolled with it now'))
        self.assertRegex(self.row(page, 'Epoch of its copy'), r' 1 \d+\Z')
        self.assertRegex(
            self.row(page, 'Digest of the PCRs'), '[0-9a-f]{64} [0-9a-f]{64}'
        )

    def test_open(self) -> None:
        self.moved(decided=False)
        page = self.look(f'migrations/{MIGRATION}/')
        self.assertIn('✓ Verified', self.row(page, 'Permit'))
        self.assertIn('Not decided yet', self.words(page))
        self.assertNotIn('Receipt', self.words(page))

    def test_filter(self) -> None:
        self.moved()
        self.assertIn(MIGRATION, self.look('migrations/', host='h2'))
        for query in ({'host': 'h3'}, {'status': 'aborted'}):
            self.assertNotIn(MIGRATION, self.look('migrations/', **query))


class ServersTest(PanelTestCase):
    def test_holder_and_epoch(self) -> None:
        self.moved()
        row = self.row(self.look('servers/'), SERVER)
        epoch = self.admin.get_server(SERVER)['epoch']
        self.assertEqual(f'{SERVER} ✓ Held h2 {epoch}', row)

    def test_one(self) -> None:
        self.moved(decided=False)
        said = self.words(self.look(f'servers/{SERVER}/'))
        self.assertIn('! Pending', said)
        self.assertIn('korora-permit+jwt', said)
        self.assertIn('Its last hand-over', said)
        for one in self.admin.get_server(SERVER)['exits']:
            self.assertIn(one['command'], said)

    def test_filters_and_parts(self) -> None:
        source, _ = self.moved()
        for number in range(2, 54):
            source.claim(f'c0ffee00-0000-4000-8000-0000000000{number:02x}')
        page = self.look('servers/')
        self.assertIn('rel="next"', page)
        last = 'c0ffee00-0000-4000-8000-000000000035'
        self.assertNotIn(last, page)
        marker = 'c0ffee00-0000-4000-8000-000000000032'
        self.assertIn(last, self.look('servers/', marker=marker))
        self.assertNotIn(SERVER, self.look('servers/', holder='h1'))
        self.assertIn(SERVER, self.look('servers/', holder='h2'))


class PoliciesTest(PanelTestCase):
    DOCUMENT = {
        'version': 1,
        'name': 'strict',
        'hosts': ['h*'],
        'rules': [
            {'boot-components': {'pcrs': [4], 'references': True}},
            {'ima': 'not-appraised'},
        ],
    }

    def test_list(self) -> None:
        self.host('h1')
        self.admin.create_policy(self.DOCUMENT)
        page = self.look('policies/')
        row = self.row(page, 'strict')
        self.assertIn('strict 1 h* boot-components, ima', row)
        self.assertIn('golden h1', self.row(page, 'golden'))

    def test_dry_run(self) -> None:
        self.host('h1')
        self.admin.create_policy(self.DOCUMENT)
        page = self.look('policies/strict/check/')
        (said,) = self.admin.check_policy('strict')['hosts']
        wanted = 'It holds' if said['satisfied'] else 'The host would fall'
        self.assertIn(wanted, self.row(page, 'h1'))
        self.assertIn(
            '✓ It holds',
            self.row(self.look('policies/exact/check/', all='true'), 'h1'),
        )

    def test_try_a_document(self) -> None:
        self.host('h1')
        found = self.client.post(
            f'{ADMIN}policies/try/', {'document': json.dumps(self.DOCUMENT)}
        )
        self.assertIn('h1 ✓ Affirming', self.row(self.body(found), 'h1'))
        self.assertEqual([], self.admin.list_policies())

    def test_documents_that_are_none(self) -> None:
        for document, sentence in (
            ('{', 'neither YAML nor JSON'),
            ('[1]', 'That is not an object.'),
            ('a: &a [x]\nb: *a', 'neither YAML nor JSON'),
            ('a: 2026-01-01', 'neither YAML nor JSON'),
            ('version: 1', '[POLICY_INVALID]'),
        ):
            found = self.client.post(
                f'{ADMIN}policies/try/', {'document': document}
            )
            self.assertIn(sentence, self.words(self.body(found, 400)))


class PlacesTest(PanelTestCase):
    def test_readers_have_it_in_their_project(self) -> None:
        self.moved()
        with self.as_one_who_is('attestation_reader'):
            found = self.client.get(f'{PROJECT}migrations/{MIGRATION}/')
            page = self.body(found)
            self.assertIn(f'href="{PROJECT}servers/{SERVER}/"', page)
            self.assertNotIn(ADMIN, page)
        with self.as_one_who_is('member'):
            self.assertEqual(403, self.client.get(PROJECT).status_code)

    def test_without_the_service_there_is_no_panel(self) -> None:
        self.catalog = []
        self.assertEqual(403, self.client.get(ADMIN).status_code)

    def test_translated(self) -> None:
        self.host('h1')
        found = self.client.get(ADMIN, HTTP_ACCEPT_LANGUAGE='de')
        self.assertIn('Wartet auf Zulassung', self.body(found))
