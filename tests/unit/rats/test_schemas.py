# SPDX-License-Identifier: Apache-2.0
import pathlib
import re
import unittest

import jsonschema

import korora_nova
from korora_nova.rats import schemas

GOOD = {
    'hex': (schemas.hex_string(2), '00af'),
    'base64': (schemas.base64_string(9), 'AAA='),
    'text': (schemas.text(9), 'Wörter'),
    'uuid': (schemas.UUID, '00000000-0000-4000-8000-000000000004'),
    'host': (schemas.HOST, 'h1.example'),
    'token': (schemas.TOKEN, 'a.b.c'),
    'name': (schemas.NAME, '00' * 34),
}


def valid(schema, value):
    return jsonschema.Draft202012Validator(schema).is_valid(value)


class SchemasTest(unittest.TestCase):
    def test_nothing_before_or_after(self):
        for kind, (schema, value) in GOOD.items():
            with self.subTest(kind):
                # Whatever its length: the pattern alone must see it.
                schema = {
                    name: rule
                    for name, rule in schema.items()
                    if name != 'maxLength'
                }
                self.assertTrue(valid(schema, value))
                for bad in (
                    value + '\n',
                    '\n' + value,
                    value + '\n\n',
                    value + '\0',
                    value + '\r\n',
                    f'{value}\n{value}',
                    1,
                    None,
                    [value],
                ):
                    self.assertFalse(valid(schema, bad), bad)

    def test_lengths(self):
        self.assertFalse(valid(schemas.hex_string(2), '00'))
        self.assertFalse(valid(schemas.hex_string(2), '0000000'))
        self.assertFalse(valid(schemas.text(3), ''))
        self.assertFalse(valid(schemas.text(3), 'four'))
        self.assertTrue(valid(schemas.text(3, 0), ''))
        self.assertFalse(valid(schemas.base64_string(3), 'A' * 8))

    def test_names_that_paths_swallow(self):
        for bad in ('.', '..', '', 'a/b'):
            self.assertFalse(valid(schemas.HOST, bad), bad)
        for good in ('...', '.a', '..a', 'a..', 'a.b', '-', '::1'):
            self.assertTrue(valid(schemas.HOST, good), good)

    def test_closed(self):
        schema = schemas.closed({'a': {}, 'b': {}}, ('b',))
        self.assertTrue(valid(schema, {'a': 1}))
        for bad in ({}, {'b': 1}, {'a': 1, 'c': 1}, [], 'a'):
            self.assertFalse(valid(schema, bad))

    def test_no_pattern_ends_with_a_bare_dollar(self):
        found = []
        for path in pathlib.Path(korora_nova.__file__).parent.rglob('*.py'):
            text = path.read_text()
            for match in re.finditer(r"""'pattern':\s*f?'[^'\n]*\$'""", text):
                found.append(f'{path.name}: {match[0]}')
        self.assertEqual([], found)
