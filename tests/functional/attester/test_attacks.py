# SPDX-License-Identifier: Apache-2.0
"""Attacks on hand-overs and vaults, against real TPMs (swtpm)."""

from __future__ import annotations

import base64
import copy
import dataclasses
import json
import threading
from typing import Any
from unittest import mock

from korora_nova import errors
from korora_nova.attester.source import Source
from korora_nova.custody import operations
from korora_nova.custody.transfer import Transfer, WrapRequest
from korora_nova.custody.words import VaultState
from tests.support import hosts

_R = errors.Reason


class AttackCase(hosts.HostsTestCase):
    def assert_aborted(self, migration: str) -> None:
        """S holds the key as before, D has nothing, a retry succeeds."""
        self.h2.libvirt.domains.pop(self.instance, None)
        self.h2.settle()
        self.h1.settle()
        self.assertEqual('held', self.h1.state(self.instance))
        self.assertEqual('none', self.h2.state(self.instance))
        self.assertEqual({}, self.h2.libvirt.secrets)
        row = self.ledger()
        self.assertEqual(('h1', None), (row['holder'], row['pending']))
        self.assertEqual(0, self.h2.hardware.transient_objects())
        self.open(self.h1)
        self.migrate(self.h1, self.h2)
        self.open(self.h2)

    def tamper_with_transfer(self, change: Any) -> str:
        """One migration whose transfer is changed on the bus."""
        genuine = self.h2.agent.bus.ask

        def ask(*args: Any) -> Transfer:
            transfer = copy.deepcopy(genuine(*args).to_json())
            answer = change(transfer)
            return Transfer.from_json(transfer if answer is None else answer)

        self.h2.agent.destination._ask = ask
        migration = self.nova_migrates(self.h1, self.h2)
        try:
            self.refused_transfer(migration)
        finally:
            self.h2.agent.destination._ask = genuine
        return migration

    def refused_transfer(self, migration: str) -> None:
        error = self.assertRaises(
            errors.CustodyError, self.receive, self.h1, self.h2, migration
        )
        self.assertIn(
            error.reason,
            (_R.TRANSFER_INVALID, _R.PERMIT_INVALID, _R.PERMIT_MISMATCH),
        )
        self.assertNotIn(self.instance, self.h2.libvirt.secrets)


def flip(text: str, index: int) -> str:
    content = bytearray(base64.b64decode(text))
    content[index % len(content)] ^= 1
    return base64.b64encode(bytes(content)).decode()


