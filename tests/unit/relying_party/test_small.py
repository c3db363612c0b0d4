# SPDX-License-Identifier: Apache-2.0
"""Stream guard, recovery, tombstones, refusals and drift."""

import os
import pathlib
import tempfile
import threading
from concurrent import futures
from types import SimpleNamespace
from unittest import mock

import fixtures
import testtools
from nova import exception
from nova.virt.libvirt import driver as stock

from korora_nova import errors
from korora_nova.relying_party import (
    drift,
    names,
    refusal,
    stream,
    tombstone,
)

LIBVIRT = SimpleNamespace(
    VIR_MIGRATE_AUTO_CONVERGE=8192,
    VIR_MIGRATE_POSTCOPY=32768,
    VIR_MIGRATE_TLS=65536,
    VIR_MIGRATE_TUNNELLED=4,
    VIR_MIGRATE_PARAM_TLS_DESTINATION='tls.destination',
)


class Domain:
    def migrateToURI3(self, dconnuri, params=None, flags=0):  # noqa: N802
        self.seen = (dconnuri, params, flags)

    def ID(self):  # noqa: N802
        return 7


class TestStream(testtools.TestCase):
    def setUp(self):
        super().setUp()
        self.domain = Domain()

    def test_postcopy_is_cleared(self):
        guarded = stream.StreamDomain(self.domain, LIBVIRT, None)
        guarded.migrateToURI3('uri', params={'a': 1}, flags=32768 | 1)
        self.assertEqual(('uri', {'a': 1}, 1), self.domain.seen)

    def test_auto_converge_where_postcopy_stood_in_for_it(self):
        for converge, flags, sent in (
            (True, 32768 | 1, 8192 | 1),
            (False, 32768 | 1, 1),
            # Nova has decided that itself.
            (True, 1, 1),
            (True, 8192 | 1, 8192 | 1),
        ):
            stream.StreamDomain(
                self.domain, LIBVIRT, None, converge=converge
            ).migrateToURI3('uri', params={}, flags=flags)
            self.assertEqual(('uri', {}, sent), self.domain.seen)

    def test_tls_names_the_destination(self):
        """S1: the stream of a permit with a name is never in clear."""
        guarded = stream.StreamDomain(self.domain, LIBVIRT, 'h2.example')
        guarded.migrateToURI3('uri', params=None, flags=1)
        self.assertEqual(
            ('uri', {'tls.destination': 'h2.example'}, 65537), self.domain.seen
        )

    def test_memory_goes_where_the_permit_says(self):
        """S4: another address is of no use."""
        guarded = stream.StreamDomain(self.domain, LIBVIRT, None, 'tcp://h2')
        for given in ({}, {'migrate_uri': 'tcp://elsewhere'}):
            guarded.migrateToURI3('uri', params=given, flags=1)
            self.assertEqual(
                ('uri', {'migrate_uri': 'tcp://h2'}, 1), self.domain.seen
            )

    def test_never_through_a_tunnel(self):
        guarded = stream.StreamDomain(self.domain, LIBVIRT, 'h2', 'tcp://h2')
        error = self.assertRaises(
            errors.CustodyError, guarded.migrateToURI3, 'uri', {}, 5
        )
        self.assertEqual('STREAM_TUNNELLED', error.reason)
        self.assertFalse(hasattr(self.domain, 'seen'))

    def test_all_else_is_the_domain(self):
        self.assertEqual(
            7, stream.StreamDomain(self.domain, LIBVIRT, None).ID()
        )

    def test_recovery_notes_its_return(self):
        before = mock.Mock()
        recovery = stream.Recovery(
            lambda *args, **kwargs: (args, kwargs), before
        )
        self.assertFalse(recovery.returned)
        self.assertEqual(((1,), {'b': 2}), recovery(1, b=2))
        self.assertTrue(recovery.returned)
        before.assert_called_once_with(1, b=2)

    def test_recovery_that_raises_did_not_return(self):
        def fail():
            raise ValueError

        recovery = stream.Recovery(fail, mock.Mock())
        self.assertRaises(ValueError, recovery)
        self.assertFalse(recovery.returned)


class TestWatchedGuest(testtools.TestCase):
    """Looks at a stream: how it ended is Nova's to find out."""

    def setUp(self):
        super().setUp()
        self.watch()

    def watch(self):
        self.future = futures.Future()
        self.guest = mock.Mock(_domain='domain')
        self.watched = stream.WatchedGuest(self.guest, self.future)

    def look(self):
        """Whether the stream was over when Nova's guest was asked."""
        self.guest.get_job_info.side_effect = self.future.done
        return self.watched.get_job_info()

    def test_the_first_look_waits_for_the_end(self):
        for end, with_ in (
            (futures.Future.set_result, [None]),
            (futures.Future.set_exception, [ValueError()]),
            (futures.Future.cancel, []),
        ):
            self.watch()
            timer = threading.Timer(0.05, end, [self.future, *with_])
            timer.start()
            self.assertTrue(self.look())
            timer.join()

    def test_but_not_for_ever(self):
        with mock.patch.object(stream, 'FIRST_LOOK', 0.01):
            self.assertFalse(self.look())

    def test_later_ones_are_as_in_nova(self):
        with mock.patch.object(stream, 'FIRST_LOOK', 0.01):
            self.look()
        with mock.patch.object(stream, 'FIRST_LOOK', 600):
            self.assertFalse(self.look())

    def test_all_else_is_the_guest(self):
        self.assertEqual('domain', self.watched._domain)
        self.watched.abort_job()
        self.guest.abort_job.assert_called_once_with()
        self.guest.get_job_info.assert_not_called()


