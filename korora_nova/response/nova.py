# SPDX-License-Identifier: Apache-2.0
"""The calls of Nova's API that responses are made of."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib import parse as urls

import requests
from keystoneauth1 import exceptions as ks_exc
from keystoneauth1 import loading as ks_loading
from oslo_config import cfg

from korora_nova import conf as options
from korora_nova import errors, transport

#: 2.69 tells services of a cell that does not answer from those that are
#: gone; 2.65 ends migrations in preparation.
MICROVERSION = '2.69'
#: Seconds to connect, and for an answer as a whole.
TIMEOUT = 10.0
#: Statuses of a live migration that can be ended.
RUNNING = ('queued', 'preparing', 'running')
_PAGE = 200


@dataclasses.dataclass(frozen=True)
class Compute:
    """A nova-compute.

    :param id: '' while its cell does not answer.
    :param reason: why it is disabled.
    """

    host: str
    id: str
    disabled: bool
    reason: str

    @property
    def known(self) -> bool:
        return bool(self.id)


@dataclasses.dataclass(frozen=True)
class Migration:
    """A live migration under way; ``id`` is Nova's number of it."""

    id: str
    server: str
    source: str
    dest: str


@dataclasses.dataclass(frozen=True)
class Server:
    """A server on a host.

    :param task: what Nova does with it; '' for nothing.
    :param extra_specs: of its flavor; None if Nova does not show them.
    """

    id: str
    status: str
    task: str
    extra_specs: Mapping[str, object] | None


class NovaApi:
    """Nova, with the credentials in ``[response]``.

    All calls raise Unavailable, NOVA_UNAVAILABLE, if Nova does not answer as
    it should; nothing is said about what was asked for then.

    :param adapter: of keystoneauth, for the service type compute.
    """

    def __init__(self, adapter: Any) -> None:
        self._adapter = adapter

    def computes(self, host: str = '') -> list[Compute]:
        """nova-compute of all hosts, or of one."""
        query = {'binary': 'nova-compute', **({'host': host} if host else {})}
        return [
            Compute(
                _text(one, 'host'),
                _text(one, 'id'),
                one.get('status') == 'disabled',
                _text(one, 'disabled_reason'),
            )
            for one in self._list('/os-services', query, 'services')
        ]

    def compute(self, host: str) -> Compute | None:
        """That of one host; None if Nova has none."""
        found = self.computes(host)
        for one in found:
            if not one.known:
                raise unavailable(f'the cell of host {host} does not answer')
        return found[0] if found else None

    def disable(self, compute: Compute, reason: str) -> None:
        """Take it from the scheduler."""
        self._put(compute, status='disabled', disabled_reason=reason)

    def enable(self, compute: Compute) -> None:
        """Give it back."""
        self._put(compute, status='enabled')

    def _put(self, compute: Compute, **body: str) -> None:
        self._call('PUT', f'/os-services/{compute.id}', 200, json=body)

    def migrations(self, host: str) -> list[Migration]:
        """Live migrations from and to a host that can be ended."""
        return [
            Migration(
                str(one.get('id')),
                _text(one, 'instance_uuid'),
                _text(one, 'source_compute'),
                _text(one, 'dest_compute'),
            )
            for status in RUNNING
            for one in self._list(
                '/os-migrations',
                {
                    'host': host,
                    'status': status,
                    'migration_type': 'live-migration',
                },
                'migrations',
            )
        ]

    def abort(self, migration: Migration) -> bool:
        """End a live migration; False: it has ended already."""
        return self._try(
            'DELETE',
            f'/servers/{migration.server}/migrations/{migration.id}',
        )

    def servers(self, host: str) -> Iterator[Server]:
        """All servers on a host, page by page."""
        marker = ''
        while True:
            query = {
                'all_tenants': '1',
                'host': host,
                'limit': str(_PAGE),
                **({'marker': marker} if marker else {}),
            }
            page = list(self._list('/servers/detail', query, 'servers'))
            for one in page:
                yield _server(one)
            # A marker that does not go on would never end.
            last, marker = marker, _text(page[-1], 'id') if page else ''
            if len(page) < _PAGE or marker == last:
                return

    def server(self, id: str) -> Server | None:
        """One server; None: Nova has it no more."""
        answer = self._call('GET', f'/servers/{id}', 200, 404)
        if answer is None:
            return None
        found = answer.get('server')
        if not isinstance(found, dict):
            raise unavailable('an answer of another form')
        return _server(found)

    def migrate(self, server: str) -> bool:
        """Begin a live migration to wherever the scheduler likes.

        :returns: False: Nova refuses to.
        """
        return self._try(
            'POST',
            f'/servers/{server}/action',
            json={'os-migrateLive': {'host': None, 'block_migration': 'auto'}},
        )

    def _try(self, method: str, path: str, **kwargs: object) -> bool:
        """Whether a request was accepted; 400, 404 and 409 are a no."""
        answer = self._call(method, path, 202, 400, 404, 409, **kwargs)
        return answer is not None

    def _list(
        self, path: str, query: Mapping[str, str], name: str
    ) -> Iterator[Mapping[str, object]]:
        answer = self._call('GET', f'{path}?{urls.urlencode(query)}', 200)
        found = answer.get(name) if answer is not None else None
        if not isinstance(found, list):
            raise unavailable('an answer of another form')
        for one in found:
            if not isinstance(one, dict):
                raise unavailable('an answer of another form')
            yield one

    def _call(
        self, method: str, path: str, good: int, *bad: int, **kwargs: object
    ) -> Mapping[str, object] | None:
        """The answer; None for a status of ``bad``."""
        try:
            reply = transport.read(
                self._adapter.request(
                    path,
                    method,
                    microversion=MICROVERSION,
                    raise_exc=False,
                    stream=True,
                    timeout=TIMEOUT,
                    rate_semaphore=transport.UNTHROTTLED,
                    **kwargs,
                )
            )
        except (ks_exc.ClientException, requests.RequestException) as exc:
            raise unavailable(type(exc).__name__) from exc
        if reply.status in bad:
            return None
        if reply.status != good:
            raise unavailable(f'HTTP {reply.status} to {method} {_bare(path)}')
        try:
            answer = reply.json() if reply.body else {}
        except ValueError:
            raise unavailable('no JSON') from None
        if not isinstance(answer, dict):
            raise unavailable('an answer of another form')
        return answer


