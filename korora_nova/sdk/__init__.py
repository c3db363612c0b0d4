# SPDX-License-Identifier: Apache-2.0
"""``conn.attestation`` for openstacksdk.

In clouds.yaml, for every program that uses it::

    clouds:
      mycloud:
        vendor_hook: korora_nova.sdk:extend

or in a program::

    conn = openstack.connect(cloud='mycloud')
    sdk.extend(conn)
    for host in conn.attestation.hosts(tier='none'):
        print(host.name, host.reasons)
"""

from __future__ import annotations

from openstack import connection, service_description

from korora_nova.sdk import proxy

SERVICE_TYPE = 'attestation'


class AttestationService(service_description.ServiceDescription[proxy.Proxy]):
    """The attestation service, as openstacksdk describes services."""

    supported_versions = {'1': proxy.Proxy}


def extend(conn: connection.Connection) -> None:
    """Give a connection the attribute ``attestation``."""
    conn.add_service(AttestationService(SERVICE_TYPE))
