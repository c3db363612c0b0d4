# SPDX-License-Identifier: Apache-2.0
"""Client of the attestation service: one method per call of its API.

An :class:`Answer` is not verified: whoever relies on a signed object in it
verifies that object with pinned keys. Errors are the classes of
:mod:`korora_nova.errors`, chosen by the reason id that the service reported.
Whatever says nothing about the request itself (no connection, no endpoint,
refused credentials, HTTP 5xx, an answer that is not the API's) is
``Unavailable``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any
from urllib import parse

import requests
from keystoneauth1 import adapter as ks_adapter
from keystoneauth1 import exceptions as ks_exc
from keystoneauth1 import loading as ks_loading
from oslo_config import cfg

from korora_nova import errors, transport
from korora_nova.custody.words import CHALLENGE_HEADER

#: Seconds to connect, and for an answer as a whole.
TIMEOUT = 30.0
#: The same for a policy, which the service reads and compiles first.
POLICY_TIMEOUT = 300.0


class Answer(dict[str, Any]):
    """An object of the API, as its JSON; nothing in it is verified."""

    def member(self, name: str) -> list[Any]:
        """The list of this name.

        :raises Unavailable: SERVICE_UNAVAILABLE, there is none.
        """
        return self._members(name, object)

    def objects(self, name: str) -> list[Answer]:
        """The same, and each item is an object."""
        return [Answer(item) for item in self._members(name, dict)]

    def _members(self, name: str, kind: type) -> list[Any]:
        items = self.get(name)
        if isinstance(items, list) and all(
            isinstance(item, kind) for item in items
        ):
            return items
        raise errors.Unavailable(
            errors.Reason.SERVICE_UNAVAILABLE,
            f'The answer of the attestation service lacks a valid {name!r}.',
        )


@dataclasses.dataclass(frozen=True)
class Results:
    """One bulk answer: results by host, each with its signed token.

    :param etag: pass it to the next call, which is then cheap if nothing
        has changed.
    :param seq: pass it as ``changes_since`` to get only what has changed.
    """

    etag: str | None
    seq: int
    incarnation: str
    results: tuple[Answer, ...]


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


class AttestationClient:
    """The attestation API over a keystoneauth adapter.

    :param adapter: knows credentials, region and service type.
    :param timeout: seconds to connect, and for an answer as a whole.
    """

    def __init__(
        self, adapter: ks_adapter.Adapter, timeout: float = TIMEOUT
    ) -> None:
        self._adapter = adapter
        self._timeout = timeout

    # Versions and keys

    def versions(self) -> Answer:
        return self._get('/')

    def keys(self) -> Answer:
        """Public keys of the service, in the form of keys.json."""
        return self._get('/v1/keys')

    # What an agent sends about its own host

    def enrol(
        self,
        host: str,
        *,
        ek_cert: str,
        ek_public: str,
        ak_public: str,
        srk_public: str,
    ) -> Answer:
        """Ask for a credential; all values base64.

        :returns: ``credential``, ``secret`` (base64), ``expires_in`` (s).
        :raises Conflict: IDENTITY_CONFLICT.
        """
        return self._send(
            'POST',
            _path('hosts', host, 'enrolment'),
            {
                'version': 1,
                'ek_cert': ek_cert,
                'ek_public': ek_public,
                'ak_public': ak_public,
                'srk_public': srk_public,
            },
        )

    def prove(self, host: str, proof: str) -> Answer:
        """Answer the credential; ``proof`` is base64."""
        return self._send(
            'POST',
            _path('hosts', host, 'enrolment', 'proof'),
            {'version': 1, 'proof': proof},
        )

    def challenge(self, host: str, challenge_class: str) -> Answer:
        """Ask for a challenge of class ``steady`` or ``on-demand``."""
        return self._send(
            'POST',
            _path('hosts', host, 'challenges'),
            {'class': challenge_class},
        )

    def evidence(self, host: str, message: Mapping[str, object]) -> Answer:
        """Attest with a purpose; ``message`` is the whole body."""
        return _json(
            self._request(
                'POST',
                _path('hosts', host, 'evidence'),
                json=dict(message),
                headers={CHALLENGE_HEADER: str(message.get('challenge'))},
            )
        )

    # Hosts

    def list_hosts(self) -> list[Answer]:
        return self._get('/v1/hosts').objects('hosts')

    def get_host(self, host: str) -> Answer:
        return self._get(_path('hosts', host))

    def approve_host(self, host: str, ek_hash: str) -> Answer:
        return self._send(
            'PUT', _path('hosts', host, 'approval'), {'ek_hash': ek_hash}
        )

    def delete_host(self, host: str, *, force: bool = False) -> None:
        query = '?force=true' if force else ''
        self._request('DELETE', _path('hosts', host) + query)

    # Results

    def results(
        self,
        *,
        changes_since: int | str | None = None,
        etag: str | None = None,
    ) -> Results | None:
        """All results in one call; None if ``etag`` is still current."""
        query = ''
        if changes_since is not None:
            query = '?' + parse.urlencode({'changes-since': changes_since})
        headers = {} if etag is None else {'If-None-Match': etag}
        response = self._request('GET', '/v1/results' + query, headers=headers)
        if response.status == 304:
            return None
        answer = _json(response)
        try:
            return Results(
                response.headers.get('ETag'),
                int(answer['seq']),
                str(answer['incarnation']),
                tuple(answer.objects('results')),
            )
        except (KeyError, TypeError, ValueError):
            raise _malformed(response) from None

    def list_results(self) -> list[Answer]:
        return self._get('/v1/results').objects('results')

    def get_result(self, host: str) -> Answer:
        return self._get(_path('results', host))

    # Reference values

    def create_reference(self, name: str, host: str) -> Answer:
        return self._send(
            'POST', '/v1/references', {'name': name, 'host': host}
        )

    def list_references(self) -> list[Answer]:
        return self._get('/v1/references').objects('references')

    def get_reference(self, name: str) -> Answer:
        return self._get(_path('references', name))

    def delete_reference(self, name: str) -> None:
        self._request('DELETE', _path('references', name))

    # Policies

    def create_policy(self, document: Mapping[str, object]) -> Answer:
        """Add a policy under the name in its document.

        :raises Invalid: POLICY_INVALID; details give the JSON ``pointer``.
        :raises Conflict: POLICY_CONFLICT, the name is taken.
        """
        return self._send(
            'POST',
            '/v1/policies',
            {'document': document},
            timeout=POLICY_TIMEOUT,
        )

    def list_policies(self) -> list[Answer]:
        """All policies without their documents."""
        return self._get('/v1/policies').objects('policies')

    def get_policy(self, name: str) -> Answer:
        """A policy with its ``document``; 'exact' is the built-in one."""
        return self._get(_path('policies', name))

    def update_policy(
        self, name: str, document: Mapping[str, object], revision: int
    ) -> Answer:
        """Replace the document of a policy that was seen at a revision.

        :raises Conflict: POLICY_CONFLICT, there is a newer one.
        """
        return self._send(
            'PUT',
            _path('policies', name),
            {'document': document, 'revision': revision},
            timeout=POLICY_TIMEOUT,
        )

    def delete_policy(self, name: str) -> None:
        self._request('DELETE', _path('policies', name))

    def policy_differences(self, name: str, host: str) -> Answer:
        """What keeps a host's last evidence from satisfying a policy."""
        return self._get(_path('policies', name, 'differences', host))

    # Custody

    def list_migrations(self) -> list[Answer]:
        return self._get('/v1/migrations').objects('migrations')

    def get_migration(self, migration: str) -> Answer:
        return self._get(_path('migrations', migration))

    def abort_migration(self, migration: str, reason: str) -> Answer:
        return self._send(
            'POST', _path('migrations', migration, 'abort'), {'reason': reason}
        )

    def get_server(self, instance: str) -> Answer:
        """The ledger's row.

        :raises NotFound: the server was never protected.
        """
        return self._get(_path('servers', instance))

    def list_receipts(self, since: int = 0) -> list[str]:
        """Signed receipts with a sequence number above ``since``."""
        answer = self._get('/v1/receipts?' + parse.urlencode({'since': since}))
        return answer.member('receipts')

    def recover_ledger(self, receipts: Sequence[str]) -> Answer:
        return self._send(
            'POST', '/v1/ledger/recover', {'receipts': list(receipts)}
        )

    # Transport

    def _get(self, path: str) -> Answer:
        return _json(self._request('GET', path))

    def _send(
        self,
        method: str,
        path: str,
        body: Mapping[str, object],
        timeout: float | None = None,
    ) -> Answer:
        return _json(self._request(method, path, timeout, json=dict(body)))

    def _request(
        self,
        method: str,
        path: str,
        timeout: float | None = None,
        **kwargs: Any,
    ) -> transport.Reply:
        """Send one request; only 2xx and 304 return.

        Bodies are never logged: an enrolment's proof is a secret and
        evidence is large.
        """
        try:
            answer = transport.read(
                self._adapter.request(
                    path,
                    method,
                    raise_exc=False,
                    log=False,
                    stream=True,
                    timeout=timeout or self._timeout,
                    rate_semaphore=transport.UNTHROTTLED,
                    **kwargs,
                )
            )
        except (ks_exc.ClientException, requests.RequestException) as exc:
            raise errors.Unavailable(
                errors.Reason.SERVICE_UNAVAILABLE,
                'The attestation service cannot be reached: '
                f'{type(exc).__name__}.',
            ) from exc
        if answer.status < 300 or answer.status == 304:
            return answer
        raise _error(answer)


