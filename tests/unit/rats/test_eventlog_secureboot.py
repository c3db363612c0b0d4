# SPDX-License-Identifier: Apache-2.0
"""Secure Boot's facts, and tricks with labels.

Whoever controls a host's log file, but not its PCRs, can change types,
data and the order between registers, and extend at run time.
"""

import datetime
import hashlib
import unittest

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from korora_nova.rats import eventlog
from tests.unit.rats import uefilog as raw
from tests.unit.rats.uefilog import (
    AUTHORITY,
    SB,
    boot,
    event,
    header,
    measured,
    secure_boot,
    separator,
    variable,
)

OFF = secure_boot(b'\0')
ON = secure_boot()
END = separator(7)


def certificate(name):
    """DER of a self-signed certificate."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([
        x509.NameAttribute(NameOID.COMMON_NAME, name),
        x509.NameAttribute(NameOID.ORGANIZATION_NAME, 'x' * 60)])
    start = datetime.datetime(2026, 1, 1)
    builder = x509.CertificateBuilder(
        subject, subject, key.public_key(), 1, start,
        start + datetime.timedelta(days=1))
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


def changed(record, kind=None, data=None):
    """A record with other labels and the same digest."""
    item = eventlog.parse(header() + record).events[1]
    return event(item.pcr, item.type if kind is None else kind,
                 item.digests['sha256'],
                 item.data if data is None else data)


class StateTest(unittest.TestCase):

    def test_on_and_off(self):
        self.assertIs(True, boot(ON, END).secure_boot)
        self.assertIs(False, boot(OFF, END).secure_boot)

    def test_length_zero_is_off(self):
        self.assertIs(False, boot(secure_boot(b''), END).secure_boot)

    def test_odd_values_are_off(self):
        for value in (b'\2', b'\1\0', b'\xff'):
            self.assertIs(False, boot(secure_boot(value), END).secure_boot)
            self.assertIs(False, boot(
                ON, secure_boot(value), END).secure_boot)

    def test_name_with_a_nul(self):
        for value, want in ((b'\1', True), (b'\0', False), (b'', False)):
            odd = measured(7, SB, variable('SecureBoot\0', value))
            self.assertIs(want, boot(odd, END).secure_boot)
            self.assertIs(want, boot(ON, odd, END).secure_boot)
            self.assertIsNot(True, boot(OFF, odd, END).secure_boot)
            self.assertIsNone(boot(END, odd).secure_boot)
            self.assertIsNone(boot(changed(odd, data=b''), END).secure_boot)

    def test_nothing_said(self):
        self.assertIsNone(boot(END).secure_boot)
        self.assertIsNone(boot().secure_boot)

    def test_separators(self):
        for value in (bytes(4), b'\xff' * 4, b'WBCL'):
            end = separator(7, value)
            self.assertIs(True, boot(ON, end).secure_boot)
            self.assertIs(True, boot(ON, end, end).secure_boot)
            self.assertIsNone(boot(end, ON).secure_boot)

    def test_contradiction(self):
        self.assertIs(False, boot(ON, OFF, END).secure_boot)
        self.assertIs(False, boot(OFF, ON, END).secure_boot)
        self.assertIs(False, boot(ON, END, OFF).secure_boot)

    def test_said_twice(self):
        self.assertIs(True, boot(ON, ON, END).secure_boot)

    def test_only_in_front_of_the_separator(self):
        self.assertIsNone(boot(END, ON).secure_boot)
        self.assertIsNone(boot(END, ON, END).secure_boot)

    def test_no_separator(self):
        self.assertIsNone(boot(ON).secure_boot)
        self.assertIs(False, boot(OFF).secure_boot)

    def test_separator_of_an_error(self):
        for value in (b'\1\0\0\0', b'\0\0\0\1'):
            failed = separator(7, value)
            self.assertIsNone(boot(ON, failed).secure_boot)
            self.assertIsNone(boot(ON, failed, END).secure_boot)
            self.assertIsNone(boot(failed, ON, END).secure_boot)
            database = variable_event('db', b'')
            for records in ((failed, database, END),
                            (database, failed, END)):
                state = boot(*records)
                self.assertEqual([False], [
                    item.verified for item in state.databases])
                self.assertEqual(1, len(state.components))

    def test_register_that_differs_says_nothing(self):
        state = boot(ON, variable_event('db', b''), END, differs=[7])
        self.assertEqual(eventlog.BootState(), state)

    def test_other_registers_say_nothing(self):
        for pcr in (0, 1, 2, 4, 5, 6, 8, 9, 12, 14):
            state = boot(secure_boot(pcr=pcr), separator(pcr), END)
            self.assertIsNone(state.secure_boot)

    def test_other_vendor(self):
        other = measured(7, SB, variable('SecureBoot', b'\1', raw.SHIM))
        self.assertIsNone(boot(other, END).secure_boot)

    def test_shim_told_not_to_validate(self):
        for value, want in ((b'\1', False), (b'\0', True)):
            mok = measured(7, AUTHORITY,
                           variable('MokSBState', value, raw.SHIM))
            state = boot(ON, END, mok)
            self.assertIs(want, state.secure_boot)

    def test_other_banks(self):
        for bank in ('sha1', 'sha384', 'sha512', 'sm3-256'):
            head = header(((bank, raw.SIZES[bank]),))
            state = boot(secure_boot(banks=[bank]),
                         separator(7, banks=[bank]), head=head, bank=bank)
            self.assertIs(True, state.secure_boot, bank)

    def test_confidential_vm(self):
        banks = ['sha384']
        state = boot(
            secure_boot(pcr=1, banks=banks),
            measured(1, SB, variable('db', b'', raw.SECURITY), banks=banks),
            separator(1, banks=banks),
            measured(1, raw.BOOT, variable('BootOrder', b'\1\0'),
                     of=b'\1\0', banks=banks),
            separator(1, banks=banks), head=header((('sha384', 48),)),
            bank='sha384')
        self.assertIs(True, state.secure_boot)
        self.assertEqual(('db', True), (state.databases[0].name,
                                        state.databases[0].verified))
        self.assertEqual(((1,), True), (state.boot_order,
                                        state.boot_order_verified))


def variable_event(name, value, vendor=None, kind=SB):
    vendor = vendor or (raw.GLOBAL if name in ('PK', 'KEK')
                        else raw.SECURITY)
    return measured(7, kind, variable(name, value, vendor))


class RelabelTest(unittest.TestCase):
    """A host with Secure Boot off that wants to look as if it were on."""

    def refused(self, *records):
        state = boot(*records)
        self.assertIsNot(True, state.secure_boot)
        return state

    def test_data_replaced(self):
        said = variable('SecureBoot', b'\1')
        self.refused(changed(OFF, data=said), END)

    def test_data_left_out_and_extended_at_run_time(self):
        for kind in (None, 1, 6, 13, 0x80000007):
            for data in (b'', b'x', variable('SecureBoot', b'\1')):
                self.refused(changed(OFF, kind=kind, data=data), END, ON)

    def test_separator_relabelled(self):
        for kind in (1, 6, 13, 0x80000007):
            for data in (b'', b'x'):
                self.refused(changed(END, kind=kind, data=data), ON, END)
                self.refused(OFF, changed(END, kind=kind, data=data),
                             ON, END)

    def test_separator_imitated(self):
        # Secure Boot was never measured before the true separator.
        fake = changed(separator(7, b'fake'), data=bytes(4))
        self.refused(END, ON, fake)

    def test_no_action_imitates(self):
        said = event(7, 3, hashlib.sha256(
            variable('SecureBoot', b'\1')).digest(),
            variable('SecureBoot', b'\1'))
        self.refused(said, END)
        self.refused(said, OFF, END)

    def test_moved_from_another_register(self):
        # GRUB can be made to measure any text into PCR 8.
        here = measured(8, 13, variable('SecureBoot', b'\1'))
        self.refused(here, END)
        self.refused(here, OFF, END)

    def test_types_do_not_matter(self):
        for kind in (1, 6, 13, 0x80000007, 0x12345678):
            self.assertIs(True, boot(
                changed(ON, kind=kind), changed(END, kind=kind)).secure_boot)
            self.assertIs(True, boot(
                changed(ON, data=b''), changed(END, data=b'')).secure_boot)
            self.assertIs(False, boot(
                changed(OFF, kind=kind, data=b''), END).secure_boot)

    def test_order_between_registers_does_not_matter(self):
        self.assertIs(True, boot(
            event(4), ON, event(4), END, event(4)).secure_boot)


class DatabaseTest(unittest.TestCase):

    def setUp(self):
        super().setUp()
        self.der = certificate('Db CA')

    def test_entries(self):
        lists = (raw.signature_list(raw.X509, self.der)
                 + raw.signature_list(raw.IMAGE_HASH, b'1' * 32, b'2' * 32))
        state = boot(ON, variable_event('PK', b''),
                     variable_event('db', lists), END)
        empty, database = state.databases
        self.assertEqual(('PK', True, ()),
                         (empty.name, empty.verified, empty.entries))
        self.assertEqual(('db', True), (database.name, database.verified))
        owner = str(raw.OWNER)
        self.assertEqual((
            ('x509', f'sha256:{hashlib.sha256(self.der).hexdigest()}',
             owner, f'O={"x" * 60},CN=Db CA'),
            ('sha256', f'sha256:{(b"1" * 32).hex()}', owner, ''),
            ('sha256', f'sha256:{(b"2" * 32).hex()}', owner, '')),
            database.entries)
        self.assertEqual((), state.components)

    def test_data_that_does_not_match_is_not_verified(self):
        record = changed(variable_event('db', b''), data=variable(
            'db', raw.signature_list(raw.X509, self.der), raw.SECURITY))
        state = boot(ON, record, END)
        self.assertEqual([('db', False, 1)], [
            (item.name, item.verified, len(item.entries))
            for item in state.databases])
        self.assertEqual(1, len(state.components))

    def test_behind_the_separator_is_not_verified(self):
        lists = raw.signature_list(raw.X509, self.der)
        state = boot(ON, variable_event('db', b''), END,
                     variable_event('db', lists))
        self.assertEqual([('db', True, 0), ('db', False, 1)], [
            (item.name, item.verified, len(item.entries))
            for item in state.databases])

    def test_contradiction(self):
        lists = raw.signature_list(raw.X509, self.der)
        state = boot(variable_event('db', b''), variable_event('db', lists),
                     variable_event('dbx', b''), END)
        self.assertEqual([False, False, True], [
            item.verified for item in state.databases])
        state = boot(variable_event('db', b''), variable_event('db', b''),
                     END)
        self.assertEqual([True, True], [
            item.verified for item in state.databases])

    def test_names_of_other_vendors_are_no_databases(self):
        state = boot(variable_event('db', b'', raw.GLOBAL), END)
        self.assertEqual((), state.databases)
        self.assertEqual({'db': 'hex:'}, state.variables)

    def test_malformed_lists(self):
        good = raw.signature_list(raw.X509, self.der)
        for bad in (good[:-1], good + b'\0', good + good[:27],
                    good[:16] + b'\xff' * 4 + good[20:],
                    good[:20] + b'\xff' * 4 + good[24:],
                    good[:24] + b'\x10\0\0\0' + good[28:],
                    good[:24] + b'\0\0\0\0' + good[28:]):
            state = boot(ON, variable_event('db', bad), END)
            self.assertFalse(state.databases[0].verified)

    def test_too_many_entries(self):
        lists = raw.signature_list(raw.IMAGE_HASH, *[b'1' * 32] * 16385)
        state = boot(ON, variable_event('dbx', lists), END)
        self.assertFalse(state.databases[0].verified)

    def test_certificate_that_does_not_parse(self):
        version = self.der.replace(bytes.fromhex('a003020102'),
                                   bytes.fromhex('a003020122'), 1)
        for der in (b'\x30\x82\x01\x00' + bytes(256), b'x', version):
            state = boot(ON, variable_event(
                'db', raw.signature_list(raw.X509, der)), END)
            self.assertEqual(
                ('x509', f'sha256:{hashlib.sha256(der).hexdigest()}',
                 str(raw.OWNER), ''), state.databases[0].entries[0])
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
            ON, END, self.authority('db', self.data),
            self.authority('db', image),
            self.authority('MokList', self.data, raw.SHIM),
            self.authority('Shim', self.der, raw.SHIM))
        self.assertEqual(
            [('db', 'x509', True), ('db', 'sha256', True),
             ('MokList', 'x509', True), ('Shim', 'x509', True)],
            [(item.variable, item.entry.kind, item.verified)
             for item in state.authorities])
        self.assertEqual(self.digest, state.authorities[0].entry.digest)
        self.assertEqual((), state.components)

    def test_surplus_bytes_of_shim(self):
        data = variable('Shim', self.der, raw.SHIM)
        for of in (data, data + bytes(5), data + bytes(6)):
            state = boot(ON, END, measured(
                7, AUTHORITY, data + bytes(6), of))
            self.assertEqual([('Shim', True)], [
                (item.variable, item.verified)
                for item in state.authorities])
            self.assertEqual(self.digest, state.authorities[0].entry.digest)
        state = boot(ON, END, measured(7, AUTHORITY, data + bytes(9)))
        self.assertFalse(state.authorities[0].verified)

    def test_in_front_of_the_separator(self):
        state = boot(ON, self.authority('db', self.data), END)
        self.assertEqual(([('db', True)], ()), (
            [(item.variable, item.verified) for item in state.authorities],
            state.databases))

    def test_left_out_data_is_listed(self):
        record = self.authority('db', self.data)
        for hidden in (changed(record, data=b''),
                       changed(record, kind=1, data=b'x'),
                       changed(record, kind=4, data=bytes(4)),
                       changed(record, kind=0x80000007, data=b'nothing')):
            state = boot(ON, END, hidden)
            self.assertEqual([False], [
                item.verified for item in state.authorities])
            self.assertEqual(1, len(state.components))

    def test_actions_are_no_authorities(self):
        action = measured(7, 0x80000007, b'DMA Protection Disabled')
        for records in ((ON, action, END), (ON, END, action)):
            state = boot(*records)
            self.assertEqual((), state.authorities)
            self.assertEqual(['DMA Protection Disabled'], [
                item.name for item in state.components])

    def test_variables(self):
        level = b'sbat,1,2025021800\nshim,4\ngrub,5\n'
        state = boot(
            ON, measured(7, SB, variable('DeployedMode', b'\1')), END,
            self.authority('SbatLevel', level, raw.SHIM))
        self.assertEqual({'DeployedMode': 'hex:01',
                          'SbatLevel': level.decode()}, state.variables)
        self.assertEqual((), state.authorities)

    def test_text_as_long_as_a_digest(self):
        level = b'sbat,1,2025021800\nshim,4\ngrub,5\n'.ljust(48, b'#')
        state = boot(ON, END,
                     self.authority('SbatLevel', level, raw.SHIM))
        self.assertEqual({'SbatLevel': level.decode()}, state.variables)

    def test_variables_behind_an_unexplained_event(self):
        one = self.authority('SbatLevel', b'sbat,1\n', raw.SHIM)
        two = self.authority('SbatLevel', b'sbat,9\n', raw.SHIM)
        state = boot(ON, END, changed(one, data=b''), two)
        self.assertEqual({}, state.variables)
        state = boot(ON, END, one, two)
        self.assertEqual({'SbatLevel': 'sbat,1\n'}, state.variables)
        self.assertEqual(['SbatLevel'], [
            item.name for item in state.components])