class TransferTest(AttackCase):
    """T4, T7, T10: what travels over the bus."""

    def setUp(self) -> None:
        super().setUp()
        self.create(self.h1)

    def test_every_field_is_bound(self) -> None:
        fields = ('ak_public', 'public', 'duplicate', 'seed', 'envelope')
        for field in fields:
            for index in (3, -1):
                with self.subTest(field=field, index=index):

                    def change(
                        transfer: dict[str, Any],
                        field: str = field,
                        index: int = index,
                    ) -> None:
                        transfer[field] = flip(transfer[field], index)

                    migration = self.tamper_with_transfer(change)
                    self.h2.settle()
                    self.h1.settle()
                    status = self.admin.get_migration(migration)
                    self.assertEqual('aborted', status['status'])
        self.assert_aborted(migration)

    def test_quote_is_bound(self) -> None:
        for field in ('attest', 'signature', 'pcrs'):
            with self.subTest(field=field):

                def change(
                    transfer: dict[str, Any], field: str = field
                ) -> None:
                    quote = transfer['quote']
                    if field == 'pcrs':
                        quote['pcrs']['0'] = '00' * 32
                    else:
                        quote[field] = flip(quote[field], -1)

                self.tamper_with_transfer(change)
                self.h2.settle()
                self.h1.settle()
        self.open(self.h1)

    def test_permit_is_bound(self) -> None:
        def change(transfer: dict[str, Any]) -> None:
            head, body, signature = transfer['permit'].split('.')
            text = base64.urlsafe_b64decode(body + '==').replace(
                b'192.0.2.2', b'192.0.2.9'
            )
            body = base64.urlsafe_b64encode(text).decode().rstrip('=')
            transfer['permit'] = '.'.join((head, body, signature))

        self.assert_aborted(self.tamper_with_transfer(change))

    def test_replay_of_an_old_transfer(self) -> None:
        kept: list[dict[str, Any]] = []

        def keep(transfer: dict[str, Any]) -> None:
            kept.append(copy.deepcopy(transfer))
            transfer['seed'] = flip(transfer['seed'], -1)

        self.tamper_with_transfer(keep)
        self.h2.settle()
        self.h1.settle()
        self.assert_aborted(self.tamper_with_transfer(lambda _: kept[0]))

    def test_missing_and_unknown_fields(self) -> None:
        def drop(transfer: dict[str, Any]) -> None:
            del transfer['quote']

        def add(transfer: dict[str, Any]) -> None:
            transfer['secret'] = 'x'

        for change in (drop, add, lambda _: {}):
            self.tamper_with_transfer(change)
            self.h2.settle()
            self.h1.settle()
        self.open(self.h1)

    def test_lost_transfer(self) -> None:
        """T30: S wrapped, D never hears of it."""

        def lose(_transfer: Transfer) -> Transfer:
            raise errors.Unavailable(_R.BUS_UNAVAILABLE)

        migration = self.nova_migrates(self.h1, self.h2)
        genuine = self.h2.agent.bus.ask
        self.h2.agent.destination._ask = lambda *args: lose(genuine(*args))
        self.refused(
            _R.BUS_UNAVAILABLE, self.receive, self.h1, self.h2, migration
        )
        self.h2.agent.destination._ask = genuine
        self.assertEqual('outgoing', self.h1.state(self.instance))
        self.assert_aborted(migration)

    def test_source_changed_after_its_evidence(self) -> None:
        """T3, T13: a PCR of S moves between permit and transfer."""
        genuine = Source._part

        def part(source: Source, *args: Any) -> Any:
            record = genuine(source, *args)
            self.h1.hardware.extend(14, b'another shim')
            return record

        self.addCleanup(setattr, Source, '_part', genuine)
        Source._part = part  # type: ignore[method-assign]
        migration = self.nova_migrates(self.h1, self.h2)
        self.refused(
            _R.UNSEAL_REFUSED, self.receive, self.h1, self.h2, migration
        )
        Source._part = genuine  # type: ignore[method-assign]
        self.h1.settle()
        self.h2.settle()
        self.assertEqual('held', self.h1.state(self.instance))
        # S stays as it is now: no further evidence of it is accepted
        migration = self.nova_migrates(self.h1, self.h2)
        self.refused(
            _R.HOST_UNTRUSTED, self.receive, self.h1, self.h2, migration
        )

    def test_source_runs_a_file_meanwhile(self) -> None:
        """PCR 10 moves on every host; that alone stops nothing."""
        genuine = self.h2.agent.bus.ask

        def ask(*args: Any) -> Transfer:
            self.h1.run_file('/usr/bin/swtpm')
            self.h2.run_file('/usr/bin/swtpm')
            transfer = genuine(*args)
            self.h2.run_file('/usr/bin/swtpm')
            return transfer

        self.h2.agent.destination._ask = ask
        self.migrate(self.h1, self.h2)

    def test_destination_changed_after_its_evidence(self) -> None:
        """T2: a PCR of D moves between permit and import."""
        genuine = self.h2.agent.bus.ask

        def ask(*args: Any) -> Transfer:
            transfer = genuine(*args)
            self.h2.hardware.extend(14, b'another shim')
            return transfer

        self.h2.agent.destination._ask = ask
        migration = self.nova_migrates(self.h1, self.h2)
        self.refused(
            _R.UNSEAL_REFUSED, self.receive, self.h1, self.h2, migration
        )
        self.h2.settle()
        self.h1.settle()
        self.assertEqual('held', self.h1.state(self.instance))
        self.open(self.h1)

    def test_destination_rebooted_during_the_transfer(self) -> None:
        genuine = self.h2.agent.bus.ask

        def ask(*args: Any) -> Transfer:
            transfer = genuine(*args)
            self.h2.hardware.reboot()
            return transfer

        self.h2.agent.destination._ask = ask
        migration = self.nova_migrates(self.h1, self.h2)
        self.refused(
            _R.UNSEAL_REFUSED, self.receive, self.h1, self.h2, migration
        )


