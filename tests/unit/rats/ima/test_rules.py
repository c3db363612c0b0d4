# SPDX-License-Identifier: Apache-2.0
import time
import unittest

from korora_nova import errors
from korora_nova.rats import finding, ima
from korora_nova.rats.ima import patterns

A, B, C = (f'sha256:{char * 64}' for char in 'abc')


class RulesTest(unittest.TestCase):
    def entry(self, path=b'/bin/a', digest=A, **kwargs):
        return ima.Entry(
            digest, path, kwargs.pop('violation', False), **kwargs
        )

    def reason(self, rules, *args, **kwargs):
        found = rules.check(self.entry(*args, **kwargs))
        return found and found.reason

    def test_digests(self):
        rules = ima.Rules([A, 'sha1:' + '1' * 40])
        self.assertIsNone(self.reason(rules))
        self.assertIsNone(self.reason(rules, digest='sha1:' + '1' * 40))
        self.assertEqual('IMA_UNKNOWN_FILE', self.reason(rules, digest=B))
        self.assertEqual(
            'IMA_UNKNOWN_FILE', self.reason(rules, digest='verity:' + A)
        )
        self.assertEqual('IMA_UNKNOWN_FILE', self.reason(rules, digest=''))

    def test_verity_digests_are_listed_as_such(self):
        rules = ima.Rules(['verity:' + A])
        self.assertIsNone(self.reason(rules, digest='verity:' + A))
        self.assertEqual('IMA_UNKNOWN_FILE', self.reason(rules))

    def test_sm3_has_two_names(self):
        rules = ima.Rules(['sm3:' + '1' * 64])
        self.assertIsNone(self.reason(rules, digest='sm3-256:' + '1' * 64))

    def test_files(self):
        rules = ima.Rules([C], files={'/bin/a': [A], '/lib/*.so': [B]})
        self.assertIsNone(self.reason(rules))
        self.assertIsNone(self.reason(rules, b'/lib/x/y.so', B))
        self.assertIsNone(self.reason(rules, digest=C))
        for path, digest in ((b'/bin/a', B), (b'/lib/y.so', A)):
            self.assertEqual(
                'IMA_WRONG_DIGEST', self.reason(rules, path, digest)
            )
        self.assertEqual('IMA_UNKNOWN_FILE', self.reason(rules, b'/bin/b'))

    def test_wrong_digest_says_what_was_wanted(self):
        found = ima.Rules(files={'/bin/a': [B]}).check(self.entry())
        self.assertEqual(
            {'path': '/bin/a', 'got': A, 'want': B, 'template': 'ima-ng'},
            found.details,
        )
        self.assertIn(A, found.message)
        self.assertIn(B, found.message)

    def test_spaces_in_files_match_the_underscores_of_old_kernels(self):
        rules = ima.Rules(files={'/a b': [A], '/a_b': [B]})
        for path in (b'/a b', b'/a_b'):
            self.assertIsNone(self.reason(rules, path))
        self.assertEqual('IMA_WRONG_DIGEST', self.reason(rules, b'/a b', B))

    def test_paths_that_are_not_utf_8(self):
        rules = ima.Rules(files={'/a\udcff': [A]}, exclude=['/b\udcfe*'])
        self.assertIsNone(self.reason(rules, b'/a\xff'))
        self.assertIsNone(self.reason(rules, b'/b\xfec'))
        self.assertEqual('IMA_UNKNOWN_FILE', self.reason(rules, b'/c\xff'))

    def test_a_path_that_looks_like_a_pattern(self):
        rules = ima.Rules(files={'/usr/bin/[': [A], '/a[1].so': [B]})
        self.assertIsNone(self.reason(rules, b'/usr/bin/['))
        self.assertIsNone(self.reason(rules, b'/a[1].so', B))

    def test_exclude(self):
        rules = ima.Rules(files={'/tmp/a': [B]}, exclude=['/tmp/*', '/v?r'])
        for path in (b'/tmp/b', b'/tmp/c/d', b'/tmp/\n', b'/var'):
            self.assertIsNone(self.reason(rules, path))
        for path in (b'/tmp', b'/xtmp/b', b'/var/x', b'tmp/b'):
            self.assertEqual('IMA_UNKNOWN_FILE', self.reason(rules, path))

    def test_exclude_spares_nothing_that_files_names(self):
        rules = ima.Rules(files={'/tmp/a': [B], '/tmp/b*': [B]}, exclude=['*'])
        self.assertIsNone(self.reason(rules, b'/tmp/c'))
        for path in (b'/tmp/a', b'/tmp/bb'):
            self.assertEqual('IMA_WRONG_DIGEST', self.reason(rules, path))

    def test_exclude_matches_canonical_paths_only(self):
        rules = ima.Rules(exclude=['/tmp/*', '/*', 'x*', '*'])
        for path in (
            b'/tmp/../bin/sh',
            b'/tmp/./a',
            b'/tmp//a',
            b'/tmp/..',
            b'/../tmp/a',
            b'/tmp/',
            b'/',
            b'',
            b'tmp/a',
            b'..',
            b'x/../a',
        ):
            self.assertEqual(
                'IMA_UNKNOWN_FILE', self.reason(rules, path), path
            )
        for path in (b'/tmp/..a', b'/tmp/...', b'/tmp/.a', b'x', b'/.x'):
            self.assertIsNone(self.reason(rules, path), path)

    def test_violations(self):
        entry = self.entry(violation=True)
        rules = ima.Rules([A], files={'/bin/a': [A]}, exclude=['*'])
        found = rules.check(entry)
        self.assertEqual('IMA_VIOLATION', found.reason)
        self.assertIn('/bin/a', found.message)
        self.assertIsNone(ima.Rules(violations=True).check(entry))

    def test_templates(self):
        rules = ima.Rules([A], templates=['ima-sig', 'd-ng|n-ng'])
        self.assertEqual('IMA_TEMPLATE', self.reason(rules))
        self.assertIsNone(self.reason(rules, template='ima-sig'))

    def test_boot_aggregate_is_no_file(self):
        self.assertIsNone(self.reason(ima.Rules(), b'boot_aggregate'))

    def test_keyrings(self):
        rules = ima.Rules([C], keyrings={'.ima': [A], 'odd': [A]})
        for name, digest, reason in (
            (b'.ima', A, None),
            (b'.ima', C, None),
            (b'.ima', B, 'IMA_KEYRING'),
            (b'odd', B, 'IMA_KEYRING'),
            (b'.builtin_trusted_keys', A, 'IMA_KEYRING'),
            (b'_uid.0', A, 'IMA_KEYRING'),
            (b'kexec-cmdline', A, 'IMA_UNKNOWN_FILE'),
        ):
            self.assertEqual(
                reason,
                self.reason(
                    rules, name, digest, buffer=b'key', template='ima-buf'
                ),
            )

    def test_exclude_does_not_spare_keyrings(self):
        rules = ima.Rules(exclude=['*'])
        self.assertEqual(
            'IMA_KEYRING', self.reason(rules, b'.ima', buffer=b'key')
        )
        self.assertIsNone(self.reason(rules, b'selinux', buffer=b'state'))

    def test_other_buffers_are_like_files(self):
        rules = ima.Rules(files={'kexec-cmdline': [A]})
        self.assertIsNone(self.reason(rules, b'kexec-cmdline', buffer=b'x'))
        self.assertEqual(
            'IMA_WRONG_DIGEST',
            self.reason(rules, b'kexec-cmdline', B, buffer=b'x'),
        )

    def test_paths_are_shown_printable_and_short(self):
        found = ima.Rules().check(self.entry(b'/\x1b[2J\xff' + b'a' * 9000))
        self.assertTrue(found.message.isprintable())
        self.assertLess(len(found.message), finding.MAX_TEXT + 64)

    def test_invalid(self):
        for kwargs in (
            {'digests': ['']},
            {'digests': ['sha256:' + 'a' * 63]},
            {'digests': ['sha256:' + 'a' * 62 + ' a']},
            {'digests': ['a' * 64]},
            {'digests': ['SHA256:' + 'a' * 64]},
            {'digests': ['md6:' + 'a' * 64]},
            {'digests': [None]},
            {'digests': ['sha256:' + '\u0661' * 64]},
            {'files': {'/a': ['x']}},
            {'keyrings': {'.ima': ['x']}},
            {'files': {'/\ud800': [A]}},
            {'exclude': ['/\ud800*']},
            {'keyrings': {'\ud800': [A]}},
            {'exclude': ['']},
            {'templates': ['ima-xx']},
            {'templates': ['\ud800']},
            {'keys': ['x']},
            {'keys': [b'']},
            {'exclude': ['a' * 1025]},
            {'exclude': ['*a' * 9]},
            {'exclude': [str(number) for number in range(1001)]},
            {'files': {'*a' * 9: [A]}},
        ):
            with self.assertRaises(errors.Invalid) as caught:
                ima.Rules(**kwargs)
            self.assertEqual('POLICY_INVALID', caught.exception.reason)

    def test_fingerprint(self):
        many = [
            ima.Rules(),
            ima.Rules([A]),
            ima.Rules([B]),
            ima.Rules([A, B]),
            ima.Rules(files={'/a': [A]}),
            ima.Rules(files={'/b': [A]}),
            ima.Rules(files={'/a': [B]}),
            ima.Rules(files={'/a': []}),
            ima.Rules(files={'/a*': [A]}),
            ima.Rules(exclude=['/a']),
            ima.Rules(exclude=['/a', '/b']),
            ima.Rules(keyrings={'/a': [A]}),
            ima.Rules(templates=['ima']),
            ima.Rules(violations=True),
        ]
        self.assertEqual(len(many), len({item.fingerprint for item in many}))
        self.assertEqual(
            ima.Rules([A, B], exclude=['/a', '/b']).fingerprint,
            ima.Rules([B, A, B], exclude=['/b', '/a']).fingerprint,
        )
        # Stored states name it: it must not change between versions.
        self.assertEqual(
            '131453fadd03d7cd75037abc13246ef5b74366409a796b530abc9379f1396288',
            ima.Rules([A], files={'/a': [B]}).fingerprint,
        )

    def test_hostile_paths_and_patterns_are_fast(self):
        rules = ima.Rules(
            exclude=['*a' * 8, '*?' * 8 + 'b', '/' + '[a-z]*' * 7 + 'x']
        )
        path = b'/' + b'a' * 50_000
        start = time.thread_time()
        for _ in range(3):
            self.reason(rules, path + b'!')
        self.assertLess(time.thread_time() - start, 3)

    def test_is_pattern(self):
        self.assertEqual(
            [False, False, True, True, True],
            [
                patterns.is_pattern(text)
                for text in (
                    '/bin/[',
                    '/bin/a]',
                    '/bin/[a]',
                    '/bin/*',
                    '/bin/?',
                )
            ],
        )
