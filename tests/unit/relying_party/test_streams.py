# SPDX-License-Identifier: Apache-2.0
"""Live migration from h1 to h2, without Nova's driver."""

import threading
from types import SimpleNamespace
from unittest import mock

from korora_nova import errors
from tests.unit.relying_party import compute

ARRIVED = compute.MigrateData(
    target_connect_addr='h2', vtpm_secret_uuid=None, vtpm_secret_value=None
)


class Base(compute.Base):
    def setUp(self):
        super().setUp()
        self.protect()
        self.source, self.dest = self.h1.outgoing, self.h2.incoming
        self.said = []
        self.error = None
        self.called = True

    # Nova

    def prepare(self, instance=None):
        """Up to the stream; the migration, if a key moves."""
        instance = instance or self.instance
        self.dest.check(instance)
        if self.source.check(instance, compute.MigrateData()):
            self.source.announce(instance)
        self.dest.learn(instance, ARRIVED, ARRIVED.migration)
        migration = self.dest.admit(None, instance, ARRIVED)
        if migration is not None:
            self.receive(migration)
        return migration

    def receive(self, migration, data=ARRIVED):
        with self.dest.receiving(self.instance, migration) as ready:
            ready(data)

    def stock(self, context, instance, dest, post, recover, block, data):
        if self.called:
            with self.source.operation(instance) as stream:
                self.said.append(stream)
                if self.error is not None:
                    raise self.error
        if self.error is not None:
            raise self.error
        post(context, instance, dest, block, data)

    def post(self, context, instance, dest, block, data):
        self.source.completed(instance)
        self.dest.arrived(instance)

    def recover(self, context, instance, dest, data):
        self.said.append('recovered')
        self.source.rolled_back(instance, data)
        self.dest.rolled_back(instance, data)

    def send(self, instance=None, dest='h2', data=ARRIVED):
        self.source.send(
            self.stock,
            None,
            instance or self.instance,
            dest,
            self.post,
            self.recover,
            False,
            data,
        )

    def assert_holder(self, host):
        self.assertEqual(host, self.cloud.ledger[compute.UUID]['holder'])
        self.assertIsNone(self.cloud.ledger[compute.UUID]['pending'])