class RequestTest(AttackCase):
    """T6, T24, T36: who may ask S, and how often."""

    def test_unannounced(self) -> None:
        self.create(self.h1)
        migration = self.nova_migrates(self.h1, self.h2, announce=False)
        before = self.h1.agent.attester.tpm.count.total()
        self.refused(
            _R.NOT_ANNOUNCED, self.receive, self.h1, self.h2, migration
        )
        self.assertEqual(before, self.h1.agent.attester.tpm.count.total())
        self.h2.settle()
        self.assertEqual('held', self.h1.state(self.instance))

    def test_not_held_and_not_ours(self) -> None:
        self.create(self.h1)
        call = self.h2.agent.bus.ask
        self.refused(
            _R.MSK_TEMPLATE,
            self._ask_with,
            call,
            self.h1.agent.attester.identity.srk_public,
        )

    def _ask_with(self, call: Any, public: bytes) -> Any:
        self.h1.client.call('announce', instance=self.instance)
        request = WrapRequest(
            '00000000-0000-4000-8000-000000000009',
            self.instance,
            public,
            'h2',
        )
        return call('h1', request)

    def test_announcement_serves_few_attempts(self) -> None:
        self.create(self.h1)
        self.h1.client.call('announce', instance=self.instance)
        for _ in range(3):
            # Nova does not know of this migration
            self.refused(
                _R.MIGRATION_NOT_IN_NOVA,
                self.receive,
                self.h1,
                self.h2,
                '00000000-0000-4000-8000-00000000000%d' % _,
            )
            self.h2.settle()
        migration = self.nova_migrates(self.h1, self.h2, announce=False)
        self.refused(
            _R.NOT_ANNOUNCED, self.receive, self.h1, self.h2, migration
        )

    def test_announcement_is_spent_with_the_permit(self) -> None:
        self.create(self.h1)
        migration = self.nova_migrates(self.h1, self.h2)
        self.receive(self.h1, self.h2, migration)
        self.h2.libvirt.domains.clear()
        self.said(self.h2, 'no_domain', migration)
        self.h1.settle()
        self.assertEqual('held', self.h1.state(self.instance))
        migration = self.nova_migrates(self.h1, self.h2, announce=False)
        self.refused(
            _R.NOT_ANNOUNCED, self.receive, self.h1, self.h2, migration
        )

    def test_two_at_once(self) -> None:
        self.create(self.h1)
        migration = self.nova_migrates(self.h1, self.h2)
        entered, leave = threading.Event(), threading.Event()
        genuine = self.h2.agent.bus.ask

        def ask(*args: Any) -> Transfer:
            entered.set()
            leave.wait(10)
            return genuine(*args)

        self.h2.agent.destination._ask = ask
        first = threading.Thread(
            target=self.receive, args=(self.h1, self.h2, migration)
        )
        first.start()
        self.assertTrue(entered.wait(10))
        self.refused(_R.BUSY, self.receive, self.h1, self.h2, migration)
        leave.set()
        first.join(10)
        self.assertEqual('incoming', self.h2.state(self.instance))

    def test_same_migration_again(self) -> None:
        self.create(self.h1)
        migration = self.migrate(self.h1, self.h2)
        self.h1.client.call('announce', instance=self.instance)
        self.refused(
            _R.CUSTODY_PENDING, self.receive, self.h1, self.h2, migration
        )
        self.assertEqual('held', self.h2.state(self.instance))

    def test_abandoned_migration_keys(self) -> None:
        """T36: three hand-overs die after their MSK, then one succeeds."""
        self.create(self.h1)

        def dead(*_: Any) -> Transfer:
            raise errors.Unavailable(_R.BUS_UNAVAILABLE)

        genuine = self.h2.agent.bus.ask
        self.h2.agent.destination._ask = dead
        for _ in range(3):
            migration = self.nova_migrates(self.h1, self.h2)
            self.refused(
                _R.BUS_UNAVAILABLE,
                self.receive,
                self.h1,
                self.h2,
                migration,
            )
            self.h2.settle()
        self.h2.agent.destination._ask = genuine
        self.migrate(self.h1, self.h2)
        self.open(self.h2)

    def test_peer_without_permission(self) -> None:
        self.h1.agent.server._allowed = frozenset({65534})
        self.refused(_R.PEER_DENIED, self.h1.client.call, 'status')


