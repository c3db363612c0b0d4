# SPDX-License-Identifier: Apache-2.0
"""Attacks on approvals that the service gave in advance."""

from __future__ import annotations

from korora_tools.prove.attack.row import AGENT, API, Attack, row

_AGENT = AGENT + 'test_offline.'
_API = API + 'test_offline.'

ATTACKS: tuple[Attack, ...] = (
    row(
        'O1',
        "the host's clock, or its TPM's, is set back in an offline window",
        _AGENT + 'TimeTest.test_clock_of_the_host_is_set_back',
        'verifier/attested.py:Attested.deadline',
        'self.quote.clock.clock_ms + int',
        '2**62 + int',
    ),
    row(
        'O2',
        'an approval given in advance is used after its end',
        _AGENT + 'TimeTest.test_it_has_ended',
        'verifier/custody/offline.py:_renewed',
        'service.settings.offline_window,',
        'service.settings.offline_window * 2,',
        _AGENT + 'TimeTest.test_later_deadline',
    ),
    row(
        'O3',
        'it is used after a boot, or a suspension',
        _AGENT + 'TimeTest.test_file_of_another_boot',
        'attester/offline.py:Offline._read',
        "if fields['boot_id'] == boot.boot_id():",
        'if True:',
        _AGENT + 'TimeTest.test_host_is_rebooted',
        _AGENT + 'TimeTest.test_host_was_suspended',
    ),
    row(
        'O4',
        'it is used after the service said that the host is not trusted',
        _AGENT + 'TrustTest.test_evicted',
        'attester/offline.py:Offline.drop_all',
        'self._keep({})',
        'pass',
        _AGENT + 'TrustTest.test_told_at_a_start',
        _AGENT + 'TrustTest.test_told_in_the_window',
        _AGENT + 'TrustTest.test_evicted_while_the_agent_was_off',
        _AGENT + 'TrustTest.test_deleted',
        _API + 'TestWhom.test_not_affirming',
        _API + 'TestNoted.test_evicted',
    ),
    row(
        'O5',
        'it is used after a register has changed',
        _AGENT + 'TrustTest.test_pcr_changed',
        'rats/tpm2/policy.py:PCRS_POLICY',
        'index != 10',
        'index not in (10, 11)',
    ),
    row(
        'O6',
        'it is used because the service says no',
        _AGENT + 'TrustTest.test_service_says_no',
        'attester/sealing.py:AtRest._open',
        'except errors.Unreachable as exc:',
        'except errors.KororaError as exc:',
        _AGENT + 'TrustTest.test_no_outlasts_the_service',
    ),
    row(
        'O7',
        'it is used more often than it serves',
        _AGENT + 'CountTest.test_used_up',
        'attester/offline.py:Offline.take',
        'if window.left < 1:',
        'if False:',
        _AGENT + 'CountTest.test_disk_is_full',
    ),
    row(
        'O8',
        'it is copied to another host, with the vault',
        _AGENT + 'ElsewhereTest.test_copied_to_another_host',
        'custody/approval.py:verify_approval',
        """(approval.instance, approval.epoch, approval.ref) != (
        instance,
        epoch,
        ref,
    )""",
        'False',
    ),
    row(
        'O9',
        'it is used after the server has left, or left and come back',
        _AGENT + 'ElsewhereTest.test_after_it_left',
        'attester/source.py:Source._ask',
        'self._host.offline.drop(record.instance)',
        'pass',
        _AGENT + 'ElsewhereTest.test_after_it_left_and_came_back',
        _API + 'TestWhom.test_key_is_elsewhere',
    ),
    row(
        'O10',
        'it is used for a hand-over, or while one is undecided',
        _API + 'TestWhom.test_hand_over_is_undecided',
        'verifier/custody/offline.py:_may_open',
        'rules.may_open(row, host, epoch)',
        'pass',
        _AGENT + 'ElsewhereTest.test_for_a_hand_over',
        _AGENT + 'ElsewhereTest.test_while_a_hand_over_is_undecided',
        _API + 'TestNoted.test_handed_over_meanwhile',
    ),
    row(
        'O11',
        'a host gets approvals while it is evicted',
        _API + 'TestNoted.test_evicted_meanwhile',
        'verifier/custody/offline.py:_noted',
        'host.evicted_at.is_(None),',
        '',
    ),
    row(
        'O12',
        'a key is reissued that its holder may open without asking',
        _API + 'TestNoted.test_it_counts_as_opened',
        'verifier/custody/offline.py:_noted',
        'server.opened_boot.is_distinct_from(boot),',
        'sa.false(),',
    ),
)
