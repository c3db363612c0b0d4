# SPDX-License-Identifier: Apache-2.0
"""Rounds inside the lab: a migration, a kill, and what must be true then.

``python -m korora_tools.prove.faults.inside OUT ROUNDS SEED`` writes the
report to OUT. It runs in the control plane's network namespace.
"""

from __future__ import annotations

import collections
import dataclasses
import json
import pathlib
import random
import subprocess
import sys
import time
from typing import Any

from keystoneauth1 import exceptions as ks_exc

from korora_nova import errors
from korora_tools import ui
from korora_tools.demo import continuity
from korora_tools.demo import world as w
from korora_tools.lab import client, paths
from korora_tools.prove import cloud
from korora_tools.prove.faults import operator, silence
from korora_tools.prove.faults.victims import VICTIMS, Victim, processes_of

#: Seconds of a migration in which something is killed.
SPAN = 4.0
#: Seconds for which it stays away.
AWAY = (0.2, 8.0)
#: Seconds for Nova to end what it was at, for agents to settle.
NOVA = 150.0
SOON = 75.0
SETTLE = 150.0
#: Of a round that the emulator's own crash spoilt.
REPEATS = 5
#: Of the migration after a round: Nova connects anew to libvirt in one.
RETRIES = 3
LOG_LINES = 25

HOSTS = ('h1', 'h2')
Json = dict[str, Any]

TROUBLES = (
    w.DemoError,
    client.CloudError,
    ui.Problem,
    errors.KororaError,
    ks_exc.ClientException,
    TimeoutError,
    OSError,
    subprocess.SubprocessError,
)


class Wrong(Exception):
    """Something is not as it must be after a round."""


@dataclasses.dataclass(frozen=True)
class Round:
    """What is killed, when, and for how long, seconds."""

    number: int
    victim: Victim
    moment: float
    away: float

    def __str__(self) -> str:
        return (
            f'{self.number}: {self.victim.name} after {self.moment:.2f} s '
            f'for {self.away:.1f} s'
        )


def plan(rounds: int, seed: int) -> list[Round]:
    """Each victim about as often as any other, at random moments."""
    rng = random.Random(seed)  # noqa: S311 not for secrets
    victims: list[Victim] = []
    while len(victims) < rounds:
        victims += rng.sample(VICTIMS, len(VICTIMS))
    return [
        Round(number, victim, rng.uniform(0, SPAN), rng.uniform(*AWAY))
        for number, victim in enumerate(victims[:rounds], 1)
    ]


