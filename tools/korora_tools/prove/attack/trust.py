# SPDX-License-Identifier: Apache-2.0
"""Attacks on what hosts prove, and on who may say what."""

from __future__ import annotations

from korora_tools.prove.attack.row import (
    AGENT,
    API,
    NOVA,
    TPM,
    UNIT,
    Attack,
    row,
)

_SENT = API + 'test_attestation.TestEvidence.'
_LIVE = NOVA + 'test_live_migration.'

ATTACKS: tuple[Attack, ...] = (
    row(
        'T1',
        'a server is migrated to an untrusted host',
        UNIT + 'relying_party.test_streams.TestRefused.test_destination',
        'relying_party/gate.py:Gate.admit',
        'if standing.gated:',
        'if False:',
        _LIVE + 'TestRefused.test_untrusted_destination',
        API + 'test_custody.TestReceive.test_untrusted_destination',
    ),
    row(
        'T2',
        'a key is used in another state of the platform',
        UNIT + 'rats.tpm2.test_policy.PolicyDigestTest.'
        'test_every_input_of_a_state_counts',
        'rats/tpm2/policy.py:state_policy',
        'policy_pcr(START, selection(PCRS_POLICY), pcrs)',
        'START',
        AGENT + 'test_attacks.TransferTest.'
        'test_destination_changed_after_its_evidence',
        TPM + 'test_custody.HandoverTest.test_refused_after_a_change_of_state',
    ),
    row(
        'T3',
        'an untrusted source injects what it likes',
        API + 'test_custody.TestSend.test_untrusted_source',
        'verifier/attest.py:_attest',
        'attested.tier != Tier.AFFIRMING and not purpose.any_tier',
        'False',
        _LIVE + 'TestRefused.test_untrusted_source',
    ),
    row(
        'T6',
        'somebody starts a hand-over that Nova knows nothing of',
        API + 'test_custody.TestSend.test_not_in_nova',
        'verifier/custody/handover.py:send',
        '_prepared(service.nova.check, attested, body)',
        'pass',
        AGENT + 'test_attacks.RequestTest.test_unannounced',
    ),
    row(
        'T8',
        'an old quote is shown again',
        API + 'test_attestation.TestChallenges.test_on_demand_expires',
        'verifier/challenges.py:_check_age',
        'if not known.issued - MAX_SKEW <= service.clock() < known.expires:',
        'if False:',
        API + 'test_attestation.TestChallenges.test_used_once',
        API + 'test_attestation.TestChallenges.test_of_another_host',
    ),
    row(
        'T13',
        'the destination changes after it was checked, or in mid-stream',
        API + 'test_watch.TestWatch.test_destination_turns_bad',
        'verifier/custody/watching.py:_judge',
        'return Watched.lost(host, why)',
        'continue',
        API + 'test_watch.TestWatch.test_source_turns_bad',
        API + 'test_custody.TestStart.test_destination_turned_bad',
        AGENT + 'test_attacks.StartTest.test_destination_turned_bad',
        AGENT + 'test_watch.EndTest.test_destination',
        AGENT + 'test_watch.EndTest.test_source',
        _LIVE + 'TestStreamFails.test_trust_is_lost_in_flight',
    ),
    row(
        'T14',
        'measurements are left out of the list',
        UNIT + 'rats.ima.test_ima.ImaTest.test_truncated_list',
        'rats/ima/replay.py:Pass.run',
        'return self.pcr == target and self._finish(quoted)',
        'return True',
        _SENT + 'test_truncated_list',
    ),
    row(
        'T15',
        "another machine's TPM answers",
        UNIT + 'rats.test_appraise.AppraiseTest.test_cuckoo',
        'rats/quote/signature.py:_check',
        'key.key.verify(value, message, ec.ECDSA(algorithm))',
        'pass',
        _SENT + 'test_relayed_quote_of_another_host',
    ),
    row(
        'T16',
        'a name, or a TPM, is taken over by enrolling again',
        API + 'test_enrolment.TestEnrolment.test_name_with_another_tpm',
        'verifier/enrolment.py:_check_same',
        'if not (same and proved):',
        'if False:',
        API + 'test_enrolment.TestEnrolment.test_tpm_with_another_name',
    ),
    row(
        'T17',
        'a server is started on a host that was compromised meanwhile',
        _SENT + 'test_run_time_tampering',
        'verifier/attest.py:_attest',
        'attested.tier != Tier.AFFIRMING and not purpose.any_tier',
        'False',
        AGENT + 'test_recovery.LifeTest.test_runtime_tampering',
        NOVA + 'test_lifecycle.TestStarts.test_start_refused',
        NOVA + 'test_lifecycle.TestStarts.test_resume_refused',
        NOVA + 'test_lifecycle.TestStarts.'
        'test_hard_reboot_refused_leaves_the_guest_running',
    ),
    row(
        'T18',
        'force, or nova:HOST, bypasses the scheduler',
        UNIT
        + 'relying_party.test_gate.TestBegin.test_held_key_on_untrusted_host',
        'relying_party/gate.py:Gate.begin',
        'if not standing.gated:',
        'if True:',
        NOVA + 'test_lifecycle.TestCreate.test_forced_on_an_untrusted_host',
        _LIVE + 'TestRefused.test_forced_past_the_scheduler',
    ),
    row(
        'T19',
        'a good result outlives the service that gave it',
        UNIT + 'relying_party.test_results.TestDecision.test_expires_at_hand',
        'relying_party/table.py:_is_current',
        'and now < expires',
        '',
        API + 'test_attestation.TestResults.test_stale_result_is_none',
        _LIVE + 'TestRefused.test_service_down',
    ),
    row(
        'T20',
        'a result is forged',
        UNIT + 'rats.signed.test_token.TokenTest.'
        'test_stranger_signs_under_a_pinned_id',
        'rats/signed/token.py:verify',
        'options=_OPTIONS',
        "options={**_OPTIONS, 'verify_signature': False}",
        UNIT + 'rats.signed.test_token.TokenTest.'
        'test_alg_none_and_hmac_with_the_public_key',
        UNIT + 'rats.signed.test_snapshot.TestWhole.test_signatures',
    ),
    row(
        'T21',
        "an agent's credentials on operators' calls",
        API + 'test_roles.TestRoles.test_attester',
        'api/rules.py:Enforcer.check',
        'raise errors.Forbidden(\n'
        "                errors.Reason.FORBIDDEN, details={'rule': name}\n"
        '            ) from None',
        'pass',
    ),
    row(
        'T23',
        'a wrong policy takes all hosts out of the cloud',
        UNIT + 'response.test_decide.DecisionTest.'
        'test_a_wrong_policy_touches_no_host',
        'response/decide.py:_too_many',
        'if bad > limit(len(after), settings):',
        'if False:',
        'tests.functional.response.test_matrix.TestMatrix.test_day_policy',
        'tests.functional.response.test_matrix.TestMatrix.test_day_approved',
    ),
    row(
        'T24',
        'a flood of checks on a slow TPM',
        UNIT
        + 'attester.test_loop.LoopTest.test_callers_share_one_attestation',
        'attester/loop.py:Attestation.attest_now',
        'if fresh is None or fresh[0] < arrival:',
        'if True:',
        AGENT + 'test_attacks.RequestTest.'
        'test_announcement_serves_few_attempts',
    ),
    row(
        'T26',
        'malformed evidence',
        UNIT + 'rats.tpm2.test_objects.ParseTest.test_only_evidence_errors',
        'rats/tpm2/structure.py:Reader.take',
        'if end > len(self._data):',
        'if False:',
        API + 'test_bad_input.TestFields.test_fuzzed_evidence',
    ),
    row(
        'T27',
        'rubbish in PCR 10, and in nothing else',
        UNIT + 'rats.ima.test_ima.ImaTest.test_pcr_10_alone_was_tampered_with',
        'rats/ima/replay.py:Pass.run',
        'return self.pcr == target and self._finish(quoted)',
        'return True',
        AGENT + 'test_recovery.LifeTest.test_runtime_tampering',
    ),
    row(
        'T34',
        'a quote is held back over a reboot',
        _SENT + 'test_quote_of_an_earlier_boot',
        'rats/appraise.py:_check_clock',
        'if boot < last_boot:',
        'if False:',
    ),
    row(
        'T35',
        'the TPM is cleared, and old approvals are shown',
        API + 'test_enrolment.TestEnrolment.'
        'test_other_attestation_key_in_the_same_tpm',
        'verifier/enrolment.py:_check_same',
        'if not (same and proved):',
        'if False:',
        TPM + 'test_keys.IdentityTest.test_clear_ends_the_attestation_key',
        AGENT + 'test_replaced_keys.LeakedApprovalKeyTest.'
        'test_it_opens_nothing_of_a_cleared_tpm',
    ),
    row(
        'T37',
        "another compute host's credentials",
        API + 'test_custody.TestApprove.test_of_another_host',
        'custody/ledger.py:holds',
        ' or row.holder != host',
        '',
        API + 'test_custody.TestSealed.test_by_another',
        API + 'test_custody.TestStart.test_by_another',
    ),
    row(
        'T47',
        'a host without our driver passes the filter',
        API + 'test_enforcement.TestHandover.test_source_without',
        'verifier/enforcement.py:require',
        'if missing:',
        'if False:',
        NOVA + 'test_attacks_lifecycle.TestStockDriver.'
        'test_attested_host_without_our_driver',
    ),
    row(
        'T51',
        "a machine takes over a good one's name at another verifier",
        UNIT + 'verifier.test_keylime.TestIdentity.'
        'test_taking_over_an_id_gives_no_trust',
        'verifier/sources/keylime/identity.py:read',
        'if before is not None:',
        'if False:',
    ),
    row(
        'T52',
        'a host is used that another verifier, which must agree, does not '
        'trust',
        API + 'test_sources.TestRequired.'
        'test_no_key_for_a_host_that_it_refuses',
        'rats/verdict.py:combine',
        'if one.required',
        'if one.source == NATIVE',
        API + 'test_sources.TestRequired.test_native_refuses',
        API + 'test_sources.TestTime.test_nobody_asks_any_more',
    ),
)
