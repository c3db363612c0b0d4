# SPDX-License-Identifier: Apache-2.0
"""The anchor in etcd: one key for each server.

::

    PREFIX/ledger            the incarnation of the ledger
    PREFIX/marks/INSTANCE    "VERSION DIGEST"

A mark is read, and replaced in a transaction that compares its revision: who
was slower reads again. All reads are linearizable, so a member that lags
behind does not answer with an old mark.
"""

from __future__ import annotations

import base64
import json
import random
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple
from urllib import parse

import etcd3gw
import requests
from etcd3gw import exceptions
from oslo_config import cfg

from korora_nova import conf as options
from korora_nova.verifier.anchor import base

#: etcd takes 128 operations in one transaction unless told otherwise.
_PAGE = 100
_PORT = 2379
# OSError: a file of [anchor] that requests cannot read
_ERRORS = (exceptions.Etcd3Exception, OSError, ValueError)
# Another member may answer: this one is down, or cut off from the others.
_ELSEWHERE = (
    exceptions.ConnectionFailedError,
    exceptions.ConnectionTimeoutError,
    exceptions.InternalServerError,
    requests.RequestException,
)
_WHY_LENGTH = 200
_Json = Mapping[str, object]


class _Stored(NamedTuple):
    """What etcd has for a key; revision 0: nothing."""

    value: str | None
    revision: int


class _Answer(NamedTuple):
    """Of a transaction: whether its conditions held, and what it read."""

    held: bool
    found: Mapping[str, _Stored]


class EtcdAnchor:
    """See :class:`base.Anchor`.

    :raises Unavailable: ANCHOR_UNAVAILABLE, an option of ``[anchor]`` cannot
        work.
    """

    GUARANTEES: ClassVar[bool] = True

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        group = conf[options.ANCHOR]
        self._members = _Members(group)
        self._where = f'etcd at {", ".join(group.endpoints)}'
        self._timeout: float = group.timeout
        prefix = group.prefix.rstrip('/')
        self._ledger = f'{prefix}/ledger'
        self._marks = f'{prefix}/marks/'

    def create(self, incarnation: str) -> None:
        """See :meth:`base.Anchor.create`."""
        answer = self._transact(
            [_absent(self._ledger), _empty(self._marks)],
            [_put(self._ledger, incarnation)],
            [_range(self._ledger)],
        )
        if not answer.held:
            raise base.exists(self._where)

    def get(
        self, incarnation: str, instances: Sequence[str]
    ) -> Mapping[str, base.Mark]:
        """See :meth:`base.Anchor.get`."""
        marks = {}
        for first in range(0, max(len(instances), 1), _PAGE):
            page = instances[first : first + _PAGE]
            found = self._read(incarnation, page)
            for instance in page:
                mark = self._parse(found.get(self._marks + instance))
                if mark is not None:
                    marks[instance] = mark
        return marks

    def servers(
        self, incarnation: str, after: str, limit: int
    ) -> Sequence[str]:
        """See :meth:`base.Anchor.servers`."""
        found = self._ask(
            incarnation, [_keys_after(self._marks, after, limit)]
        )
        # In the order of the keys, which is what etcd gives unasked
        return [key.removeprefix(self._marks) for key in found]

    def rise(self, incarnation: str, instance: str, mark: base.Mark) -> None:
        """See :meth:`base.Anchor.rise`."""
        key = self._marks + instance
        end = time.monotonic() + self._timeout
        while True:
            stored = self._read(incarnation, [instance]).get(key)
            if not base.is_news(self._parse(stored), mark, instance):
                return
            answer = self._transact(
                [
                    _equals(self._ledger, incarnation),
                    _unchanged(key, 0 if stored is None else stored.revision),
                ],
                [_put(key, f'{mark.version} {mark.digest}')],
                [],
            )
            if answer.held:
                return
            if time.monotonic() > end:
                raise base.unavailable(
                    self._where, 'too many processes write to it'
                )
            time.sleep(random.uniform(0.001, 0.02))

    def _read(
        self, incarnation: str, instances: Sequence[str]
    ) -> Mapping[str, _Stored]:
        return self._ask(
            incarnation,
            [_range(self._marks + instance) for instance in instances],
        )

    def _ask(
        self, incarnation: str, ranges: list[_Json]
    ) -> Mapping[str, _Stored]:
        answer = self._transact(
            [_equals(self._ledger, incarnation)],
            ranges,
            [_range(self._ledger)],
        )
        if not answer.held:
            ledger = answer.found.get(self._ledger)
            found = None if ledger is None else ledger.value
            base.check_ledger(self._where, found, incarnation)
        return answer.found

    def _parse(self, stored: _Stored | None) -> base.Mark | None:
        if stored is None or stored.value is None:
            return None
        version, _, digest = stored.value.partition(' ')
        if not version.isdecimal() or not digest:
            raise base.unavailable(
                self._where, 'it has a mark that is not of this service'
            )
        return base.Mark(int(version), digest)

    def _transact(
        self,
        conditions: list[_Json],
        then: list[_Json],
        otherwise: list[_Json],
    ) -> _Answer:
        """Ask one member after the other, until one answers.

        A transaction may be executed twice that way: the second one then
        finds its condition broken.
        """
        text = {'compare': conditions, 'success': then, 'failure': otherwise}
        why = 'no member is configured'
        for member in self._members.in_turn():
            try:
                answer = _parsed(member.transaction(text))
                self._members.prefer(member)
                return answer
            except _ELSEWHERE as exc:
                why = _why(exc)
            except _ERRORS as exc:
                raise base.unavailable(self._where, _why(exc)) from None
        raise base.unavailable(self._where, why)


