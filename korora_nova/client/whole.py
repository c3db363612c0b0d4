# SPDX-License-Identifier: Apache-2.0
"""The client of the whole API."""

from __future__ import annotations

from keystoneauth1 import exceptions as ks_exc
from keystoneauth1 import loading as ks_loading
from oslo_config import cfg

from korora_nova import errors, transport
from korora_nova.client.appraisal import AppraisalCalls
from korora_nova.client.custody import CustodyCalls
from korora_nova.client.hosts import HostCalls
from korora_nova.client.http import TIMEOUT, Answer


class AttestationClient(HostCalls, AppraisalCalls, CustodyCalls):
    """One method per call of the API."""

    def versions(self) -> Answer:
        return self._get('/')

    def keys(self) -> Answer:
        """Public keys of the service, in the form of keys.json."""
        return self._get('/v1/keys')


def from_conf(conf: cfg.ConfigOpts, group: str) -> AttestationClient:
    """Client with the keystoneauth options of a configuration group.

    Without credentials every call raises Unavailable.

    :raises Unavailable: SERVICE_UNAVAILABLE, the options are unusable.
    """
    try:
        auth = ks_loading.load_auth_from_conf_options(conf, group)
        session = ks_loading.load_session_from_conf_options(
            conf, group, auth=auth
        )
        if session.timeout is None:
            session.timeout = TIMEOUT
        transport.bound(session)
        return AttestationClient(
            ks_loading.load_adapter_from_conf_options(
                conf, group, session=session, auth=auth
            )
        )
    except ks_exc.ClientException as exc:
        raise errors.Unavailable(
            errors.Reason.SERVICE_UNAVAILABLE,
            f'The section [{group}] does not give usable credentials: '
            f'{type(exc).__name__}.',
        ) from exc
