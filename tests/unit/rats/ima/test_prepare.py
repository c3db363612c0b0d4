# SPDX-License-Identifier: Apache-2.0
import unittest
from unittest import mock

from korora_nova.rats import ima
from korora_nova.rats.ima import memo
from tests.support import ima_lists

PATHS = [f'/usr/bin/{number}' for number in range(20)]


class PrepareTest(unittest.TestCase):
    """Entries of listed files are known before any list was read."""

    def setUp(self):
        super().setUp()
        self.memos = ima.Memos()

    def make(self, template, **kind):
        log = ima_lists.List(template, **kind)
        files = {path: [log.file(path)] for path in PATHS}
        return log, ima.Rules(files=files)

    def read_in_full(self, log, rules, form):
        """How many entries were not known."""
        before = self.memo_entries()
        measured = ima.measure(
            log.form(form), log.pcrs, [rules], memos=self.memos
        )
        self.assertEqual(((),), measured.findings)
        self.assertEqual(log.count, measured.entries)
        return self.memo_entries() - before

    def test_entries_are_those_of_real_lists(self):
        for template in ('ima-ng', 'ima-sig'):
            for form in ('binary', 'ascii'):
                for template_hash in ('sha1', 'sha256'):
                    self.memos = ima.Memos()
                    log, rules = self.make(
                        template, template_hash=template_hash
                    )
                    known = ima.prepare(
                        rules,
                        self.memos,
                        form=form,
                        template_hash=template_hash,
                    )
                    with self.subTest(template, form=form):
                        self.assertEqual(2 * len(PATHS), known)
                        self.assertEqual(
                            0, self.read_in_full(log, rules, form)
                        )

    def test_once_for_the_same_rules(self):
        _, rules = self.make('ima-ng')
        ima.prepare(rules, self.memos)
        for known in self.memos:
            known.entries.clear()
        self.assertEqual(0, ima.prepare(rules, self.memos))
        self.assertEqual(2 * len(PATHS), ima.prepare(rules, ima.Memos()))

    def test_without_it_they_are_read_in_full(self):
        log, rules = self.make('ima-ng')
        self.assertEqual(len(PATHS), self.read_in_full(log, rules, 'binary'))

    def test_templates_that_rules_refuse_are_not_known(self):
        log, _ = self.make('ima-ng')
        rules = ima.Rules(
            files={path: [log.file(path)] for path in PATHS},
            templates=['ima-sig'],
        )
        self.assertEqual(len(PATHS), ima.prepare(rules, self.memos))
        measured = ima.measure(log.binary, log.pcrs, [rules], memos=self.memos)
        self.assertEqual(
            {'IMA_TEMPLATE'},
            {finding.reason for finding in measured.findings[0]},
        )

    def test_another_digest_is_not_known(self):
        log, _ = self.make('ima-ng')
        other = ima_lists.List()
        rules = ima.Rules(files={PATHS[0]: [other.file('/something/else')]})
        ima.prepare(rules, self.memos)
        measured = ima.measure(log.binary, log.pcrs, [rules], memos=self.memos)
        self.assertIn(
            'IMA_WRONG_DIGEST',
            {finding.reason for finding in measured.findings[0]},
        )

    def test_memory_is_bounded(self):
        _, rules = self.make('ima-ng')
        with mock.patch.object(memo, 'MAX_BYTES', 1500):
            self.assertLess(ima.prepare(rules, self.memos), 10)

    def test_boot_aggregates_and_fs_verity_are_not_known(self):
        digest = 'sha256:' + '00' * 32
        rules = ima.Rules(
            files={
                'boot_aggregate': [digest],
                '/a': [f'verity:{digest}'],
                '/b\0': [digest],
            }
        )
        self.assertEqual(0, ima.prepare(rules, self.memos))

    def memo_entries(self):
        return sum(len(one.entries) for one in self.memos)