class TestAllowed(Base):
    def test_order(self):
        self.assertEqual(compute.MIGRATION, self.prepare())
        self.assertEqual({compute.UUID}, self.h2.agent.opened)
        self.send()
        self.assertEqual(
            ['attest', 'announce', 'start', 'stream_completed'],
            self.h1.agent.ops(),
        )
        self.assertEqual(
            ['attest', 'attest', 'receive', 'activated', 'close'],
            self.h2.agent.ops(),
        )
        (stream,) = self.said
        self.assertEqual(
            (compute.MIGRATION, 'h2', None, True),
            (
                stream.migration,
                stream.address,
                stream.tls_name,
                stream.started,
            ),
        )
        self.assert_holder('h2')
        self.assert_closed()
        # Nothing is left to be told again.
        self.source.completed(self.instance)
        self.assertEqual(4, len(self.h1.agent.ops()))

    def permit_names(self, name, *native):
        """The TLS name of a stream; native: hosts whose nova.conf has it."""
        for host in native:
            host.conf.libvirt.live_migration_with_native_tls = True
        self.prepare()
        next(iter(self.cloud.moves.values())).tls_name = name
        self.send()
        self.assertEqual('h2', dict(self.h1.agent.calls)['start']['tls_name'])
        return self.said[0].tls_name

    def test_tls_name_is_that_of_the_permit(self):
        self.assertEqual(
            'h2.example', self.permit_names('h2.example', self.h1, self.h2)
        )

    def test_tls_whatever_nova_conf_says(self):
        """S5: neither end's configuration takes it away."""
        self.assertEqual(
            'x.korora.invalid', self.permit_names('x.korora.invalid')
        )

    def test_nova_conf_may_add_tls(self):
        """A permit without name, of a service in transition."""
        self.assertEqual('h2', self.permit_names('', self.h1))

    def test_watching(self):
        """By thread, while Nova watches a protected stream, and no more."""
        seen, elsewhere = [], []

        def stock(context, instance, dest, post, recover, block, data):
            seen.append(self.source.watching)
            other = threading.Thread(
                target=lambda: elsewhere.append(self.source.watching)
            )
            other.start()
            other.join()
            if self.error is not None:
                raise self.error

        self.stock = stock
        self.prepare()
        self.send()
        self.assertFalse(self.source.watching)
        self.error = ValueError('the stream broke')
        self.source._admit = lambda *args: None
        self.assertRaises(ValueError, self.send)
        del self.source._admit
        self.assertEqual(([True, False], [False] * 2), (seen, elsewhere))

    def test_watching_ends_with_a_failure(self):
        self.prepare()
        self.error = ValueError('the stream broke')
        self.assertRaises(ValueError, self.send)
        self.assertFalse(self.source.watching)

    def test_trusted_server(self):
        self.h1.agent.vault.clear()
        self.cloud.ledger.clear()
        trusted = compute.Instance(compute.TRUSTED)
        self.assertIsNone(self.prepare(trusted))
        self.send(trusted, data=compute.MigrateData())
        self.assertEqual([None], self.said)
        self.assertEqual(['verdict'], self.h1.agent.ops())
        self.assertEqual(['attest', 'attest'], self.h2.agent.ops())

    def test_plain_server_and_dead_agents(self):
        for host in (self.h1, self.h2):
            host.agent.alive = False
        plain = compute.Instance()
        self.assertIsNone(self.prepare_plain(plain))
        self.send(plain, data=compute.MigrateData())
        self.assertEqual([None], self.said)

    def prepare_plain(self, plain):
        self.dest.check(plain)
        self.assertFalse(self.source.check(plain, compute.MigrateData()))
        self.dest.learn(plain, compute.MigrateData(), None)
        return self.dest.admit(None, plain, compute.MigrateData())

    def test_key_of_stock_nova_is_taken_first(self):
        self.h1.agent.vault.clear()
        self.cloud.ledger.clear()
        self.h1.libvirt.stock = (compute.SECRET, b'stock key')
        self.prepare()
        self.send()
        self.assertEqual(
            b'stock key', self.h2.agent.vault[compute.UUID]['value']
        )


