# SPDX-License-Identifier: Apache-2.0
"""What a kernel says that it was given, and what its boot loader said.

The kernel measures its load options into PCR 9, and its event has no text;
GRUB measures the command line into PCR 8, with its text. Logs here are those
of a recorded machine, with other events; their PCRs are those of a machine
where this happened.
"""

from __future__ import annotations

import dataclasses
import hashlib
import unittest
from collections.abc import Sequence

import hypothesis
from hypothesis import strategies as st

from korora_nova.rats import eventlog, policy
from korora_nova.rats.eventlog import Event
from korora_nova.rats.finding import Finding
from korora_nova.rats.reference import ReferenceValues, learn
from korora_nova.rats.state import VerifiedState
from tests.field import built, recorded
from tests.support import states, uefilog

HOST = 'debian-13-grub'
OPTIONS = uefilog.tagged(0x8F3B22ED, b'LOADED_IMAGE::LoadOptions\0')
PREFIX = b'kernel_cmdline: '
EVIL = ' init=/bin/sh'
REFERENCES_ONLY = {'command-line': {'references': True}}


def events(moment: str = 'day') -> list[Event]:
    return list(
        eventlog.parse(
            recorded.recording(HOST, moment).files['binary_bios_measurements']
        ).events[1:]
    )


def at(log: Sequence[Event], data: bytes) -> int:
    """The place of the only event whose data begins so."""
    (index,) = (
        index for index, item in enumerate(log) if item.data.startswith(data)
    )
    return index


def line(log: Sequence[Event]) -> str:
    """What GRUB says."""
    return log[at(log, PREFIX)].data[len(PREFIX) :].rstrip(b'\0').decode()


def event(pcr: int, kind: int, data: bytes, of: bytes) -> Event:
    return Event(
        0, pcr, kind, {'sha256': hashlib.sha256(of).digest()}, data, 0
    )


def told(text: str) -> Event:
    """GRUB's event of a command line."""
    text_ = text.encode()
    return event(8, uefilog.IPL, PREFIX + text_ + b'\0', text_)


def given(text: str, *, nul: bool = False) -> Event:
    """The kernel's event of its load options."""
    of = f'BOOT_IMAGE={text}'.encode('utf-16-le') + bytes(2 * nul)
    return event(9, uefilog.TAG, OPTIONS, of)


def state(log: Sequence[Event]) -> VerifiedState:
    """Of a machine that did what the log says."""
    data = uefilog.header() + b''.join(
        uefilog.event2(
            item.pcr,
            item.type,
            [('sha256', item.digests['sha256'])],
            item.data,
        )
        for item in log
        if item.extends
    )
    return states.of(data, eventlog.parse(data).replay())


def reasons(findings: Sequence[Finding]) -> list[tuple[str, str]]:
    return [(item.reason, item.details.get('got', '')) for item in findings]


def as_before(reference: ReferenceValues) -> ReferenceValues:
    """As it was learned when load options of GRUB had no text."""
    assert reference.boot is not None
    lines = tuple(
        dataclasses.replace(item, text='', verified=False)
        if item.source == 'kernel'
        else item
        for item in reference.boot.command_lines
    )
    boot = dataclasses.replace(reference.boot, command_lines=lines)
    found = dataclasses.replace(reference, boot=boot)
    return ReferenceValues.from_json(found.to_json())


def golden() -> ReferenceValues:
    return learn('golden', state(events('golden')), ())


class RecordedTest(unittest.TestCase):
    def test_every_moment(self) -> None:
        """What the kernel was given is what GRUB said, and is told so."""
        self.assertIn(HOST, recorded.hosts())
        for moment in recorded.MOMENTS:
            log = events(moment)
            boot = state(log).boot
            assert boot is not None
            self.assertEqual(
                [
                    (line(log), 'grub', True, 8),
                    (f'BOOT_IMAGE={line(log)}', 'kernel', True, 9),
                ],
                [dataclasses.astuple(item) for item in boot.command_lines],
            )

    def test_an_added_argument_is_told_once(self) -> None:
        """Though it is in GRUB's line and in what the kernel was given."""
        found = recorded.appraised(HOST, 'argument', recorded.bound(HOST))
        self.assertEqual([('COMMAND_LINE', 'audit=0')], reasons(found.reasons))

    def test_references_of_before(self) -> None:
        """They admit and refuse as new ones do, on either machine."""
        for old in (False, True):
            for rule in (
                REFERENCES_ONLY,
                {'boot-components': {'pcrs': [4, 14], 'references': True}},
            ):
                learned = as_before(golden()) if old else golden()
                bound = states.only(rule, learned)
                for moment in (recorded.GOLDEN, *recorded.GOOD):
                    found = bound.check(state(events(moment)))
                    self.assertEqual([], reasons(found), (old, rule, moment))

    def test_what_was_learned_of_pcr_9_still_counts(self) -> None:
        """As a component, whether the text is known or not."""
        rule = {'boot-components': {'pcrs': [9], 'references': True}}
        for learned in (golden(), as_before(golden())):
            bound = states.only(rule, learned)
            self.assertEqual([], bound.check(state(events('golden'))))
            log = events('golden')
            log[at(log, OPTIONS)] = given(line(log) + ' quiet')
            (found,) = bound.check(state(log))
            self.assertEqual('COMPONENT_UNKNOWN', found.reason)