class Rounds:
    """One server, which is moved again and again."""

    def __init__(self, world: w.World) -> None:
        self.world = world
        self.lab = world.lab
        self.server = ''
        self.watcher: continuity.Watcher | None = None
        self.rows: list[Json] = []
        self.continuity_broken = 0
        self.emulator_crashes = 0

    # The server

    def create(self) -> None:
        made = self.world.create('faults', 'vtpm', host='h1')
        self.server = str(made['id'])
        if made['status'] != 'ACTIVE':
            raise Wrong(f'the server is {made["status"]}')
        self._watch()

    def _watch(self) -> None:
        """A guest that has just been started, from now on."""
        if self.watcher is not None:
            self.watcher.stop()
        old = self.watcher.boots if self.watcher is not None else set()
        self.watcher = self.world.watcher(self.server, without=old)
        self.watcher.wait_past(0, 180)

    def replace(self) -> None:
        """After a failure: go on with another server."""
        if self.watcher is not None:
            self.watcher.stop()
        self.watcher = None
        try:
            self.world.delete(self.server, 60)
        except TROUBLES as exc:
            self.world.say(f'    the server stays behind: {exc}')
        for host in HOSTS:
            if self._domain(host):
                self.world.virsh(host, 'destroy', self.server)
        self.create()

    # One round

    def run(self, one: Round) -> None:
        for _ in range(REPEATS):
            began = time.monotonic()
            row: Json = {'round': str(one), 'victim': one.victim.name}
            try:
                operator.audit_placement(self.lab)
                row['ended'] = self._migrate_and_hit(one)
                self._heal(one, row)
                self._check(row)
                self._judge_guest(one, row)
            except (Wrong, *TROUBLES) as exc:
                row['wrong'] = f'{type(exc).__name__}: {exc}'
                row['log'] = self._logs()
            row['seconds'] = round(time.monotonic() - began, 1)
            if not self._emulator_crashed(row):
                break
            self.emulator_crashes += 1
            self.world.say(f'    {one}: the emulator crashed; once more')
            self.replace()
        self._note(row)
        if 'wrong' in row:
            self.replace()

    def _logs(self) -> list[str]:
        """What the processes said of the server, or of anything, last."""
        found = []
        for log in sorted(self.lab.log.glob('*.log')):
            if log.name.startswith(('nova-h', 'korora', 'nova-cond')):
                text = log.read_text(errors='replace').splitlines()
                lines = [
                    line
                    for line in text
                    if self.server in line and ' DEBUG ' not in line
                ]
                tail = (lines or text)[-LOG_LINES:]
                found += [f'== {log.name}', *(line[:400] for line in tail)]
        return found

    def _note(self, row: Json) -> None:
        self.rows.append(row)
        bad = row.get('wrong')
        self.world.say(
            f'{"!!!" if bad else "ok "} {row["round"]}: '
            f'{bad or row.get("ended")} ({row["seconds"]:.0f} s)'
        )

    def _emulator_crashed(self, row: Json) -> bool:
        if self.watcher is None or not (
            'wrong' in row or row.get('guest_died')
        ):
            return False
        return self.watcher.report().emulator_trouble

    def _migrate_and_hit(self, one: Round) -> str:
        source = self.world.host(self.server)
        dest = self._other(source)
        self._ask_to_migrate(dest)
        time.sleep(one.moment)
        where = {'source': source, 'dest': dest}.get(one.victim.end, '')
        back = one.victim.hit(self.lab, where, self.server)
        time.sleep(one.away)
        back()
        self._await_nova()
        now = self.world.host(self.server)
        return 'migrated' if now != source else 'stayed'

    def _other(self, host: str) -> str:
        return HOSTS[1 - HOSTS.index(host)]

    def _ask_to_migrate(self, dest: str) -> None:
        self.world.nova.post(
            f'/servers/{self.server}/action',
            json={'os-migrateLive': {'host': dest, 'block_migration': 'auto'}},
            raise_exc=False,
        )

    # What heals by itself, or by what an operator does anyway

    def _await_nova(self) -> None:
        """Wait until Nova does nothing more with the server.

        The record of a migration may stay as it is for ever if its
        nova-compute, or the way to the database, broke.
        """
        end = time.monotonic() + NOVA
        idle = 0.0
        while True:
            try:
                server = self.world.server(self.server)
                if server['OS-EXT-STS:task_state'] is None:
                    idle = idle or time.monotonic()
                    if self._migrations_ended() or (
                        time.monotonic() - idle > cloud.IDLE
                    ):
                        return
                else:
                    idle = 0.0
            except ks_exc.ClientException:
                idle = 0.0
            if time.monotonic() > end:
                self._reset('active')
                return
            time.sleep(0.5)

    def _migrations_ended(self) -> bool:
        return all(
            record['status'] in client.ENDED
            for record in self.world.migrations(self.server)
        )

    def _reset(self, state: str) -> None:
        self.world.nova.post(
            f'/servers/{self.server}/action',
            json={'os-resetState': {'state': state}},
        )

    def _heal(self, one: Round, row: Json) -> None:
        """All services are there again, and all is settled."""
        cloud.await_services(self.world, paths.HOSTS)
        for host in HOSTS:
            cloud.await_trust(self.world, host)
        row['settled'] = self._settles(SOON)
        server = self.world.server(self.server)
        if server['status'] == 'ERROR':
            row['reset'] = True
            self._reset('active')
        running = self._running()
        row['running'] = running
        if not running or not all(
            processes_of(self.lab, host, 'swtpm', self.server)
            for host in running
        ):
            row['guest_died'] = True
            row['operated'] = operator.place_key(self.world, self.server)
            self._start()
        elif operator.is_elsewhere(self.world, self.server, running):
            row['operated'] = True
            operator.correct_nova(self.lab, self.server, running[0])

    def _settles(self, seconds: float) -> bool:
        """Whether one host holds the key and nothing is pending, in time.

        What a crash of nova-compute leaves is settled by the server's next
        start or migration, if not before.
        """
        end = time.monotonic() + seconds
        while True:
            keys = [one for keys in self._keys().values() for one in keys]
            row = self.world.attestation(f'/v1/servers/{self.server}')
            if not row['pending'] and keys == ['held']:
                return True
            if time.monotonic() > end:
                return False
            time.sleep(1)

    def _await_settled(self) -> None:
        if not self._settles(SETTLE):
            raise Wrong(f'not settled: {self._where()}')

    def _keys(self) -> dict[str, list[str]]:
        """What each host has of the server's key."""
        return cloud.keys_of(self.world, self.server, HOSTS)

    def _start(self) -> None:
        """The guest is dead: its user starts it again."""
        self.world.nova.post(
            f'/servers/{self.server}/action',
            json={'reboot': {'type': 'HARD'}},
        )
        time.sleep(1)
        server = self.world.wait(
            self.server, lambda s: s['OS-EXT-STS:task_state'] is None, 120
        )
        if server['status'] != 'ACTIVE' or not self._running():
            raise Wrong(
                f'it does not start: {server["status"]}, '
                f'{self.world.reason(self.server)}, {self._where()}'
            )
        self._watch()

    # What must be true then

    def _domain(self, host: str) -> bool:
        names = self.world.virsh(host, 'list', '--uuid').split()
        return self.server in names

    def _running(self) -> list[str]:
        return [host for host in HOSTS if self._domain(host)]

    def _where(self) -> str:
        ledger = self.world.attestation(f'/v1/servers/{self.server}')
        shown = {
            name: ledger.get(name)
            for name in ('holder', 'epoch', 'version', 'pending', 'state')
        }
        return (
            f'Nova {self.world.host(self.server)}, ledger {shown}, running '
            f'{self._running()}, keys {self._keys()}'
        )

    def _check(self, row: Json) -> None:
        self._check_place()
        self._check_keys()
        dest = self._other(self.world.host(self.server))
        for attempt in range(1, RETRIES + 1):
            retried = self.world.migrate_by_api(self.server, dest, NOVA)
            row['retries'] = attempt
            if retried.observed == 'migrated':
                break
            time.sleep(2)
        else:
            raise Wrong(
                f'a retry: {retried.observed} {retried.status} '
                f'{retried.reason}, {self._where()}'
            )
        self._await_settled()
        self._check_place()
        self._check_keys()

    def _check_place(self) -> None:
        """One guest, where Nova and the ledger say."""
        host = self.world.host(self.server)
        ledger = self.world.attestation(f'/v1/servers/{self.server}')
        if self._running() != [host] or ledger['holder'] != host:
            raise Wrong(f'they disagree: {self._where()}')

    def _check_keys(self) -> None:
        """Exactly one host can open the key; nothing else is left."""
        host = self.world.host(self.server)
        for name in HOSTS:
            reason = self.world.agent_refusal(
                name, 'open', instance=self.server
            )
            if (reason == '') != (name == host):
                raise Wrong(f'{name} opens: {reason or "yes"}')
        self.world.agent(host, 'close', instance=self.server)
        end = time.monotonic() + SETTLE
        while left := self._left(self._other(host)):
            # That start settled what the other host has not heard of yet
            if time.monotonic() > end:
                raise Wrong(f'left behind: {left}')
            time.sleep(1)

    def _left(self, other: str) -> list[str]:
        """What is where it should not be."""
        left = [
            what
            for name in HOSTS
            for what in self.world.virsh(name, 'secret-list').splitlines()
            if self.server in what
        ]
        left += [
            f'{program} on {other}'
            for program in ('qemu-system', 'swtpm')
            if processes_of(self.lab, other, program, self.server)
        ]
        return left

    def _judge_guest(self, one: Round, row: Json) -> None:
        """It runs; and if nobody took it along, it is the same as before."""
        assert self.watcher is not None
        try:
            self.watcher.wait_past(self.watcher.latest(), 60)
        except TimeoutError:
            host = self.world.host(self.server)
            row['silence'] = silence.look(
                self.world, self.server, host, self.watcher
            )
            raise
        report = self.watcher.report()
        died = bool(row.get('guest_died'))
        if not report.continuity or (died and not one.victim.guest):
            if not report.emulator_trouble:
                self.continuity_broken += 1
            raise Wrong(
                f'the guest did not run on: {report}'
                + (', it was started again' if died else '')
            )

    def report(self, seed: int) -> Json:
        good = [row for row in self.rows if 'wrong' not in row]
        return {
            'rounds': len(self.rows),
            'recovered': len(good),
            'by_victim': dict(
                sorted(
                    collections.Counter(
                        row['victim'] for row in self.rows
                    ).items()
                )
            ),
            'continuity_broken': self.continuity_broken,
            'emulator_crashes': self.emulator_crashes,
            'operated': sum(bool(row.get('operated')) for row in self.rows),
            'seed': seed,
            'ended': dict(
                collections.Counter(row.get('ended', '?') for row in self.rows)
            ),
            'failures': [row for row in self.rows if 'wrong' in row],
        }


def main() -> int:
    out, number, seed = sys.argv[1:4]
    only = sys.argv[4:]
    rounds = Rounds(w.World(paths.Lab.default(), ui.say))
    try:
        rounds.create()
        for one in plan(int(number), int(seed)):
            if not only or str(one.number) in only:
                rounds.run(one)
            pathlib.Path(out).write_text(
                json.dumps(rounds.report(int(seed)), indent=2) + '\n'
            )
    except KeyboardInterrupt:
        return 130
    except (Wrong, *TROUBLES) as exc:
        ui.fail(f'{type(exc).__name__}: {exc}')
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
