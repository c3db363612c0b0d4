# SPDX-License-Identifier: Apache-2.0
"""What all tests share."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from typing import Any

from tempest import config, test
from tempest.lib import exceptions as lib_exc
from tempest.lib.common.utils import data_utils

from korora_tempest_plugin.services import attestation

CONF = config.CONF
Json = dict[str, Any]

#: No host, reference or policy of the cloud has a name like this.
NOWHERE = 'tempest-nowhere'


class BaseAttestationTest(test.BaseTestCase):
    """A test with an administrator of the attestation service."""

    credentials: list[Any] = ['admin']
    client: attestation.AttestationClient

    @classmethod
    def skip_checks(cls) -> None:
        super().skip_checks()
        if not CONF.service_available.attestation:
            raise cls.skipException(
                '[service_available] attestation says '
                'that there is no attestation service'
            )

    @classmethod
    def setup_credentials(cls) -> None:
        cls.set_network_resources()  # none
        super().setup_credentials()

    @classmethod
    def setup_clients(cls) -> None:
        super().setup_clients()
        cls.client = cls.os_admin.attestation.AttestationClient()

    @staticmethod
    def unique(what: str) -> str:
        """A name that belongs to this test alone."""
        return str(
            data_utils.rand_name(what, prefix=CONF.resource_name_prefix)
        )

    def assert_refused(
        self,
        exception: type[Exception],
        reason: str,
        call: Callable[..., Any],
        /,
        *args: Any,
        **kwargs: Any,
    ) -> Json:
        """Insist on an error of the API; returns what is in it."""
        raised = self.assertRaises(exception, call, *args, **kwargs)
        error: Json = raised.resp_body
        self.assertEqual(reason, error['reason'], error)
        self.assertEqual(raised.resp.status, error['code'])
        self.assertNotEqual('', error['message'])
        return error

    def wait_until(
        self, ready: Callable[[], bool], what: str, timeout: int | None = None
    ) -> None:
        """Check again and again until it is ready.

        :param timeout: seconds; by default the build timeout.
        :raises TimeoutException: it is not ready in time.
        """
        end = time.monotonic() + (timeout or CONF.attestation.build_timeout)
        while not ready():
            if time.monotonic() > end:
                raise lib_exc.TimeoutException(f'{self.id()}: {what}')
            time.sleep(CONF.attestation.build_interval)

    # Hosts

    def affirming_hosts(self) -> list[str]:
        """Names of the hosts that are trusted now.

        A cloud without any is broken: that fails a test, and skips none.
        """
        found = [
            result['host']
            for result in self.client.list_results()['results']
            if result['tier'] == 'affirming'
        ]
        self.assertNotEqual(
            [],
            found,
            'No host of this cloud is affirming: '
            'openstack attestation result list',
        )
        return found

    def wait_for_tier(
        self, host: str, tier: str, timeout: int | None = None
    ) -> None:
        """Wait until a host's result is of a tier."""
        self.wait_until(
            lambda: str(self.client.show_result(host)['tier']) == tier,
            f'{host} is not {tier}',
            timeout,
        )

    # Things that a test makes, and that are removed with it

    def forget_host(self, host: str) -> None:
        self._ignore_missing(self.client.delete_host, host, force='true')

    def create_reference(self, host: str) -> Json:
        name = self.unique('reference')
        self.addCleanup(
            self._ignore_missing, self.client.delete_reference, name
        )
        return dict(self.client.create_reference(name=name, host=host))

    def create_policy(self, document: Json) -> Json:
        self.addCleanup(
            self._ignore_missing, self.client.delete_policy, document['name']
        )
        return dict(self.client.create_policy(document))

    @staticmethod
    def _ignore_missing(
        call: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> None:
        try:
            call(*args, **kwargs)
        except lib_exc.NotFound:
            pass


def claims(token: str) -> Json:
    """What a signed token says; it is not verified here."""
    payload = token.split('.')[1]
    return dict(
        json.loads(
            base64.urlsafe_b64decode(payload + '=' * (-len(payload) % 4))
        )
    )


def policy_document(name: str, hosts: str = NOWHERE, **values: str) -> Json:
    """A policy that pins PCR 4: by references, or to one value.

    :param hosts: pattern of the hosts that it judges.
    :param values: ``pcr_4``, in hex.
    """
    pinned: Json = {'registers': [4]}
    if values:
        pinned['generations'] = [
            {'name': 'only', 'values': {'4': values['pcr_4']}}
        ]
    else:
        pinned['references'] = True
    return {
        'version': 1,
        'name': name,
        'description': 'Made by Tempest.',
        'hosts': [hosts],
        'rules': [{'pcrs': pinned}, {'ima': 'not-appraised'}],
    }
