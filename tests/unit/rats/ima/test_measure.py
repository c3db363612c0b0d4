# SPDX-License-Identifier: Apache-2.0
import hashlib
import json
import struct
import threading
import tracemalloc
import unittest
from unittest import mock

import hypothesis
from hypothesis import strategies as st

from korora_nova import errors
from korora_nova.rats import ima
from korora_nova.rats.ima import log as log_
from korora_nova.rats.ima import memo, replay
from korora_nova.rats.policy import node
from tests.support import ima_lists

FORMS = ('binary', 'ascii')


class Case(unittest.TestCase):
    def setUp(self):
        super().setUp()
        self.memos = ima.Memos()

    def measure(self, *args, **kwargs):
        return ima.measure(*args, memos=self.memos, **kwargs)

    def refused(self, reason, *args, **kwargs):
        with self.assertRaises(
            (errors.EvidenceError, errors.Conflict)
        ) as caught:
            self.measure(*args, **kwargs)
        self.assertEqual(reason, caught.exception.reason)
        return caught.exception


class MeasureTest(Case):
    def typical(self, template='ima-sig', files=20):
        log = ima_lists.List(template)
        digests = [
            log.file(f'/usr/bin/file-{number}') for number in range(files)
        ]
        return log, digests

    def test_all_is_admitted(self):
        for template in ('ima-ng', 'ima-sig', 'ima-ngv2', 'evm-sig'):
            log, digests = self.typical(template)
            for form in FORMS:
                for rules in (
                    [],
                    [ima.Rules(digests)],
                    [ima.Rules(digests), ima.Rules(exclude='*')],
                ):
                    for _ in range(2):
                        measured = self.measure(
                            log.form(form), log.pcrs, rules
                        )
                        self.assertEqual(((),) * len(rules), measured.findings)
                        self.assertEqual(21, measured.entries)

    def test_each_unknown_file_is_found(self):
        """On the short way and on the long one, and from the memo."""
        log, digests = self.typical()
        for form in FORMS:
            for number, digest in enumerate(digests):
                rules = ima.Rules(set(digests) - {digest})
                for _ in range(2):
                    (found,) = self.measure(
                        log.form(form), log.pcrs, [rules]
                    ).findings[0]
                    self.assertEqual('IMA_UNKNOWN_FILE', found.reason)
                    self.assertEqual(
                        f'/usr/bin/file-{number}', found.details['path']
                    )
                    self.assertEqual(digest, found.details['got'])

    def test_rules_are_judged_one_by_one(self):
        log, digests = self.typical()
        for form in FORMS:
            for _ in range(2):
                measured = self.measure(
                    log.form(form),
                    log.pcrs,
                    [
                        ima.Rules(digests),
                        ima.Rules(digests[1:]),
                        ima.Rules(digests[:-1]),
                    ],
                )
                self.assertEqual(
                    [[], ['/usr/bin/file-0'], ['/usr/bin/file-19']],
                    [
                        [item.details['path'] for item in found]
                        for found in measured.findings
                    ],
                )

    def test_paths(self):
        log, digests = self.typical()
        files = {
            f'/usr/bin/file-{number}': [digest]
            for number, digest in enumerate(digests)
        }
        moved = {**files, '/usr/bin/file-7': [digests[6]]}
        for form in FORMS:
            for _ in range(2):
                measured = self.measure(
                    log.form(form),
                    log.pcrs,
                    [ima.Rules(files=files), ima.Rules(files=moved)],
                )
                self.assertEqual([], list(measured.findings[0]))
                self.assertEqual(
                    ['IMA_WRONG_DIGEST'],
                    [item.reason for item in measured.findings[1]],
                )

    def test_mixed_lists(self):
        """Templates, digests and sizes of headers alternate."""
        log = ima_lists.List()
        digests = []
        for number in range(60):
            template = (
                'ima-ng',
                'ima-sig',
                'd-ng|n-ng',
                'ima-ngv2',
                'ima-modsig',
            )[number % 5]
            name = ('sha256', 'sha1', 'sha512')[number % 3]
            digests.append(
                log.file(
                    f'/{number}',
                    template=template,
                    name=name,
                    sig=b's' * (number % 4),
                )
            )
            if not number % 7:
                digests.append(log.buffer('.ima', b'%d' % number))
        rules = ima.Rules(digests)
        for form in FORMS:
            for _ in range(3):
                measured = self.measure(log.form(form), log.pcrs, [rules])
                self.assertEqual(((),), measured.findings)
                self.assertEqual(log.count, measured.entries)

    def test_findings_have_a_bound(self):
        log = ima_lists.List()
        for number in range(100):
            log.file(f'/unknown/{number}')
            log.violation(f'/violated/{number}')
        measured = self.measure(log.binary, log.pcrs, [ima.Rules()])
        found = measured.findings[0]
        self.assertEqual(18, len(found))
        for reason in ('IMA_UNKNOWN_FILE', 'IMA_VIOLATION'):
            those = [item for item in found if item.reason == reason]
            self.assertEqual('92', those[-1].details['more'])
            self.assertIn('92 more', those[-1].message)

    def test_violations_are_replayed(self):
        for size in (20, 32):
            log = ima_lists.List()
            log.violation('/var/log/x', size=size)
            log.file('/bin/a')
            for form in FORMS:
                found = self.measure(
                    log.form(form), log.pcrs, [ima.Rules(exclude=['*'])]
                ).findings[0]
                self.assertEqual(
                    ['IMA_VIOLATION'], [item.reason for item in found]
                )
                self.assertEqual(
                    ((),),
                    self.measure(
                        log.form(form),
                        log.pcrs,
                        [ima.Rules(exclude=['*'], violations=True)],
                    ).findings,
                )

    def test_entry_hidden_as_a_violation_and_the_reverse(self):
        log = ima_lists.List()
        log.file('/bin/evil')
        start = len(ima_lists.List().binary)
        for digest in (bytes(20), b'x' * 20):
            forged = (
                log.binary[: start + 4] + digest + log.binary[start + 24 :]
            )
            self.refused(
                'IMA_TEMPLATE_HASH' if any(digest) else 'IMA_LOG_REPLAY',
                forged,
                log.pcrs,
                [],
            )

    def test_edited_entries(self):
        log, digests = self.typical()
        rules = [ima.Rules(digests)]
        self.measure(log.binary, log.pcrs, rules)  # the memo knows the list
        octets = bytes.fromhex(digests[3][7:])
        self.refused(
            'IMA_TEMPLATE_HASH',
            log.binary.replace(octets, b'e' * 32),
            log.pcrs,
            rules,
        )
        stated = log.binary.index(octets) - 4 - 8 - 4 - 4 - 7 - 4 - 20
        damaged = bytearray(log.binary)
        damaged[stated + 4] ^= 1
        error = self.refused(
            'IMA_TEMPLATE_HASH', bytes(damaged), log.pcrs, rules
        )
        self.assertEqual(f'offset {stated}', error.place)
        self.assertEqual(
            damaged[stated + 4 : stated + 24].hex(), error.details['got']
        )
        self.assertEqual(
            log.binary[stated + 4 : stated + 24].hex(), error.details['want']
        )

    def test_entries_left_out_added_or_swapped(self):
        log, digests = self.typical('ima-ng', 3)
        parts = log.ascii.splitlines(keepends=True)
        for lines in (
            parts[:1] + parts[2:],
            parts[:-1],
            [*parts[:2], parts[1], *parts[2:]],
            [parts[0], parts[2], parts[1], parts[3]],
        ):
            error = self.refused(
                'IMA_LOG_REPLAY',
                b''.join(lines),
                log.pcrs,
                [ima.Rules(digests)],
            )
            self.assertEqual(log.pcrs[10].hex(), error.details['want'])
            self.assertIn(error.details['got'], error.message)

    def test_tail_after_the_quote_is_left_out(self):
        for form in FORMS:
            log, digests = self.typical(files=2)
            quoted, size = dict(log.pcrs), len(log.form(form))
            log.file('/bin/later')
            log.violation('/bin/later')
            for _ in range(2):
                measured = self.measure(
                    log.form(form), quoted, [ima.Rules(digests)]
                )
                self.assertEqual(((),), measured.findings)
                self.assertEqual(3, len(tuple(measured.files())))
                self.assertEqual(size, measured.state.bytes)

    def test_tail_must_be_a_list(self):
        log, digests = self.typical(files=2)
        for tail in (b'x', log.binary[:30], bytes(60)):
            self.refused('IMA_LOG_MALFORMED', log.binary + tail, log.pcrs, [])

    def test_missing(self):
        log = ima_lists.List()
        self.refused('IMA_LOG_MISSING', b'', log.pcrs, [])

    def test_pcr_never_extended(self):
        log = ima_lists.List()
        log.pcrs[10] = bytes(32)
        self.refused('IMA_BOOT_AGGREGATE', log.binary, log.pcrs, [])

    def test_pcr_not_quoted(self):
        log = ima_lists.List()
        for pcrs in ({}, {**log.pcrs, 10: bytes(31)}):
            self.refused('IMA_LOG_REPLAY', log.binary, pcrs, [])
        self.refused('IMA_LOG_REPLAY', log.binary, log.pcrs, [], bank='sm3')
        self.refused('IMA_LOG_REPLAY', log.binary, log.pcrs, [], bank='sha384')

    def test_entries_of_other_pcrs(self):
        log = ima_lists.List()
        log.pcr = 11
        log.file('/bin/a')
        log.pcrs[10] = b'x' * 32
        for form in FORMS:
            self.refused('IMA_LOG_REPLAY', log.form(form), log.pcrs, [])

    def test_another_pcr(self):
        log = ima_lists.List(pcr=12)
        log.file('/bin/a')
        for form in FORMS:
            measured = self.measure(log.form(form), log.pcrs, [], index=12)
            self.assertEqual(2, measured.entries)
            self.assertEqual(12, measured.state.index)

    def test_banks(self):
        for bank in ('sha1', 'sha256', 'sha384', 'sha512'):
            for template_hash in ('sha1', bank):
                log = ima_lists.List(
                    banks=(bank,),
                    aggregate=bank,
                    template_hash=template_hash,
                    over=8 if bank == 'sha1' else 10,
                )
                digest = log.file('/bin/a')
                log.violation('/bin/b')
                for form in FORMS:
                    measured = self.measure(
                        log.form(form),
                        log.pcrs,
                        [ima.Rules([digest], violations=True)],
                        bank=bank,
                    )
                    self.assertEqual(((),), measured.findings)
                    self.assertEqual('own', measured.state.extension)

    def test_padded_sha1(self):
        """Linux before 5.8, and banks the kernel cannot compute."""
        for extension in ('sha1-padded', 'sha1-padded-ff'):
            for template_hash in ('sha1', 'sha256'):
                log = ima_lists.List(
                    extension=extension,
                    aggregate='sha1',
                    over=8,
                    template_hash=template_hash,
                )
                digest = log.file('/bin/a')
                log.file('/bin/b', b'b' * 32)
                log.violation('/bin/c')
                later = dict(log.pcrs)
                size = {form: len(log.form(form)) for form in FORMS}
                log.file('/bin/d', b'b' * 32)
                for form in FORMS:
                    rules = [
                        ima.Rules(
                            [digest, 'sha256:' + '62' * 32], violations=True
                        )
                    ]
                    measured = self.measure(
                        log.form(form), log.pcrs, rules, banks=log.banks
                    )
                    self.assertEqual(((),), measured.findings)
                    self.assertEqual(extension, measured.state.extension)
                    part = self.measure(
                        log.form(form)[: size[form]],
                        later,
                        rules,
                        banks=log.banks,
                    ).state
                    self.assertEqual(
                        measured.state,
                        self.measure(
                            log.form(form)[size[form] :],
                            log.pcrs,
                            rules,
                            banks=log.banks,
                            state=part,
                        ).state,
                    )

    def test_memory_does_not_grow_with_the_list(self):
        log = ima_lists.List()
        for number in range(200):
            log.file(f'/{number}', b'a' * 32)
        body = log.binary[len(ima_lists.List().binary) :]
        rules = [ima.Rules(['sha256:' + '61' * 32])]

        def peak(times):
            data = ima_lists.List().binary + body * times
            pcr = ima_lists.List().pcrs[10]
            extension = [
                hashlib.sha256(part).digest()
                for part in (entry[38:] for entry in entries(body))
            ]
            for _ in range(times):
                for item in extension:
                    pcr = hashlib.sha256(pcr + item).digest()
            tracemalloc.start()
            self.measure(data, {**log.pcrs, 10: pcr}, rules)
            high = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            return high

        peak(1)
        self.assertLess(peak(50), 2 * peak(2) + 10_000)


