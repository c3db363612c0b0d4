# SPDX-License-Identifier: Apache-2.0
"""REST client of the attestation service: one method per call of its API.

Bodies and answers are those of the API reference.  Errors are Tempest's
exceptions; their ``resp_body`` has ``reason``, ``message`` and ``details``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias
from urllib import parse

from tempest.lib.common import rest_client

#: Tempest's ResponseBody: a dict, with the response as an attribute.
Body: TypeAlias = Any
Json = dict[str, Any]


class AttestationClient(rest_client.RestClient):
    """The API with the credentials of one user."""

    # Versions and keys

    def list_versions(self) -> Body:
        return self._call('GET', '')

    def show_keys(self) -> Body:
        return self._call('GET', 'v1/keys')

    # Hosts

    def list_hosts(self) -> Body:
        return self._call('GET', 'v1/hosts')

    def show_host(self, host: str) -> Body:
        return self._call('GET', _path('hosts', host))

    def approve_host(self, host: str, **body: Any) -> Body:
        """:param ek_hash: SHA-256 of the EK certificate, in hex."""
        return self._call('PUT', _path('hosts', host, 'approval'), body)

    def delete_host(self, host: str, **query: str) -> Body:
        """:param force: 'true' if it may hold keys."""
        return self._call('DELETE', _path('hosts', host) + _query(query))

    def evict_host(self, host: str, **body: Any) -> Body:
        """:param reason: why; ``dry_run`` and ``after`` are optional."""
        return self._call('POST', _path('hosts', host, 'evict'), body)

    # What an agent sends about its own host

    def enrol(self, host: str, **body: Any) -> Body:
        return self._call('POST', _path('hosts', host, 'enrolment'), body)

    def prove_enrolment(self, host: str, **body: Any) -> Body:
        return self._call(
            'POST', _path('hosts', host, 'enrolment', 'proof'), body
        )

    def create_challenge(self, host: str, challenge_class: str) -> Body:
        return self._call(
            'POST',
            _path('hosts', host, 'challenges'),
            {'class': challenge_class},
        )

    def send_evidence(self, host: str, **body: Any) -> Body:
        return self._call('POST', _path('hosts', host, 'evidence'), body)

    # Results

    def list_results(self, etag: str | None = None, **query: Any) -> Body:
        """:param etag: if it is current, the answer is an empty 304."""
        headers = {} if etag is None else {'If-None-Match': etag}
        return self._call('GET', 'v1/results' + _query(query), headers=headers)

    def show_snapshot(self, **query: Any) -> Body:
        return self._call('GET', 'v1/snapshot' + _query(query))

    def show_result(self, host: str) -> Body:
        return self._call('GET', _path('results', host))

    # Reference values

    def create_reference(self, **body: Any) -> Body:
        return self._call('POST', 'v1/references', body)

    def list_references(self) -> Body:
        return self._call('GET', 'v1/references')

    def show_reference(self, name: str) -> Body:
        return self._call('GET', _path('references', name))

    def delete_reference(self, name: str) -> Body:
        return self._call('DELETE', _path('references', name))

    # Policies

    def create_policy(self, document: Any) -> Body:
        return self._call('POST', 'v1/policies', {'document': document})

    def list_policies(self) -> Body:
        return self._call('GET', 'v1/policies')

    def show_policy(self, name: str) -> Body:
        return self._call('GET', _path('policies', name))

    def update_policy(self, name: str, document: Any, revision: int) -> Body:
        return self._call(
            'PUT',
            _path('policies', name),
            {'document': document, 'revision': revision},
        )

    def delete_policy(self, name: str) -> Body:
        return self._call('DELETE', _path('policies', name))

    def show_policy_differences(self, name: str, host: str) -> Body:
        return self._call('GET', _path('policies', name, 'differences', host))

    def check_policy(self, name: str, **query: str) -> Body:
        """:param all: 'true'; ``limit`` and ``marker``."""
        return self._call(
            'GET', _path('policies', name, 'check') + _query(query)
        )

    def propose_policy(self, document: Any, **more: Any) -> Body:
        """:param learn: names of hosts; ``all``, ``limit``, ``marker``."""
        return self._call(
            'POST', 'v1/policy-proposals', {'document': document, **more}
        )

    # Custody

    def list_servers(self, **query: str) -> Body:
        """:param issues: 'true'; ``holder``, ``limit`` and ``marker``."""
        return self._call('GET', 'v1/servers' + _query(query))

    def show_server(self, server: str) -> Body:
        return self._call('GET', _path('servers', server))

    def reissue_server(self, server: str, **body: Any) -> Body:
        """:param reason: why; ``fenced`` and ``dry_run`` are optional."""
        return self._call('POST', _path('servers', server, 'reissue'), body)

    def release_server(self, server: str, **body: Any) -> Body:
        """:param reason: why; ``force`` and ``dry_run`` are optional."""
        return self._call('POST', _path('servers', server, 'release'), body)

    def list_migrations(self) -> Body:
        return self._call('GET', 'v1/migrations')

    def show_migration(self, migration: str) -> Body:
        return self._call('GET', _path('migrations', migration))

    def watch_migration(self, migration: str) -> Body:
        return self._call('GET', _path('migrations', migration, 'watch'))

    def resolve_migration(self, migration: str, **body: Any) -> Body:
        """:param keep: 'source' or 'destination'; ``reason``: why."""
        return self._call(
            'POST', _path('migrations', migration, 'resolve'), body
        )

    def list_receipts(self, **query: Any) -> Body:
        """:param since: a sequence number."""
        return self._call('GET', 'v1/receipts' + _query(query))

    def present_documents(self, documents: Sequence[str]) -> Body:
        return self._call(
            'POST', 'v1/documents', {'documents': list(documents)}
        )

    # Responses to lost trust

    def list_responses(self, **query: str) -> Body:
        """:param all: 'true': those that are over, too."""
        return self._call('GET', 'v1/responses' + _query(query))

    def show_response(self, response: str) -> Body:
        return self._call('GET', _path('responses', response))

    def approve_response(self, response: str, **body: Any) -> Body:
        """:param reason: why; so for all that is decided."""
        return self._call(
            'POST', _path('responses', response, 'approve'), body
        )

    def reject_response(self, response: str, **body: Any) -> Body:
        return self._call('POST', _path('responses', response, 'reject'), body)

    def revert_response(self, response: str, **body: Any) -> Body:
        return self._call('POST', _path('responses', response, 'revert'), body)

    def revert_responses(self, **body: Any) -> Body:
        return self._call('POST', 'v1/responses/revert', body)

    def resume_responses(self, **body: Any) -> Body:
        return self._call('POST', 'v1/responses/resume', body)

    # Transport

    def _call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        headers: Mapping[str, str] | None = None,
    ) -> Body:
        text = None if body is None else json.dumps(body)
        response, answer = self.request(
            method,
            path,
            headers={**self.get_headers(), **(headers or {})},
            body=text,
        )
        self.expected_success([200, 204, 304], response.status)
        return rest_client.ResponseBody(
            response, json.loads(answer) if answer else {}
        )

    def exchange(
        self,
        method: str,
        path: str,
        *,
        body: str | bytes | None = None,
        headers: Mapping[str, str] | None = None,
        authenticated: bool = True,
    ) -> tuple[Any, Json]:
        """Send one request as it is; no status raises an error.

        :param headers: all of them but the token; by default those for JSON.
        :param authenticated: whether to send the user's token.
        :returns: the response, and its JSON, which may be empty.
        """
        sent = dict(self.get_headers() if headers is None else headers)
        if authenticated:
            url, sent, body = self.auth_provider.auth_request(
                method, path, sent, body, self.filters
            )
        else:
            url = f'{self.base_url}/{path}'
        response, answer = self.raw_request(
            url, method, headers=sent, body=body
        )
        return response, _document(answer)


def _document(answer: bytes) -> Json:
    try:
        document = json.loads(answer)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _path(*parts: str) -> str:
    return '/'.join(['v1', *(parse.quote(part, safe='') for part in parts)])


def _query(parameters: Mapping[str, Any]) -> str:
    """Underscores stand for the hyphens of the API."""
    return (
        '?'
        + parse.urlencode(
            {
                name.replace('_', '-'): value
                for name, value in parameters.items()
            }
        )
        if parameters
        else ''
    )
