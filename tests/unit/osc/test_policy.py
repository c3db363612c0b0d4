# SPDX-License-Identifier: Apache-2.0
import io
import json
import pathlib
import sys

import fixtures
import yaml
from osc_lib import exceptions

from korora_nova.osc import documents, policy
from tests.unit.osc.base import CommandTest

DOCUMENT = {
    'version': 1,
    'name': 'debian',
    'hosts': ['compute-*'],
    'rules': [{'secure-boot': {'enabled': True}}, {'ima': 'not-appraised'}],
}
BRIEF = {
    'name': 'debian',
    'uuid': '1b3f',
    'revision': 3,
    'description': '',
    'hosts': ['compute-*'],
    'rules': ['secure-boot', 'ima'],
    'created_at': 0,
    'updated_at': 60,
    'actor': 'u',
}
YAML = """\
version: 1
name: debian
hosts: ['compute-*']
rules:
- secure-boot: {enabled: true}
- ima: not-appraised
"""


class PolicyTest(CommandTest):
    def setUp(self) -> None:
        super().setUp()
        self.directory = pathlib.Path(self.useFixture(fixtures.TempDir()).path)

    def file(self, text: str, name: str = 'policy.yaml') -> str:
        path = self.directory / name
        path.write_text(text, encoding='utf-8')
        return str(path)

    def sent(self) -> object:
        return self.http.last_request.json()


class TestCommands(PolicyTest):
    def test_create_from_yaml(self) -> None:
        self.answer('POST', '/v1/policies', BRIEF)
        shown = self.run_json(policy.CreatePolicy, '--file', self.file(YAML))
        self.assertEqual({'document': DOCUMENT}, self.sent())
        self.assertEqual(3, shown['revision'])
        self.assertEqual('1970-01-01T00:01:00Z', shown['updated_at'])

    def test_create_from_json_under_another_name(self) -> None:
        self.answer('POST', '/v1/policies', BRIEF)
        self.run_json(
            policy.CreatePolicy,
            '--file',
            self.file(json.dumps(DOCUMENT)),
            'other',
        )
        self.assertEqual(
            {'document': {**DOCUMENT, 'name': 'other'}}, self.sent()
        )

    def test_create_from_standard_input(self) -> None:
        self.answer('POST', '/v1/policies', BRIEF)
        self.useFixture(fixtures.MonkeyPatch('sys.stdin', io.StringIO(YAML)))
        self.assertIsNot(None, sys.stdin)
        self.run_json(policy.CreatePolicy, '--file', '-')
        self.assertEqual({'document': DOCUMENT}, self.sent())

    def test_set_names_the_revision_that_it_saw(self) -> None:
        self.answer('GET', '/v1/policies', {'policies': [BRIEF]})
        self.answer('PUT', '/v1/policies/debian', BRIEF)
        self.run_json(policy.SetPolicy, 'debian', '--file', self.file(YAML))
        self.assertEqual({'document': DOCUMENT, 'revision': 3}, self.sent())

    def test_set_at_a_given_revision(self) -> None:
        self.answer('PUT', '/v1/policies/debian', BRIEF)
        self.run_json(
            policy.SetPolicy,
            'debian',
            '--file',
            self.file(YAML),
            '--revision',
            '2',
        )
        self.assertEqual({'document': DOCUMENT, 'revision': 2}, self.sent())

    def test_set_of_a_policy_that_is_not_there(self) -> None:
        self.answer('GET', '/v1/policies', {'policies': [BRIEF]})
        self.assertRaises(
            exceptions.CommandError,
            self.run_command,
            policy.SetPolicy,
            'other',
            '--file',
            self.file(YAML),
        )

    def test_refusal_shows_the_place(self) -> None:
        error = {
            'code': 400,
            'reason': 'POLICY_INVALID',
            'message': 'The policy is invalid at /rules/0: no such rule.',
            'details': {'pointer': '/rules/0'},
        }
        self.answer('POST', '/v1/policies', {'error': error}, code=400)
        exc = self.assertRaises(
            exceptions.CommandError,
            self.run_command,
            policy.CreatePolicy,
            '--file',
            self.file(YAML),
        )
        self.assertIn('[POLICY_INVALID]', str(exc))
        self.assertIn('/rules/0', str(exc))

    def test_list(self) -> None:
        self.answer('GET', '/v1/policies', {'policies': [BRIEF]})
        self.assertEqual(
            [
                {
                    'Name': 'debian',
                    'Revision': 3,
                    'Hosts': ['compute-*'],
                    'Rules': ['secure-boot', 'ima'],
                    'Updated At': '1970-01-01T00:01:00Z',
                }
            ],
            self.run_json(policy.ListPolicy),
        )

    def test_show_is_yaml_for_people_and_json_for_machines(self) -> None:
        self.answer(
            'GET', '/v1/policies/debian', {**BRIEF, 'document': DOCUMENT}
        )
        shown = self.run_json(policy.ShowPolicy, 'debian')
        self.assertEqual(DOCUMENT, shown['document'])
        self.app.stdout.truncate(0)
        self.app.stdout.seek(0)
        printed = self.run_command(policy.ShowPolicy, 'debian', '-f', 'table')
        self.assertIn('- secure-boot:', printed)

    def test_show_the_document_alone(self) -> None:
        self.answer(
            'GET', '/v1/policies/debian', {**BRIEF, 'document': DOCUMENT}
        )
        printed = self.run_command(
            policy.ShowPolicy, 'debian', '-f', 'value', '-c', 'document'
        )
        self.assertEqual(DOCUMENT, yaml.safe_load(printed))

    def test_show_of_a_built_in_policy(self) -> None:
        exact = {
            **BRIEF,
            'name': 'exact',
            'uuid': None,
            'created_at': None,
            'updated_at': None,
            'document': DOCUMENT,
        }
        self.answer('GET', '/v1/policies/exact', exact)
        shown = self.run_json(policy.ShowPolicy, 'exact')
        self.assertIsNone(shown['created_at'])

    def test_large_document_does_not_fill_the_terminal(self) -> None:
        large = {**DOCUMENT, 'description': 'x' * 100_000}
        column = documents.DocumentColumn(large)
        self.assertIn('-f json', column.human_readable())
        self.assertEqual(large, column.machine_readable())

    def test_delete(self) -> None:
        self.answer('DELETE', '/v1/policies/debian')
        self.assertEqual(
            '', self.run_command(policy.DeletePolicy, 'debian', '--yes')
        )

    def test_diff(self) -> None:
        row = {
            'rule': 'rules/0/boot-components',
            'reason': 'COMPONENT_UNKNOWN',
            'what': 'kernel 6.1.0-42-amd64 is not in the reference set',
            'last_good': '6.1.0-40-amd64',
            'advice': 'openstack attestation reference create NAME --host h3',
        }
        self.answer(
            'GET',
            '/v1/policies/debian/differences/h3',
            {
                'policy': 'debian',
                'revision': 3,
                'host': 'h3',
                'measured_at': 60.0,
                'differences': [row],
            },
        )
        self.assertEqual(
            [
                {
                    'Rule': row['rule'],
                    'Reason': row['reason'],
                    'What': row['what'],
                    'Last Good': row['last_good'],
                    'Advice': row['advice'],
                }
            ],
            self.run_json(policy.DiffPolicy, 'debian', 'h3'),
        )
        self.app.stdout.truncate(0)
        self.app.stdout.seek(0)
        printed = self.run_command(
            policy.DiffPolicy, 'debian', 'h3', '-f', 'table'
        )
        self.assertLess(max(map(len, printed.splitlines())), 180)
        self.assertIn('| kernel 6.1.0-42-amd64 is not in the ', printed)


