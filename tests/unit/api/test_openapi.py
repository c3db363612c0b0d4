# SPDX-License-Identifier: Apache-2.0
"""The OpenAPI document says what routes, rules and schemas say.

That answers are as it says is shown by every test that has a service; see
tests/support/contract.py.
"""

import json
import re

import jsonschema
import testtools

from korora_nova import errors
from korora_nova.api import routes, rules, versions
from korora_nova.api.openapi import document
from korora_nova.api.openapi.operations import OPERATIONS


def operations():
    """(path, method, operation) of the document."""
    for path, methods in document.build()['paths'].items():
        for method, operation in methods.items():
            yield path, method.upper(), operation


def below(value, key):
    """Everything under a key, however deep."""
    if isinstance(value, dict):
        for name, one in value.items():
            if name == key:
                yield one
            yield from below(one, key)
    elif isinstance(value, list):
        for one in value:
            yield from below(one, key)


class TestOperations(testtools.TestCase):
    def test_operations_are_the_routes(self):
        routed = {
            (path, method): route
            for path, methods in routes.ROUTES.items()
            for method, route in methods.items()
        }
        found = {(path, method): one for path, method, one in operations()}
        self.assertEqual(set(routed), set(found))
        for where, operation in found.items():
            route = routed[where]
            self.assertEqual(route.handler.__name__, operation['operationId'])
            self.assertEqual(
                route.rule and rules.PREFIX + route.rule,
                operation.get('x-openstack-policy'),
            )
            content = operation['responses'].get('200', {}).get('content')
            if content is not None:
                self.assertEqual(
                    [one.partition(';')[0] for one in route.types],
                    list(content),
                )

    def test_each_handler_is_described_and_nothing_else(self):
        self.assertEqual(
            sorted(OPERATIONS),
            sorted(one['operationId'] for *_, one in operations()),
        )

    def test_placeholders(self):
        for path, _, operation in operations():
            self.assertEqual(
                set(re.findall(r'\{(\w+)\}', path)),
                {
                    one['name']
                    for one in operation['parameters']
                    if one['in'] == 'path'
                },
                path,
            )

    def test_a_placeholder_admits_what_a_path_does(self):
        for name, schema in document._PLACEHOLDERS.items():
            pattern = re.compile(routes.PLACEHOLDERS[name])
            admits = jsonschema.Draft202012Validator(schema).is_valid
            for text in (
                'a',
                '.',
                '..',
                '...',
                'a b',
                'a\n',
                '',
                'x' * 255,
                'x' * 256,
                '0f' * 18,
                '00000000-0000-4000-8000-000000000001',
                '00000000-0000-4000-8000-00000000000A',
            ):
                self.assertEqual(
                    pattern.fullmatch(text) is not None, admits(text), text
                )

    def test_links_lead_to_operations(self):
        known = {one['operationId']: path for path, _, one in operations()}
        links = [
            link
            for *_, operation in operations()
            for answer in operation['responses'].values()
            for link in answer.get('links', {}).values()
        ]
        self.assertGreater(len(links), 40)
        for link in links:
            self.assertEqual(
                set(re.findall(r'\{(\w+)\}', known[link['operationId']])),
                set(link['parameters']),
            )


class TestAnswers(testtools.TestCase):
    def test_schemas_are_schemas(self):
        for schema in below(document.build(), 'schema'):
            jsonschema.Draft202012Validator.check_schema(schema)
        for schema in document.SHAPES.values():
            jsonschema.Draft202012Validator.check_schema(schema)

    def test_references_lead_somewhere_and_each_shape_is_used(self):
        used = {
            one.removeprefix('#/components/schemas/')
            for one in below(document.build(), '$ref')
        }
        self.assertEqual(set(document.SHAPES), used)

    def test_reason_ids_exist(self):
        found = 0
        for schema in below(document.build(), 'reason'):
            for reason in schema.get('enum', ()):
                self.assertIn(reason, errors.REASONS)
                found += 1
        self.assertGreater(found, 500)

    def test_codes_of_every_call_with_a_token(self):
        for path, _, operation in operations():
            if 'security' in operation:
                self.assertLessEqual(
                    {'400', '401', '403', '406', '503'},
                    set(operation['responses']),
                    path,
                )

    def test_versions(self):
        (known,) = {
            tuple(one['schema']['enum'])
            for *_, operation in operations()
            for one in operation['parameters']
            if one['name'] == versions.HEADER
        }
        self.assertEqual(
            [f'attestation {one}' for one in versions.VERSIONS],
            list(known[:-1]),
        )

    def test_it_is_json_and_always_the_same(self):
        texts = {json.dumps(document.build()) for _ in range(2)}
        self.assertEqual(1, len(texts))
