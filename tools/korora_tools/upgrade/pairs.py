# SPDX-License-Identifier: Apache-2.0
"""Pairs of releases that have to get on with each other, and what they do."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from korora_tools import ui
from korora_tools.upgrade.ends import (
    Hardware,
    Peer,
    Refused,
    Services,
    Tree,
    agent,
)

Trees = Mapping[str, Tree]
SOURCE, DEST, SPOILT = 'h1', 'h2', 'h3'


class Wrong(Exception):
    """Something came out otherwise than it must."""


@dataclass(frozen=True)
class Result:
    """What became of a pair; it is well if ``why`` is empty."""

    pair: str
    why: str
    seconds: float


def expect(what: str, want: object, got: object) -> None:
    """:raises Wrong: they differ."""
    if want != got:
        raise Wrong(f'{what}: {got!r}, not {want!r}')


def refused(what: str, reason: str, call: Callable[[], object]) -> None:
    """:raises Wrong: it is not refused for this reason."""
    try:
        answer = call()
    except Refused as exc:
        expect(what, reason, exc.reason)
    else:
        raise Wrong(f'{what}: {answer!r}, not refused')


@dataclass(frozen=True)
class Life:
    """Hosts, a service and a scheduler; a whole life of one server.

    :param service, source, dest, scheduler: names of trees.
    """

    name: str
    service: str = 'new'
    source: str = 'new'
    dest: str = 'new'
    scheduler: str = 'new'

    def live(
        self,
        services: Services,
        trees: Trees,
        stack: contextlib.ExitStack,
    ) -> None:
        """:raises Wrong, Refused: they do not get on."""
        tree = trees[self.service]
        directory = services.create(_database(self.name), tree)
        _, endpoint = services.worker(tree, directory)
        cast = Cast(self, services, trees, stack, endpoint)
        cast.join()
        cast.place()
        server = cast.claim()
        cast.hand_over(server)
        cast.end(server)
        services.manage(tree, directory, 'audit', 'verify')


class Cast:
    """The peers of a life."""

    def __init__(
        self,
        life: Life,
        services: Services,
        trees: Trees,
        stack: contextlib.ExitStack,
        endpoint: str,
    ) -> None:
        self.services = services
        self.nova = services.base.nova
        self.admin = services.base.client(endpoint, 'admin', 'admin')

        def peer(role: str, tree: str, user: str, **more: str) -> Peer:
            given = services.given(role, endpoint, user, **more)
            vendor = services.base.vendor
            return Peer(services.scratch, stack, trees[tree], vendor, given)

        self.hosts = {
            name: peer('host', tree, 'korora-agent', name=name)
            for name, tree in (
                (SOURCE, life.source),
                (DEST, life.dest),
                (SPOILT, life.dest),
            )
        }
        self.scheduler = peer('scheduler', life.scheduler, 'korora-scheduler')

    def join(self) -> None:
        """Enrol, approve, learn, attest; the third host is spoilt."""
        for name, host in self.hosts.items():
            enrolled = host.do('enrol')
            expect(f'{name} enrols', 'pending', enrolled['status'])
            self.admin.approve_host(name, enrolled['ek_hash'])
            host.do('attest')
        self.admin.create_reference('golden', SOURCE)
        self.hosts[SPOILT].do('spoil')
        for name, host in self.hosts.items():
            want = 'contraindicated' if name == SPOILT else 'affirming'
            expect(f'{name} attests', want, host.do('attest')['tier'])

    def place(self) -> None:
        """The scheduler passes the good hosts, and no other."""
        every = [*self.hosts, 'nobody']
        passed = self.scheduler.do('place', hosts=every)
        expect('the scheduler passes', [SOURCE, DEST], passed)

    def claim(self) -> str:
        """A server's first start on the source; its id."""
        server = str(uuid.uuid4())
        self.nova.hosts[server] = SOURCE
        self.hosts[SOURCE].do('claim', instance=server)
        self.hosts[SOURCE].do('open', instance=server, epoch=1)
        self.nova.hosts[server] = SPOILT
        refused(
            'a spoilt host claims',
            'HOST_UNTRUSTED',
            lambda: self.hosts[SPOILT].do('claim', instance=server),
        )
        self.nova.hosts[server] = SOURCE
        return server

    def hand_over(self, server: str) -> None:
        """From the source to the destination, to the receipt."""
        source, dest = self.hosts[SOURCE], self.hosts[DEST]
        migration = str(uuid.uuid4())
        self.nova.migrations[server] = (migration, SOURCE, DEST)
        asked = dest.do(
            'receive', migration=migration, instance=server, source=SOURCE
        )
        sent = source.do('wrap', request=asked)
        epoch = dest.do('take', sent=sent)
        source.do('start', sent=sent)
        del self.nova.migrations[server]
        self.nova.hosts[server] = DEST
        dest.do('tell', migration=migration, word='activated')
        source.do('tell', migration=migration, word='stream_completed')
        for host in (source, dest):
            receipt = host.do('newest', instance=server)
            for reader in (source, dest):
                read = reader.do('verify', token=receipt)
                expect('the receipt says', 'committed', read['outcome'])
                expect('the receipt names', DEST, read['holder'])
        dest.do('open', instance=server, epoch=epoch)
        refused(
            'the source opens its old copy',
            'NOT_HOLDER',
            lambda: source.do('open', instance=server, epoch=1),
        )

    def end(self, server: str) -> None:
        """The server is deleted, and so is its key."""
        dest = self.hosts[DEST]
        read = dest.do('verify', token=dest.do('delete', instance=server))
        expect('the last receipt says', 'deleted', read['outcome'])