def entries(body):
    at = 0
    while at < len(body):
        end = at + 38 + struct.unpack_from('<I', body, at + 34)[0]
        yield body[at:end]
        at = end


class BootAggregateTest(Case):
    def test_over_0_to_7_or_0_to_9(self):
        for aggregate, over in (
            ('sha256', 10),
            ('sha256', 8),
            ('sha1', 8),
            ('sha512', 10),
        ):
            log = ima_lists.List(aggregate=aggregate, over=over)
            self.measure(log.binary, log.pcrs, [], banks=log.banks)

    def test_wrong(self):
        for over in (9, 7):
            log = ima_lists.List(over=over)
            error = self.refused(
                'IMA_BOOT_AGGREGATE', log.binary, log.pcrs, []
            )
            self.assertIn('want', error.details)
            self.assertIn('got', error.details)
        log = ima_lists.List()
        self.refused(
            'IMA_BOOT_AGGREGATE', log.binary, {**log.pcrs, 9: bytes(32)}, []
        )
        pcrs = dict(log.pcrs)
        del pcrs[3]
        self.refused('IMA_BOOT_AGGREGATE', log.binary, pcrs, [])

    def test_of_a_bank_that_was_not_quoted(self):
        log = ima_lists.List(aggregate='sha1', over=8)
        error = self.refused('IMA_BOOT_AGGREGATE', log.binary, log.pcrs, [])
        self.assertIn('sha1', error.message)
        got = error.details['got']
        other = 'sha1:' + '0' * 40
        good = ima.Rules(files={'boot_aggregate': [got]})
        self.measure(log.binary, log.pcrs, [good])
        for bad in (
            [ima.Rules([got])],
            [good, ima.Rules()],
            [ima.Rules(files={'/bin/a': [got]})],
            [ima.Rules(files={'boot_aggregate': [other]})],
            [ima.Rules(exclude=['*'])],
        ):
            self.refused('IMA_BOOT_AGGREGATE', log.binary, log.pcrs, bad)
            self.refused(
                'IMA_BOOT_AGGREGATE',
                log.binary,
                log.pcrs,
                [good],
                banks={'sha1': {**log.banks['sha1'], 0: b'0' * 20}},
            )

    def test_zeros(self):
        """A kernel that found neither a SHA-1 nor a SHA-256 bank."""
        log = ima_lists.List(banks=('sha384',), aggregate='sha384')
        log.binary, log.banks['sha384'][10] = b'', bytes(48)
        log.file('boot_aggregate', bytes(32))
        self.measure(log.binary, log.pcrs, [], bank='sha384')
        self.refused(
            'IMA_BOOT_AGGREGATE',
            log.binary,
            log.pcrs,
            [],
            bank='sha384',
            banks={'sha256': ima_lists.pcrs()},
        )

    def test_first(self):
        """Also if the memo knows all other entries."""
        log = ima_lists.List()
        digest = log.file('/bin/a')
        rules = [ima.Rules([digest])]
        self.measure(log.binary, log.pcrs, rules)
        log.binary = log.binary[len(ima_lists.List().binary) :]
        log.pcrs[10] = hashlib.sha256(
            bytes(32) + hashlib.sha256(log.binary[38:]).digest()
        ).digest()
        self.refused('IMA_BOOT_AGGREGATE', log.binary, log.pcrs, rules)

    def test_violation_of_it(self):
        log = ima_lists.List()
        log.binary, log.pcrs[10] = b'', bytes(32)
        log.violation('boot_aggregate')
        self.refused('IMA_BOOT_AGGREGATE', log.binary, log.pcrs, [])

    def test_several_after_kexec(self):
        log = ima_lists.List()
        log.file('/bin/a')
        log.boot_aggregate(over=8)
        log.boot_aggregate()
        measured = self.measure(log.binary, log.pcrs, [])
        self.assertEqual(2, len(measured.state.aggregates))

    def test_kexec_is_refused(self):
        """Whether the list is sent in one part or in two."""
        log = ima_lists.List()
        rules = [ima.Rules([log.file('/bin/a')], kexec=False)]
        values = b''.join(log.pcrs[index] for index in range(10))
        log.file('boot_aggregate_late', hashlib.sha256(values).digest())
        for form in FORMS:
            measured = self.measure(log.form(form), log.pcrs, rules)
            self.assertEqual(((),), measured.findings)
        sizes = {form: len(log.form(form)) for form in FORMS}
        early = dict(log.pcrs)
        log.boot_aggregate()
        for form in FORMS:
            whole = self.measure(log.form(form), log.pcrs, rules)
            state = self.measure(
                log.form(form)[: sizes[form]], early, rules
            ).state
            rest = self.measure(
                log.form(form)[sizes[form] :], log.pcrs, rules, state=state
            )
            for measured in (whole, rest):
                self.assertEqual(
                    ['IMA_KEXEC'],
                    [item.reason for item in measured.findings[0]],
                )

    def test_a_later_one_that_is_wrong(self):
        for path in ('boot_aggregate', 'boot_aggregate_late'):
            log = ima_lists.List()
            digest = log.file('/bin/a')
            other = log.file(path, b'a' * 32)
            for form in FORMS:
                for rules in ([], [ima.Rules([digest, other])]):
                    for _ in range(2):
                        self.refused(
                            'IMA_BOOT_AGGREGATE',
                            log.form(form),
                            log.pcrs,
                            rules,
                        )

    def test_too_many(self):
        log = ima_lists.List()
        for number in range(9):
            log.file('boot_aggregate', bytes((number,)) * 32)
        self.refused('IMA_BOOT_AGGREGATE', log.binary, log.pcrs, [])


