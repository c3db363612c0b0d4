# SPDX-License-Identifier: Apache-2.0
"""Databases of Secure Boot and what vouched for images."""

import datetime
import hashlib
import unittest

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from tests.support import uefilog as raw
from tests.support.uefilog import (
    AUTHORITY,
    SB,
    boot,
    changed,
    measured,
    secure_boot,
    separator,
    variable,
    variable_event,
)

ON = secure_boot()
END = separator(7)


def certificate(name):
    """DER of a self-signed certificate."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, name),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, 'x' * 60),
        ]
    )
    start = datetime.datetime(2026, 1, 1)
    builder = x509.CertificateBuilder(
        subject,
        subject,
        key.public_key(),
        1,
        start,
        start + datetime.timedelta(days=1),
    )
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


class DatabaseTest(unittest.TestCase):
    def setUp(self):
        super().setUp()
        self.der = certificate('Db CA')

    def test_entries(self):
        lists = raw.signature_list(raw.X509, self.der) + raw.signature_list(
            raw.IMAGE_HASH, b'1' * 32, b'2' * 32
        )
        state = boot(
            ON, variable_event('PK', b''), variable_event('db', lists), END
        )
        empty, database = state.databases
        self.assertEqual(
            ('PK', True, ()), (empty.name, empty.verified, empty.entries)
        )
        self.assertEqual(('db', True), (database.name, database.verified))
        owner = str(raw.OWNER)
        self.assertEqual(
            (
                (
                    'x509',
                    f'sha256:{hashlib.sha256(self.der).hexdigest()}',
                    owner,
                    f'O={"x" * 60},CN=Db CA',
                ),
                ('sha256', f'sha256:{(b"1" * 32).hex()}', owner, ''),
                ('sha256', f'sha256:{(b"2" * 32).hex()}', owner, ''),
            ),
            database.entries,
        )
        self.assertEqual((), state.components)

    def test_kinds_of_entries(self):
        kinds = (
            ('826ca512-cf10-4ac9-b187-be01496631bd', 20, 'sha1', 'sha1'),
            (
                '3bd2a492-96c0-4079-b420-fcf98ef103ed',
                48,
                'x509-sha256',
                'sha256',
            ),
            (
                '7076876e-80c2-4ee6-aad2-28b349a6865b',
                64,
                'x509-sha384',
                'sha384',
            ),
        )
        for guid, size, kind, algorithm in kinds:
            body = bytes(range(1, size + 1))
            (entry,) = (
                boot(
                    ON,
                    variable_event(
                        'dbx', raw.signature_list(raw.uuid.UUID(guid), body)
                    ),
                    END,
                )
                .databases[0]
                .entries
            )
            digest = body[: raw.SIZES[algorithm]].hex()
            self.assertEqual((kind, f'{algorithm}:{digest}'), entry[:2])
        # Of a kind that is not known, or too short for its digest.
        for guid in (
            '00000000-0000-0000-0000-000000000001',
            str(raw.IMAGE_HASH),
        ):
            (entry,) = (
                boot(
                    ON,
                    variable_event(
                        'dbx',
                        raw.signature_list(raw.uuid.UUID(guid), b'short'),
                    ),
                    END,
                )
                .databases[0]
                .entries
            )
            self.assertEqual(
                f'sha256:{hashlib.sha256(b"short").hexdigest()}', entry.digest
            )

    def test_data_that_does_not_match_is_not_verified(self):
        record = changed(
            variable_event('db', b''),
            data=variable(
                'db', raw.signature_list(raw.X509, self.der), raw.SECURITY
            ),
        )
        state = boot(ON, record, END)
        self.assertEqual(
            [('db', False, 1)],
            [
                (item.name, item.verified, len(item.entries))
                for item in state.databases
            ],
        )
        self.assertEqual(1, len(state.components))

    def test_after_the_separator_is_not_verified(self):
        lists = raw.signature_list(raw.X509, self.der)
        state = boot(
            ON, variable_event('db', b''), END, variable_event('db', lists)
        )
        self.assertEqual(
            [('db', True, 0), ('db', False, 1)],
            [
                (item.name, item.verified, len(item.entries))
                for item in state.databases
            ],
        )

    def test_contradiction(self):
        lists = raw.signature_list(raw.X509, self.der)
        state = boot(
            variable_event('db', b''),
            variable_event('db', lists),
            variable_event('dbx', b''),
            END,
        )
        self.assertEqual(
            [False, False, True], [item.verified for item in state.databases]
        )
        state = boot(variable_event('db', b''), variable_event('db', b''), END)
        self.assertEqual(
            [True, True], [item.verified for item in state.databases]
        )

    def test_names_of_other_vendors_are_no_databases(self):
        state = boot(variable_event('db', b'', raw.GLOBAL), END)
        self.assertEqual((), state.databases)
        self.assertEqual({'db': 'hex:'}, state.variables)

    def test_malformed_lists(self):
        good = raw.signature_list(raw.X509, self.der)
        for bad in (
            good[:-1],
            good + b'\0',
            good + good[:27],
            good[:16] + b'\xff' * 4 + good[20:],
            good[:20] + b'\xff' * 4 + good[24:],
            good[:24] + b'\x10\0\0\0' + good[28:],
            good[:24] + b'\0\0\0\0' + good[28:],
        ):
            state = boot(ON, variable_event('db', bad), END)
            self.assertFalse(state.databases[0].verified)

    def test_too_many_entries(self):
        lists = raw.signature_list(raw.IMAGE_HASH, *[b'1' * 32] * 16385)
        state = boot(ON, variable_event('dbx', lists), END)
        self.assertFalse(state.databases[0].verified)

    def test_certificate_that_does_not_parse(self):
        version = self.der.replace(
            bytes.fromhex('a003020102'), bytes.fromhex('a003020122'), 1
        )
        for der in (b'\x30\x82\x01\x00' + bytes(256), b'x', version):
            state = boot(
                ON,
                variable_event('db', raw.signature_list(raw.X509, der)),
                END,
            )
            self.assertEqual(
                (
                    'x509',
                    f'sha256:{hashlib.sha256(der).hexdigest()}',
                    str(raw.OWNER),
                    '',
                ),
                state.databases[0].entries[0],
            )
            self.assertTrue(state.databases[0].verified)


class AuthorityTest(unittest.TestCase):
    def setUp(self):
        super().setUp()
        self.der = certificate('Db CA')
        self.digest = f'sha256:{hashlib.sha256(self.der).hexdigest()}'
        self.data = raw.OWNER.bytes_le + self.der

    def authority(self, name, value, vendor=raw.SECURITY):
        return measured(7, AUTHORITY, variable(name, value, vendor))

    def test_of_firmware_and_shim(self):
        image = raw.OWNER.bytes_le + hashlib.sha256(b'image').digest()
        state = boot(
            ON,
            END,
            self.authority('db', self.data),
            self.authority('db', image),
            self.authority('MokList', self.data, raw.SHIM),
            self.authority('Shim', self.der, raw.SHIM),
        )
        self.assertEqual(
            [
                ('db', 'x509', True),
                ('db', 'sha256', True),
                ('MokList', 'x509', True),
                ('Shim', 'x509', True),
            ],
            [
                (item.variable, item.entry.kind, item.verified)
                for item in state.authorities
            ],
        )
        self.assertEqual(self.digest, state.authorities[0].entry.digest)
        self.assertEqual((), state.components)

    def test_surplus_bytes_of_shim(self):
        data = variable('Shim', self.der, raw.SHIM)
        for of in (data, data + bytes(5), data + bytes(6)):
            state = boot(ON, END, measured(7, AUTHORITY, data + bytes(6), of))
            self.assertEqual(
                [('Shim', True)],
                [(item.variable, item.verified) for item in state.authorities],
            )
            self.assertEqual(self.digest, state.authorities[0].entry.digest)
        state = boot(ON, END, measured(7, AUTHORITY, data + bytes(9)))
        self.assertFalse(state.authorities[0].verified)

    def test_in_front_of_the_separator(self):
        state = boot(ON, self.authority('db', self.data), END)
        self.assertEqual(
            ([('db', True)], ()),
            (
                [(item.variable, item.verified) for item in state.authorities],
                state.databases,
            ),
        )

    def test_left_out_data_is_listed(self):
        record = self.authority('db', self.data)
        for hidden in (
            changed(record, data=b''),
            changed(record, kind=1, data=b'x'),
            changed(record, kind=4, data=bytes(4)),
            changed(record, kind=0x80000007, data=b'nothing'),
        ):
            state = boot(ON, END, hidden)
            self.assertEqual(
                [False], [item.verified for item in state.authorities]
            )
            self.assertEqual(1, len(state.components))

    def test_actions_are_no_authorities(self):
        action = measured(7, 0x80000007, b'DMA Protection Disabled')
        for records in ((ON, action, END), (ON, END, action)):
            state = boot(*records)
            self.assertEqual((), state.authorities)
            self.assertEqual(
                ['DMA Protection Disabled'],
                [item.name for item in state.components],
            )

    def test_variables(self):
        level = b'sbat,1,2025021800\nshim,4\ngrub,5\n'
        state = boot(
            ON,
            measured(7, SB, variable('DeployedMode', b'\1')),
            END,
            self.authority('SbatLevel', level, raw.SHIM),
        )
        self.assertEqual(
            {'DeployedMode': 'hex:01', 'SbatLevel': level.decode()},
            state.variables,
        )
        self.assertEqual((), state.authorities)

    def test_text_as_long_as_a_digest(self):
        level = b'sbat,1,2025021800\nshim,4\ngrub,5\n'.ljust(48, b'#')
        state = boot(ON, END, self.authority('SbatLevel', level, raw.SHIM))
        self.assertEqual({'SbatLevel': level.decode()}, state.variables)

    def test_what_vouches_is_never_a_mere_variable(self):
        """Digest and owner of what was enrolled are chosen by somebody."""
        for name, vendor in (
            ('MokList', raw.SHIM),
            ('MokListRT', raw.SHIM),
            ('vendor_db', raw.SHIM),
            ('db', raw.SECURITY),
        ):
            for owner in (
                raw.OWNER.bytes_le,
                raw.X509.bytes_le,
                raw.IMAGE_HASH.bytes_le,
                b'sbat,1,202502180',
            ):
                for end, kind in ((b'#' * 32, 'sha256'), (self.der, 'x509')):
                    state = boot(
                        ON, END, self.authority(name, owner + end, vendor)
                    )
                    self.assertEqual(
                        ((name, kind),),
                        tuple(
                            (item.variable, item.entry and item.entry.kind)
                            for item in state.authorities
                        ),
                    )
                    self.assertEqual((), state.databases)
            state = boot(ON, END, self.authority(name, b'a' * 40, vendor))
            self.assertEqual(
                ((name, None, False),),
                tuple(
                    (item.variable, item.entry, item.verified)
                    for item in state.authorities
                ),
            )
            self.assertEqual({}, state.variables)

    def test_variables_behind_an_unexplained_event(self):
        one = self.authority('SbatLevel', b'sbat,1\n', raw.SHIM)
        two = self.authority('SbatLevel', b'sbat,9\n', raw.SHIM)
        state = boot(ON, END, changed(one, data=b''), two)
        self.assertEqual({}, state.variables)
        state = boot(ON, END, one, two)
        self.assertEqual({'SbatLevel': 'sbat,1\n'}, state.variables)
        self.assertEqual(
            ['SbatLevel'], [item.name for item in state.components]
        )
