# SPDX-License-Identifier: Apache-2.0
import unittest

import jsonschema
import yaml

from korora_nova import errors
from korora_nova.rats import policy
from korora_nova.rats.policy import document as documents
from tests.support import states

A, B = 'sha256:' + 'a' * 64, 'sha256:' + 'b' * 64
PCRS = {'pcrs': {'registers': [0, 4], 'references': True}}
FILES = {'ima': {'references': True}}
NO_FILES = {'ima': 'not-appraised'}
GOOD = {'version': 1, 'name': 'p', 'rules': [PCRS, FILES]}

EVERYTHING = {
    'version': 1,
    'name': 'everything',
    'description': 'All rules there are.',
    'hosts': ['h1', 'rack-?-*'],
    'one-reference': False,
    'rules': [
        {'event-log': {'pcrs': [0, 4, 7]}},
        {'secure-boot': {'enabled': True}},
        {
            'signature-database': {
                'variable': 'db',
                'allowed': [A],
                'required': [A],
                'forbidden': [B],
            }
        },
        {'signature-database': {'variable': 'dbx', 'references': True}},
        {'authorities': {'allowed': [A], 'references': True}},
        {
            'pcrs': {
                'registers': [0, 2],
                'bank': 'sha384',
                'generations': [
                    {'name': 'one', 'values': {'0': 'a' * 96, '2': 'b' * 96}}
                ],
            }
        },
        {
            'boot-components': {
                'pcrs': [4, 9],
                'allowed': [A, {'digest': B, 'name': 'kernel 6.1'}],
                'required': [A],
            }
        },
        {
            'command-line': {
                'patterns': ['root=*'],
                'required': ['root=*'],
                'forbidden': ['init=*'],
                'references': True,
            }
        },
        {'tpm': {'firmware-versions': [7, '0x20191023'], 'clock-safe': True}},
        {'any-of': [{'all-of': [PCRS]}, PCRS]},
        {
            'ima': {
                'digests': [A],
                'files': {'/usr/bin/*': [B]},
                'exclude': ['/var/log/*'],
                'keyrings': {'.ima': [A]},
                'templates': ['ima-ng'],
                'violations': False,
                'references': True,
            }
        },
    ],
}


