# SPDX-License-Identifier: Apache-2.0
"""The client of the whole API."""

from __future__ import annotations

import time
from email import utils
from typing import Any

from keystoneauth1 import exceptions as ks_exc
from keystoneauth1 import loading as ks_loading
from oslo_config import cfg

from korora_nova import errors, transport
from korora_nova.client.appraisal import AppraisalCalls
from korora_nova.client.custody import CustodyCalls
from korora_nova.client.hosts import HostCalls
from korora_nova.client.http import TIMEOUT, Answer
from korora_nova.client.responses import ResponseCalls


class AttestationClient(
    HostCalls, AppraisalCalls, CustodyCalls, ResponseCalls
):
    """One method per call of the API."""

    def versions(self) -> Answer:
        return self._get('/')

    def keys(self) -> Answer:
        """Public keys of the service, in the form of keys.json."""
        return self._get('/v1/keys')

    def clock_offset(self) -> tuple[float | None, str]:
        """By how much this clock is ahead of the service's, and whose it was.

        Whoever serves the API may leave the time out of its answers; then
        Keystone's, which is in a token that was issued just now, counts.

        :returns: seconds, None if neither tells.
        """
        reply = self._request('GET', '/')
        try:
            said = utils.parsedate_to_datetime(reply.headers.get('Date', ''))
            return time.time() - said.timestamp(), 'the service'
        except (TypeError, ValueError):
            return self._issued_offset(), 'Keystone'

    def _issued_offset(self) -> float | None:
        before = time.time()
        session: Any = self._adapter.session
        try:
            session.invalidate()
            access = session.auth.get_access(session)
            issued = float(access.issued.timestamp())
        except (AttributeError, TypeError, ks_exc.ClientException):
            return None
        return (before + time.time()) / 2 - issued


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