class BackupTest(AttackCase):
    """T9, T11, T12, T28, T29: files that come back or change places."""

    def backup(self, machine: hosts.Machine) -> bytes:
        return machine.record_path(self.instance).read_bytes()

    def restore(self, machine: hosts.Machine, content: bytes) -> None:
        epoch = json.loads(content)['epoch']
        machine.record_path(self.instance, epoch).write_bytes(content)

    def test_copy_of_a_committed_source(self) -> None:
        self.create(self.h1)
        kept = self.backup(self.h1)
        self.migrate(self.h1, self.h2)
        self.restore(self.h1, kept)
        self.h1.libvirt.secrets.clear()
        for reason in (_R.NOT_HOLDER, _R.VAULT_MISSING):
            self.refused(
                reason,
                self.h1.client.call,
                'open',
                instance=self.instance,
            )
            # A document says that it is dead: the copy is gone
            self.assertEqual('none', self.h1.state(self.instance))
            self.assertEqual({}, self.h1.libvirt.secrets)
            self.h1.reboot()
        self.open(self.h2)
        self.restore(self.h1, kept)
        # the stale copy is in nobody's way
        self.migrate(self.h2, self.h1)
        self.open(self.h1)

    def test_copy_of_an_aborted_destination(self) -> None:
        self.create(self.h1)
        migration = self.nova_migrates(self.h1, self.h2)
        self.receive(self.h1, self.h2, migration)
        kept = self.backup(self.h2)
        self.h2.libvirt.domains.clear()
        self.said(self.h2, 'no_domain', migration)
        self.assertEqual('none', self.h2.state(self.instance))
        for _ in range(2):
            self.restore(self.h2, kept)
            self.refused(
                _R.VAULT_MISSING,
                self.h2.client.call,
                'open',
                instance=self.instance,
            )
            self.assertEqual('none', self.h2.state(self.instance))
            self.h2.reboot()
        # root edits the record into one that is held
        forged = kept.replace(b'"incoming"', b'"held"').replace(
            migration.encode(), b''
        )
        self.restore(self.h2, forged)
        self.refused(
            _R.NOT_HOLDER,
            self.h2.client.call,
            'open',
            instance=self.instance,
        )
        self.assertEqual({}, self.h2.libvirt.secrets)
        self.h1.settle()
        self.open(self.h1)

    def test_copy_while_undecided(self) -> None:
        self.create(self.h1)
        held = self.backup(self.h1)
        migration = self.nova_migrates(self.h1, self.h2)
        self.receive(self.h1, self.h2, migration)
        self.start(self.h1, self.h2, migration)
        self.restore(self.h1, held)
        self.refused(
            _R.CUSTODY_PENDING,
            self.h1.client.call,
            'open',
            instance=self.instance,
        )
        self.refused(
            _R.CUSTODY_PENDING,
            self.h2.client.call,
            'open',
            instance=self.instance,
        )

    def test_servers_change_places(self) -> None:
        other = '6b6f726f-7261-4000-8000-000000000002'
        self.create(self.h1)
        self.create(self.h1, other)
        mine = self.h1.record_path(self.instance)
        theirs = self.h1.record_path(other)
        first, second = mine.read_bytes(), theirs.read_bytes()
        mine.write_bytes(second)
        theirs.write_bytes(first)
        self.refused(
            _R.VAULT_DAMAGED,
            self.h1.client.call,
            'open',
            instance=self.instance,
        )
        # root mends the names, the TPM still tells the keys apart
        mine.write_bytes(
            second.replace(other.encode(), self.instance.encode())
        )
        self.refused(
            _R.UNSEAL_REFUSED,
            self.h1.client.call,
            'open',
            instance=self.instance,
        )

    def test_record_of_another_host(self) -> None:
        self.create(self.h1)
        self.restore(self.h2, self.backup(self.h1))
        self.refused(
            _R.NOT_HOLDER,
            self.h2.client.call,
            'open',
            instance=self.instance,
        )

    def test_epochs_are_not_reissued(self) -> None:
        """T29: an aborted epoch stays dead for the next destination."""
        self.create(self.h1)
        migration = self.nova_migrates(self.h1, self.h2)
        self.receive(self.h1, self.h2, migration)
        kept = self.backup(self.h2)
        self.h2.libvirt.domains.clear()
        self.said(self.h2, 'no_domain', migration)
        self.h1.settle()
        self.migrate(self.h1, self.h2)
        self.assertEqual(4, self.ledger()['epoch'])
        self.migrate(self.h2, self.h1)
        self.restore(
            self.h2,
            kept.replace(b'"incoming"', b'"held"').replace(
                migration.encode(), b''
            ),
        )
        self.refused(
            _R.NOT_HOLDER,
            self.h2.client.call,
            'open',
            instance=self.instance,
        )
        self.migrate(self.h1, self.h2)

    def test_damaged_record(self) -> None:
        self.create(self.h1)
        self.h1.record_path(self.instance).write_bytes(b'{"version": 2}')
        self.refused(
            _R.VAULT_DAMAGED,
            self.h1.client.call,
            'open',
            instance=self.instance,
        )
        self.h1.settle()
        self.h1.agent.attestation.step()