class StateTest(Case):
    def setUp(self):
        super().setUp()
        self.log = ima_lists.List('ima-sig')
        self.digests = [self.log.file(f'/bin/{number}') for number in range(5)]
        self.log.file('/bin/unknown')
        self.rules = [ima.Rules(self.digests), ima.Rules()]
        self.sizes = {form: len(self.log.form(form)) for form in FORMS}
        self.early = dict(self.log.pcrs)
        self.states = {
            form: self.measure(
                self.log.form(form), self.early, self.rules
            ).state
            for form in FORMS
        }

    def rest(self, form='binary'):
        return self.log.form(form)[self.sizes[form] :]

    def test_in_parts_as_in_whole(self):
        self.log.file('/bin/new')
        self.log.violation('/bin/0')
        for form in FORMS:
            for _ in range(2):
                whole = self.measure(
                    self.log.form(form), self.log.pcrs, self.rules
                )
                part = self.measure(
                    self.rest(form),
                    self.log.pcrs,
                    self.rules,
                    state=self.states[form],
                )
                self.assertEqual(whole.state, part.state)
                self.assertEqual(whole.findings, part.findings)
                self.assertEqual(
                    [b'/bin/new', b'/bin/0'],
                    [entry.path for entry in part.files()],
                )

    def test_nothing_new(self):
        for form in FORMS:
            again = self.measure(
                b'', self.early, self.rules, state=self.states[form]
            )
            self.assertEqual(self.states[form], again.state)
            self.assertEqual([], list(again.files()))

    def test_json(self):
        for state in self.states.values():
            document = json.loads(json.dumps(state.to_json()))
            self.assertEqual(state, ima.State.from_json(document))
            self.assertLess(len(json.dumps(document)), 8192)

    def discontinued(
        self, log, pcrs=None, rules=None, form='binary', state=None, **kwargs
    ):
        self.refused(
            'IMA_CONTINUITY',
            log,
            pcrs or self.log.pcrs,
            self.rules if rules is None else rules,
            state=state or self.states[form],
            **kwargs,
        )

    def test_the_whole_list_does_not_continue(self):
        self.log.file('/bin/new')
        for form in FORMS:
            self.discontinued(self.log.form(form), form=form)

    def test_something_left_out(self):
        self.log.file('/bin/evil')
        gap = len(self.log.binary)
        self.log.file('/bin/new')
        self.discontinued(self.log.binary[gap:])
        self.discontinued(b'')

    def test_no_boundary_of_entries(self):
        self.log.file('/bin/new')
        rest = self.rest()
        for at in range(1, len(rest)):
            self.discontinued(rest[at:])
            self.discontinued(rest[:at])

    def test_partial_last_entry(self):
        self.log.file('/bin/new')
        whole = len(self.rest())
        self.log.file('/bin/newer')
        rest = self.rest()
        for at in range(whole + 1, len(rest)):
            self.refused(
                'IMA_LOG_MALFORMED',
                rest[:at],
                self.log.pcrs,
                self.rules,
                state=self.states['binary'],
            )

    def test_edited_entry_after_the_first(self):
        self.log.file('/bin/new')
        self.log.file('/bin/newer')
        self.refused(
            'IMA_TEMPLATE_HASH',
            self.rest().replace(b'newer', b'n3wer'),
            self.log.pcrs,
            self.rules,
            state=self.states['binary'],
        )

    def test_other_rules(self):
        self.discontinued(b'', self.early, [ima.Rules(['md5:' + '0' * 32])])
        fewer = self.measure(
            b'', self.early, self.rules[:1], state=self.states['binary']
        )
        self.assertEqual({self.rules[0].fingerprint}, set(fewer.state.results))

    def test_other_bank_or_pcr(self):
        self.discontinued(b'', {10: bytes(20)}, bank='sha1')
        self.discontinued(b'', self.early | {11: bytes(32)}, index=11)

    def test_another_boot(self):
        """Its PCR 10 cannot be reached from this state."""
        other = ima_lists.List('ima-sig')
        other.file('/bin/other')
        self.discontinued(other.binary, other.pcrs)

    def test_boot_aggregate_is_compared_again(self):
        changed = {**self.early, 9: b'9' * 32}
        self.refused(
            'IMA_BOOT_AGGREGATE',
            b'',
            changed,
            self.rules,
            state=self.states['binary'],
        )

    def test_forged_states_prove_nothing(self):
        """A state is the verifier's own; even so, none is believed."""
        good = self.states['binary'].to_json()
        for change in (
            {'pcr': '00' * 32},
            {'aggregates': []},
            {'aggregates': ['sha256:' + '0' * 64]},
            {'aggregates': ['']},
        ):
            state = ima.State.from_json({**good, **change})
            with self.assertRaises((errors.EvidenceError, errors.Conflict)):
                self.measure(b'', self.early, self.rules, state=state)

    def test_hostile_json(self):
        good = self.states['binary'].to_json()
        deep = []
        for _ in range(100_000):
            deep = [deep]
        listed = {'counts': {'IMA_VIOLATION': 1}, 'listed': []}
        for document in (
            None,
            [],
            'x',
            1,
            {},
            deep,
            {**good, 'x': deep},
            {**good, 'version': 2},
            {**good, 'entries': -1},
            {**good, 'entries': 2**60},
            {**good, 'bytes': '1'},
            {**good, 'bytes': True},
            {**good, 'pcr': 'zz' * 32},
            {**good, 'pcr': '00' * 31},
            {**good, 'pcr': '0' * 64 + '\n'},
            {**good, 'pcr': None},
            {**good, 'bank': 'sha1'},
            {**good, 'bank': deep},
            {**good, 'form': 'x'},
            {**good, 'template_hash': 'md5'},
            {**good, 'index': 24},
            {**good, 'extension': ''},
            {**good, 'aggregates': ['x'] * 9},
            {**good, 'aggregates': [1]},
            {**good, 'results': {'x': {}}},
            {**good, 'results': {'a' * 64: deep}},
            {**good, 'results': {'a' * 64 + '\n': listed}},
            {
                **good,
                'results': {f'{number:064x}': listed for number in range(65)},
            },
            {
                **good,
                'results': {
                    'a' * 64: {'counts': {'NO_SUCH_REASON': 1}, 'listed': []}
                },
            },
            {
                **good,
                'results': {
                    'a' * 64: {'counts': {}, 'listed': [{'reason': 'x'}]}
                },
            },
            {key: value for key, value in good.items() if key != 'pcr'},
        ):
            with self.assertRaises(errors.Invalid):
                ima.State.from_json(document)

    def test_whole_numbers_may_come_as_floats(self):
        good = self.states['binary'].to_json()
        state = ima.State.from_json({**good, 'bytes': float(good['bytes'])})
        self.assertIsInstance(state.bytes, int)