class TestNames(testtools.TestCase):
    A = '00000000-0000-0000-0000-00000000000a'

    def test_set(self):
        path = self.useFixture(fixtures.TempDir()).path
        first = names.Names(path, 'some')
        self.assertNotIn(self.A, first)
        first.discard(self.A)
        first.add(self.A)
        first.add(self.A)
        self.assertIn(self.A, names.Names(path, 'some'))
        self.assertNotIn(self.A, names.Names(path, 'others'))
        self.assertEqual([self.A], first.list())
        first.discard(self.A)
        self.assertEqual([], first.list())

    def test_only_uuids_become_names(self):
        path = self.useFixture(fixtures.TempDir()).path
        some = names.Names(path, 'some')
        some.add(self.A)
        foreign = pathlib.Path(path, 'foreign')
        foreign.touch()
        for hostile in ('../../foreign', str(foreign), '.', ''):
            self.assertRaises(ValueError, some.add, hostile)
            self.assertRaises(ValueError, some.discard, hostile)
            self.assertNotIn(hostile, some)
        self.assertTrue(foreign.exists())
        pathlib.Path(path, 'korora', 'some', 'junk').touch()
        self.assertEqual([self.A], some.list())


class TestTombstones(testtools.TestCase):
    A = '00000000-0000-0000-0000-00000000000a'
    B = '00000000-0000-0000-0000-00000000000b'

    def setUp(self):
        super().setUp()
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.stones = tombstone.Tombstones(temporary.name)
        self.path = temporary.name

    def test_kept_until_taken(self):
        self.assertEqual([], self.stones.list())
        self.stones.add(self.A)
        self.stones.add(self.A)
        self.stones.add(self.B)
        again = tombstone.Tombstones(self.path)
        self.assertEqual([self.A, self.B], again.list())
        again.settle(lambda instance: False)
        self.assertEqual([self.A, self.B], again.list())
        again.settle(lambda instance: True)
        self.assertEqual([], again.list())

    def test_only_uuids_become_names(self):
        self.stones.add('../../etc/passwd')
        self.assertEqual([], self.stones.list())

    def test_never_raises(self):
        stones = tombstone.Tombstones(os.devnull)
        stones.add(self.A)
        self.assertEqual([], stones.list())


class TestRefusal(testtools.TestCase):
    def test_text_has_no_details(self):
        error = errors.Untrusted(
            'HOST_UNTRUSTED',
            'h3.secret.example has a bad PCR 7',
            details={'host': 'h3', 'pcr': '7'},
        )
        self.assertEqual(
            '[HOST_UNTRUSTED] ' + errors.REASONS['HOST_UNTRUSTED'],
            refusal.text(error),
        )

    def test_text_of_an_unknown_reason(self):
        text = refusal.text(errors.KororaError('FUTURE', 'h3 is bad'))
        self.assertTrue(text.startswith('[FUTURE] '))
        self.assertNotIn('h3', text)

    def test_exactly_novas_classes(self):
        error = errors.Untrusted('HOST_UNTRUSTED')
        instance = SimpleNamespace(uuid='u')
        for made, cls in (
            (refusal.plain(error, instance), exception.NovaException),
            (
                refusal.precheck(error, instance),
                exception.MigrationPreCheckError,
            ),
            (
                refusal.rollback(error, instance),
                exception.InstanceFaultRollback,
            ),
            (refusal.resize(error, instance), exception.InstanceFaultRollback),
            (
                refusal.rebuild(error, instance),
                exception.InstanceFaultRollback,
            ),
        ):
            self.assertIs(cls, type(made))
            self.assertIn('[HOST_UNTRUSTED]', made.format_message())

    def test_spawn(self):
        instance = SimpleNamespace(uuid='u')
        for reason, cls in (
            ('HOST_UNTRUSTED', exception.NovaException),
            ('TPM_UNAVAILABLE', exception.NovaException),
            ('AGENT_UNAVAILABLE', exception.NovaException),
            ('SERVICE_UNAVAILABLE', exception.BuildAbortException),
        ):
            made = refusal.spawn(errors.from_reason(reason), instance)
            self.assertIs(cls, type(made), reason)


class TestDrift(testtools.TestCase):
    def test_this_nova_is_known(self):
        self.assertEqual([], drift.differences(stock.LibvirtDriver))

    def test_renamed(self):
        class Renamed:
            pass

        for name in drift.SHAPES:
            setattr(Renamed, name, getattr(stock.LibvirtDriver, name))
        self.assertEqual([], drift.differences(Renamed))
        for name in drift.SHAPES:
            method = getattr(Renamed, name)
            delattr(Renamed, name)
            self.assertEqual([name], drift.differences(Renamed))
            setattr(Renamed, name, method)

    def test_another_parameter(self):
        class Changed(stock.LibvirtDriver):
            def spawn(self, context, instance, image_meta, extra):
                pass

        self.assertEqual(['spawn'], drift.differences(Changed))
