# SPDX-License-Identifier: Apache-2.0
"""Nova's own record of a server and of its migration.

Defence in depth: whoever can write on Nova's bus can forge the record, so
it never stands in for evidence.
"""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent import futures
from typing import Any, NamedTuple, Protocol, TypeAlias

from keystoneauth1 import exceptions as ks_exc
from keystoneauth1 import loading as ks_loading
from oslo_config import cfg
from oslo_log import log as logging

from korora_nova import conf as options
from korora_nova import errors, spans, trail, transport
from korora_nova.custody.moves import Move, way_back

LOG = logging.getLogger(__name__)

#: 2.59 shows the uuid of a migration.
MICROVERSION = '2.59'
#: Where nova-compute has the server: what it calls itself. Administrators
#: see it.
HOST = 'OS-EXT-SRV-ATTR:host'
TASK = 'OS-EXT-STS:task_state'
#: Servers with the task state "migrating", and no other.
_MIGRATING = '/servers?all_tenants=True&status=MIGRATING&uuid={}'
#: Seconds to connect, and for an answer as a whole.
TIMEOUT = 10.0

#: Seconds for which an answer that was asked for ahead may serve.
AHEAD = 5.0
#: Requests at once, and answers that are kept.
_AT_ONCE, _KEPT = 8, 64

#: An object of Nova's; None: it has none.
_Found: TypeAlias = Mapping[str, object] | None

#: Task state of the server, and status of the migration, when a key may be
#: handed over for it.
_UNDER_WAY: dict[Move, tuple[str, str]] = {
    Move.LIVE: ('migrating', 'preparing'),
    Move.COLD: ('resize_migrating', 'migrating'),
    Move.REVERT: ('resize_reverting', 'reverting'),
}


@dataclasses.dataclass(frozen=True)
class NovaServer:
    """A server as Nova has it.

    :param host: None before it was scheduled.
    :param status: ACTIVE, SHUTOFF, ERROR...
    """

    host: str | None
    status: str

    def to_json(self) -> dict[str, object]:
        return dict(vars(self))


class _Begun(NamedTuple):
    """Answers that are on their way.

    :param at: ``time.monotonic``.
    """

    at: float
    server: futures.Future[_Found]
    migrations: futures.Future[_Found]


class NovaRecord(Protocol):
    """Something that knows what Nova has where, and what it migrates."""

    def find_server(self, instance: str) -> NovaServer | None:
        """What Nova has; None if the server is gone, or never was.

        :raises Unavailable: NOVA_UNAVAILABLE.
        """

    def check_server(self, *, instance: str, host: str) -> None:
        """Insist that Nova has this server on this host now.

        :raises CustodyError: SERVER_NOT_IN_NOVA.
        :raises Unavailable: NOVA_UNAVAILABLE.
        """

    def ahead(self, *, instance: str, kind: Move) -> None:
        """:meth:`check` is going to be called soon; never fails."""

    def check(
        self,
        *,
        migration: str,
        instance: str,
        source: str,
        dest: str,
        kind: Move,
    ) -> None:
        """Insist that Nova prepares this migration now.

        :param migration: the hand-over's id.
        :raises CustodyError: MIGRATION_NOT_IN_NOVA.
        :raises Unavailable: NOVA_UNAVAILABLE.
        """


class KeystoneNovaRecord:
    """Nova's API, with the credentials in ``[nova]``."""

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        self._conf = conf
        self._lock = threading.Lock()
        self._adapter: Any = None
        self._pool = futures.ThreadPoolExecutor(_AT_ONCE, 'nova')
        self._begun: dict[tuple[str, Move], _Begun] = {}

    def find_server(self, instance: str) -> NovaServer | None:
        """See :class:`NovaRecord`."""
        answer = self._get(f'/servers/{instance}')
        if answer is None:
            return None
        server = answer.get('server')
        if not isinstance(server, dict) or HOST not in server:
            raise _unavailable(f'no {HOST} in the answer: a missing role?')
        host = server[HOST]
        return NovaServer(
            host if isinstance(host, str) else None,
            str(server.get('status', '')),
        )

    def check_server(self, *, instance: str, host: str) -> None:
        """See :class:`NovaRecord`."""
        found = self.find_server(instance)
        if found is None:
            raise _not_there('the server')
        if found.host != host:
            raise _not_there('the host')

    def check(
        self,
        *,
        migration: str,
        instance: str,
        source: str,
        dest: str,
        kind: Move,
    ) -> None:
        """See :class:`NovaRecord`.

        What was read ahead can only admit: Nova is asked again before a
        refusal.
        """
        with self._lock:
            begun = self._begun.pop((instance, kind), None)
        if begun is not None and time.monotonic() - begun.at <= AHEAD:
            try:
                _compare(begun, migration, source, dest, kind)
                return
            except errors.KororaError as exc:
                LOG.info('Nova is asked again: %s %s', exc, exc.details)
        _compare(self._begin(instance, kind), migration, source, dest, kind)

    def ahead(self, *, instance: str, kind: Move) -> None:
        """See :class:`NovaRecord`."""
        try:
            begun = self._begin(instance, kind, whole=False)
        except RuntimeError as exc:
            LOG.warning('Nova is not asked ahead: %s', exc)
            return
        with self._lock:
            self._begun[instance, kind] = begun
            while len(self._begun) > _KEPT:
                del self._begun[next(iter(self._begun))]

    def _begin(
        self, instance: str, kind: Move, *, whole: bool = True
    ) -> _Begun:
        """Ask for both at once.

        :param whole: ask for the whole server, too, for which Nova asks
            Neutron: that costs far more than what is looked at.
        """
        server = f'/servers/{instance}'
        listed = (
            f'{server}/migrations'
            if kind == Move.LIVE
            else f'/os-migrations?instance_uuid={instance}'
        )
        trace = spans.carrier().get(spans.TRACEPARENT, '')
        return _Begun(
            time.monotonic(),
            self._pool.submit(self._get, server, trace)
            if whole or kind != Move.LIVE
            else self._pool.submit(self._migrating, instance, trace),
            self._pool.submit(self._get, listed, trace),
        )

    def _migrating(self, instance: str, trace: str) -> _Found:
        """Of a server that is migrated live, what is looked at.

        None: nothing shows that it is. Nova never ignores the filter by
        status, whatever role asks.
        """
        answer = self._get(_MIGRATING.format(instance), trace)
        found = answer.get('servers') if answer is not None else None
        if not isinstance(found, list) or not any(
            isinstance(one, dict) and one.get('id') == instance
            for one in found
        ):
            return None
        return {'server': {TASK: _UNDER_WAY[Move.LIVE][0]}}

    def _get(self, path: str, trace: str = '') -> _Found:
        """One object; None if Nova does not know it.

        :param trace: of whoever asks, in another thread.
        """
        try:
            with trail.following(trace), spans.span('nova', remote=trace):
                response = self._client().get(
                    path,
                    microversion=MICROVERSION,
                    timeout=TIMEOUT,
                    raise_exc=False,
                    rate_semaphore=transport.UNTHROTTLED,
                )
        except ks_exc.ClientException as exc:
            raise _unavailable(type(exc).__name__) from exc
        if response.status_code == 404:
            return None
        if response.status_code != 200:
            raise _unavailable(f'HTTP {response.status_code}')
        try:
            answer = response.json()
        except ValueError:
            raise _unavailable('no JSON') from None
        if not isinstance(answer, dict):
            raise _unavailable('an answer of another form')
        return answer

    def _client(self) -> Any:
        with self._lock:
            if self._adapter is None:
                self._adapter = _adapter(self._conf)
            return self._adapter


