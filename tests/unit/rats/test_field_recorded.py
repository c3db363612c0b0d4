# SPDX-License-Identifier: Apache-2.0
"""Hosts that were recorded as hypervisors; see tests/field/recorded.py."""

from __future__ import annotations

import unittest

from korora_nova.rats import ima, policy
from tests.field import built, recorded
from tests.support import vectors

#: Manipulation to the reason that must be among those of the refusal.
EXPECTED = {
    recorded.BAD['program']: 'IMA_UNKNOWN_FILE',
    recorded.BAD['argument']: 'COMMAND_LINE',
    recorded.BAD['kernel']: 'COMPONENT_UNKNOWN',
}
#: The command line is part of such an image, which is another one then.
UKI = '-uki'


class RecordedTest(unittest.TestCase):
    def test_each_golden_host(self) -> None:
        """What was learned from it admits it; nothing else does."""
        golden = recorded.kinds(recorded.GOLDEN)
        self.assertTrue(golden)
        for host in golden:
            with self.subTest(host):
                rules = recorded.bound(host)
                result = recorded.appraised(host, recorded.GOLDEN, rules)
                self.assertEqual((), result.reasons)
                nothing = built.with_references(recorded.starter(host))
                result = recorded.appraised(host, recorded.GOLDEN, nothing)
                self.assertIn('NO_REFERENCE', result.reason_ids)


class WholeTest(unittest.TestCase):
    """Of what was recorded from the boot to each manipulation."""

    def setUp(self) -> None:
        if not recorded.hosts():
            self.skipTest('no host is recorded whole')

    def test_each_host(self) -> None:
        for host in recorded.hosts():
            with self.subTest(host):
                found = recorded.judge(host)
                self.assertEqual({}, found.wrong)
                for what, reasons in found.refused.items():
                    self.assertIn(EXPECTED[what], reasons)

    def test_only_what_was_done_is_refused(self) -> None:
        for host in recorded.hosts():
            refused = recorded.judge(host).refused
            for what in ('program', 'argument'):
                with self.subTest(host, what=what):
                    image = what == 'argument' and host.endswith(UKI)
                    what = recorded.BAD[what]
                    self.assertEqual(
                        {EXPECTED[what]}
                        | ({'COMPONENT_UNKNOWN'} if image else set()),
                        set(refused[what]),
                    )

    def test_the_list_goes_on(self) -> None:
        """The day is judged from where the list was after the boot."""
        for host in recorded.hosts():
            with self.subTest(host):
                rules = recorded.bound(host)
                first = recorded.appraised(host, 'booted', rules)
                assert first.measured is not None
                state = ima.State.from_json(first.measured.state.to_json())
                for moment, tier in (
                    ('day', 'affirming'),
                    ('program', 'contraindicated'),
                ):
                    result = recorded.appraised(
                        host, moment, rules, known=state
                    )
                    self.assertEqual(tier, result.tier, result.reasons)

    def test_two_machines(self) -> None:
        """Nothing that tells them apart is in the golden host's evidence."""
        for host in recorded.hosts():
            golden, other = (
                recorded.recording(host, moment)
                for moment in ('golden', 'day')
            )
            for file in ('ak.tpm2b', vectors.UEFI, vectors.IMA):
                self.assertNotEqual(golden.files[file], other.files[file])
            lines = {
                one.about['made']['command_line'] for one in (golden, other)
            }
            self.assertEqual(1 if host.endswith(UKI) else 2, len(lines))

    def test_it_lived(self) -> None:
        """A guest ran, logs were rotated: what the host measured says so."""
        for host in recorded.hosts():
            with self.subTest(host):
                result = recorded.appraised(host, 'day', policy.EXACT.bind(()))
                assert result.measured is not None
                paths = {entry.path for entry in result.measured.files()}
                for path in (
                    b'/usr/bin/qemu-system-x86_64',
                    b'/usr/bin/swtpm',
                    b'/usr/sbin/libvirtd',
                    b'/usr/sbin/logrotate',
                    b'/usr/bin/dpkg',
                    b'/etc/ima/ima-policy',
                ):
                    self.assertIn(path, paths)
