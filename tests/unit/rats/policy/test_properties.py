# SPDX-License-Identifier: Apache-2.0
"""I7 for policies: what is lost or relabelled never turns no into yes."""

import copy
import hashlib
import unittest

import hypothesis
from hypothesis import strategies as st

from korora_nova import errors
from korora_nova.rats import eventlog, policy, reference
from korora_nova.rats.state import VerifiedState
from tests.support import states, vectors
from tests.unit.rats.policy.test_document import EVERYTHING

GOLDEN = 'host/debian-12'
BAD = (
    'host/debian-12-insecure',
    'host/debian-12-option',
    'host/debian-12-previous-kernel',
    'uefi/shim-grub-insecure',
    'uefi/uki',
    'uefi/systemd-boot-entry',
)
POLICIES = {
    name: policy.load(states.starter(name)) for name in ('debian', 'exact')
}
EMPTY = {dict: {}, list: [], str: '', int: 0, bool: False, type(None): None}
SETTINGS = hypothesis.settings(deadline=None, database=None, max_examples=200)


def bound(name, *references):
    return POLICIES[name].bind(references or (states.learned(GOLDEN),))


def places(document, depth=3, path=()):
    """Paths of all fields down to a depth, list items not counted."""
    if isinstance(document, dict) and depth:
        for key, value in document.items():
            yield (*path, key)
            yield from places(value, depth - 1, (*path, key))


def without(document, path, emptied):
    """A copy in which one field is missing, or empty."""
    changed = copy.deepcopy(document)
    *parents, last = path
    inner = changed
    for key in parents:
        inner = inner[key]
    if emptied:
        inner[last] = EMPTY[type(inner[last])]
    else:
        del inner[last]
    return changed


class LosingAFieldTest(unittest.TestCase):
    def never_passes(self, name, read, values):
        try:
            state, references = read()
        except (errors.Invalid, errors.EvidenceError):
            return
        self.assertNotEqual(
            (), bound(name, *references).check(state), msg=values
        )

    def test_of_a_state(self):
        for host in BAD[:3]:
            document = states.recorded(host).to_json()
            for path in places(document):
                for emptied in (False, True):
                    less = without(document, path, emptied)
                    for name in POLICIES:
                        self.never_passes(
                            name,
                            lambda less=less: (
                                VerifiedState.from_json(less),
                                (),
                            ),
                            (host, path, emptied),
                        )

    def test_of_a_good_state(self):
        """A good state may pass without a field, but not without a fact."""
        document = states.recorded(GOLDEN).to_json()
        for path in (
            ('log',),
            ('boot',),
            ('pcrs',),
            ('pcrs', 'sha256'),
            ('log', 'agrees'),
            ('boot', 'components'),
            ('boot', 'databases'),
            ('boot', 'authorities'),
            ('boot', 'secure_boot'),
        ):
            for emptied in (False, True):
                less = without(document, path, emptied)
                self.never_passes(
                    'debian',
                    lambda less=less: (VerifiedState.from_json(less), ()),
                    (path, emptied),
                )

    def test_of_a_reference(self):
        golden = states.learned(GOLDEN).to_json()
        for path in places(golden):
            for emptied in (False, True):
                less = without(golden, path, emptied)
                for name in POLICIES:
                    for host in BAD:
                        self.never_passes(
                            name,
                            lambda less=less, host=host: (
                                states.recorded(host),
                                (reference.ReferenceValues.from_json(less),),
                            ),
                            (name, host, path, emptied),
                        )


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(['sha256:' + 'a' * 64, 'a' * 64]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=8,
)