class _Members:
    """Clients of the members, a set for each thread."""

    def __init__(self, group: cfg.ConfigOpts) -> None:
        self._group = group
        self._local = threading.local()
        self._preferred = 0
        self._places = [_place(endpoint) for endpoint in group.endpoints]

    def in_turn(self) -> Iterator[_Member]:
        """The one that answered last comes first."""
        members = self._of_this_thread()
        first = self._preferred
        yield from members[first:] + members[:first]

    def prefer(self, member: _Member) -> None:
        """Remember who answered."""
        self._preferred = self._of_this_thread().index(member)

    def _of_this_thread(self) -> list[_Member]:
        # A session of requests is not promised to be safe among threads
        if not hasattr(self._local, 'members'):
            self._local.members = [
                _Member(self._group, place) for place in self._places
            ]
        members: list[_Member] = self._local.members
        return members


class _Member:
    """One member, asked by one thread."""

    def __init__(
        self, group: cfg.ConfigOpts, place: parse.SplitResult
    ) -> None:
        self._name = group.username
        self._password = group.password
        self._client = etcd3gw.Etcd3Client(
            host=place.hostname or '',
            port=place.port or _PORT,
            protocol=place.scheme,
            ca_cert=group.ca_file,
            cert_cert=group.cert_file,
            cert_key=group.key_file,
            timeout=group.timeout,
            api_path='/v3/',
        )
        self._session = self._client.session
        # No proxy and no .netrc of the environment is meant for it
        self._session.trust_env = False

    def transaction(self, text: _Json) -> Any:
        """Run one, after logging in if that is needed."""
        if self._name and 'Authorization' not in self._session.headers:
            self._log_in()
        try:
            return self._client.transaction(dict(text))
        except exceptions.Etcd3Exception as exc:
            if not self._name or 'auth' not in (exc.detail_text or ''):
                raise
        # Its token has expired, or users were changed
        self._log_in()
        return self._client.transaction(dict(text))

    def _log_in(self) -> None:
        self._session.headers.pop('Authorization', None)
        answer = self._client.post(
            self._client.get_url('/auth/authenticate'),
            json={'name': self._name, 'password': self._password},
        )
        self._session.headers['Authorization'] = answer['token']


def _place(endpoint: str) -> parse.SplitResult:
    try:
        place = parse.urlsplit(endpoint)
        port = place.port  # which raises, if it is none
        if place.scheme in ('http', 'https') and place.hostname and port != 0:
            return place
    except ValueError:
        pass
    raise base.misconfigured(
        f'[anchor] endpoints has {endpoint}; it takes URLs such as '
        f'https://etcd1.example.org:{_PORT}.'
    )


# -- etcd's JSON -----------------------------------------------------------


def _coded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _decoded(text: str) -> str:
    return base64.b64decode(text).decode()


def _equals(key: str, value: str) -> _Json:
    return {
        'key': _coded(key),
        'target': 'VALUE',
        'result': 'EQUAL',
        'value': _coded(value),
    }


def _unchanged(key: str, revision: int) -> _Json:
    return {
        'key': _coded(key),
        'target': 'MOD',
        'result': 'EQUAL',
        'mod_revision': revision,
    }


def _absent(key: str) -> _Json:
    return _unchanged(key, 0)


def _empty(prefix: str) -> _Json:
    """No key begins with it; the range ends where "/" would be "0"."""
    return {**_absent(prefix), 'range_end': _end(prefix)}


def _end(prefix: str) -> str:
    return _coded(prefix[:-1] + chr(ord(prefix[-1]) + 1))


def _keys_after(prefix: str, after: str, limit: int) -> _Json:
    return {
        'request_range': {
            'key': _coded(f'{prefix}{after}\0' if after else prefix),
            'range_end': _end(prefix),
            'limit': limit,
            'keys_only': True,
        }
    }


def _put(key: str, value: str) -> _Json:
    return {'request_put': {'key': _coded(key), 'value': _coded(value)}}


def _range(key: str) -> _Json:
    return {'request_range': {'key': _coded(key)}}


def _parsed(answer: Any) -> _Answer:
    """Read what etcd answered.

    :raises ValueError: it is not what etcd answers.
    """
    found = {}
    try:
        for response in answer.get('responses', ()):
            for kv in response.get('response_range', {}).get('kvs', ()):
                found[_decoded(kv['key'])] = _Stored(
                    _decoded(kv.get('value', '')), int(kv['mod_revision'])
                )
        return _Answer(bool(answer.get('succeeded')), found)
    except (AttributeError, KeyError, TypeError) as exc:
        raise ValueError('not an answer of etcd') from exc


def _why(exc: Exception) -> str:
    """What etcd said, or the kind of the error; neither is a secret."""
    try:
        said = json.loads(getattr(exc, 'detail_text', None) or '')
        text = str(said.get('message') or said['error'])
    except (AttributeError, KeyError, TypeError, ValueError):
        return type(exc).__name__
    return ''.join(c for c in text if c.isprintable())[:_WHY_LENGTH]