@dataclass(frozen=True)
class Online(Life):
    """The database is upgraded while an old worker goes on."""

    service: str = 'old'
    source: str = 'old'

    def live(
        self,
        services: Services,
        trees: Trees,
        stack: contextlib.ExitStack,
    ) -> None:
        """See :meth:`Life.live`."""
        directory = services.create(_database(self.name), trees['old'])
        worker, before = services.worker(trees['old'], directory)
        cast = Cast(self, services, trees, stack, before)
        cast.join()
        first = cast.claim()
        services.manage(trees['new'], directory, 'db', 'sync')
        # The old worker knows nothing of it.
        cast.place()
        for name in (SOURCE, DEST):
            expect(name, 'affirming', cast.hosts[name].do('attest')['tier'])
        _, after = services.worker(trees['new'], directory)
        # One end of this hand-over talks to each of both workers.
        cast.hosts[DEST].do('use', endpoint=after)
        cast.hand_over(first)
        cast.end(first)
        worker.end()
        for host in cast.hosts.values():
            host.do('use', endpoint=after)
        cast.scheduler.do('use', endpoint=after)
        cast.place()
        second = cast.claim()
        cast.hand_over(second)
        services.manage(trees['new'], directory, 'audit', 'verify')


@dataclass(frozen=True)
class Socket:
    """nova-compute's code and an agent of another release.

    :param driver, agent: names of trees; the service is this tree's.
    """

    name: str
    driver: str
    agent: str

    def live(
        self,
        services: Services,
        trees: Trees,
        stack: contextlib.ExitStack,
    ) -> None:
        """:raises Wrong, Refused: they do not get on."""
        directory = services.create(_database(self.name), trees['new'])
        _, endpoint = services.worker(trees['new'], directory)
        admin = services.base.client(endpoint, 'admin', 'admin')
        machine = Hardware(
            SOURCE, services.scratch.path / _database(self.name), stack
        )
        process = agent(services, machine, trees[self.agent], endpoint)
        process.wait()
        given = services.given('driver', endpoint, '', socket=machine.socket)
        driver = Peer(
            services.scratch,
            stack,
            trees[self.driver],
            services.base.vendor,
            given,
        )
        expect('the agent is of', SOURCE, driver.do('status')['host'])
        ui.wait(
            'the agent to enrol',
            lambda: any(one['name'] == SOURCE for one in admin.list_hosts()),
            60,
            alive=lambda: None if process.alive else process.tail(),
        )
        admin.approve_host(SOURCE, str(admin.get_host(SOURCE)['ek_hash']))
        driver.do('enforces')
        with contextlib.suppress(Refused):
            driver.do('attest')  # there is no reference yet
        admin.create_reference('golden', SOURCE)
        expect('the host attests', 'affirming', driver.do('attest'))
        expect('its verdict', 'affirming', driver.do('verdict', host=SOURCE))
        expect('it enforces', True, admin.get_host(SOURCE)['enforcing'])
        server = str(uuid.uuid4())
        expect('no key', 'none', driver.do('protection', instance=server))
        process.end()


#: Every pair, in the order in which they are tried.
PAIRS: tuple[Life | Socket, ...] = (
    Life('old-agents', source='old', dest='old'),
    Life('new-agents', service='old', scheduler='old'),
    Life('old-to-new', source='old'),
    Life('new-to-old', dest='old'),
    Life('old-relying-party', scheduler='old'),
    Life('new-relying-party', service='old', source='old', dest='old'),
    Socket('old-driver', driver='old', agent='new'),
    Socket('new-driver', driver='new', agent='old'),
    Online('online'),
)


def _database(name: str) -> str:
    return name.replace('-', '_')


def tried(services: Services, trees: Trees) -> list[Result]:
    """Try every pair."""
    results = []
    for pair in PAIRS:
        began = time.monotonic()
        why = _try(pair, services, trees)
        seconds = round(time.monotonic() - began, 1)
        ui.say(f'{"!!!" if why else "ok "} {pair.name} ({seconds} s) {why}')
        results.append(Result(pair.name, why, seconds))
    return results


def _try(pair: Life | Socket, services: Services, trees: Trees) -> str:
    """Why they do not get on; '' if they do."""
    with contextlib.ExitStack() as stack:
        try:
            pair.live(services, trees, stack)
        except Exception as exc:  # noqa: BLE001 - it failed, whatever it is
            return f'{type(exc).__name__}: {exc}'
    return ''


def report(results: list[Result], version: str) -> dict[str, Any]:
    """What ``prove ecosystem`` says of it."""
    return {
        'release': version,
        'pairs': len(results),
        'ok': sum(not one.why for one in results),
        'tried': [vars(one) for one in results],
    }