class AnyDocumentTest(unittest.TestCase):
    """Documents are refused with a typed error, whatever they hold."""

    @hypothesis.given(st.data())
    @SETTINGS
    def test_policies(self, data):
        document = copy.deepcopy(EVERYTHING)
        for _ in range(data.draw(st.integers(1, 3))):
            self.change(data, document)
        try:
            loaded = policy.load(document)
        except errors.Invalid as exc:
            self.assertEqual('POLICY_INVALID', exc.reason)
            self.assertIn('pointer', exc.details)
            return
        loaded.bind([states.learned(GOLDEN)]).check(states.recorded(BAD[0]))

    @hypothesis.given(st.data())
    @SETTINGS
    def test_states_and_references(self, data):
        for read, document in (
            (VerifiedState.from_json, states.recorded(GOLDEN).to_json()),
            (
                reference.ReferenceValues.from_json,
                states.learned(GOLDEN).to_json(),
            ),
        ):
            self.change(data, document)
            try:
                read(document)
            except errors.Invalid as exc:
                self.assertEqual('INVALID_REQUEST', exc.reason)

    @hypothesis.given(JSON)
    @SETTINGS
    def test_anything(self, document):
        for read in (
            VerifiedState.from_json,
            policy.load,
            reference.ReferenceValues.from_json,
        ):
            with self.assertRaises(errors.Invalid):
                read(document)

    def change(self, data, document):
        """Put anything in the place of one value, list items too."""
        inner = document
        while True:
            keys = (
                sorted(inner) if isinstance(inner, dict) else range(len(inner))
            )
            key = data.draw(st.sampled_from(keys))
            if (
                not isinstance(inner[key], (dict, list))
                or (not inner[key])
                or data.draw(st.booleans())
            ):
                inner[key] = data.draw(JSON)
                return
            inner = inner[key]


class FewerReferencesTest(unittest.TestCase):
    @hypothesis.given(st.data())
    @SETTINGS
    def test_fewer_admit_no_more(self, data):
        name = data.draw(st.sampled_from(sorted(POLICIES)))
        host = data.draw(st.sampled_from((GOLDEN, *BAD)))
        some = data.draw(
            st.lists(st.sampled_from((GOLDEN, *BAD[:3])), unique=True)
        )
        fewer = data.draw(
            st.lists(st.sampled_from(some), unique=True)
            if some
            else st.just([])
        )
        state = states.recorded(host)
        more = (
            POLICIES[name]
            .bind([states.learned(one) for one in some])
            .check(state)
        )
        less = (
            POLICIES[name]
            .bind([states.learned(one) for one in fewer])
            .check(state)
        )
        if more:
            self.assertNotEqual((), less)


class Forger:
    """Root of a host that booted badly: it rewrites its log and extends
    PCRs, but cannot take back what was measured."""

    def __init__(self, host):
        vector = vectors.load(host)
        self.pcrs = {
            index: vector.pcrs['sha256'][index] for index in range(16)
        }
        self.log = bytearray(vector.files[vectors.UEFI])
        self.banks = eventlog.parse(bytes(self.log)).banks

    def state(self):
        return states.of(bytes(self.log), self.pcrs)

    def events(self):
        return [
            event
            for event in eventlog.parse(bytes(self.log)).events
            if event.type != eventlog.EV_NO_ACTION
        ]

    def retype(self, event, kind):
        self.log[event.offset + 4 : event.offset + 8] = kind.to_bytes(
            4, 'little'
        )

    def redact(self, event, data):
        """Other data of the same size, so that offsets stay."""
        size = len(event.data)
        end = self.end(event)
        self.log[end - size : end] = data[:size].ljust(size, b'\0')

    def end(self, event):
        later = [
            other.offset
            for other in eventlog.parse(bytes(self.log)).events
            if other.offset > event.offset
        ]
        return min(later, default=len(self.log))

    def append(self, event):
        """Extend with a digest of the golden host, and log its event."""
        self.pcrs[event.pcr] = hashlib.sha256(
            self.pcrs[event.pcr] + event.digests['sha256']
        ).digest()
        algorithms = {
            name: number for number, name in vectors.ALGORITHMS.items()
        }
        self.log += (
            event.pcr.to_bytes(4, 'little')
            + event.type.to_bytes(4, 'little')
            + len(self.banks).to_bytes(4, 'little')
            + b''.join(
                algorithms[bank].to_bytes(2, 'little') + event.digests[bank]
                for bank in self.banks
            )
            + len(event.data).to_bytes(4, 'little')
            + event.data
        )


#: What says nothing of a host: separators, actions, names of sections.
CONSTANTS = {
    hashlib.sha256(text).hexdigest()
    for text in (
        bytes(4),
        b'\xff' * 4,
        b'WBCL',
        b'\1\0\0\0',
        b'Calling EFI Application from Boot Option',
        b'Returning from EFI Application from Boot Option',
        *(
            f'.{name}\0'.encode()
            for name in (
                'linux',
                'osrel',
                'cmdline',
                'initrd',
                'ucode',
                'splash',
                'dtb',
                'dtbauto',
                'hwids',
                'efifw',
                'uname',
                'sbat',
                'pcrpkey',
                'profile',
            )
        ),
    )
}
KINDS = (
    0x04,
    0x05,
    0x06,
    0x0D,
    0x80000001,
    0x80000002,
    0x80000003,
    0x80000004,
    0x80000007,
    0x80000008,
    0x800000E0,
    0x12345,
)


