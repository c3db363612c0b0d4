# SPDX-License-Identifier: Apache-2.0
"""Attacks on keys: on their way, at rest, and on what is left of them."""

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

_BACKUP = AGENT + 'test_attacks.BackupTest.'
_ENVELOPE = UNIT + 'custody.test_envelope.EnvelopeTest.'
_BUS = AGENT + 'test_attacks.TransferTest.'
_LIVE = NOVA + 'test_live_migration.'

ATTACKS: tuple[Attack, ...] = (
    row(
        'T4',
        'what travels is read, or altered',
        _ENVELOPE + 'test_every_flipped_bit_is_refused',
        'custody/envelope.py:open_envelope',
        'AESGCM(key.reveal()).decrypt(nonce, sealed, aad)',
        'AESGCM(key.reveal()).encrypt(nonce, sealed, aad)[: -2 * TAG_BYTES]',
        _BUS + 'test_every_field_is_bound',
        _BUS + 'test_quote_is_bound',
    ),
    row(
        'T5',
        'the passphrase on the bus, in logs or on disk',
        UNIT + 'attester.test_server.SocketTest.'
        'test_unexpected_error_says_nothing_of_the_request',
        'attester/server.py:describe',
        """f'{type(exc).__name__} at {" < ".join(reversed(places))}'""",
        'repr(exc)',
        AGENT + 'test_secrecy.SecrecyTest.test_nowhere',
        _LIVE + 'TestCanary.test_whole_life',
    ),
    row(
        'T7',
        'an old hand-over is replayed',
        API + 'test_custody.TestSend.test_once',
        'verifier/custody/handover.py:_check_send',
        'if asked.status != MigrationState.RECEIVING:',
        'if False:',
        _BUS + 'test_replay_of_an_old_transfer',
    ),
    row(
        'T9',
        'a fork: two hosts that can open one key',
        _BACKUP + 'test_copy_while_undecided',
        'custody/ledger.py:check_settled',
        'if row.pending is not None:',
        'if False:',
        _BACKUP + 'test_copy_of_a_committed_source',
        NOVA + 'test_lifecycle.TestStarts.test_start_after_the_key_left',
    ),
    row(
        'T10',
        'a message of the hand-over is dropped, doubled or exchanged',
        UNIT + 'custody.test_transcript.TranscriptTest.test_transfer',
        'custody/transcript.py:transfer_qualifying',
        'duplicate,\n        seed,',
        'seed,',
        _BUS + 'test_missing_and_unknown_fields',
    ),
    row(
        'T11',
        'an old key, or an old epoch, comes back',
        TPM + 'test_custody.RestTest.'
        'test_closed_to_an_approval_of_another_epoch',
        'custody/transcript.py:rest_ref',
        "struct.pack('>Q', epoch),",
        '',
        _BACKUP + 'test_copy_of_a_committed_source',
        UNIT + 'custody.test_approval.ApprovalTest.'
        'test_other_server_epoch_or_host',
        AGENT + 'test_vtpm_state.RollBackTest.test_state_of_a_backup',
    ),
    row(
        'T12',
        "two servers' keys change places",
        UNIT + 'attester.test_vault.VaultTest.test_another_servers_record',
        'attester/vault.py:Vault.get',
        'if (record.instance, record.epoch) != (instance, epoch):',
        'if record.epoch != epoch:',
        _BACKUP + 'test_servers_change_places',
    ),
    row(
        'T22',
        'what a success or an abort leaves behind',
        UNIT + 'attester.test_outcome.ReceiptTest.test_source_is_erased',
        'attester/outcome.py:apply_receipt',
        """check_erasable(record, has_domain)
            return None
        receipt""",
        """return record
        receipt""",
        AGENT + 'test_recovery.CrashTest.test_source_agent_after_the_transfer',
        AGENT + 'test_recovery.CrashTest.'
        'test_destination_agent_while_receiving',
    ),
    row(
        'T25',
        'somebody denies that a key was moved',
        UNIT + 'custody.test_chain.ChainTest.test_chain',
        'custody/chain.py:_next',
        '(found.version, found.prev) != (version, prev) or (',
        'False or (',
        API + 'test_log.LogTest.test_edited',
        API + 'test_log.LogTest.test_dropped',
        API + 'test_log.LogTest.test_reordered',
    ),
    row(
        'T28',
        'an aborted copy comes back to life',
        UNIT + 'attester.test_outcome.ReceiptTest.test_destination_is_erased',
        'attester/outcome.py:apply_receipt',
        """record.epoch if record.has_key else None
    )
    check_erasable(record, has_domain)
    return None""",
        """record.epoch if record.has_key else None
    )
    return record""",
        _BACKUP + 'test_copy_of_an_aborted_destination',
    ),
    row(
        'T29',
        'an epoch is used again after an abort',
        API + 'test_custody.TestWords.test_aborted_epoch_is_never_given_again',
        'verifier/custody/documents.py:next_place',
        'row.version + 1 if row',
        'row.epoch + 1 if row',
        _BACKUP + 'test_epochs_are_not_reissued',
    ),
    row(
        'T30',
        'a permit, a word or a receipt is lost',
        API + 'test_repeats.RepeatsTest.test_with_new_challenges',
        'verifier/custody/handover.py:_given',
        'if permit is None:',
        'if True:',
        _BUS + 'test_lost_transfer',
        AGENT + 'test_recovery.ServiceDownTest.test_receipt_is_lost',
        AGENT + 'test_recovery.CrashTest.test_source_host_before_the_stream',
    ),
    row(
        'T31',
        "the service's database is restored from a backup",
        API + 'test_recovery.LostTest.test_receipt',
        'verifier/custody/ledger.py:check',
        'if is_behind(row, mark):',
        'if False:',
    ),
    row(
        'T32',
        'the requirement is stripped from a flavor on the bus',
        UNIT + 'relying_party.test_moves.TestLeaving.'
        'test_flavor_that_lost_its_vtpm_on_the_bus',
        'relying_party/gate.py:Gate.standing',
        'custody=known or row is not None or server.requirement.custody',
        'custody=server.requirement.custody',
        _LIVE + 'TestBus.test_flavor_stripped',
        NOVA + 'test_lifecycle.TestStarts.test_flavor_stripped',
    ),
    row(
        'T33',
        'the stream is redirected on the bus',
        UNIT + 'custody.test_permit.PermitTest.test_stream',
        'custody/permit.py:VerifiedPermit.check_stream',
        'if told != permitted:',
        'if False:',
        AGENT + 'test_attacks.StartTest.test_redirected',
        _LIVE + 'TestBus.test_redirected_stream',
    ),
    row(
        'T36',
        'one host asks for keys without end',
        API + 'test_hostile.BoundTest.test_requests_for_a_key',
        'verifier/custody/handover.py:_forget',
        'if not old:',
        'if True:',
        AGENT + 'test_attacks.RequestTest.test_abandoned_migration_keys',
    ),
    row(
        'T38',
        "a secret is put into Nova's migrate data",
        UNIT + 'relying_party.test_streams.TestRefused.test_secret_on_the_bus',
        'relying_party/gate.py:Gate.check_migrate_data',
        'if has_secret and (',
        'if False and (',
        _LIVE + 'TestBus.test_secret_from_the_source',
        _LIVE + 'TestBus.test_secret_from_the_destination',
        _LIVE + 'TestBus.test_secret_between_preparation_and_stream',
    ),
    row(
        'T48',
        'a delete, or a restore, at an odd moment',
        UNIT
        + 'relying_party.test_deletes.TestDeletes.test_what_is_made_again',
        'relying_party/deletes.py:Deletes.destroying',
        'deleted = whole and self._is_deleted(instance)',
        'deleted = self._is_deleted(instance)',
        NOVA + 'test_attacks_lifecycle.TestEnds.test_restored',
        NOVA
        + 'test_attacks_lifecycle.TestEnds.test_deleted_while_it_is_built',
        NOVA + 'test_attacks_migration.TestStream.test_deleted_meanwhile',
    ),
    row(
        'T49',
        'the record of a migration that crashed stays in Nova',
        UNIT + 'verifier.test_nova_record.TestMigration.'
        'test_a_stale_one_beside_it',
        'verifier/nova_record.py:check_record',
        'if isinstance(one, dict) and _is_named(one, migration, kind)',
        'if isinstance(one, dict)',
        UNIT + 'verifier.test_nova_record.TestMigration.'
        'test_a_stale_one_does_not_stand_in',
        AGENT + 'test_recovery.LifeTest.'
        'test_another_migration_after_a_crash_of_nova',
    ),
)
