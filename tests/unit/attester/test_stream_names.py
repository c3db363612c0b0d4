# SPDX-License-Identifier: Apache-2.0
"""Whose name a stream must find: what both ends make of a permit's."""

from types import SimpleNamespace
from unittest import mock

import testtools

from korora_nova import errors
from korora_nova.attester import destination, source
from korora_nova.custody import permit as permits
from korora_nova.custody.words import StreamTls

OWN, OTHER = 'own.korora.invalid', 'other.korora.invalid'


class Streams:
    """A host's certificate, as far as both ends ask."""

    def __init__(self, name: str = '', mode=StreamTls.ATTESTED) -> None:
        self.name, self.mode = name, mode

    def require_name(self) -> str:
        if not self.name:
            raise errors.CustodyError(errors.Reason.CERTIFICATE_MISSING)
        return self.name


class TestDestination(testtools.TestCase):
    def dest(self, streams: Streams, tls_name: str | None = None):
        host = mock.Mock()
        host.name = 'h2'
        calls = (mock.Mock() for _ in range(4))
        return destination.Destination(
            host, *calls, '192.0.2.2', tls_name, streams
        )

    def planned(self, mode, said, configured=None) -> str:
        """What D tells the service, as nova.conf and agent.conf have it."""
        return (
            self.dest(Streams(mode=mode), configured)
            ._plan('i', 'm', 'h1', '192.0.2.2', said)
            .tls_name
        )

    def test_what_is_told(self) -> None:
        site, transition = StreamTls.SITE, StreamTls.TRANSITION
        for name, args in (
            # Nova without TLS
            ('', (transition, '')),
            ('', (transition, '', 'h2.example')),
            ('h2', (site, '')),
            ('h2.example', (site, '', 'h2.example')),
            # and with it
            ('h2', (transition, 'h2')),
            ('h2.example', (transition, 'h2', 'h2.example')),
            ('h2.example', (site, 'h2', 'h2.example')),
        ):
            self.assertEqual(name, self.planned(*args), args)

    def accept(self, streams: Streams, permitted: str, planned: str = ''):
        """D reads a permit with this name; it goes on, or raises."""
        dest = self.dest(streams)
        plan = destination._Plan('m', 'i', 'h1', '192.0.2.2', planned)
        permit = mock.Mock()
        permit.content = SimpleNamespace(
            address='192.0.2.2', tls_name=permitted, approval_kid='k'
        )
        with (
            mock.patch.object(permits, 'verify_permit', return_value=permit),
            mock.patch.object(destination.sealing, 'approval_key'),
        ):
            dest._accept(plan, mock.Mock(), mock.Mock(), mock.Mock())

    def refused(self, reason: str, *args: object) -> None:
        error = self.assertRaises(errors.CustodyError, self.accept, *args)
        self.assertEqual(reason, error.reason)

    def test_permits(self) -> None:
        self.accept(Streams(OWN), OWN)
        # Nova's own TLS, besides, changes nothing.
        self.accept(Streams(OWN), OWN, 'h2')
        self.accept(Streams(), 'h2', 'h2')
        self.accept(Streams(), '')
        self.refused('ADDRESS_MISMATCH', Streams(OWN), OTHER)
        self.refused('CERTIFICATE_MISSING', Streams(), OWN)
        self.refused('ADDRESS_MISMATCH', Streams(OWN), 'h3', 'h2')
        self.refused('ADDRESS_MISMATCH', Streams(OWN), '', 'h2')
        # What is planned is no way around.
        self.refused('ADDRESS_MISMATCH', Streams(OWN), OTHER, OTHER)


class TestSource(testtools.TestCase):
    def start(self, streams: Streams, permitted: str, driver: str | None):
        """S's driver wants to stream; the name that it is given."""
        calls = (mock.Mock() for _ in range(5))
        sender = source.Source(*calls, streams, mock.Mock())
        permit = mock.Mock()
        permit.content = SimpleNamespace(
            address='192.0.2.2', tls_name=permitted
        )
        checked = []
        permit.check_stream = lambda **told: checked.append(told)

        def begin(instance, migration, check):
            check(permit)
            return permit

        with mock.patch.object(sender, '_begin', begin):
            answer = sender.start('i', 'm', 'h2', '192.0.2.2', driver)
        self.assertEqual(
            [
                {
                    'dest': 'h2',
                    'address': '192.0.2.2',
                    'tls_name': permitted if driver else None,
                }
            ],
            checked,
        )
        return answer.tls_name

    def test_names(self) -> None:
        self.assertEqual(OTHER, self.start(Streams(OWN), OTHER, 'h2'))
        self.assertEqual('h2', self.start(Streams(), 'h2', 'h2'))
        self.assertEqual('', self.start(Streams(), '', 'h2'))
        # A driver that does not use TLS: refused where the permit is read.
        self.start(Streams(OWN), OTHER, None)

    def test_without_certificate(self) -> None:
        """It could not show who it is."""
        error = self.assertRaises(
            errors.CustodyError, self.start, Streams(), OTHER, 'h2'
        )
        self.assertEqual('CERTIFICATE_MISSING', error.reason)