class CapsTest(Case):
    def test_lists_have_one_cap_however_they_are_read(self):
        log = ima_lists.List()
        for number in range(4):
            log.file(f'/{number}')
        for most, fits in ((5, True), (4, False)):
            with (
                mock.patch.object(replay, 'MAX_ENTRIES', most),
                mock.patch.object(log_, 'MAX_ENTRIES', most),
            ):
                for form in FORMS:
                    for read in (
                        ima.parse,
                        lambda data: self.measure(data, log.pcrs, []),
                    ):
                        if fits:
                            read(log.form(form))
                            continue
                        with self.assertRaises(errors.EvidenceError):
                            read(log.form(form))

    def test_policies_and_rules_have_one_cap_of_digests(self):
        self.assertIs(ima.MAX_DIGESTS, node.DIGESTS['maxItems'])
        self.assertIs(ima.MAX_ENTRIES, replay.MAX_ENTRIES)


class MemoTest(Case):
    def test_nothing_is_remembered_unless_asked_for(self):
        log = ima_lists.List()
        rules = [ima.Rules([log.file('/bin/a')])]
        ima.measure(log.binary, log.pcrs, rules)
        self.assertEqual([], list(self.memos))

    def test_it_is_used(self):
        log = ima_lists.List()
        rules = [ima.Rules([log.file(f'/{n}') for n in range(50)])]
        self.measure(log.binary, log.pcrs, rules)
        (kept,) = self.memos
        self.assertEqual(50, len(kept.entries))
        self.assertGreater(kept.taken, sum(map(len, kept.entries)))
        for raw, extension in kept.entries.items():
            self.assertEqual(hashlib.sha256(raw[38:]).digest(), extension)

    def test_what_was_refused_is_not_kept(self):
        log = ima_lists.List()
        log.file('/bin/unknown')
        log.violation('/bin/violated')
        log.buffer('.ima', b'key')
        for form in FORMS:
            self.measure(log.form(form), log.pcrs, [ima.Rules()])
            self.measure(
                log.form(form),
                log.pcrs,
                [ima.Rules(exclude='*'), ima.Rules(violations=True)],
            )
        for kept in self.memos:
            self.assertEqual({}, kept.entries)

    def test_a_last_line_without_newline(self):
        """It is kept as it is, not without its last character."""
        log = ima_lists.List()
        rules = [ima.Rules([log.file('/bin/ab')])]
        self.measure(log.ascii[:-1], log.pcrs, rules)
        (kept,) = self.memos
        self.assertEqual({log.ascii.splitlines()[1]}, set(kept.entries))
        self.refused(
            'IMA_TEMPLATE_HASH', log.ascii[:-2] + b'\n', log.pcrs, rules
        )

    def test_rules_do_not_share(self):
        log = ima_lists.List()
        digest = log.file('/bin/a')
        self.measure(log.binary, log.pcrs, [ima.Rules([digest])])
        found = self.measure(log.binary, log.pcrs, [ima.Rules()]).findings[0]
        self.assertEqual('IMA_UNKNOWN_FILE', found[0].reason)

    def test_known_at_the_end_in_another_shape(self):
        """Where the header of one template ends, another has its data."""
        log = ima_lists.List()
        rules = [ima.Rules([log.file('/bin/a'), log.file('/bin/b')])]
        self.measure(log.binary, log.pcrs, rules)
        log = ima_lists.List('ima-sig')
        for _ in range(2):
            log.file('/bin/b')
        log.file('/bin/a', template='ima-ng')
        for _ in range(2):
            state = self.measure(log.binary, log.pcrs, rules).state
            self.assertEqual(
                (len(log.binary), 4), (state.bytes, state.entries)
            )

    def test_bounds(self):
        for name, value in (('MAX_BYTES', 20_000), ('MAX_TOTAL', 50_000)):
            self.addCleanup(setattr, memo, name, getattr(memo, name))
            setattr(memo, name, value)
        for host in range(40):
            log = ima_lists.List()
            rules = [ima.Rules([log.file(f'/{host}/{n}') for n in range(200)])]
            for form in FORMS:
                self.measure(log.form(form), log.pcrs, rules)
        total = sum(len(raw) for kept in self.memos for raw in kept.entries)
        self.assertLess(total, 300_000)

    def test_rules_come_and_go(self):
        log = ima_lists.List()
        for number in range(memo.MAX_MEMOS + 20):
            self.measure(
                log.binary, log.pcrs, [ima.Rules([f'sha256:{number:064x}'])]
            )
        self.assertEqual(memo.MAX_MEMOS, len(list(self.memos)))

    def test_a_full_one_that_does_not_help_is_dropped(self):
        self.addCleanup(setattr, memo, 'MAX_BYTES', memo.MAX_BYTES)
        memo.MAX_BYTES = 20_000
        rules = [ima.Rules(['sha256:' + '61' * 32])]
        for host in range(3):
            log = ima_lists.List()
            for number in range(600):
                log.file(f'/{host}/{number}', b'a' * 32)
            self.measure(log.binary, log.pcrs, rules)
            self.assertEqual(0, len(list(self.memos)))

    def test_a_full_one_that_helps_is_kept(self):
        self.addCleanup(setattr, memo, 'MAX_BYTES', memo.MAX_BYTES)
        log = ima_lists.List()
        for number in range(600):
            log.file(f'/{number}', b'a' * 32)
        rules = [ima.Rules(['sha256:' + '61' * 32])]
        self.measure(log.binary, log.pcrs, rules)
        memo.MAX_BYTES = 1
        self.measure(log.binary, log.pcrs, rules)
        (kept,) = self.memos
        self.assertEqual(600, len(kept.entries))

    def test_threads(self):
        log = ima_lists.List()
        rules = [ima.Rules([log.file(f'/{n}') for n in range(300)])]
        results = []

        def run():
            for _ in range(5):
                results.append(self.measure(log.binary, log.pcrs, rules))

        threads = [threading.Thread(target=run) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(20, len(results))
        self.assertEqual({301}, {item.entries for item in results})


def small():
    log = ima_lists.List('ima-sig')
    digests = [log.file('/bin/a'), log.file('/bin/b', sig=b'\3\2\4')]
    log.violation('/c')
    log.buffer('.ima', b'key')
    log.file('/d', template='d-ngv2|n-ng|iuid', iuid=bytes(4))
    return log, digests


class HostileTest(Case):
    """Only typed errors, or the one truth."""

    def check(self, log, pcrs, rules, truth):
        for _ in range(2):
            try:
                measured = self.measure(log, pcrs, rules)
                got = (tuple(measured.files()), measured.findings)
            except errors.EvidenceError as exc:
                self.assertTrue(exc.reason.startswith('IMA_'))
                continue
            # What a violation is about is not covered by anything.
            self.assertEqual(strip(truth[0]), strip(got[0]))
            self.assertEqual(len(truth[1][0]), len(got[1][0]))
        try:
            ima.parse(log)
        except errors.EvidenceError as exc:
            self.assertTrue(exc.reason.startswith('IMA_'))

    def truth(self, log, rules):
        measured = self.measure(log.binary, log.pcrs, rules)
        return tuple(measured.files()), measured.findings

    def test_truncations(self):
        log, digests = small()
        rules = [ima.Rules(digests)]
        for form in FORMS:
            for size in range(len(log.form(form)) - 1):
                self.refused_any(log.form(form)[:size], log.pcrs, rules)

    def refused_any(self, *args):
        with self.assertRaises(errors.EvidenceError) as caught:
            self.measure(*args)
        self.assertTrue(caught.exception.reason.startswith('IMA_'))

    def test_flipped_bytes(self):
        log, digests = small()
        rules = [ima.Rules(digests)]
        truth = self.truth(log, rules)
        for form in FORMS:
            good = log.form(form)
            for at in range(len(good)):
                for flip in (1, 0x80, 0xFF):
                    bad = (
                        good[:at] + bytes((good[at] ^ flip,)) + good[at + 1 :]
                    )
                    self.check(bad, log.pcrs, rules, truth)

    @hypothesis.given(st.data())
    @hypothesis.settings(deadline=None, database=None, max_examples=300)
    def test_mutations(self, data):
        log, digests = small()
        rules = [ima.Rules(digests)]
        truth = self.truth(log, rules)
        good = log.form(data.draw(st.sampled_from(FORMS)))
        start, end = sorted(
            data.draw(st.tuples(*[st.integers(0, len(good))] * 2))
        )
        middle = data.draw(
            st.one_of(
                st.binary(max_size=64),
                st.just(good[start:end] * 2),
                st.sampled_from([b'\xff' * 4, bytes(4), b'\n', b' ']),
            )
        )
        self.check(good[:start] + middle + good[end:], log.pcrs, rules, truth)

    @hypothesis.given(st.binary(max_size=300), st.booleans())
    @hypothesis.settings(deadline=None, database=None, max_examples=300)
    def test_rubbish(self, log, text):
        if text:
            log = b'10 ' + log
        with self.assertRaises(errors.EvidenceError):
            self.measure(log, {10: b'x' * 32}, [ima.Rules()])


def strip(entries):
    return [None if entry.violation else entry for entry in entries]