def _compare(
    begun: _Begun, migration: str, source: str, dest: str, kind: Move
) -> None:
    """Await both answers, and compare what they say.

    :raises CustodyError: MIGRATION_NOT_IN_NOVA naming the difference.
    :raises Unavailable: NOVA_UNAVAILABLE.
    """
    try:
        answer = begun.server.result(TIMEOUT)
        listed = begun.migrations.result(TIMEOUT)
    except (TimeoutError, futures.TimeoutError):
        raise _unavailable('it took too long') from None
    if answer is None or listed is None:
        raise _not_in_nova('the server')
    server, found = answer.get('server'), listed.get('migrations')
    if not isinstance(server, dict) or not isinstance(found, list):
        raise _unavailable('an answer of another form')
    check_record(
        server,
        found,
        migration=migration,
        source=source,
        dest=dest,
        kind=kind,
    )


def _adapter(conf: cfg.ConfigOpts) -> Any:
    group = options.NOVA
    auth = ks_loading.load_auth_from_conf_options(conf, group)
    session = ks_loading.load_session_from_conf_options(conf, group, auth=auth)
    if session.timeout is None:
        session.timeout = TIMEOUT
    transport.bound(session)
    return ks_loading.load_adapter_from_conf_options(
        conf, group, session=session, auth=auth
    )


def check_record(
    server: Mapping[str, object],
    migrations: Sequence[object],
    *,
    migration: str,
    source: str,
    dest: str,
    kind: Move = Move.LIVE,
) -> None:
    """Compare what Nova says with what is asked for.

    The record of a migration whose nova-compute crashed stays in progress
    for ever, so others of the server may stand beside the one in question.

    :param server: GET /servers/{id}.
    :param migrations: GET /servers/{id}/migrations: those in progress; of
        another kind than LIVE, GET /os-migrations: all of the server.
    :param source: of the hand-over; Nova's record of a migration that it
        reverts has the ends the other way round.
    :raises CustodyError: MIGRATION_NOT_IN_NOVA naming the difference.
    """
    task, status = _UNDER_WAY[kind]
    if server.get(TASK) != task:
        raise _not_in_nova('the task state')
    named = [
        one
        for one in migrations
        if isinstance(one, dict) and _is_named(one, migration, kind)
    ]
    if len(named) != 1:
        raise _not_in_nova('uuid')
    ends = (dest, source) if kind == Move.REVERT else (source, dest)
    expected = {
        'status': status,
        'source_compute': ends[0],
        'dest_compute': ends[1],
    }
    for field, value in expected.items():
        if named[0].get(field) != value:
            raise _not_in_nova(field)


def _is_named(
    record: Mapping[str, object], migration: str, kind: Move
) -> bool:
    """Whether a hand-over is about a record of Nova's."""
    found = record.get('uuid')
    if kind != Move.REVERT or not isinstance(found, str):
        return found == migration
    try:
        return way_back(found) == migration
    except ValueError:
        return False


def _not_in_nova(what: str) -> errors.CustodyError:
    return errors.CustodyError(
        errors.Reason.MIGRATION_NOT_IN_NOVA, details={'differs': what}
    )


def _not_there(what: str) -> errors.CustodyError:
    return errors.CustodyError(
        errors.Reason.SERVER_NOT_IN_NOVA, details={'differs': what}
    )


def _unavailable(why: str) -> errors.Unavailable:
    return errors.Unavailable(
        errors.Reason.NOVA_UNAVAILABLE, details={'why': why}
    )