class TestRefused(Base):
    def test_destination(self):
        """T1: a server is migrated to an untrusted host."""
        self.untrusted('h2')
        self.refused('HOST_UNTRUSTED', self.dest.check, self.instance)
        self.refused(
            'HOST_UNTRUSTED', self.dest.admit, None, self.instance, ARRIVED
        )

    def test_source(self):
        self.untrusted('h1')
        self.refused(
            'HOST_UNTRUSTED',
            self.source.check,
            self.instance,
            compute.MigrateData(),
        )
        # Who has no key may leave.
        self.h1.agent.vault.clear()
        self.cloud.ledger.clear()
        self.assertFalse(
            self.source.check(
                compute.Instance(compute.TRUSTED), compute.MigrateData()
            )
        )

    def test_secret_on_the_bus(self):
        """T38: a secret is put into Nova's migrate data."""
        data = compute.MigrateData(vtpm_secret_uuid=compute.SECRET)
        for call in (
            lambda: self.source.check(self.instance, data),
            lambda: self.dest.learn(self.instance, data, data.migration),
            lambda: self.dest.admit(None, self.instance, data),
        ):
            self.refused('SECRET_IN_MIGRATE_DATA', call)
        self.prepare()
        self.send(data=compute.MigrateData(vtpm_secret_uuid=compute.SECRET))
        self.assertEqual(['recovered'], self.said)

    def test_address(self):
        self.h2.agent.address = '192.0.2.7'
        self.refused('ADDRESS_MISMATCH', self.dest.check, self.instance)
        self.dest.compare_address()
        self.dest.compare_address()
        self.assertEqual(1, self.log.output.count('cannot migrate to this'))
        self.h2.conf.libvirt.live_migration_inbound_addr = '192.0.2.7'
        self.dest.check(self.instance)

    def check(self):
        return self.source.check(self.instance, compute.MigrateData())

    def test_tunnel(self):
        self.prepare()
        self.h1.conf.libvirt.live_migration_tunnelled = True
        self.refused('STREAM_TUNNELLED', self.check)
        self.send()
        self.assertEqual(['recovered'], self.said)
        self.assertNotIn('start', self.h1.agent.ops())
        self.assert_holder('h1')

    def test_channel(self):
        self.prepare()
        self.h1.uri = 'qemu+tcp://%s/system'
        self.refused('CHANNEL_UNAUTHENTICATED', self.check)
        self.send()
        self.assertEqual(['recovered'], self.said)
        self.assertNotIn('start', self.h1.agent.ops())
        self.assert_holder('h1')
        self.h1.conf.korora.require_authenticated_channel = False
        self.check()

    def test_channel_of_plain_servers(self):
        """I9: Nova's default stays theirs."""
        self.h1.uri = 'qemu+tcp://%s/system'
        self.h1.conf.libvirt.live_migration_tunnelled = True
        self.h1.agent.vault.clear()
        plain = compute.Instance()
        self.assertFalse(self.source.check(plain, compute.MigrateData()))
        self.send(plain, data=compute.MigrateData())
        self.assertEqual([None], self.said)

    def test_disks_and_an_old_qemu(self):
        self.prepare()
        self.h1.libvirt.names = False
        for copied, refused in ((True, True), (False, False), (None, False)):
            data = compute.MigrateData(block_migration=copied)
            if refused:
                self.refused(
                    'STREAM_DISKS_UNNAMED', self.source.check_disks, data
                )
            else:
                self.source.check_disks(data)
        self.source.check_disks(compute.MigrateData())
        self.send(
            data=compute.MigrateData(
                target_connect_addr='h2',
                vtpm_secret_uuid=None,
                block_migration=True,
            )
        )
        self.assertEqual(['recovered'], self.said)
        self.assertNotIn('start', self.h1.agent.ops())
        self.h1.libvirt.names = True
        self.source.check_disks(compute.MigrateData(block_migration=True))

    def test_redirected_stream(self):
        self.prepare()
        for address in ('evil', 'h2/../evil', '-oProxyCommand=x'):
            self.send(
                data=compute.MigrateData(
                    target_connect_addr=address, vtpm_secret_uuid=None
                )
            )
            self.assertEqual('recovered', self.said.pop())
            self.assertEqual([], self.said)
        # The agent is not asked about what is no name.
        self.assertEqual(1, self.h1.agent.ops().count('start'))
        self.assertIn('ADDRESS_MISMATCH', self.log.output)

    def test_hand_over_that_fails_is_ended_here(self):
        self.h2.agent.fail['receive'] = errors.Untrusted('HOST_UNTRUSTED')
        self.refused('HOST_UNTRUSTED', self.prepare)
        self.assertEqual(['no_domain', 'close'], self.h2.agent.ops()[-2:])
        self.assertEqual({}, self.dest._migrations)

    def test_nova_fails_while_the_key_comes(self):
        begun, failed = threading.Event(), threading.Event()
        receive = self.h2.agent._receive

        def slow(**fields):
            begun.set()
            failed.wait(10)
            return receive(**fields)

        def prepare():
            with self.dest.receiving(self.instance, compute.MIGRATION):
                begun.wait(10)
                failed.set()
                raise ValueError('no disk')

        with mock.patch.object(self.h2.agent, '_receive', slow):
            self.assertRaises(ValueError, prepare)
        # Told after the key has come: nothing of it stays.
        self.assertEqual(
            ['receive', 'no_domain', 'close'], self.h2.agent.ops()[-3:]
        )
        self.assert_closed()

    def test_nova_answers_with_another_address(self):
        other = compute.MigrateData(
            target_connect_addr='h3', vtpm_secret_uuid=None
        )
        self.refused(
            'ADDRESS_MISMATCH', self.receive, compute.MIGRATION, other
        )
        self.assertEqual(
            ['receive', 'no_domain', 'close'], self.h2.agent.ops()[-3:]
        )

    def test_refused_before_the_stream(self):
        self.prepare()
        self.h1.agent.fail['start'] = errors.Untrusted('HOST_UNTRUSTED')
        self.send()
        self.assertEqual(['recovered'], self.said)
        # Told first: Nova's own rollback may fail.
        self.assertEqual(2, self.h1.agent.ops().count('never_started'))
        self.assertIn('Refused to start the live migration', self.log.output)
        self.assert_holder('h1')
        self.assert_closed()