class TestDocuments(PolicyTest):
    def refused(self, text: str) -> str:
        exc = self.assertRaises(
            exceptions.CommandError, documents.read, self.file(text)
        )
        return str(exc)

    def test_a_key_twice_is_an_error(self) -> None:
        for text in (
            'a: 1\nb: 2\na: 3\n',
            '{"a": 1, "a": 2}',
            'x: {y: [{z: 1, z: 2}]}',
            '{"x": [{"z": 1, "z": 2}]}',
            "values: {0: x, '0': y}",
            '{a: 1, a: 2}',
        ):
            self.assertIn('twice', self.refused(text), text)

    def test_what_is_no_document(self) -> None:
        for text in (
            '',
            'a',
            '[]',
            '- 1',
            '{',
            'a: [',
            '\t',
            'a: *b',
            '!!python/object/apply:os.system [id]',
            'a: !!python/name:os.system',
        ):
            self.assertIn('policy.yaml', self.refused(text), text)

    def test_no_such_file(self) -> None:
        self.assertRaises(
            exceptions.CommandError, documents.read, '/does/not/exist'
        )

    def test_not_text(self) -> None:
        path = self.directory / 'binary'
        path.write_bytes(b'\xff\xfe\x00')
        self.assertRaises(exceptions.CommandError, documents.read, str(path))

    def test_digests_and_dates_are_text(self) -> None:
        zeros, digits = '0' * 64, '1234567890' * 6 + '1234'
        self.assertEqual(
            {'a': zeros, 'b': digits, 'c': 14, 'd': '2026-11-23'},
            documents.read(
                self.file(f'a: {zeros}\nb: {digits}\nc: 14\nd: 2026-11-23\n')
            ),
        )

    def test_merged_keys(self) -> None:
        self.assertEqual(
            {'base': {'a': 1}, 'more': {'a': 2, 'b': 3}},
            documents.read(
                self.file(
                    'base: &base {a: 1}\nmore: {<<: *base, a: 2, b: 3}\n'
                )
            ),
        )

    def test_yaml_that_looks_like_json(self) -> None:
        self.assertEqual({'a': 1}, documents.read(self.file('{a: 1}')))

    def test_written_and_read_again(self) -> None:
        name = self.file(documents.text(DOCUMENT))
        self.assertEqual(DOCUMENT, documents.read(name))
