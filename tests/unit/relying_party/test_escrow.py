# SPDX-License-Identifier: Apache-2.0
"""The tenant's secret: read for a key that comes back, never made anew."""

from types import SimpleNamespace
from unittest import mock

import fixtures
import testtools
from castellan.common import exception as castellan_exception
from nova import exception, vtpm

from korora_nova import errors
from korora_nova.relying_party import escrow
from tests.unit.relying_party import compute

CONTEXT = SimpleNamespace(auth_token='a token')


class TestRead(testtools.TestCase):
    """The key manager, as Nova asks it."""

    def setUp(self):
        super().setUp()
        self.log = self.useFixture(fixtures.FakeLogger())
        self.nova = self.useFixture(
            fixtures.MockPatchObject(vtpm, 'get_or_create_secret')
        ).mock
        self.instance = compute.Instance(
            system_metadata={escrow.SECRET_UUID: compute.SECRET}
        )

    def refused(self, reason, context=CONTEXT):
        error = self.assertRaises(
            errors.KororaError, escrow.read, context, self.instance
        )
        self.assertEqual(reason, error.reason)
        return error

    def test_read(self):
        self.nova.return_value = compute.SECRET, b'canary'
        self.assertEqual(
            (compute.SECRET, b'canary'), escrow.read(CONTEXT, self.instance)
        )

    def test_not_made_anew(self):
        """Nova would, for whom it does not find in its own record."""
        for metadata in ({}, {escrow.SECRET_UUID: ''}):
            self.instance.system_metadata = metadata
            self.refused('ESCROW_MISSING')
        self.nova.assert_not_called()

    def test_deleted_by_the_tenant(self):
        self.nova.side_effect = castellan_exception.ManagedObjectNotFoundError(
            uuid=compute.SECRET
        )
        error = self.refused('ESCROW_MISSING')
        self.assertIn('vTPM is lost', error.message)

    def test_forbidden(self):
        for failure in (
            exception.VTPMSecretForbidden('Forbidden'),
            castellan_exception.Forbidden('no'),
            castellan_exception.KeyManagerError(reason='Unauthorized: token'),
        ):
            self.nova.side_effect = failure
            self.refused('ESCROW_FORBIDDEN')

    def test_without_a_token(self):
        """As at the boot of a host, whatever the key manager answers."""
        self.nova.side_effect = castellan_exception.KeyManagerError(reason='?')
        self.refused('ESCROW_FORBIDDEN', SimpleNamespace(auth_token=None))
        self.refused('ESCROW_FORBIDDEN', None)

    def test_key_manager_that_is_down(self):
        for failure in (
            castellan_exception.KeyManagerError(reason='canary refused'),
            NotImplementedError(),
            ConnectionError('canary'),
        ):
            self.nova.side_effect = failure
            error = self.refused('ESCROW_UNAVAILABLE')
            self.assertIsNone(error.__cause__)
            self.assertNotIn('canary', str(error))
        self.assertNotIn('canary', self.log.output)


class TestStarts(compute.Base):
    """Starts of a server whose key was in custody before."""

    def setUp(self):
        super().setUp()
        self.began = []
        self.cloud.ledger[compute.UUID] = {
            'holder': None,
            'epoch': 3,
            'pending': None,
        }

    def start(self, host=None):
        host = host or self.h1
        with host.starts.starting(None, self.instance) as ticket:
            self.began.append(ticket)
            return host.keys.supply(None, self.instance, ticket)

    def test_read(self):
        self.start()
        self.assertEqual([], self.h1.created)
        self.assertEqual(b'escrow', self.h1.agent.vault[compute.UUID]['value'])
        self.assertIsNone(self.began[0].escrow)
        self.assert_closed()
        self.assertNotIn('escrow', self.log.output)

    def test_refused_before_anything_is_touched(self):
        for reason in ('ESCROW_MISSING', 'ESCROW_FORBIDDEN'):
            self.h1.escrow = errors.CustodyError(reason)
            self.refused(reason, self.start)
        self.h1.escrow = errors.Unavailable('ESCROW_UNAVAILABLE')
        self.refused('ESCROW_UNAVAILABLE', self.start)
        self.assertEqual(([], []), (self.began, self.h1.created))
        self.assertEqual(['attest'] * 3, self.h1.agent.ops())
        self.h1.escrow = b'escrow'
        self.start()

    def test_untrusted_host_reads_nothing(self):
        self.untrusted('h1')
        self.h1.read = mock.Mock()
        self.refused('HOST_UNTRUSTED', self.start)
        self.h1.read.assert_not_called()

    def test_ledger_that_is_not_reached(self):
        """Nobody knows whether there was a key: nothing is made."""
        self.cloud.up = False
        self.refused('SERVICE_UNAVAILABLE', self.start)
        self.assertEqual([], self.h1.created)

    def test_new_server(self):
        self.cloud.ledger.clear()
        self.h1.escrow = errors.CustodyError('ESCROW_MISSING')
        self.start()
        self.assertEqual([compute.UUID], self.h1.created)

    def test_second_host_after_a_failed_creation(self):
        """The first one made the secret, and its key is forgotten."""
        self.cloud.ledger.clear()
        self.instance.vm_state = 'building'

        def fail():
            with self.h1.starts.starting(None, self.instance) as ticket:
                self.h1.keys.supply(None, self.instance, ticket)
                raise ZeroDivisionError

        self.assertRaises(ZeroDivisionError, fail)
        self.start(self.h2)
        self.assertEqual([], self.h2.created)
        self.assertIn(compute.UUID, self.h2.agent.vault)

    def test_key_that_was_not_prepared(self):
        """Nova asks twice in one start; the second time it reads again."""
        with self.h1.starts.starting(None, self.instance) as ticket:
            ticket.escrow = None
            self.h1.keys.supply(None, self.instance, ticket)
        self.assertEqual([], self.h1.created)

    def test_flavor_that_lost_its_vtpm(self):
        """The row says it, not the flavor."""
        instance = compute.Instance(
            {'hw:tpm_version': '2.0', 'hw:tpm_secret_security': 'user'}
        )
        with self.h1.starts.starting(None, instance) as ticket:
            self.assertTrue(ticket.standing.before)

    def test_readable_secret_of_stock_nova(self):
        self.h1.libvirt.stock = (compute.SECRET, b'stock key')
        self.h1.escrow = errors.CustodyError('ESCROW_FORBIDDEN')
        self.start()
        self.assertEqual(
            b'stock key', self.h1.agent.vault[compute.UUID]['value']
        )