class DocumentTest(unittest.TestCase):
    def fault(self, document):
        with self.assertRaises(errors.Invalid) as caught:
            policy.load(document)
        self.assertEqual('POLICY_INVALID', caught.exception.reason)
        self.assertIn(
            caught.exception.details['pointer'], caught.exception.message
        )
        return caught.exception.details['pointer']

    def rules(self, *rules):
        return self.fault({**GOOD, 'rules': list(rules)})

    def test_everything(self):
        loaded = policy.load(EVERYTHING)
        self.assertEqual(
            ('everything', 'All rules there are.'),
            (loaded.name, loaded.description),
        )
        self.assertEqual('event-log', loaded.kinds[0])
        self.assertEqual(EVERYTHING, loaded.document)
        self.assertEqual(
            'rules/9/any-of/0/all-of/0/pcrs',
            loaded.rules.rules[9].rules[0].rules[0].path,
        )

    def test_is_yaml(self):
        self.assertEqual(EVERYTHING, yaml.safe_load(yaml.dump(EVERYTHING)))

    def test_the_whole_schema_says_the_same(self):
        schema = policy.schema()
        jsonschema.Draft202012Validator.check_schema(schema)
        validator = jsonschema.Draft202012Validator(schema)
        for document in (EVERYTHING, policy.EXACT.document):
            self.assertEqual([], list(validator.iter_errors(document)))
        self.assertFalse(validator.is_valid({**GOOD, 'rules': [{'x': 1}]}))

    def test_top(self):
        for garbage in (None, [], 'x', 1, {}):
            self.assertEqual('', self.fault(garbage))
        for change, pointer in (
            ({'version': 2}, '/version'),
            ({'version': '1'}, '/version'),
            ({'name': ''}, '/name'),
            ({'name': 'a b'}, '/name'),
            ({'name': 'a\n'}, '/name'),
            ({'hosts': []}, '/hosts'),
            ({'hosts': [1]}, '/hosts/0'),
            ({'more': 1}, ''),
            ({'description': 1}, '/description'),
            ({'one-reference': 1}, '/one-reference'),
            ({'rules': []}, '/rules'),
            ({'rules': {}}, '/rules'),
        ):
            self.assertEqual(pointer, self.fault({**GOOD, **change}))

    def test_empty_means_error(self):
        self.assertEqual(
            '/rules/0/all-of', self.rules({'all-of': []}, PCRS, FILES)
        )
        self.assertEqual(
            '/rules/1/any-of', self.rules(PCRS, {'any-of': []}, FILES)
        )
        self.assertEqual('/rules/0/any-of', self.rules({'any-of': None}))

    def test_rules(self):
        for rule, pointer in (
            ({'nothing': {}}, ''),
            ({}, ''),
            ('pcrs', ''),
            ({**PCRS, **FILES}, ''),
            ({'event-log': {}}, '/event-log'),
            ({'event-log': {'pcrs': [10]}}, '/event-log/pcrs'),
            ({'event-log': {'pcrs': [16]}}, '/event-log/pcrs/0'),
            ({'event-log': {'pcrs': [1, 1]}}, '/event-log/pcrs'),
            ({'secure-boot': {'enabled': False}}, '/secure-boot/enabled'),
            ({'pcrs': {'registers': [4]}}, '/pcrs'),
            (
                {'pcrs': {'registers': [10], 'references': True}},
                '/pcrs/registers',
            ),
            (
                {
                    'pcrs': {
                        'registers': [4],
                        'bank': 'sha1',
                        'references': True,
                    }
                },
                '/pcrs/references',
            ),
            (
                {
                    'pcrs': {
                        'registers': [4],
                        'generations': [{'name': 'x', 'values': {}}],
                    }
                },
                '/pcrs/generations/0/values',
            ),
            (
                {
                    'pcrs': {
                        'registers': [4],
                        'generations': [
                            {'name': 'x', 'values': {'4': 'A' * 64}}
                        ],
                    }
                },
                '/pcrs/generations/0/values/4',
            ),
            (
                {'signature-database': {'variable': 'db'}},
                '/signature-database',
            ),
            (
                {'signature-database': {'variable': 'x'}},
                '/signature-database/variable',
            ),
            (
                {
                    'signature-database': {
                        'variable': 'db',
                        'allowed': [A, 'x'],
                    }
                },
                '/signature-database/allowed/1',
            ),
            ({'authorities': {}}, '/authorities'),
            ({'boot-components': {'allowed': []}}, '/boot-components'),
            *(
                (
                    {
                        'boot-components': {
                            'pcrs': [4, pcr],
                            'references': True,
                        }
                    },
                    '/boot-components/pcrs',
                )
                for pcr in (1, 5, 7, 8, 10, 12)
            ),
            (
                {'boot-components': {'allowed': [{'digest': A, 'more': 1}]}},
                '/boot-components/allowed/0',
            ),
            (
                {'boot-components': {'allowed': [{'name': 'x'}]}},
                '/boot-components/allowed/0',
            ),
            ({'command-line': {'forbidden': ['x']}}, '/command-line'),
            ({'tpm': {}}, '/tpm'),
            ({'tpm': {'firmware-versions': []}}, '/tpm/firmware-versions'),
            (
                {'tpm': {'firmware-versions': ['7']}},
                '/tpm/firmware-versions/0',
            ),
            ({'tpm': {'clock-safe': False}}, '/tpm/clock-safe'),
        ):
            self.assertEqual(
                f'/rules/1{pointer}',
                self.rules(PCRS, rule, FILES),
                msg=str(rule),
            )

    def test_files(self):
        for params, pointer in (
            ({}, ''),
            ({'exclude': ['/*']}, ''),
            ({'digests': []}, ''),
            ({'keyrings': {'.ima': [A]}}, ''),
            ({'digests': [A, A.upper()]}, '/digests/1'),
            ({'digests': [A + '\n']}, '/digests/0'),
            ({'digests': A}, '/digests'),
            ({'files': {'/a/b~c': ['x']}}, '/files/~1a~1b~0c/0'),
            ({'files': {'/a': A}}, '/files/~1a'),
            ({'files': {1: [A]}}, '/files'),
            ({'files': [A]}, '/files'),
            ({'digests': [A], 'keyrings': {'.ima': [1]}}, '/keyrings/.ima/0'),
            ({'digests': [A], 'exclude': ['/a', '/*']}, '/exclude/1'),
            ({'digests': [A], 'exclude': ['*' * 5 + 'a*' * 20]}, '/exclude'),
            ({'keys': ['no key']}, '/keys'),
            ({'digests': [A], 'templates': ['nonsense']}, '/templates'),
        ):
            self.assertEqual(
                f'/rules/1/ima{pointer}',
                self.rules(PCRS, {'ima': params}),
                msg=str(params),
            )

    def test_nobody_forgets_the_files(self):
        self.assertEqual('/rules', self.rules(PCRS))
        self.assertEqual('/rules', self.rules(PCRS, FILES, FILES))
        self.assertEqual('/rules', self.rules(PCRS, FILES, NO_FILES))
        self.assertEqual(
            '/rules/1/ima', self.rules(PCRS, {'ima': 'appraised'})
        )
        self.assertEqual(
            '/rules/0/any-of/0/ima',
            self.rules({'any-of': [FILES, NO_FILES]}, PCRS, FILES),
        )
        self.assertIsNone(
            policy.load({**GOOD, 'rules': [PCRS, NO_FILES]}).bind(()).ima
        )

    def test_nobody_forgets_what_boots(self):
        on, keys = (
            {'secure-boot': {'enabled': True}},
            {'authorities': {'references': True}},
        )
        parts = {'boot-components': {'references': True}}
        log = {'event-log': {'pcrs': [0, 4, 7]}}
        for rules in (
            [log],
            [on],
            [keys],
            [log, on],
            [{'pcrs': {'registers': [0, 1, 2], 'references': True}}],
            [{'boot-components': {'pcrs': [9, 11], 'references': True}}],
            [{'any-of': [PCRS, log]}],
            [{'any-of': [on, keys]}],
            [{'all-of': [{'any-of': [on, PCRS]}]}],
        ):
            self.assertEqual(
                '/rules', self.rules(*rules, FILES), msg=str(rules)
            )
        for rules in (
            [PCRS],
            [parts],
            [on, keys],
            [{'all-of': [on]}, keys],
            [{'any-of': [PCRS, parts]}],
            [{'any-of': [PCRS, {'all-of': [keys, on]}]}],
            [on, {'any-of': [keys, parts]}],
        ):
            policy.load({**GOOD, 'rules': [*rules, FILES]})

    def test_caps(self):
        deep = PCRS
        for _ in range(documents.MAX_DEPTH - 1):
            deep = {'all-of': [deep]}
        policy.load({**GOOD, 'rules': [deep, FILES]})
        self.assertTrue(
            self.rules({'any-of': [deep]}, FILES).endswith(
                'any-of/0/all-of/0/all-of'.split('/')[-1]
            )
        )
        for _ in range(10000):
            deep = {'any-of': [deep]}
        self.rules(deep, FILES)
        many = [PCRS] * 200
        self.assertEqual(
            '/rules/1/all-of',
            self.rules({'all-of': many}, {'all-of': many}, FILES),
        )
        self.assertEqual(
            '/rules', self.rules(*[PCRS] * documents.MAX_RULES, FILES)
        )

    def test_hostile_documents_take_no_time(self):
        many = [{'x': index} for index in range(200_000)]
        for rule in (
            {'event-log': {'pcrs': many}},
            {'tpm': {'firmware-versions': many}},
            {'command-line': {'patterns': many}},
            {'pcrs': {'registers': [4], 'generations': many}},
            {'ima': {'digests': many}},
            {'any-of': many},
        ):
            self.rules(rule, FILES)
        self.fault({**GOOD, 'hosts': many})

    def test_applies(self):
        loaded = policy.load(EVERYTHING)
        for host, applies in (
            ('h1', True),
            ('h11', False),
            ('H1', False),
            ('rack-a-7', True),
            ('rack-aa-7', False),
        ):
            self.assertEqual(applies, loaded.applies(host))
        self.assertTrue(policy.EXACT.applies('anything'))

    def test_many_digests(self):
        many = [f'sha256:{index:064x}' for index in range(50_000)]
        loaded = policy.load(
            {**GOOD, 'rules': [PCRS, {'ima': {'digests': many}}]}
        )
        self.assertIsNotNone(loaded.bind(()).ima)
        many[40_000] = 'x'
        self.assertEqual(
            '/rules/1/ima/digests/40000',
            self.rules(PCRS, {'ima': {'digests': many}}),
        )