class StartTest(AttackCase):
    """T13, T33: what S checks before the stream."""

    def setUp(self) -> None:
        super().setUp()
        self.create(self.h1)
        self.migration = self.nova_migrates(self.h1, self.h2)
        self.receive(self.h1, self.h2, self.migration)

    def assert_refused(
        self, reason: str, state: str = 'outgoing', **changed: Any
    ) -> None:
        self.refused(
            reason, self.start, self.h1, self.h2, self.migration, **changed
        )
        self.assertEqual(state, self.h1.state(self.instance))

    def test_redirected(self) -> None:
        self.assert_refused(_R.ADDRESS_MISMATCH, address='192.0.2.66')
        self.assert_refused(_R.ADDRESS_MISMATCH, tls_name=None)
        self.assert_refused(_R.ADDRESS_MISMATCH, dest='h1')
        answer = self.start(self.h1, self.h2, self.migration)
        self.assertEqual({'address': '192.0.2.2', 'tls_name': 'h2'}, answer)

    def test_a_redirection_names_what_was_permitted(self) -> None:
        error = self.assertRaises(
            errors.CustodyError,
            self.start,
            self.h1,
            self.h2,
            self.migration,
            address='192.0.2.66',
        )
        self.assertEqual('h2 192.0.2.66 h2', error.details['nova'])
        self.assertEqual('h2 192.0.2.2 h2', error.details['permit'])

    def test_destination_turned_bad(self) -> None:
        self.h2.run_file('/tmp/rootkit')
        self.h2.agent.attestation.step()
        self.assert_refused(_R.HOST_UNTRUSTED, 'starting')
        self.said(self.h1, 'never_started', self.migration)
        self.assertEqual('held', self.h1.state(self.instance))

    def test_destination_turned_silent(self) -> None:
        """The result that comes with the start is another host's."""
        client = self.h1.agent.attester.client
        genuine = client.evidence
        token = client.get_result('h1')['token']

        def evidence(host: str, message: dict[str, Any]) -> Any:
            return {**genuine(host, message), 'peer': token}

        client.evidence = evidence
        self.assert_refused(_R.RESULT_FORGED, 'starting')
        client.evidence = genuine
        # The service has signed the start: both ends have to speak.
        self.said(self.h1, 'never_started', self.migration)
        self.assertEqual('starting', self.h1.state(self.instance))
        self.h2.libvirt.domains.clear()
        self.said(self.h2, 'no_domain', self.migration)
        self.h1.settle()
        self.assertEqual('held', self.h1.state(self.instance))

    def test_start_of_another_hand_over(self) -> None:
        client = self.h1.agent.attester.client
        genuine = client.evidence
        record = self.h1.agent.vault.current(self.instance)
        assert record is not None

        def evidence(host: str, message: dict[str, Any]) -> Any:
            return {**genuine(host, message), 'start': record.permit}

        client.evidence = evidence
        self.assert_refused(_R.DOCUMENT_INVALID, 'starting')
        client.evidence = genuine
        self.start(self.h1, self.h2, self.migration)

    def test_said_again(self) -> None:
        """Its answer was lost: the same start is given again."""
        client = self.h1.agent.attester.client
        genuine = client.evidence

        def lost(host: str, message: dict[str, Any]) -> Any:
            genuine(host, message)
            raise errors.Unavailable(_R.SERVICE_UNAVAILABLE)

        client.evidence = lost
        self.assert_refused(_R.SERVICE_UNAVAILABLE, 'starting')
        client.evidence = genuine
        version = self.ledger()['version']
        self.start(self.h1, self.h2, self.migration)
        self.assertEqual('moving', self.h1.state(self.instance))
        self.assertEqual(version, self.ledger()['version'])

    def test_another_migration(self) -> None:
        self.refused(
            _R.VAULT_STATE,
            self.start,
            self.h1,
            self.h2,
            '00000000-0000-4000-8000-000000000009',
        )

    def test_spent(self) -> None:
        self.start(self.h1, self.h2, self.migration)
        self.refused(
            _R.VAULT_STATE, self.start, self.h1, self.h2, self.migration
        )

    def test_already_aborted(self) -> None:
        self.h2.libvirt.domains.clear()
        self.said(self.h2, 'no_domain', self.migration)
        self.assert_refused(_R.MIGRATION_SPENT, 'starting')

    def test_permit_in_the_record_is_forged(self) -> None:
        record = self.h1.agent.vault.current(self.instance)
        assert record is not None
        self.h1.agent.vault.put(
            record.moved(VaultState.OUTGOING, permit='a.b.c')
        )
        self.assert_refused(_R.PERMIT_INVALID)

    def test_statements_must_fit_the_history(self) -> None:
        for host, statement in (
            (self.h1, 'stream_completed'),
            (self.h1, 'activated'),
            (self.h1, 'no_domain'),
            (self.h2, 'stream_completed'),
            (self.h2, 'never_started'),
            (self.h2, 'activated'),
        ):
            self.refused(
                _R.STATEMENT_NOT_ALLOWED,
                host.client.call,
                statement,
                instance=self.instance,
                migration=self.migration,
            )
        self.start(self.h1, self.h2, self.migration)
        self.h2.libvirt.domains[self.instance] = 'running'
        record = self.h2.agent.vault.current(self.instance)
        assert record is not None
        with mock.patch.object(
            self.h2.agent.vault,
            'of_migration',
            return_value=dataclasses.replace(record, private=b''),
        ):
            self.refused(
                _R.STATEMENT_NOT_ALLOWED,
                self.h2.client.call,
                'activated',
                instance=self.instance,
                migration=self.migration,
            )
        self.refused(
            _R.STATEMENT_NOT_ALLOWED,
            self.h1.client.call,
            'never_started',
            instance=self.instance,
            migration=self.migration,
        )


class SchemaTest(hosts.HostsTestCase):
    HOSTS = ('h1',)

    def test_every_operation_has_a_handler(self) -> None:
        self.assertEqual(
            set(operations.REQUESTS), set(self.h1.agent.operations())
        )

    def test_malformed_requests(self) -> None:
        for fields in (
            {},
            {'instance': '../../etc/passwd'},
            {'instance': 7},
            {'instance': '6b6f726f-7261-4000-8000-000000000002', 'x': 1},
        ):
            self.refused(
                _R.INVALID_REQUEST, self.h1.client.call, 'open', **fields
            )
        self.refused(_R.INVALID_REQUEST, self.h1.client.call, 'shutdown')