class HostileTest(unittest.TestCase):
    """By the starter as it is, files left out."""

    def found(self, log: Sequence[Event]) -> list[tuple[str, str]]:
        return reasons(recorded.bound(HOST).check(state(log)))

    def setUp(self) -> None:
        super().setUp()
        self.log = events()
        self.line = line(self.log)
        self.told, self.given = at(self.log, PREFIX), at(self.log, OPTIONS)
        self.assertEqual([], self.found(self.log))

    def unverified(self, log: Sequence[Event]) -> None:
        ((reason, got),) = self.found(log)
        self.assertEqual('EVENT_UNVERIFIED', reason)
        self.assertIn('PCR 9', got)

    def test_made_events_are_the_recorded_ones(self) -> None:
        for index, made in (
            (self.told, told(self.line)),
            (self.given, given(self.line)),
        ):
            self.assertEqual(
                self.log[index].digests['sha256'], made.digests['sha256']
            )
            self.assertEqual(self.log[index].data, made.data)

    def test_with_a_nul(self) -> None:
        self.log[self.given] = given(self.line, nul=True)
        self.assertEqual([], self.found(self.log))

    def test_the_kernel_was_given_another_line(self) -> None:
        for nul in (False, True):
            for text in (self.line + EVIL, self.line[:-1], self.line + ' '):
                self.log[self.given] = given(text, nul=nul)
                self.unverified(self.log)

    def test_grub_said_another_line(self) -> None:
        for text in (self.line.replace(' quiet', ''), self.line + ' panic=1'):
            self.log[self.told] = told(text)
            self.unverified(self.log)

    def test_the_text_of_the_event_says_nothing(self) -> None:
        """PCR 8 says what was good, its digest is of another line."""
        self.log[self.told] = dataclasses.replace(
            self.log[self.told], digests=told(self.line + EVIL).digests
        )
        self.log[self.given] = given(self.line + EVIL)
        self.assertEqual([('COMMAND_LINE', '')], self.found(self.log))

    def test_grub_said_nothing(self) -> None:
        del self.log[self.told]
        self.assertEqual([('COMMAND_LINE', '')], self.found(self.log))

    def test_an_innocent_line_beside_the_one_that_counts(self) -> None:
        for place in (self.told, self.told + 1, len(self.log)):
            for innocent in (self.line, self.line + ' panic=1'):
                log = list(self.log)
                log[self.told] = told(self.line + EVIL)
                log[self.given] = given(self.line + EVIL)
                log.insert(place, told(innocent))
                self.assertEqual(
                    [('COMMAND_LINE', EVIL.strip())], self.found(log)
                )

    def test_an_innocent_line_instead_of_the_one_that_counts(self) -> None:
        self.log[self.given] = given(self.line + EVIL)
        for innocent in (self.line, self.line + ' panic=1'):
            self.unverified([*self.log, told(innocent)])

    def test_load_options_twice(self) -> None:
        """The innocent ones do not speak for the others."""
        for place in (self.given, self.given + 1, len(self.log)):
            log = list(self.log)
            log.insert(place, given(self.line + EVIL))
            self.unverified(log)

    def test_two_good_lines(self) -> None:
        """Both are good, so it does not matter which one it was."""
        other = self.line + ' panic=1'
        for text in (self.line, other):
            log = list(self.log)
            log[self.given] = given(text)
            log.insert(self.told, told(other))
            self.assertEqual([], self.found(log))

    def test_the_text_is_told_elsewhere(self) -> None:
        """Whoever tells it: it is judged like any command line."""
        text = f'BOOT_IMAGE={self.line}{EVIL}'
        data = (text + '\0').encode('utf-16-le')
        self.log[self.given] = given(self.line + EVIL)
        path = uefilog.file_path('x') + uefilog.END
        option = uefilog.variable(
            'Boot0009', uefilog.load_option('x', path) + data[:-2]
        )
        for more in (
            event(12, uefilog.IPL, data, data),
            event(1, uefilog.BOOT, option, option),
            event(1, uefilog.BOOT, option, b'another one'),
        ):
            found = self.found([*self.log, more])
            self.assertIn(('COMMAND_LINE', EVIL.strip()), found)

    def test_another_label(self) -> None:
        """The line that GRUB made is judged, whatever PCR 9 is called."""
        self.log[self.told] = told(self.line + EVIL)
        self.log[self.given] = given(self.line + EVIL)
        for label in (b'', b'/boot/x\0', uefilog.tagged(1, b'x')):
            self.log[self.given] = dataclasses.replace(
                self.log[self.given], data=label
            )
            self.assertEqual(
                [('COMMAND_LINE', EVIL.strip())], self.found(self.log)
            )