class ForgedLogTest(unittest.TestCase):
    """A host relabels events and imitates those of the golden one."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.golden = Forger(GOLDEN).events()

    @hypothesis.given(st.data())
    @SETTINGS
    def test_never_passes(self, data):
        forger = Forger(data.draw(st.sampled_from(BAD[:4])))
        events = forger.events()
        chosen = st.lists(
            st.sampled_from(events),
            max_size=8,
            unique_by=lambda event: event.index,
        )
        for event in data.draw(chosen):
            forger.retype(event, data.draw(st.sampled_from(KINDS)))
        for event in data.draw(chosen):
            forger.redact(
                event,
                data.draw(
                    st.one_of(
                        st.just(b''),
                        st.binary(max_size=32),
                        st.sampled_from([good.data for good in self.golden]),
                    )
                ),
            )
        for event in data.draw(
            st.lists(st.sampled_from(self.golden), max_size=12)
        ):
            forger.append(event)
        self.assertNotEqual((), bound('debian').check(forger.state()))

    @hypothesis.given(st.data())
    @SETTINGS
    def test_every_measurement_is_a_component(self, data):
        """What boot-components rests on, whatever the log says."""
        forger = Forger(data.draw(st.sampled_from((GOLDEN, *BAD))))
        for event in forger.events():
            if data.draw(st.booleans()):
                forger.retype(event, data.draw(st.sampled_from(KINDS)))
            if data.draw(st.booleans()):
                forger.redact(event, data.draw(st.binary(max_size=32)))
        state = forger.state()
        for pcr in (0, 2, 3, 4, 6, 9, 11, 13, 14):
            listed = {
                item.digest.removeprefix('sha256:')
                for item in state.boot.components
                if item.pcr == pcr
            }
            self.assertLessEqual(
                set(state.measured(pcr)) - listed - CONSTANTS,
                {
                    hashlib.sha256(
                        item.text.encode('utf-16-le') + end
                    ).hexdigest()
                    for item in state.boot.command_lines
                    if item.verified and item.pcr == pcr
                    for end in (b'', bytes(2))
                },
            )

    def test_the_whole_golden_boot_after_the_bad_one(self):
        for host in BAD[:4]:
            for hide in (None, 0x05, 0x0D, 0x80000007, 0x12345):
                forger = Forger(host)
                if hide is not None:
                    known = {event.digests['sha256'] for event in self.golden}
                    for event in forger.events():
                        if event.digests['sha256'] not in known:
                            forger.retype(event, hide)
                            forger.redact(event, b'')
                for event in self.golden:
                    forger.append(event)
                state = forger.state()
                self.assertEqual(
                    (*range(10), *range(11, 16)), state.log.agrees
                )
                found = bound('debian').check(state)
                self.assertNotEqual((), found, msg=(host, hide))

    def test_secure_boot_cannot_be_imitated(self):
        rule = states.only({'secure-boot': {'enabled': True}})
        for hide in (None, *KINDS):
            forger = Forger('host/debian-12-insecure')
            for event in forger.events():
                if event.pcr == 7 and hide is not None:
                    forger.retype(event, hide)
                    forger.redact(event, b'')
            for event in self.golden:
                if event.pcr == 7:
                    forger.append(event)
            state = forger.state()
            self.assertIn(7, state.log.agrees)
            self.assertEqual(
                ['SECURE_BOOT_OFF'],
                states.reasons(rule.check(state)),
                msg=hide,
            )

    def test_command_line_cannot_be_hidden(self):
        rule = states.only(
            {'command-line': {'references': True, 'forbidden': ['init=*']}},
            states.learned(GOLDEN),
        )
        for kind in (None, *KINDS):
            for data in (None, b'', b'grub_cmd: x', b'/vmlinuz ro\0'):
                forger = Forger('host/debian-12-option')
                for event in forger.events():
                    if event.pcr == 8 and b'init=/bin/sh' in event.data:
                        if kind is not None:
                            forger.retype(event, kind)
                        if data is not None:
                            forger.redact(event, data)
                for event in self.golden:
                    if event.pcr == 8:
                        forger.append(event)
                found = rule.check(forger.state())
                self.assertTrue(
                    {'COMMAND_LINE', 'EVENT_UNVERIFIED'}.intersection(
                        states.reasons(found)
                    ),
                    msg=(kind, data),
                )
