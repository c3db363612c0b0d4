# SPDX-License-Identifier: Apache-2.0
"""Lists for several registers: ``pcr=`` in rules of the IMA policy."""

from __future__ import annotations

import hashlib
from typing import Any

import testtools

from korora_nova import errors
from korora_nova.rats import ima
from tests.support.ima_lists import List, pcrs

FORMS = ('binary', 'ascii')


def first(index: int) -> bytes:
    """What firmware left there."""
    return pcrs().get(index, bytes(32))


class RegistersTest(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.log = List()
        self.known = [self.log.file('/bin/a')]

    def entry(self, pcr: int, path: str = '/bin/b') -> str:
        self.log.pcr = pcr
        try:
            return self.log.file(path)
        finally:
            self.log.pcr = 10

    def measure(self, form: str = 'binary', **more: Any) -> ima.Measured:
        rules = [ima.Rules(self.known)]
        return ima.measure(
            more.pop('log', self.log.form(form)),
            more.pop('quoted', self.log.pcrs),
            rules,
            first=first,
            **more,
        )

    def refused(self, reason: str, **more: Any) -> str:
        error = self.assertRaises(errors.EvidenceError, self.measure, **more)
        self.assertEqual(reason, error.reason)
        return error.message

    def mixed(self) -> None:
        for number in range(9):
            pcr = (10, 11, 10, 4, 11)[number % 5]
            self.known.append(self.entry(pcr, f'/bin/{number}'))

    def test_each_is_replayed(self) -> None:
        self.mixed()
        memos = ima.Memos()
        for form in FORMS * 2:
            found = self.measure(form, memos=memos)
            self.assertEqual(((),), found.findings)
            self.assertEqual(self.log.count, found.entries)
            self.assertEqual({4, 11}, set(found.state.others))
            for index, (start, now) in found.state.others.items():
                self.assertEqual(first(index).hex(), start)
                self.assertEqual(self.log.pcrs[index].hex(), now)

    def test_in_parts(self) -> None:
        self.mixed()
        for size in (100, 500):
            parts = [
                self.log.binary[at : at + size]
                for at in range(0, len(self.log.binary), size)
            ]
            found = self.measure(log=b'', earlier=lambda: parts)  # noqa: B023
            self.assertEqual(self.log.count, found.entries)

    def test_all_are_judged(self) -> None:
        self.entry(11, '/tmp/x')
        for form in FORMS:
            ((finding,),) = self.measure(form).findings
            self.assertEqual('IMA_UNKNOWN_FILE', finding.reason)

    def test_quoted_before_the_last_entries(self) -> None:
        self.mixed()
        quoted, count = dict(self.log.pcrs), self.log.count
        for pcr in (11, 12, 10, 11):
            self.entry(pcr, f'/tmp/{pcr}')
            for form in FORMS:
                found = self.measure(form, quoted=quoted)
                self.assertEqual(count, found.entries)
                self.assertEqual(((),), found.findings)

    def test_last_entries_are_of_another_register(self) -> None:
        """They were quoted, so they count."""
        for number in range(3):
            self.entry(11, f'/tmp/{number}')
            for form in FORMS:
                found = self.measure(form)
                self.assertEqual(self.log.count, found.entries)
                self.assertEqual(number + 1, len(found.findings[0]))

    def test_something_else_extends_it_too(self) -> None:
        """Nothing in the list can be told to be before the quote, or not."""
        self.known.append(self.entry(11))
        for position in ('after', 'alone'):
            quoted = dict(self.log.pcrs)
            quoted[11] = hashlib.sha256(quoted[11] + b'x' * 32).digest()
            for form in FORMS:
                message = self.refused(
                    'IMA_LOG_REPLAY', form=form, quoted=quoted
                )
                self.assertIn('PCR 11', message, position)
            self.known.append(self.log.file('/bin/c'))

    def test_entry_that_is_left_out(self) -> None:
        start = len(self.log.binary)
        self.entry(11)
        end = len(self.log.binary)
        self.known.append(self.entry(11, '/bin/c'))
        self.known.append(self.log.file('/bin/d'))
        less = self.log.binary[:start] + self.log.binary[end:]
        self.refused('IMA_LOG_REPLAY', log=less)

    def test_register_that_is_not_quoted(self) -> None:
        self.log.banks['sha256'][23] = bytes(32)
        self.entry(23)
        quoted = {
            index: value
            for index, value in self.log.pcrs.items()
            if index < 16
        }
        self.assertIn('PCR 23', self.refused('IMA_LOG_REPLAY', quoted=quoted))

    def test_going_on(self) -> None:
        self.mixed()
        state = self.measure().state
        state = ima.State.from_json(state.to_json())
        for pcrs_ in ((11,), (12, 11), (10, 4), ()):
            start = len(self.log.binary)
            for pcr in pcrs_:
                self.known.append(self.entry(pcr, f'/sbin/{len(self.known)}'))
            # The rules are others, but for this it does not matter
            found = ima.measure(
                self.log.binary[start:],
                self.log.pcrs,
                [],
                state=state,
                first=first,
            )
            self.assertEqual(len(pcrs_), found.entries)
            state = found.state
        self.assertEqual({4, 11, 12}, set(state.others))
        self.assertRaises(
            errors.Conflict,
            ima.measure,
            b'',
            {**self.log.pcrs, 11: bytes(32)},
            [],
            state=state,
            first=first,
        )

    def test_boot_aggregate_is_of_what_firmware_left(self) -> None:
        self.known.append(self.entry(4))
        self.assertEqual(((),), self.measure().findings)
        self.assertNotEqual(first(4), self.log.pcrs[4])

    def test_violations(self) -> None:
        self.log.pcr = 11
        self.log.violation('/var/log/a')
        for form in FORMS:
            ((finding,),) = self.measure(form).findings
            self.assertEqual('IMA_VIOLATION', finding.reason)

    def test_located(self) -> None:
        """Both moved between reading and quoting."""
        read = dict(self.log.pcrs)
        for pcr in (11, 10, 11):
            self.entry(pcr, f'/bin/{self.log.count}')
        want = {index: self.log.pcrs[index] for index in (10, 11)}

        def quoted(values: Any) -> None:
            if {**read, **values} != self.log.pcrs:
                raise errors.EvidenceError(errors.Reason.QUOTE_DIGEST)

        for form in FORMS:
            found = ima.locate(self.log.form(form), read, quoted, first=first)
            self.assertEqual(want, found)

    def test_stored_states(self) -> None:
        self.mixed()
        document: Any = self.measure().state.to_json()
        self.assertEqual(document, ima.State.from_json(document).to_json())
        for others in (
            {'24': ['00' * 32] * 2},
            {'4': ['00' * 32]},
            {'4': ['00' * 31, '00' * 32]},
            {'4': ['0x' * 32] * 2},
            {'04': ['00' * 32] * 2},
            [],
        ):
            self.assertRaises(
                errors.Invalid,
                ima.State.from_json,
                {**document, 'others': others},
            )
        plain = List()
        state = ima.measure(plain.binary, plain.pcrs, []).state
        # Workers of the release before read it.
        self.assertNotIn('others', state.to_json())
