# SPDX-License-Identifier: Apache-2.0
"""The attestation service, asked as the person who looks."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import HttpRequest
from horizon import exceptions as horizon_exc
from keystoneauth1 import adapter, session, token_endpoint
from openstack_dashboard import policy
from openstack_dashboard.api import base

from korora_nova import client, errors, transport

SERVICE_TYPE = 'attestation'
#: Seconds for one answer, and for one that the service works out first. A
#: worker of Horizon waits meanwhile.
TIMEOUT = 10.0
LONG_TIMEOUT = 45.0


class _Patient(adapter.Adapter):
    """Never waits longer than a browser would.

    :param patience: seconds.
    """

    def __init__(self, *args: Any, patience: float, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._patience = patience

    def request(self, url: str, method: str, **kwargs: Any) -> Any:
        asked = kwargs.pop('timeout', None) or self._patience
        return super().request(
            url, method, timeout=min(asked, self._patience), **kwargs
        )


def connect(
    request: HttpRequest, *, long: bool = False
) -> client.AttestationClient:
    """The API at the catalog's endpoint, with the person's token.

    :param long: for what the service works out first.
    :raises Unavailable: SERVICE_UNAVAILABLE, the catalog does not have it.
    """
    patience = float(getattr(settings, 'ATTESTATION_TIMEOUT', TIMEOUT))
    if long:
        patience = max(patience, LONG_TIMEOUT)
    return client.AttestationClient(
        _Patient(
            _session(request),
            service_type=SERVICE_TYPE,
            patience=patience,
        ),
        patience,
    )


def _session(request: HttpRequest) -> session.Session:
    try:
        endpoint = base.url_for(request, SERVICE_TYPE)
    except horizon_exc.ServiceCatalogException:
        raise errors.Unavailable(
            errors.Reason.SERVICE_UNAVAILABLE,
            'The catalog of Keystone has no endpoint of the type '
            f'{SERVICE_TYPE} in this region.',
        ) from None
    verify: bool | str = not getattr(
        settings, 'OPENSTACK_SSL_NO_VERIFY', False
    )
    if verify and getattr(settings, 'OPENSTACK_SSL_CACERT', None):
        verify = settings.OPENSTACK_SSL_CACERT
    made = session.Session(
        auth=token_endpoint.Token(endpoint, request.user.token.id),
        verify=verify,
    )
    transport.bound(made)
    return made


def may(request: HttpRequest, rule: str) -> bool:
    """Whether to show an action; the service alone decides.

    :param rule: of the service's policy, without its prefix.
    """
    action = (SERVICE_TYPE, f'{SERVICE_TYPE}:{rule}')
    return bool(policy.check((action,), request))
