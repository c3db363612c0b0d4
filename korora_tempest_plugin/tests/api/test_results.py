# SPDX-License-Identifier: Apache-2.0
"""Attestation results."""

from __future__ import annotations

import hashlib
import json
import secrets
import time

from tempest.lib import decorators
from tempest.lib import exceptions as lib_exc

from korora_tempest_plugin.tests import base


class ResultsTest(base.BaseAttestationTest):
    @decorators.idempotent_id('4abbe030-ab6d-41c8-a14e-d7580257e1d6')
    @decorators.attr(type='smoke')
    def test_list_results(self) -> None:
        answer = self.client.list_results()
        self.assertNotEqual([], answer['results'])
        for result in answer['results']:
            self.assertEqual({'host', 'tier', 'reasons', 'token'}, set(result))
            self.assertIn(
                result['tier'], ('affirming', 'contraindicated', 'none')
            )

    @decorators.idempotent_id('048dbfd9-6254-4c16-846e-1e9d7264f40a')
    def test_token_says_what_is_listed(self) -> None:
        name = self.affirming_hosts()[0]
        said = base.claims(self.client.show_result(name)['token'])
        self.assertEqual(
            (name, 'affirming', []),
            (said['sub'], said['tier'], said['reasons']),
        )
        self.assertGreater(said['exp'], said['iat'])
        self.assertEqual(self.client.show_keys()['cloud'], said['cloud'])

    @decorators.idempotent_id('b0f1c15a-9e26-4936-852c-8fd966c35b14')
    def test_show_result(self) -> None:
        name = self.affirming_hosts()[0]
        result = self.client.show_result(name)
        self.assertEqual(
            (name, [], []),
            (result['host'], result['reasons'], result['findings']),
        )

    @decorators.idempotent_id('5f0a1d7e-3c42-4b8e-9d16-7a2be90c4f35')
    def test_snapshot(self) -> None:
        name = self.affirming_hosts()[0]
        snapshot = self.client.show_snapshot()
        said = base.claims(snapshot['token'])
        self.assertEqual(
            said['digest'],
            hashlib.sha256(snapshot['rows'].encode()).hexdigest(),
        )
        rows = [json.loads(row) for row in snapshot['rows'].split('\n')]
        self.assertEqual(said['count'], len(rows))
        self.assertIn(
            [name, 'affirming', []],
            [[host, tier, why] for host, tier, _, _, _, why in rows],
        )

    @decorators.idempotent_id('b1c84e07-52df-4a36-8e93-0d6f27a91cb4')
    def test_snapshot_of_what_changed(self) -> None:
        said = base.claims(self.client.show_snapshot()['token'])
        mark = f'{said["seq"]}-{said["incarnation"]}'
        changes = self.client.show_snapshot(base=mark)
        # Another worker may not know; then it is all of it.
        self.assertIn(changes['base'], (mark, ''))
        self.assertRaises(
            lib_exc.BadRequest, self.client.show_snapshot, base='yesterday'
        )

    @decorators.idempotent_id('cd14755a-8a4e-4b5f-b402-6b28d190d38b')
    def test_nothing_changed_is_304(self) -> None:
        """Hosts attest all the time, so a few tries are fair."""
        for _ in range(10):
            etag = self.client.list_results().response['etag']
            again = self.client.list_results(etag)
            if again.response.status == 304:
                self.assertEqual({}, dict(again))
                return
        self.fail('An ETag just got is never current.')

    @decorators.idempotent_id('3ccee325-9c57-47ec-9be7-828862733b4b')
    def test_outdated_etag_is_answered_in_full(self) -> None:
        answer = self.client.list_results('"0-of-another-time"')
        self.assertEqual(200, answer.response.status)
        self.assertNotEqual([], answer['results'])

    @decorators.idempotent_id('d62e7608-ea4f-4337-b33f-c89b929388d8')
    def test_changes_since(self) -> None:
        everything = self.client.list_results()
        since_start = self.client.list_results(changes_since=0)
        self.assertEqual(
            {result['host'] for result in everything['results']},
            {result['host'] for result in since_start['results']},
        )
        newest = self.client.list_results(changes_since=10**17)
        self.assertEqual([], newest['results'])
        self.assertGreaterEqual(newest['seq'], everything['seq'])

    @decorators.idempotent_id('354cabd6-6462-404c-aeb0-5a371012e1ab')
    def test_changes_since_a_time(self) -> None:
        tomorrow = time.strftime(
            '%Y-%m-%dT%H:%M:%SZ', time.gmtime(time.time() + 86400)
        )
        self.assertEqual(
            [], self.client.list_results(changes_since=tomorrow)['results']
        )
        self.assertNotEqual(
            [],
            self.client.list_results(changes_since='2020-01-01T00:00:00')[
                'results'
            ],
        )


class ResultsNegativeTest(base.BaseAttestationTest):
    @decorators.idempotent_id('eadf201a-569f-4c30-b1b2-387581ce72c6')
    @decorators.attr(type='negative')
    def test_show_result_of_unknown_host(self) -> None:
        self.assert_refused(
            lib_exc.NotFound,
            'HOST_UNKNOWN',
            self.client.show_result,
            base.NOWHERE,
        )

    @decorators.idempotent_id('32fac559-c446-409a-a44c-4ad7921825a3')
    @decorators.attr(type='negative')
    def test_show_result_of_host_that_never_attested(self) -> None:
        name = self.unique('host')
        self.addCleanup(self.forget_host, name)
        self.client.approve_host(name, ek_hash=secrets.token_hex(32))
        self.assert_refused(
            lib_exc.NotFound, 'RESULT_MISSING', self.client.show_result, name
        )
        results = self.client.list_results()['results']
        self.assertNotIn(name, [result['host'] for result in results])

    @decorators.idempotent_id('c95320b4-0d81-415a-a046-51767120c546')
    @decorators.attr(type='negative')
    def test_bad_changes_since(self) -> None:
        for bad in ('', '-1', 'yesterday', '1e3', '9' * 19, '2026-13-01'):
            self.assert_refused(
                lib_exc.BadRequest,
                'INVALID_REQUEST',
                self.client.list_results,
                changes_since=bad,
            )

    @decorators.idempotent_id('29133f66-01f6-4eb8-a33f-a88bf5e03c8e')
    @decorators.attr(type='negative')
    def test_unknown_parameter(self) -> None:
        self.assert_refused(
            lib_exc.BadRequest,
            'INVALID_REQUEST',
            self.client.list_results,
            limit=1,
        )
