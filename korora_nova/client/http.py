# SPDX-License-Identifier: Apache-2.0
"""How a call of the attestation API is made, and what it answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib import parse as urls

import requests
from keystoneauth1 import adapter as ks_adapter
from keystoneauth1 import exceptions as ks_exc

from korora_nova import errors, transport

#: Seconds to connect, and for an answer as a whole.
TIMEOUT = 30.0
#: The same for what the service has to read and compile first, or does for
#: many servers.
LONG_TIMEOUT = 300.0
#: What a balancer answers, in no JSON, when all workers are gone.
_GATEWAY = (502, 503, 504)
_SILENCE = (
    ks_exc.ConnectFailure,
    ks_exc.ConnectTimeout,
    # Of Keystone: the service's own statuses do not raise
    ks_exc.BadGateway,
    ks_exc.ServiceUnavailable,
    ks_exc.GatewayTimeout,
    requests.exceptions.ConnectionError,
    requests.exceptions.Timeout,
    requests.exceptions.ChunkedEncodingError,
)


#: Asks for lists with pages and filters; what runs by itself sends none.
VERSION = 'OpenStack-API-Version'
PAGES = {VERSION: 'attestation 1.1'}


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


class Calls:
    """The attestation API over a keystoneauth adapter.

    :param adapter: knows credentials, region and service type.
    :param timeout: seconds to connect, and for an answer as a whole.
    """

    def __init__(
        self, adapter: ks_adapter.Adapter, timeout: float = TIMEOUT
    ) -> None:
        self._adapter = adapter
        self._timeout = timeout

    def _get(self, path: str) -> Answer:
        return parse(self._request('GET', path))

    def _send(
        self,
        method: str,
        path: str,
        body: Mapping[str, object],
        timeout: float | None = None,
    ) -> Answer:
        return parse(self._request(method, path, timeout, json=dict(body)))

    def _pages(
        self,
        name: str,
        known: Mapping[str, str | None],
        **filters: str | None,
    ) -> Iterator[Answer]:
        """``/v1/NAME``, page by page.

        :param known: parameters that it has in version 1.0, too.
        :param filters: that it has not; what is empty is left out.
        :raises Invalid: VERSION_UNKNOWN, the service does not filter.
        """
        asked = {**known, **filters}
        query = {key: text for key, text in asked.items() if text}
        seen = {''}
        while True:
            text = f'?{urls.urlencode(query)}' if query else ''
            reply = self._request('GET', f'/v1/{name}{text}', headers=PAGES)
            if any(filters.values()) and VERSION not in reply.headers:
                raise errors.Invalid(errors.Reason.VERSION_UNKNOWN)
            page = parse(reply)
            yield page
            marker = str(page.get('next') or '')
            # A marker that does not go on would never end.
            if marker in seen:
                return
            seen.add(marker)
            query['marker'] = marker

    def _changed(self, name: str, etag: str) -> tuple[Answer | None, str]:
        """``/v1/NAME`` and its entity tag; None if it still is this one."""
        known = {'If-None-Match': etag} if etag else {}
        reply = self._request('GET', f'/v1/{name}', headers={**PAGES, **known})
        if reply.status == 304:
            return None, etag
        return parse(reply), str(reply.headers.get('ETag') or '')

    def _list(self, name: str, **filters: str | None) -> list[Answer]:
        """All pages of ``/v1/NAME``."""
        pages = self._pages(name, {}, **filters)
        return [one for page in pages for one in page.objects(name)]

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
            kind = (
                errors.Unreachable if _is_silence(exc) else errors.Unavailable
            )
            raise kind(
                errors.Reason.SERVICE_UNAVAILABLE,
                'The attestation service cannot be reached: '
                f'{type(exc).__name__}.',
            ) from exc
        if answer.status < 300 or answer.status == 304:
            return answer
        raise _error(answer)


def path(*parts: str) -> str:
    return '/'.join(['/v1', *(urls.quote(part, safe='') for part in parts)])


def parse(response: transport.Reply) -> Answer:
    try:
        answer = response.json()
    except (ValueError, RecursionError):
        raise malformed(response) from None
    if not isinstance(answer, dict):
        raise malformed(response)
    return Answer(answer)


def malformed(response: transport.Reply) -> errors.KororaError:
    return errors.Unavailable(
        errors.Reason.SERVICE_UNAVAILABLE,
        'The endpoint of the attestation service did not answer as its API '
        f'says (HTTP {response.status}).',
    )


def _is_silence(exc: BaseException | None) -> bool:
    """Whether nobody answered, be it Keystone on the way there.

    Keystone's refusal is an answer, and so is a certificate that does not
    verify.
    """
    if isinstance(exc, ks_exc.DiscoveryFailure):
        exc = exc.__context__
    return isinstance(exc, _SILENCE) and not isinstance(
        exc, requests.exceptions.SSLError
    )


def _error(response: transport.Reply) -> errors.KororaError:
    """The error that an answer of 4xx or 5xx reports."""
    if response.status == 401:
        return errors.Unavailable(
            errors.Reason.SERVICE_UNAVAILABLE,
            'The attestation service refuses the credentials.',
        )
    try:
        reported = parse(response)['error']
        error = errors.from_reason(
            str(reported['reason']),
            str(reported['message']),
            {str(k): str(v) for k, v in reported.get('details', {}).items()},
            response.status,
        )
    except (KeyError, TypeError, AttributeError):
        return malformed(response)
    except errors.Unavailable as exc:
        if response.status in _GATEWAY:
            return errors.Unreachable(exc.reason, exc.message)
        return exc
    if (response.status >= 500) != isinstance(error, errors.Unavailable):
        return malformed(response)
    return error