def _path(*parts: str) -> str:
    return '/'.join(['/v1', *(parse.quote(part, safe='') for part in parts)])


def _json(response: transport.Reply) -> Answer:
    try:
        answer = response.json()
    except (ValueError, RecursionError):
        raise _malformed(response) from None
    if not isinstance(answer, dict):
        raise _malformed(response)
    return Answer(answer)


def _malformed(response: transport.Reply) -> errors.KororaError:
    return errors.Unavailable(
        errors.Reason.SERVICE_UNAVAILABLE,
        'The endpoint of the attestation service did not answer as its API '
        f'says (HTTP {response.status}).',
    )


def _error(response: transport.Reply) -> errors.KororaError:
    """The error that an answer of 4xx or 5xx reports."""
    if response.status == 401:
        return errors.Unavailable(
            errors.Reason.SERVICE_UNAVAILABLE,
            'The attestation service refuses the credentials.',
        )
    try:
        reported = _json(response)['error']
        error = errors.from_reason(
            str(reported['reason']),
            str(reported['message']),
            {str(k): str(v) for k, v in reported.get('details', {}).items()},
            response.status,
        )
    except (KeyError, TypeError, AttributeError):
        return _malformed(response)
    except errors.Unavailable as exc:
        return exc
    if (response.status >= 500) != isinstance(error, errors.Unavailable):
        return _malformed(response)
    return error
