# SPDX-License-Identifier: Apache-2.0
import hashlib
import struct
import unittest

from korora_nova import errors
from korora_nova.rats import ima
from tests.support import ima_lists

EXTRA = {
    'sig': b'\3\2\4' + bytes(10),
    'buf': b'',
    'd_modsig': ima_lists.digest(b'content'),
    'modsig': b'0\x80\0\0',
    'evmsig': b'\5\2\4' + bytes(10),
    'xattrnames': b'security.ima|security.evm\0',
    'xattrlengths': struct.pack('<II', 2, 3),
    'xattrvalues': b'abcde',
    'iuid': struct.pack('<I', 1000),
    'igid': struct.pack('<I', 5),
    'imode': struct.pack('<H', 0o100755),
}
CUSTOM = (
    'd-ng|sig',
    'n-ng|d-ng',
    'd|n',
    'd-ngv2|n-ng|imode|iuid|igid',
    'd-modsig|d-ng|n-ng',
    'd-ng|n',
    'n|d|buf',
)


class TemplatesTest(unittest.TestCase):
    def parsed(self, log):
        """Binary and ASCII of one list give the same."""
        binary = ima.parse(log.binary)
        self.assertEqual(binary, ima.parse(log.ascii))
        self.assertEqual(binary.entries, binary.verify(log.pcrs))
        for name in ('binary', 'ascii'):
            for rules in ([], [ima.Rules()]):
                measured = ima.measure(
                    log.form(name), log.pcrs, rules, banks=log.banks
                )
                self.assertEqual(binary.entries, tuple(measured.files()))
                self.assertEqual(log.count, measured.state.entries)
                self.assertEqual(len(log.form(name)), measured.state.bytes)
                self.assertEqual(name, measured.state.form)
        return binary.entries

    def refused(self, log, reason='IMA_LOG_MALFORMED'):
        for name in ('binary', 'ascii'):
            self.refused_form(log, name, reason)

    def refused_form(self, log, name, reason='IMA_LOG_MALFORMED'):
        for call in (
            lambda: ima.parse(log.form(name)),
            lambda: ima.measure(log.form(name), log.pcrs, []),
        ):
            with self.assertRaises(errors.EvidenceError) as caught:
                call()
            self.assertEqual(reason, caught.exception.reason)
            self.assertIsNotNone(caught.exception.place)

    def test_every_template(self):
        for template in ima_lists.FIELDS:
            if template == 'ima':
                continue
            with self.subTest(template):
                log = ima_lists.List(template)
                digest = log.file('/bin/a', **EXTRA)
                log.file('/bin/b')
                log.violation('/bin/c')
                entries = self.parsed(log)
                self.assertEqual(
                    [b'boot_aggregate', b'/bin/a', b'/bin/b', b'/bin/c'],
                    [entry.path for entry in entries],
                )
                self.assertEqual(digest, entries[1].digest)
                self.assertEqual(
                    [False, False, False, True],
                    [entry.violation for entry in entries],
                )
                self.assertEqual(
                    {template}, {entry.template for entry in entries}
                )

    def test_fields(self):
        log = ima_lists.List('evm-sig')
        log.file('/bin/a', **EXTRA)
        entry = self.parsed(log)[1]
        self.assertEqual(EXTRA['evmsig'], entry.signature)
        self.assertEqual(
            {
                name: EXTRA[name]
                for name in (
                    'xattrnames',
                    'xattrlengths',
                    'xattrvalues',
                    'iuid',
                    'igid',
                    'imode',
                )
            },
            dict(entry.extra),
        )
        log = ima_lists.List('ima-modsig')
        log.file('/bin/a', **EXTRA)
        entry = self.parsed(log)[1]
        self.assertEqual(EXTRA['sig'], entry.signature)
        self.assertEqual(
            {'d-modsig': EXTRA['d_modsig'], 'modsig': EXTRA['modsig']},
            dict(entry.extra),
        )

    def test_custom_templates(self):
        for template in CUSTOM:
            with self.subTest(template):
                log = ima_lists.List(
                    template,
                    banks=('sha256', 'sha1'),
                    aggregate='sha1'
                    if 'd' in template.split('|')
                    else 'sha256',
                    over=8,
                )
                log.file('/bin/a', **{**EXTRA, 'buf': b''})
                entry = self.parsed_pair(log)[1]
                self.assertEqual(template, entry.template)

    def parsed_pair(self, log):
        """Like parsed, but the aggregate needs another bank."""
        binary, text = ima.parse(log.binary), ima.parse(log.ascii)
        self.assertEqual(binary, text)
        for name in ('binary', 'ascii'):
            measured = ima.measure(
                log.form(name), log.pcrs, [], banks=log.banks
            )
            self.assertEqual(binary.entries, tuple(measured.files()))
        return binary.entries

    def test_legacy_template(self):
        log = ima_lists.List('ima', banks=('sha1',), aggregate='sha1', over=8)
        log.file('/bin/a', b'a' * 20, name='sha1')
        log.file('/bin/md5', b'b' * 16, name='md5')
        log.violation('/bin/c')
        log.file('/bin/' + 'x' * 250, name='sha1')
        entries = ima.parse(log.binary).verify(log.pcrs, 'sha1')
        self.assertEqual('sha1:' + '61' * 20, entries[1].digest)
        self.assertEqual('md5:' + '62' * 16, entries[2].digest)
        self.assertTrue(entries[3].violation)
        self.assertEqual(255, len(entries[4].path))
        for name in ('binary', 'ascii'):
            measured = ima.measure(log.form(name), log.pcrs, [], bank='sha1')
            self.assertEqual(entries, tuple(measured.files()))

    def test_template_hashes(self):
        for name in ('sha1', 'sha256', 'sha384', 'sha512'):
            log = ima_lists.List(template_hash=name)
            log.file('/bin/a')
            self.parsed(log)
            measured = ima.measure(log.binary, log.pcrs, [])
            self.assertEqual(name, measured.state.template_hash)

    def test_digest_algorithms(self):
        for name in ('md5', 'sha1', 'sha224', 'sha384', 'sha512', 'sha3-256'):
            log = ima_lists.List()
            size = hashlib.new(name.replace('sha3-', 'sha3_')).digest_size
            log.file('/bin/a', b'd' * size, name=name)
            self.assertEqual(
                f'{name}:' + '64' * size, self.parsed(log)[1].digest
            )

    def test_verity(self):
        log = ima_lists.List('ima-sigv2')
        log.file('/bin/a', b'a' * 32, kind='verity')
        self.assertEqual(
            'verity:sha256:' + '61' * 32, self.parsed(log)[1].digest
        )

    def test_big_endian(self):
        """As s390x writes it without ima_canonical_fmt."""
        pcrs = ima_lists.pcrs()
        aggregate = hashlib.sha256(
            b''.join(pcrs[index] for index in range(10))
        ).digest()
        log = b''
        for digest, path in (
            (aggregate, b'boot_aggregate\0'),
            (b'a' * 32, b'/bin/a\0'),
            (b'b' * 32, b'/bin/b\0'),
        ):
            size = struct.Struct('>I').pack
            field = b'sha256:\0' + digest
            data = size(len(field)) + field + size(len(path)) + path
            log += (
                size(10)
                + hashlib.sha1(data).digest()
                + size(6)
                + b'ima-ng'
                + size(len(data))
                + data
            )
            pcrs[10] = hashlib.sha256(
                pcrs[10] + hashlib.sha256(data).digest()
            ).digest()
        self.assertEqual(b'/bin/b', ima.parse(log).verify(pcrs)[2].path)
        rules = ima.Rules(['sha256:' + '61' * 32])
        for _ in range(2):
            measured = ima.measure(log, pcrs, [rules])
            self.assertEqual('binary-big-endian', measured.state.form)
            self.assertEqual(
                ['/bin/b'],
                [item.details['path'] for item in measured.findings[0]],
            )
        for size in range(1, len(log)):
            with self.assertRaises(errors.EvidenceError):
                ima.measure(log[:size], pcrs, [rules])

    def test_path_with_spaces(self):
        for template in ('ima-ng', 'ima-sig', 'ima-buf'):
            log = ima_lists.List(template)
            log.file('/home/a b/ c ')
            self.assertEqual(b'/home/a b/ c ', self.parsed(log)[1].path)

    def test_path_of_any_bytes(self):
        log = ima_lists.List()
        path = bytes(set(range(1, 256)) - {10})
        log.file(path)
        self.assertEqual(path, self.parsed(log)[1].path)

    def test_newlines_in_paths_forge_nothing(self):
        log = ima_lists.List()
        evil = (
            '/tmp/x\n10 ' + 40 * 'a' + ' ima-ng sha256:' + 64 * 'b' + ' /bin/y'
        )
        paths = [evil, '/a\nb', '/c\n', '/\n\n10 x', '/d']
        for path in paths:
            log.file(path)
        self.assertEqual(
            [path.encode() for path in paths],
            [entry.path for entry in self.parsed(log)[1:]],
        )

    def test_newline_in_the_path_of_a_violation(self):
        log = ima_lists.List()
        log.violation('/a\nb')
        log.file('/c')
        self.assertEqual(
            [b'/a\nb', b'/c'], [entry.path for entry in self.parsed(log)[1:]]
        )

    def test_forged_line_in_the_path_of_a_violation(self):
        """No hash tells what is the path; the PCR does."""
        log = ima_lists.List()
        log.violation(
            '/tmp/x\n10 ' + 40 * '0' + ' ima-ng sha256:' + 64 * '0' + ' /bin/y'
        )
        log.file('/c')
        self.assertEqual(3, len(ima.parse(log.binary).verify(log.pcrs)))
        with self.assertRaises(errors.EvidenceError) as caught:
            ima.measure(log.ascii, log.pcrs, [])
        self.assertEqual('IMA_LOG_REPLAY', caught.exception.reason)

    def test_too_many_newlines(self):
        log = ima_lists.List()
        log.file('/' + 20 * '\n')
        self.refused_form(log, 'ascii', 'IMA_TEMPLATE_HASH')

    def test_stripped_lines(self):
        log = ima_lists.List('ima-sig')
        log.file('/bin/a')
        stripped = b'\n'.join(line.rstrip() for line in log.ascii.splitlines())
        self.assertEqual(ima.parse(log.binary), ima.parse(stripped))

    def test_pcr_of_one_digit(self):
        log = ima_lists.List(pcr=8, over=8)
        log.file('/bin/a')
        self.assertEqual(b' 8 ', log.ascii[:3])
        for name in ('binary', 'ascii'):
            measured = ima.measure(log.form(name), log.pcrs, [], index=8)
            self.assertEqual(2, len(tuple(measured.files())))
        log.pcrs[10] = b'x' * 32
        for name in ('binary', 'ascii'):
            with self.assertRaises(errors.EvidenceError) as caught:
                ima.measure(log.form(name), log.pcrs, [])
            self.assertEqual('IMA_LOG_REPLAY', caught.exception.reason)

    def test_register_that_no_tpm_has(self):
        log = ima_lists.List()
        log.banks['sha256'][24], log.pcr = bytes(32), 24
        log.file('/bin/a')
        log.pcr = 10
        log.file('/bin/b')
        self.refused(log)

    def test_unknown_templates(self):
        for template in (
            'ima-xx',
            'd-ng|foo',
            'd-ng||n-ng',
            'D-NG',
            '|'.join(17 * ['sig']),
        ):
            log = ima_lists.List()
            log.add(template, [])
            self.refused(log, 'IMA_TEMPLATE')
            # Also if it is the first entry, and nothing else is known.
            log.binary = log.binary[len(ima_lists.List().binary) :]
            self.refused_form(log, 'binary', 'IMA_TEMPLATE')

    def test_relabelled_entries(self):
        """The hash does not cover the name; the fields have to fit."""
        log = ima_lists.List('ima-sig')
        log.file('/bin/a', sig=b'\3\2sig')
        log.binary = log.binary.replace(b'\7\0\0\0ima-sig', b'\6\0\0\0ima-ng')
        self.refused_form(log, 'binary')
        log = ima_lists.List('ima-sig')
        log.file('/bin/a', sig=b'\3\2sig')
        log.binary = log.binary.replace(b'ima-sig', b'ima-buf')
        self.refused_form(log, 'binary')

    def test_malformed_fields(self):
        good = {'d-ng': ima_lists.digest(b''), 'n-ng': b'/bin/a\0'}
        for template, bad in (
            ('ima-ng', {'d-ng': b''}),
            ('ima-ng', {'d-ng': b'sha256' + bytes(32)}),
            ('ima-ng', {'d-ng': b'sha256:\0' + bytes(31)}),
            ('ima-ng', {'d-ng': b'sha256:\0' + bytes(20)}),
            ('ima-ng', {'d-ng': b'nohash:\0' + bytes(32)}),
            ('ima-ng', {'d-ng': b'\xff:\0' + bytes(32)}),
            ('ima-ng', {'d-ng': b'ima:sha256:\0' + bytes(32)}),
            ('ima-ngv2', {'d-ngv2': b'sha256:\0' + bytes(32)}),
            ('ima-ngv2', {'d-ngv2': b'x:sha256:\0' + bytes(32)}),
            ('ima-ngv2', {'d-ngv2': b'ima:ima:sha256:\0' + bytes(32)}),
            ('ima-ng', {'n-ng': b''}),
            ('ima-ng', {'n-ng': b'/bin/a'}),
            ('ima-ng', {'n-ng': b'/bin\0/a\0'}),
            ('d-ng|n-ng|iuid', {'iuid': bytes(3)}),
            ('d-ng|n-ng|imode', {'imode': bytes(4)}),
            ('d-ng|n-ng|d-modsig', {'d-modsig': b'x'}),
            ('d-ng|n-ng|xattrnames', {'xattrnames': b'x'}),
            ('d|n-ng', {'d': bytes(19)}),
            ('ima-buf', {'d-ng': ima_lists.digest(b'x'), 'buf': b'y'}),
            ('ima-buf', {'d-ng': b'wp512:\0' + bytes(64), 'buf': b'y'}),
        ):
            names = ima_lists.FIELDS.get(template, template).split('|')
            log = ima_lists.List()
            values = {**good, **bad}
            log.add(template, [values.get(name, b'') for name in names])
            with self.subTest(template, **bad):
                self.refused_form(log, 'binary')

    def test_template_data_too_short_or_long(self):
        good = b''.join(
            map(ima_lists.field, (ima_lists.digest(b''), b'/bin/a\0'))
        )
        for data in (
            b'',
            good[:-1],
            good + b'\0',
            good[:3],
            ima_lists.field(ima_lists.digest(b'')),
            good + ima_lists.field(b''),
            ima_lists.field(ima_lists.digest(b''))
            + b'\xff\xff\xff\xff/bin/a\0',
        ):
            log = ima_lists.List()
            log.binary += (
                struct.pack('<I', 10)
                + hashlib.sha1(data).digest()
                + ima_lists.field(b'ima-ng')
                + ima_lists.field(data)
            )
            log.pcrs[10] = b'x' * 32
            self.refused_form(log, 'binary')

    def test_malformed_lines(self):
        for line in (
            b'',
            b'10',
            b'10 ',
            b'xx ' + b'0' * 40,
            b'10 ' + b'a' * 40 + b' ima-ng',
            b'10 ' + b'a' * 40 + b' ima-ng sha256:00',
            b'10 ' + b'g' * 40 + b' ima-ng sha256:00 /a',
            b'10 ' + b'a' * 39 + b' ima-ng sha256:00 /a',
            b'100 ' + b'a' * 40 + b' ima-ng sha256:00 /a',
            b'10 ' + b'a' * 40 + b' ima-ng sha256:0 /a',
            b'10 ' + b'a' * 40 + b' d-ng|sig a b c',
            b'10 ' + b'a' * 40 + b' d-ng|iuid sha1:00 4294967296',
            b'10 ' + b'a' * 40 + b' d-ng|iuid sha1:00 -1',
            b'10 ' + b'a' * 40 + b' d-ng|iuid sha1:00 \xb2',
            b'10 ' + b'0' * 40 + b' ima ' + b'0' * 40 + b' /' + b'a' * 256,
            b'10  ' + b'a' * 40 + b' ima-ng sha256:00 /a',
        ):
            log = ima_lists.List()
            log.ascii += line + b'\n' + log.ascii
            log.pcrs[10] = b'x' * 32
            with self.subTest(line):
                self.refused_form(log, 'ascii')

    def test_huge_numbers(self):
        log = ima_lists.List()
        for at in (24, 24 + 10, 24 + 14, 24 + 14 + 44):
            damaged = (
                log.binary[:at] + b'\xff\xff\xff\xff' + log.binary[at + 4 :]
            )
            with self.assertRaises(errors.EvidenceError):
                ima.parse(damaged)

    def test_absurd_template_data(self):
        log = ima_lists.List()
        log.file('/' * ima.MAX_TEMPLATE_DATA)
        self.refused_form(log, 'binary')
