# SPDX-License-Identifier: Apache-2.0
"""The REST APIs of Keylime's verifier and registrar, versions 2.x.

::

    GET /version                  {"results": {"supported_versions": [...]}}
    GET /v2.N/agents/?bulk=true   verifier: {"results": {AGENT: {...}}}
    GET /v2.N/agents/AGENT        registrar: {"results": {"ek_tpm": ...}}

What they say is believed of agents only, and only what has the form that it
must have. Keylime was read in its release 7.14.
"""

from __future__ import annotations

import datetime
import email.utils
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias
from urllib import parse as urls

import requests
from oslo_config import cfg

from korora_nova import transport
from korora_nova.verifier.sources import base

#: Versions of the API that are spoken, from the newest.
VERSIONS = ('2.6', '2.5', '2.4', '2.3', '2.2', '2.1', '2.0')
#: Characters of an agent's id.
MAX_ID = 255

#: What an answer has; nothing of it is checked.
Record: TypeAlias = Mapping[str, object]


class Agents(NamedTuple):
    """What the verifier says of all its agents.

    :param at: the verifier's own clock then, seconds since 1970.
    """

    agents: Mapping[str, object]
    at: float


class Deadline:
    """The time of several requests together."""

    def __init__(
        self, seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._end = clock() + seconds

    def left(self) -> float:
        """Seconds; 0 if it is over."""
        return max(self._end - self._clock(), 0.0)


class Client:
    """Both services, with one client's certificate.

    :raises Unavailable: SOURCE_INVALID.
    """

    def __init__(self, group: cfg.ConfigOpts) -> None:
        for name in (
            'verifier_url',
            'registrar_url',
            'ca_file',
            'cert_file',
            'key_file',
        ):
            if not group[name]:
                base.misconfigured(f'[keylime] {name} is not set.')
        self._verifier = _place(group.verifier_url)
        self._registrar = _place(group.registrar_url)
        self._session = requests.Session()
        # No proxy and no .netrc of the environment is meant for it.
        self._session.trust_env = False
        self._session.verify = group.ca_file
        self._session.cert = (group.cert_file, group.key_file)
        self._session.mount('https://', _Adapter(group.server_name))

    def agents(self, deadline: Deadline) -> Agents:
        """What the verifier says now, of all agents in one answer.

        :raises Unavailable: SOURCE_UNAVAILABLE.
        """
        version = self._version(self._verifier, deadline)
        reply = self._get(
            f'{self._verifier}/v{version}/agents/?bulk=true', deadline
        )
        found = _results(reply)
        if reply.status != 200 or found is None:
            raise _unexpected('verifier', reply)
        return Agents(found, _date(reply))

    def registrar(self, deadline: Deadline) -> str:
        """The version of its API to use.

        :raises Unavailable: SOURCE_UNAVAILABLE.
        """
        return self._version(self._registrar, deadline)

    def registered(
        self, version: str, agent: str, deadline: Deadline
    ) -> Record | None:
        """What the registrar has of an agent; None if nothing.

        :raises Unavailable: SOURCE_UNAVAILABLE.
        """
        name = urls.quote(agent, safe='')
        reply = self._get(
            f'{self._registrar}/v{version}/agents/{name}', deadline
        )
        if reply.status == 404:
            return None
        found = _results(reply)
        if reply.status != 200 or found is None:
            raise _unexpected('registrar', reply)
        return found

    def _version(self, place: str, deadline: Deadline) -> str:
        """The newest version that both sides speak."""
        reply = self._get(f'{place}/version', deadline)
        if reply.status == 410:
            # A verifier in push mode does not tell, and has all of them.
            return VERSIONS[0]
        found = _results(reply)
        spoken = (found or {}).get('supported_versions')
        if reply.status != 200 or not isinstance(spoken, list):
            raise _unexpected('version', reply)
        for version in VERSIONS:
            if version in spoken:
                return version
        raise base.unavailable(
            'keylime', f'{place} speaks none of the versions 2.x of the API'
        )

    def _get(self, url: str, deadline: Deadline) -> transport.Reply:
        left = deadline.left()
        if not left:
            raise base.unavailable('keylime', 'no time is left for its answer')
        try:
            return transport.read(
                self._session.get(
                    url,
                    timeout=left,
                    stream=True,
                    allow_redirects=False,
                    headers={'Accept': 'application/json'},
                )
            )
        # OSError: a file of [keylime] that cannot be read.
        except (requests.RequestException, OSError) as exc:
            raise base.unavailable(
                'keylime', f'{type(exc).__name__} for {url}'
            ) from None


class _Adapter(transport.Adapter):
    """Also compares another name than the URL's with a certificate."""

    def __init__(self, name: str | None) -> None:
        self._name = name
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        if self._name:
            kwargs['assert_hostname'] = self._name
            kwargs['server_hostname'] = self._name
        super().init_poolmanager(*args, **kwargs)


def _place(url: str) -> str:
    """:raises Unavailable: SOURCE_INVALID."""
    try:
        place = urls.urlsplit(url)
        valid = place.scheme == 'https' and place.hostname and place.port != 0
    except ValueError:
        valid = False
    if not valid:
        base.misconfigured(
            f'[keylime] has the URL {url}; it takes those with https://, a '
            'name and a port.'
        )
    return url.rstrip('/')


def _results(reply: transport.Reply) -> Record | None:
    """What is in Keylime's envelope; None if it is none."""
    try:
        found = reply.json()
    except (ValueError, RecursionError):
        return None
    results = found.get('results') if isinstance(found, dict) else None
    return results if isinstance(results, dict) else None


def _date(reply: transport.Reply) -> float:
    """The clock of who answered.

    :raises Unavailable: SOURCE_UNAVAILABLE, it does not tell.
    """
    try:
        moment = email.utils.parsedate_to_datetime(reply.headers['Date'])
        return moment.astimezone(datetime.timezone.utc).timestamp()
    except (KeyError, ValueError, TypeError, OverflowError):
        raise base.unavailable(
            'keylime', 'the answer of the verifier has no time'
        ) from None


def _unexpected(what: str, reply: transport.Reply) -> Exception:
    return base.unavailable(
        'keylime',
        f'its {what} did not answer as its API says (HTTP {reply.status})',
    )