def _bare(path: str) -> str:
    return path.partition('?')[0]


def _server(one: Mapping[str, object]) -> Server:
    flavor = one.get('flavor')
    specs = flavor.get('extra_specs') if isinstance(flavor, dict) else None
    return Server(
        _text(one, 'id'),
        _text(one, 'status'),
        _text(one, 'OS-EXT-STS:task_state'),
        specs if isinstance(specs, dict) else None,
    )


def _text(one: Mapping[str, object], name: str) -> str:
    value = one.get(name)
    return value if isinstance(value, str) else ''


def is_uuid(text: str) -> bool:
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False


def unavailable(why: str) -> errors.Unavailable:
    return errors.Unavailable(
        errors.Reason.NOVA_UNAVAILABLE,
        f'Nova does not do what it is asked for: {why}.',
        details={'why': why},
    )


#: Makes the client when it is needed.
Api = Callable[[], NovaApi]


def from_conf(conf: cfg.ConfigOpts) -> NovaApi:
    """Nova with the keystoneauth options of ``[response]``.

    :raises Unavailable: NOVA_UNAVAILABLE, they are unusable.
    """
    group = options.RESPONSE
    try:
        auth = ks_loading.load_auth_from_conf_options(conf, group)
        session = ks_loading.load_session_from_conf_options(
            conf, group, auth=auth
        )
        if session.timeout is None:
            session.timeout = TIMEOUT
        transport.bound(session)
        return NovaApi(
            ks_loading.load_adapter_from_conf_options(
                conf, group, session=session, auth=auth
            )
        )
    except ks_exc.ClientException as exc:
        raise unavailable(
            f'[{group}] does not give usable credentials: {type(exc).__name__}'
        ) from exc