class BootOptionTest(unittest.TestCase):
    """Firmware that starts a kernel gives it what its boot option has."""

    def log(self, text: str) -> list[Event]:
        data = text.encode('utf-16-le')
        path = uefilog.file_path('\\linux.efi') + uefilog.END
        option = uefilog.variable(
            'Boot0001', uefilog.load_option('Linux', path) + data
        )
        found = [item for item in events() if item.pcr not in (1, 8, 9)]
        return [
            event(1, uefilog.BOOT, option, option),
            *found,
            event(9, uefilog.TAG, OPTIONS, data),
        ]

    def test_another_machine(self) -> None:
        learned = learn('x', state(self.log('root=LABEL=a ro')), ())
        bound = states.only(REFERENCES_ONLY, learned)
        for text, wanted in (
            ('root=LABEL=a ro', []),
            ('root=LABEL=b ro', []),
            ('root=LABEL=b rw', [('COMMAND_LINE', 'rw')]),
        ):
            found = bound.check(state(self.log(text)))
            self.assertEqual(wanted, reasons(found))

    def test_references_of_before(self) -> None:
        """What was admitted by its digest still is, and nothing else."""
        learned = learn('x', state(self.log('root=LABEL=a ro')), ())
        bound = states.only(REFERENCES_ONLY, as_before(learned))
        for text, wanted in (
            ('root=LABEL=a ro', []),
            ('root=LABEL=a rw', ['COMMAND_LINE']),
        ):
            found = bound.check(state(self.log(text)))
            self.assertEqual(wanted, states.reasons(found))

    def test_forbidden_even_if_learned(self) -> None:
        learned = learn('x', state(self.log('root=LABEL=a rw')), ())
        rule = {'command-line': {'references': True, 'forbidden': ['rw']}}
        bound = states.only(rule, as_before(learned))
        found = bound.check(state(self.log('root=LABEL=a rw')))
        self.assertEqual([('COMMAND_LINE', 'rw')], reasons(found))


def lines_of(characters: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Command lines of some arguments."""
    argument = st.text(characters, min_size=1, max_size=8)
    return st.lists(argument, max_size=4).map(' '.join)


LINE = lines_of(st.characters(exclude_categories=('C', 'Z')))
PLAIN = lines_of(st.characters(codec='ascii', categories=('L', 'N')))


class PropertyTest(unittest.TestCase):
    @hypothesis.given(st.lists(LINE, max_size=3), LINE, st.booleans())
    @hypothesis.settings(deadline=None, database=None, max_examples=200)
    def test_nothing_but_what_was_hashed(
        self, said: list[str], one: str, nul: bool
    ) -> None:
        """Load options have a text if and only if somebody told it, and then
        it is the one that was hashed."""
        lines = [f'/vmlinuz {text}' for text in said]
        made = given(f'/vmlinuz {one}', nul=nul)
        boot = state([*map(told, lines), made]).boot
        assert boot is not None
        found = boot.command_lines[-1]
        self.assertEqual('kernel', found.source)
        self.assertEqual(one in said, found.verified)
        text = f'BOOT_IMAGE=/vmlinuz {one}' if one in said else ''
        self.assertEqual(text, found.text)

    @hypothesis.given(PLAIN, PLAIN, st.booleans())
    @hypothesis.settings(deadline=None, database=None, max_examples=200)
    def test_a_line_that_is_not_allowed_never_passes(
        self, said: str, one: str, nul: bool
    ) -> None:
        """Whatever GRUB said, and wherever the line stands."""
        hypothesis.assume(set(one.split()) - {'ro'})
        bound = states.only({'command-line': {'patterns': ['ro']}})
        for lines in (['ro'], ['ro', said], [said, one], [one], []):
            log = [told(f'/vmlinuz {text}') for text in lines]
            found = bound.check(
                state([*log, given(f'/vmlinuz {one}', nul=nul)])
            )
            self.assertNotEqual([], found)


class StarterTest(unittest.TestCase):
    def test_each_starter_takes_what_grub_puts_first(self) -> None:
        """Hosts are not refused for what GRUB adds by itself."""
        for name in ('debian-12', 'debian-13', 'ubuntu-24.04', 'centos-9'):
            bound: policy.BoundPolicy = built.with_references(name, golden())
            found = [
                item
                for item in bound.check(state(events()))
                if item.reason in ('COMMAND_LINE', 'EVENT_UNVERIFIED')
            ]
            self.assertEqual([], found, name)
