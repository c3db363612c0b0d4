# SPDX-License-Identifier: Apache-2.0
"""Compiled schemas admit nothing that the validator refuses."""

import copy
import gc
import json
import random
from typing import Any

import jsonschema
import testtools

from korora_nova.api import schemas as api
from korora_nova.custody import bodies, exchange
from korora_nova.rats import compiled, schemas
from korora_nova.rats.ima import state

UUID = '00000000-0000-4000-8000-000000000001'
#: Schemas of the service's busiest path, with a valid document.
KNOWN: list[tuple[Any, Any]] = [
    (api.CHALLENGE, {'class': 'steady'}),
    (schemas.DIGEST, 'ab' * 32),
    (
        exchange.Request.SCHEMA,
        {
            'version': 1,
            'challenge': '00' * 32,
            'purpose': 'attest',
            'body': '{}',
            'evidence': {'a': 1},
        },
    ),
    (
        bodies.Attest.SCHEMA,
        {
            'version': 1,
            'known': [[UUID, 1, 'cd' * 32, '']],
            'enforcer': {
                'driver': 'a.B',
                'version': '1',
                'drift': '',
                'seen': 1,
            },
        },
    ),
    (
        state.SCHEMA,
        {
            'version': 1,
            'entries': 1,
            'bytes': 10,
            'pcr': '00' * 32,
            'index': 10,
            'bank': 'sha256',
            'form': 'binary',
            'template_hash': 'sha1',
            'extension': 'own',
            'aggregates': ['x'],
            'results': {},
        },
    ),
]
ODD: list[Any] = [
    None,
    True,
    False,
    0,
    1,
    1.0,
    -1,
    2**70,
    1.5,
    '',
    'x',
    'x\n',
    'ab' * 32 + '\n',
    'AB' * 32,
    [],
    {},
    [1],
    {'version': 1},
    float('nan'),
    'steady',
    UUID,
    UUID + '\n',
]


def changed(dice: random.Random, document: Any) -> Any:
    """The document with one thing in it that is another."""
    document = copy.deepcopy(document)
    places = [([document], 0)]
    found = []
    while places:
        holder, key = places.pop()
        found.append((holder, key))
        value = holder[key]
        if isinstance(value, dict):
            places += [(value, one) for one in value]
        elif isinstance(value, list):
            places += [(value, one) for one in range(len(value))]
    top = found[0][0]
    holder, key = dice.choice(found)
    what = dice.randrange(4)
    if what == 0 and isinstance(holder, dict):
        del holder[key]
    elif what == 1 and isinstance(holder[key], dict):
        holder[key][dice.choice(['more', 'version', '00' * 32])] = dice.choice(
            ODD
        )
    elif what == 2 and isinstance(holder[key], list):
        holder[key].append(dice.choice(ODD))
    else:
        holder[key] = dice.choice(ODD)
    return top[0]


class TestCompiled(testtools.TestCase):
    def test_what_is_valid_is_admitted(self) -> None:
        """Else they would be of no use."""
        for schema, document in KNOWN:
            self.assertIsNone(schemas.fault(schema, document))
            self.assertTrue(compiled.compiled(schema)(document), document)

    def test_nothing_else_is(self) -> None:
        dice = random.Random(5)  # noqa: S311
        refused = 0
        for schema, document in KNOWN:
            admits = compiled.compiled(schema)
            validator = jsonschema.Draft202012Validator(schema)
            for _ in range(1500):
                one = changed(dice, document)
                if dice.randrange(2):
                    one = changed(dice, one)
                valid = validator.is_valid(one)
                refused += not valid
                if admits(one):
                    self.assertTrue(valid, one)
        self.assertLess(1000, refused)

    def test_odd_values_of_each_keyword(self) -> None:
        for schema in (
            {'type': 'integer'},
            {'type': ['object', 'null']},
            {'const': 1},
            {'enum': ['x', 'steady']},
            {'enum': [1, 'x']},
            {'pattern': 'x$'},
            {'maxLength': 1, 'minLength': 1},
            {'maxItems': 0},
            {'maxProperties': 0},
            {'minimum': 0, 'maximum': 1},
            {'required': ['version']},
            {'items': {'type': 'string'}},
            {'prefixItems': [{'type': 'string'}], 'items': False},
            {'anyOf': [{'type': 'string'}, {'const': 1}]},
            {'additionalProperties': {'type': 'string'}},
            {'propertyNames': {'pattern': 'x'}},
            {'patternProperties': {'x': {}}},
            {'uniqueItems': True},
            {'not': {}},
            True,
            False,
        ):
            admits = compiled.compiled(schema)
            validator = jsonschema.Draft202012Validator(schema)
            for value in ODD:
                if admits(value):
                    self.assertTrue(validator.is_valid(value), (schema, value))

    def test_a_schema_that_is_gone(self) -> None:
        """Another one in its place in memory is another one."""
        for number in range(400):
            schema = {'const': number}
            self.assertIsNone(schemas.fault(schema, number))
            self.assertIsNotNone(schemas.fault(schema, number + 1))
            del schema
            gc.collect(0)

    def test_deep_nesting(self) -> None:
        deep = json.loads('[' * 900 + ']' * 900)
        self.assertIsNotNone(schemas.fault({'type': 'object'}, deep))
