# SPDX-License-Identifier: Apache-2.0
"""Secure Boot's facts, and tricks with labels.

Whoever controls a host's log file, but not its PCRs, can change types,
data and the order between registers, and extend at run time.
"""

import hashlib
import unittest

from korora_nova.rats import eventlog
from tests.support import uefilog as raw
from tests.support.uefilog import (
    AUTHORITY,
    SB,
    boot,
    changed,
    event,
    header,
    measured,
    secure_boot,
    separator,
    variable,
    variable_event,
)

OFF = secure_boot(b'\0')
ON = secure_boot()
END = separator(7)


class StateTest(unittest.TestCase):
    def test_on_and_off(self):
        self.assertIs(True, boot(ON, END).secure_boot)
        self.assertIs(False, boot(OFF, END).secure_boot)

    def test_length_zero_is_off(self):
        self.assertIs(False, boot(secure_boot(b''), END).secure_boot)

    def test_odd_values_are_off(self):
        for value in (b'\2', b'\1\0', b'\xff'):
            self.assertIs(False, boot(secure_boot(value), END).secure_boot)
            self.assertIs(False, boot(ON, secure_boot(value), END).secure_boot)

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
            for records in ((failed, database, END), (database, failed, END)):
                state = boot(*records)
                self.assertEqual(
                    [False], [item.verified for item in state.databases]
                )
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
            mok = measured(
                7, AUTHORITY, variable('MokSBState', value, raw.SHIM)
            )
            state = boot(ON, END, mok)
            self.assertIs(want, state.secure_boot)

    def test_other_banks(self):
        for bank in ('sha1', 'sha384', 'sha512', 'sm3-256'):
            head = header(((bank, raw.SIZES[bank]),))
            state = boot(
                secure_boot(banks=[bank]),
                separator(7, banks=[bank]),
                head=head,
                bank=bank,
            )
            self.assertIs(True, state.secure_boot, bank)

    def test_confidential_vm(self):
        banks = ['sha384']
        state = boot(
            secure_boot(pcr=1, banks=banks),
            measured(1, SB, variable('db', b'', raw.SECURITY), banks=banks),
            separator(1, banks=banks),
            measured(
                1,
                raw.BOOT,
                variable('BootOrder', b'\1\0'),
                of=b'\1\0',
                banks=banks,
            ),
            separator(1, banks=banks),
            head=header((('sha384', 48),)),
            bank='sha384',
        )
        self.assertIs(True, state.secure_boot)
        self.assertEqual(
            ('db', True),
            (state.databases[0].name, state.databases[0].verified),
        )
        self.assertEqual(
            ((1,), True), (state.boot_order, state.boot_order_verified)
        )


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
                self.refused(OFF, changed(END, kind=kind, data=data), ON, END)

    def test_separator_imitated(self):
        # Secure Boot was never measured before the true separator.
        fake = changed(separator(7, b'fake'), data=bytes(4))
        self.refused(END, ON, fake)

    def test_no_action_imitates(self):
        said = event(
            7,
            3,
            hashlib.sha256(variable('SecureBoot', b'\1')).digest(),
            variable('SecureBoot', b'\1'),
        )
        self.refused(said, END)
        self.refused(said, OFF, END)

    def test_moved_from_another_register(self):
        # GRUB can be made to measure any text into PCR 8.
        here = measured(8, 13, variable('SecureBoot', b'\1'))
        self.refused(here, END)
        self.refused(here, OFF, END)

    def test_types_do_not_matter(self):
        for kind in (1, 6, 13, 0x80000007, 0x12345678):
            self.assertIs(
                True,
                boot(
                    changed(ON, kind=kind), changed(END, kind=kind)
                ).secure_boot,
            )
            self.assertIs(
                True,
                boot(
                    changed(ON, data=b''), changed(END, data=b'')
                ).secure_boot,
            )
            self.assertIs(
                False, boot(changed(OFF, kind=kind, data=b''), END).secure_boot
            )

    def test_order_between_registers_does_not_matter(self):
        self.assertIs(
            True, boot(event(4), ON, event(4), END, event(4)).secure_boot
        )
