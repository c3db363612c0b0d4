# SPDX-License-Identifier: Apache-2.0
"""Attacks on custody that worked once: lost, late, forged and restored."""

from __future__ import annotations

from korora_tools.prove.attack.row import AGENT, API, UNIT, Attack, row

ATTACKS: tuple[Attack, ...] = (
    row(
        'A1',
        'a host shows what the service never signed',
        API + 'test_recovery.PresentTest.test_forged',
        'rats/signed/token.py:verify',
        'options=_OPTIONS',
        "options={**_OPTIONS, 'verify_signature': False}",
    ),
    row(
        'A2',
        'the service loses a permit that it signed',
        AGENT + 'test_attacks_custody.LostPermitTest.test_before_the_stream',
        'verifier/custody/present.py:_adopt',
        'if newest is not None and newest != row:',
        'if False:',
    ),
    row(
        'A3',
        'a restored database, and the new holder is silent',
        API + 'test_attacks_ledger.RestoredTest.'
        'test_released_copy_while_its_holder_is_silent',
        'verifier/custody/ledger.py:check',
        'if is_behind(row, mark):',
        'if False:',
    ),
    row(
        'A4',
        'one end says what only a stream can bring about, before it',
        API + 'test_custody.TestWords.test_words_of_a_stream_before_it',
        'custody/decision.py:check_word',
        'word in _AFTER_STREAM and not moving and not decided',
        'False',
    ),
    row(
        'A5',
        'the stream is to start before the destination has the key',
        API + 'test_custody.TestStart.test_without_sealed',
        'verifier/custody/handover.py:_start',
        """elif known.status == MigrationState.PERMITTED:
        raise errors.Conflict(_R.NOT_SEALED)
    elif known.status == MigrationState.SEALED:""",
        """elif known.status in (
        MigrationState.PERMITTED,
        MigrationState.SEALED,
    ):""",
    ),
    row(
        'A6',
        "a host claims another host's server",
        API + 'test_attacks_ledger.WordTest.test_squatting',
        'verifier/custody/at_rest.py:claim',
        'service.nova.check_server(instance=body.instance, '
        'host=attested.host)',
        'pass',
    ),
    row(
        'A7',
        'a large body from whoever has no challenge',
        API + 'test_bad_input.TestChallengeFirst.'
        'test_challenge_that_admits_nothing',
        'api/body.py:read',
        'admit()',
        'pass',
    ),
    row(
        'A8',
        'a claim is repeated, with a new challenge',
        API + 'test_custody.TestClaim.test_again',
        'custody/ledger.py:may_claim',
        'if (row.holder, row.claim, row.pending) == (host, key, None):',
        'if False:',
    ),
    row(
        'A9',
        'a host keeps a receipt back, and shows it later',
        API + 'test_attacks_ledger.RestoredTest.test_withheld_receipt',
        'verifier/custody/present.py:_adopt',
        'documents.file(service, session, item)',
        'pass',
    ),
    row(
        'A10',
        'the approval key is replaced during a hand-over',
        AGENT
        + 'test_replaced_keys.ApprovalKeyTest.test_between_permit_and_seal',
        'attester/destination.py:Destination._keep',
        'content.approval_kid',
        'host.approval_kid()',
    ),
    row(
        'A11',
        'one worker of the service is a little behind the other',
        API + 'test_attacks_ledger.ClockTest.'
        'test_worker_whose_clock_is_behind',
        'verifier/challenges.py:_check_age',
        'known.issued - MAX_SKEW',
        'known.issued',
    ),
    row(
        'A12',
        "a full disk tears a line of the agent's journal",
        AGENT + 'test_attacks_custody.FullDiskTest.test_receipt',
        'attester/journal.py:Journal._append',
        'files.truncate(self._path, self._size)',
        'pass',
    ),
    row(
        'C1',
        'Nova keeps the record of a migration that a crash ended',
        UNIT + 'verifier.test_nova_record.TestMigration.'
        'test_a_stale_one_beside_it',
        'verifier/nova_record.py:check_record',
        'if isinstance(one, dict) and _is_named(one, migration, kind)',
        'if isinstance(one, dict)',
    ),
    row(
        'T39',
        'a host reports absurd versions, and the database is MariaDB',
        API + 'test_attacks_ledger.OverflowTest.test_epochs_have_a_cap',
        'rats/schemas.py:EPOCH',
        "'maximum': 2**63 - 1",
        "'maximum': 10**99",
    ),
    row(
        'T40',
        'the service loses its last transaction',
        API + 'test_recovery.LostTest.test_permit',
        'verifier/custody/present.py:_rebuild',
        'if permit is None:',
        'if True:',
    ),
    row(
        'T41',
        'any older copy of the database is restored, and hosts are silent',
        API + 'test_recovery.PropertyTest.test_whatever_copy_is_restored',
        'verifier/custody/ledger.py:is_behind',
        'row is None or row.version < mark.version',
        'row is None',
    ),
    row(
        'T42',
        'an end lies, and a guest runs at the other one',
        AGENT + 'test_decisions.RunningTest.'
        'test_committed_while_the_source_runs',
        'attester/outcome.py:check_erasable',
        'if record.has_key and has_domain():',
        'if False:',
    ),
    row(
        'T43',
        'the bus holds the transfer back, and the start is forged',
        AGENT + 'test_attacks_custody.LiarsTest.test_transfer_held_back',
        'verifier/custody/handover.py:_start',
        """elif known.status == MigrationState.PERMITTED:
        raise errors.Conflict(_R.NOT_SEALED)
    elif known.status == MigrationState.SEALED:""",
        """elif known.status in (
        MigrationState.PERMITTED,
        MigrationState.SEALED,
    ):""",
    ),
    row(
        'T44',
        'a host claims a server that Nova has elsewhere',
        UNIT + 'verifier.test_nova_record.TestServer.test_is_elsewhere',
        'verifier/nova_record.py:KeystoneNovaRecord.check_server',
        'if found.host != host:',
        'if False:',
    ),
    row(
        'T45',
        'a body with as many values as fit, from a host that is known',
        API + 'test_attacks_ledger.FloodTest.'
        'test_memory_for_a_host_that_is_known',
        'api/body.py:read',
        'values is not None',
        'False',
    ),
    row(
        'T46',
        'what lies between sends a request of custody again',
        API + 'test_repeats.RepeatsTest.test_claim_and_delete',
        'verifier/repeats.py:find',
        'if answer is None:',
        'if True:',
    ),
)
