# SPDX-License-Identifier: Apache-2.0
"""Enrolment, with a service and a TPM that are made up."""

import base64
import contextlib
import dataclasses
import hashlib
import logging
import types
from unittest import mock

import fixtures
import testtools

from korora_nova import errors
from korora_nova.attester import attest, enrol
from korora_nova.tpm import keys

CERT, CHAIN = b'certificate', (b'one', b'two')
OFFER = {'credential': 'AAAA', 'secret': 'AAAA'}


@dataclasses.dataclass
class Identity:
    """What of :class:`korora_nova.tpm.keys.Identity` is sent."""

    ek_cert: bytes = CERT
    ek_chain: tuple[bytes, ...] = CHAIN
    ek_fits: bool = True
    ek_public: bytes = b'ek'
    ak_public: bytes = b'ak'
    srk_public: bytes = b'srk'
    ak_name: bytes = b'\0\x0bname'


class EnrolTest(testtools.TestCase):
    def setUp(self):
        super().setUp()
        self.client = mock.Mock()
        self.client.get_host.side_effect = errors.NotFound(
            errors.Reason.HOST_UNKNOWN
        )
        self.client.enrol.return_value = OFFER
        self.client.prove.return_value = {'status': 'pending'}
        self.tpm = types.SimpleNamespace(
            operation=contextlib.nullcontext, reclaim=int
        )
        self.attester = types.SimpleNamespace(
            host='h1', client=self.client, tpm=self.tpm, identity=Identity()
        )
        self.useFixture(
            fixtures.MockPatchObject(
                keys, 'activate_credential', return_value=b'proof'
            )
        )

    def known(self, **changed):
        self.client.get_host.side_effect = None
        self.client.get_host.return_value = {
            'status': 'approved',
            'ak_name': 'other',
            'ek_hash': 'ab' * 32,
            **changed,
        }

    def chains(self):
        return [
            call.kwargs['ek_chain'] for call in self.client.enrol.mock_calls
        ]

    def test_what_the_tpm_has_is_sent(self):
        self.assertEqual('pending', enrol.ensure(self.attester))
        self.assertEqual(
            [[base64.b64encode(one).decode() for one in CHAIN]], self.chains()
        )

    def test_a_service_of_an_earlier_release(self):
        """It refuses a field that it does not know, and gets none."""
        self.client.enrol.side_effect = [
            errors.Invalid(errors.Reason.INVALID_REQUEST),
            OFFER,
        ]
        self.assertEqual('pending', enrol.ensure(self.attester))
        self.assertEqual([], self.chains()[1])

    def test_a_request_that_is_invalid_anyway(self):
        self.attester.identity.ek_chain = ()
        self.client.enrol.side_effect = errors.Invalid(
            errors.Reason.INVALID_REQUEST
        )
        self.assertRaises(errors.Invalid, enrol.ensure, self.attester)
        self.assertEqual(1, len(self.chains()))

    def conflict(self):
        self.client.enrol.side_effect = errors.Conflict(
            errors.Reason.IDENTITY_CONFLICT
        )
        exc = self.assertRaises(errors.Conflict, enrol.ensure, self.attester)
        self.assertEqual('IDENTITY_CONFLICT', exc.reason)
        return exc.message

    def test_a_tpm_that_was_cleared(self):
        self.known(ek_hash=hashlib.sha256(CERT).hexdigest())
        self.assertIn('it was cleared', self.conflict())

    def test_another_ek(self):
        self.known()
        said = self.conflict()
        for word in ('firmware', 'ab' * 32, 'main board'):
            self.assertIn(word, said)
        self.attester.identity.ek_cert = b''
        self.known(ek_hash=hashlib.sha256(b'').hexdigest())
        self.assertIn('firmware', self.conflict())

    def test_a_tpm_of_another_host(self):
        """The service does not know this host: nothing can be compared."""
        self.assertIn('this TPM another host', self.conflict())


class ProvisionTest(testtools.TestCase):
    def said(self, certificate=None, **changed):
        """What the agent warns of when it has found its keys."""
        log = self.useFixture(fixtures.FakeLogger(level=logging.WARNING))
        attester = attest.Attester(
            'h1',
            types.SimpleNamespace(
                operation=contextlib.nullcontext, reclaim=int
            ),
            mock.Mock(),
            mock.Mock(),
            mock.Mock(),
            certificate,
        )
        with mock.patch.object(
            keys, 'provision', return_value=Identity(**changed)
        ):
            attester.identity  # noqa: B018
            attester.identity  # noqa: B018
        return log.output

    def test_nothing_is_wrong(self):
        self.assertEqual('', self.said())

    def test_no_certificate(self):
        said = self.said(ek_cert=b'', ek_fits=False)
        self.assertIn('no EK certificate', said)
        self.assertEqual(1, said.count('[attester] ek_certificate'))

    def test_certificate_of_another_key(self):
        self.assertIn('firmware', self.said(ek_fits=False))

    def test_a_file_that_is_not_there(self):
        exc = self.assertRaises(errors.Unavailable, self.said, '/no/file')
        self.assertIn('ek_certificate = /no/file', exc.message)