class ComposedTest(unittest.TestCase):
    """Rules as parts of others; the state and values are recorded ones."""

    def setUp(self):
        super().setUp()
        self.state = states.recorded('uefi/secure-boot')
        self.on = {'event-log': {'pcrs': [0]}}
        self.off = {'tpm': {'firmware-versions': [1]}}
        self.worse = {
            'all-of': [self.off, {'tpm': {'firmware-versions': [2]}}]
        }

    def check(self, rule):
        return [
            (item.reason, item.details['rule'])
            for item in states.only(rule).check(self.state)
        ]

    def test_all_of(self):
        self.assertEqual([], self.check({'all-of': [self.on, self.on]}))
        self.assertEqual(
            [('TPM_FIRMWARE', 'rules/0/all-of/1/tpm')],
            self.check({'all-of': [self.on, self.off]}),
        )
        self.assertEqual(
            [
                ('TPM_FIRMWARE', 'rules/0/all-of/0/all-of/0/tpm'),
                ('TPM_FIRMWARE', 'rules/0/all-of/0/all-of/1/tpm'),
            ],
            self.check({'all-of': [self.worse]}),
        )

    def test_any_of(self):
        for rules in (
            [self.on, self.off],
            [self.off, self.on],
            [self.worse, self.on],
        ):
            self.assertEqual([], self.check({'any-of': rules}))

    def test_any_of_tells_of_the_closest(self):
        self.assertEqual(
            [('TPM_FIRMWARE', 'rules/0/any-of/1/tpm')],
            self.check({'any-of': [self.worse, self.off]}),
        )

    def test_findings_name_policy_and_rule(self):
        bound = states.load(
            self.off, states.PIN, {'ima': policy.NOT_APPRAISED}
        ).bind(())
        found = bound.check(self.state)
        self.assertEqual(
            [('test', 'rules/0/tpm'), ('test', 'rules/1/any-of/0/pcrs')],
            [(item.details['policy'], item.details['rule']) for item in found],
        )
