# SPDX-License-Identifier: Apache-2.0
"""The calls of ``conn.attestation``.

What takes keys away (evict, reissue, release, resolve) is not here: it is
decided by people, who are asked by ``openstack attestation``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from openstack import exceptions
from openstack import proxy as sdk_proxy

from korora_nova.sdk import resources


class Proxy(sdk_proxy.Proxy):
    """Hosts, results, rules and custody.

    Lists are generators over all pages; ``query`` has the filters of
    version 1.1 of the API, and ``limit``, the size of a page.
    """

    def hosts(self, **query: Any) -> Iterator[resources.Host]:
        """:param query: ``status``, ``tier``."""
        return self._list(resources.Host, **query)

    def get_host(self, host: str | resources.Host) -> resources.Host:
        return self._get(resources.Host, host)

    def approve_host(
        self, host: str, ek_hash: str, *, uncertified: bool = False
    ) -> resources.Host:
        """Approve the TPM of a host.

        :param uncertified: although no maker vouches for its EK.
        """
        response = self.put(
            f'/hosts/{host}/approval',
            json={
                'ek_hash': ek_hash,
                **({'uncertified': True} if uncertified else {}),
            },
        )
        exceptions.raise_from_response(response)
        made: resources.Host = resources.Host.existing(**response.json())
        return made

    def delete_host(
        self, host: str | resources.Host, ignore_missing: bool = True
    ) -> None:
        self._delete(resources.Host, host, ignore_missing=ignore_missing)

    def results(self, **query: Any) -> Iterator[resources.Result]:
        """:param query: ``tier``, ``changes_since``."""
        return self._list(resources.Result, **query)

    def get_result(self, host: str | resources.Result) -> resources.Result:
        return self._get(resources.Result, host)

    def references(self, **query: Any) -> Iterator[resources.Reference]:
        """:param query: ``host``."""
        return self._list(resources.Reference, **query)

    def get_reference(
        self, reference: str | resources.Reference
    ) -> resources.Reference:
        return self._get(resources.Reference, reference)

    def create_reference(self, name: str, host: str) -> resources.Reference:
        """Learn reference values from the last evidence of a host."""
        return self._create(resources.Reference, name=name, host=host)

    def delete_reference(
        self,
        reference: str | resources.Reference,
        ignore_missing: bool = True,
    ) -> None:
        self._delete(
            resources.Reference, reference, ignore_missing=ignore_missing
        )

    def policies(self, **query: Any) -> Iterator[resources.Policy]:
        """:param query: ``host``."""
        return self._list(resources.Policy, **query)

    def get_policy(self, policy: str | resources.Policy) -> resources.Policy:
        return self._get(resources.Policy, policy)

    def create_policy(self, document: Any) -> resources.Policy:
        """Create a policy from its document, under the name in it."""
        response = self.post('/policies', json={'document': document})
        exceptions.raise_from_response(response)
        made: resources.Policy = resources.Policy.existing(**response.json())
        return made

    def delete_policy(
        self, policy: str | resources.Policy, ignore_missing: bool = True
    ) -> None:
        self._delete(resources.Policy, policy, ignore_missing=ignore_missing)

    def servers(self, **query: Any) -> Iterator[resources.Server]:
        """:param query: ``issues``, ``holder``."""
        return self._list(resources.Server, **query)

    def get_server(self, server: str | resources.Server) -> resources.Server:
        return self._get(resources.Server, server)

    def migrations(self, **query: Any) -> Iterator[resources.Migration]:
        """:param query: ``instance``, ``host``, ``status``, ``kind``."""
        return self._list(resources.Migration, **query)

    def get_migration(
        self, migration: str | resources.Migration
    ) -> resources.Migration:
        return self._get(resources.Migration, migration)

    def responses(self, **query: Any) -> Iterator[resources.Response]:
        """:param query: ``all``, ``host``, ``state``, ``driver``."""
        return self._list(resources.Response, **query)

    def get_response(
        self, response: str | resources.Response
    ) -> resources.Response:
        return self._get(resources.Response, response)
