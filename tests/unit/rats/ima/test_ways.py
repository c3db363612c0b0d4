# SPDX-License-Identifier: Apache-2.0
"""The short way through a list finds what reading each entry finds."""

import functools
import hashlib
import unittest

import hypothesis
from hypothesis import strategies as st

from korora_nova import errors
from korora_nova.rats import ima
from korora_nova.rats.ima import digests
from tests.support import ima_lists

TEMPLATES = (
    'ima-ng',
    'ima-sig',
    'ima-ngv2',
    'ima-sigv2',
    'ima-buf',
    'd-ng|n-ng',
    'n-ng|d-ng',
    'd-ngv2|n-ng|sig',
    'evm-sig',
)
NAMES = ('sha1', 'sha256', 'sha512')
PATHS = (
    '/bin/a',
    '/bin/b',
    '/tmp/a',
    '/tmp/b c',
    '/x/../tmp/a',
    '.ima',
    '/twelve/ch14',
    '/nineteen/chars.19',
    '/new\nline',
    '/\xff',
)
CONTENTS = (b'a', b'b', b'c')


def digest(name, content, prefix=''):
    return digests.text(
        digests.key(
            f'{prefix}{name}:'
            + ima_lists.digest(content, name).partition(b':\0')[2].hex()
        )
    )


DIGESTS = [
    digest(name, content, prefix)
    for name in NAMES
    for content in CONTENTS
    for prefix in ('', 'verity:')
]
LISTED = st.lists(st.sampled_from(DIGESTS), max_size=9)
FILE = st.tuples(
    st.just('file'),
    st.sampled_from(PATHS),
    st.sampled_from(CONTENTS),
    st.sampled_from(NAMES),
    st.sampled_from(TEMPLATES),
    st.sampled_from(['ima', 'verity']),
    st.sampled_from([b'', b'\3\2']),
)
ODD = st.sampled_from(
    [
        ('violation', '/bin/a'),
        ('buffer', '.ima'),
        ('buffer', 'kexec-cmdline'),
        ('aggregate',),
    ]
)
RULES = st.builds(
    ima.Rules,
    LISTED,
    files=st.dictionaries(
        st.sampled_from([*PATHS[:4], '/tmp/*']), LISTED, max_size=3
    ),
    exclude=st.lists(st.sampled_from(['/tmp/*', '/bin/?', '*']), max_size=2),
    keyrings=st.dictionaries(st.just('.ima'), LISTED, max_size=1),
    templates=st.sampled_from([(), (), TEMPLATES[:4]]),
    violations=st.booleans(),
)


def add(log, item):
    if item[0] == 'file':
        _, path, content, name, template, kind, sig = item
        octets = ima_lists.digest(content, name).partition(b':\0')[2]
        log.file(
            path.encode('latin-1'),
            octets,
            name=name,
            kind=kind,
            template=template,
            sig=sig,
        )
    elif item[0] == 'violation':
        log.violation(item[1])
    elif item[0] == 'buffer':
        log.buffer(item[1], b'a')
    else:
        log.boot_aggregate()


def counts(tally):
    return dict(tally.counts)