class TestStreamFails(Base):
    def setUp(self):
        super().setUp()
        self.prepare()
        self.error = ValueError('the stream broke')

    def test_rolled_back_by_nova(self):
        def stock(context, instance, dest, post, recover, block, data):
            with self.source.operation(instance):
                recover(context, instance, dest, data)
                raise self.error

        self.stock = stock
        self.send()
        self.assertEqual(['recovered'], self.said)
        self.assertNotIn('never_started', self.h1.agent.ops())
        self.assertIn('failed and was rolled back', self.log.output)
        self.assert_holder('h1')

    def test_before_libvirt_was_called(self):
        self.called = False
        self.send()
        self.assertEqual(['recovered'], self.said)
        self.assert_holder('h1')

    def test_nobody_knows_where_the_guest_is(self):
        self.assertRaises(ValueError, self.send)
        self.assertEqual({}, self.source._streams)

    def test_plain_server_ends_as_in_stock_nova(self):
        plain = compute.Instance()
        self.h1.agent.vault.clear()
        self.assertRaises(
            ValueError, self.send, plain, data=compute.MigrateData()
        )
        self.assertEqual([None], self.said)


class TestAfter(Base):
    """Nothing that is told fails the migration."""

    def test_agents_that_died(self):
        self.prepare()
        for host, op in ((self.h1, 'stream_completed'), (self.h2, 'close')):
            host.agent.fail[op] = errors.Unavailable('AGENT_UNAVAILABLE')
        self.h2.agent.fail['activated'] = errors.Forbidden('PEER_DENIED')
        self.send()
        for op in ('stream_completed', 'activated', 'close'):
            self.assertIn(f'did not take "{op}"', self.log.output)

    def test_never_called(self):
        self.prepare()
        self.source.rolled_back(self.instance, ARRIVED)
        self.assertEqual('never_started', self.h1.agent.ops()[-1])
        self.assert_holder('h1')

    def test_nothing_is_said_of_plain_servers(self):
        plain, data = compute.Instance(), compute.MigrateData()
        self.h1.agent.vault.clear()
        self.source.rolled_back(plain, data)
        self.dest.rolled_back(plain, data)
        self.dest.arrived(plain)
        self.assertEqual([], self.h1.agent.ops() + self.h2.agent.ops())

    def test_migration_is_found_again(self):
        """By a nova-compute that was restarted."""
        self.prepare()
        self.dest._migrations.clear()
        self.refused(
            'MIGRATION_UNKNOWN', self.dest.admit, None, self.instance, ARRIVED
        )
        self.h2.records = [
            SimpleNamespace(dest_compute='h3', uuid='another'),
            SimpleNamespace(dest_compute='h2', uuid=compute.MIGRATION),
        ]
        self.assertEqual(
            compute.MIGRATION, self.dest.admit(None, self.instance, ARRIVED)
        )

    def test_rollback_by_what_the_vault_knows(self):
        self.prepare()
        self.dest._migrations.clear()
        self.dest.rolled_back(self.instance, None)
        self.assertEqual(
            {'instance': compute.UUID, 'migration': compute.MIGRATION},
            dict(self.h2.agent.calls)['no_domain'],
        )
        self.assert_closed()

    def test_rollback_without_agent(self):
        self.prepare()
        self.dest._migrations.clear()
        self.h2.agent.alive = False
        self.dest.rolled_back(self.instance, ARRIVED)
        self.assertIn('The vault cannot be asked', self.log.output)