class OddTest(unittest.TestCase):
    """What is odd among entries whose digests are listed, hash and all."""

    def setUp(self):
        super().setUp()
        self.memos = ima.Memos()

    def measure(self, *args, **kwargs):
        return ima.measure(*args, memos=self.memos, **kwargs)

    def log(self, template):
        log = ima_lists.List(template)
        listed = [log.file(f'/bin/{number}', sig=b'x') for number in range(4)]
        return log, [ima.Rules(listed)]

    def refused(
        self, log, rules, reason='IMA_LOG_MALFORMED', forms=('binary', 'ascii')
    ):
        for form in forms:
            for _ in range(2):
                with self.assertRaises(errors.EvidenceError) as caught:
                    self.measure(log.form(form), log.pcrs, rules)
                self.assertEqual(reason, caught.exception.reason)

    def test_values(self):
        field = {'ima-ng': b'sha256:\0', 'ima-ngv2': b'ima:sha256:\0'}
        for template in ('ima-ng', 'ima-sig', 'ima-ngv2'):
            label = field.get(template, b'sha256:\0')
            octets = hashlib.sha256(b'/bin/0').digest()
            more = [b''] * (template == 'ima-sig')
            for values in (
                [label + octets, b'/a\0b\0', *more],
                [label + octets, b'/a', *more],
                [label + octets, b'', *more],
                [label + octets, b'\0\0', *more],
                [label + octets, b'/a\0', *more, b'x'],
                [label + octets, b'/a\0', *more][:-1],
                [b'x' * len(label) + octets, b'/a\0', *more],
                [b'imb' + (label + octets)[3:], b'/a\0', *more],
            ):
                log, rules = self.log(template)
                log.add(template, values)
                with self.subTest(template, values=values):
                    self.refused(log, rules, forms=('binary',))

    def test_headers(self):
        for template in ('ima-ng', 'ima-sig'):
            log, rules = self.log(template)
            log.pcr = 11
            log.file('/bin/0')
            log.pcrs[10] = b'x' * 32
            self.refused(log, rules, 'IMA_LOG_REPLAY')
            log, rules = self.log(template)
            values = [ima_lists.digest(b'/bin/0'), b'/a\0']
            log.add(
                template[:-1] + 'x', values + [b''] * (template == 'ima-sig')
            )
            log.ascii = log.ascii.replace(b'x /bin', b'x sha256:')
            self.refused(log, rules, 'IMA_TEMPLATE')

    def test_lines(self):
        for template in ('ima-ng', 'ima-sig'):
            for old, new in (
                (b' /bin/0 ', b'_/bin/0 '),
                (b' /bin/0', b'/bin/0'),
                (b' ' + template.encode(), b''),
                (b'sha256:', b'sha256;'),
                (b' /bin/0', b' /bin\0/0'),
            ):
                log, rules = self.log(template)
                log.file('/bin/0')
                at = log.ascii.rindex(b'\n', 0, -1)
                last = log.ascii[at:]
                if old not in last:
                    continue
                log.ascii = log.ascii[:at] + last.replace(old, new)
                with (
                    self.subTest(template, old=old),
                    self.assertRaises(errors.EvidenceError),
                ):
                    self.measure(log.ascii, log.pcrs, rules)

    def test_short_lines(self):
        for template in ('ima-ng', 'ima-sig'):
            log, rules = self.log(template)
            before = len(log.ascii)
            log.file('/bin/0')
            last = log.ascii[before:-1]
            for size in range(1, len(last) - 8):
                log.ascii = log.ascii[:before] + last[:size] + b'\n'
                with self.assertRaises(errors.EvidenceError):
                    self.measure(log.ascii, log.pcrs, rules)

    def test_nul_in_a_line(self):
        for template in ('ima-ng', 'ima-sig'):
            log, rules = self.log(template)
            log.add(
                template,
                [ima_lists.digest(b'/bin/0'), b'/a\0b\0']
                + [b''] * (template == 'ima-sig'),
            )
            self.refused(log, rules)

    def test_no_path_in_a_line(self):
        log, rules = self.log('ima-ng')
        log.add('ima-ng', [ima_lists.digest(b'/bin/0'), b'\0'])
        # Odd, but what the kernel would write for a name that is empty.
        for form in ('binary', 'ascii'):
            measured = self.measure(log.form(form), log.pcrs, rules)
            self.assertEqual(((),), measured.findings)


class WaysTest(unittest.TestCase):
    @hypothesis.given(
        st.lists(st.one_of(FILE, FILE, FILE, ODD), max_size=24),
        st.lists(RULES, min_size=1, max_size=3),
        st.integers(0, 24),
        st.sampled_from(['sha1', 'sha256']),
        st.booleans(),
    )
    @hypothesis.settings(
        deadline=None,
        database=None,
        max_examples=150,
        suppress_health_check=[hypothesis.HealthCheck.too_slow],
    )
    def test_all_ways_agree(self, items, rules, cut, template_hash, prepared):
        memos = ima.Memos()
        measure = functools.partial(ima.measure, memos=memos)
        if prepared:
            for form in ('binary', 'ascii'):
                ima.prepare(
                    rules[0],
                    memos,
                    form=form,
                    template_hash=template_hash,
                )
        log = ima_lists.List(template_hash=template_hash)
        parts = {}
        for number, item in enumerate(items):
            if number == cut:
                parts = self.part(log)
            add(log, item)
        parts = parts or self.part(log)
        entries = ima.parse(log.binary).entries
        want = [self.slowly(one, entries) for one in rules]
        for form in ('binary', 'ascii'):
            size, early = parts[form]
            for _ in range(2):  # cold, then with what is known
                whole = measure(log.form(form), log.pcrs, rules)
                self.assertEqual(entries, tuple(whole.files()))
                self.assertEqual(len(log.form(form)), whole.state.bytes)
                first = measure(log.form(form)[:size], early, rules)
                second = measure(
                    log.form(form)[size:], log.pcrs, rules, state=first.state
                )
                self.assertEqual(whole.state, second.state)
                for one, reasons in zip(rules, want, strict=True):
                    self.assertEqual(
                        reasons, counts(whole.state.results[one.fingerprint])
                    )

    def part(self, log):
        return {
            form: (len(log.form(form)), dict(log.pcrs))
            for form in ('binary', 'ascii')
        }

    def slowly(self, rules, entries):
        found = {}
        for entry in entries:
            finding = rules.check(entry)
            if finding is not None:
                found[finding.reason] = found.get(finding.reason, 0) + 1
        return found
