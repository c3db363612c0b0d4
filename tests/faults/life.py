# SPDX-License-Identifier: Apache-2.0
"""One server's life: what Nova does with it, and what must be true then."""

from __future__ import annotations

import base64
import dataclasses
import os
import pathlib
import shutil
import uuid
from collections.abc import Callable
from typing import Any

from korora_nova import errors
from korora_nova.attester.libvirt_secret import INCOMING, RUNNING
from korora_nova.custody.moves import Move, way_back
from korora_nova.custody.words import VaultState
from tests.faults.world import Gone, Machine, World
from tests.support import hosts

S, D = 'h1', 'h2'
#: States of a key that leaves its host.
_LEAVING = (VaultState.OUTGOING, VaultState.STARTING, VaultState.MOVING)
#: Seconds between two comparisons of a host's keys with its servers.
RECONCILED = 600.0
#: Seconds that pass between rounds of healing.
ROUNDS = (0.0, 0.0, 5.0, 70.0, 70.0, 700.0, 1000.0, 70.0)
WHY = 'a test of faults'


@dataclasses.dataclass
class Verdict:
    """What is wrong after a run: nothing, if all is empty.

    :ivar lost: nobody can open the key, and nobody has it.
    :ivar double: more than one host can open it.
    :ivar stuck: what does not go on, or was left.
    """

    lost: list[str] = dataclasses.field(default_factory=list)
    double: list[str] = dataclasses.field(default_factory=list)
    stuck: list[str] = dataclasses.field(default_factory=list)

    @property
    def good(self) -> bool:
        return not (self.lost or self.double or self.stuck)


class Life:
    """A server in Nova, on two hosts.

    :ivar host: where Nova's record has it.
    :ivar deleted: Nova has deleted it.
    :ivar may_reissue: a document was lost everywhere: operators may give the
        server a new key.
    :ivar operated: and had to do something that no story tells of.
    :ivar orders: what operators will do until it is done.
    :ivar told: refusals on the way, for whoever reads about a failure.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.instance = str(uuid.uuid4())
        self.secret_uuid = str(uuid.uuid4())
        self.passphrase = os.urandom(192).hex().encode()
        self.host = S
        self.deleted = False
        self.may_reissue = False
        self.operated = False
        self.orders: list[Callable[[], None]] = []
        self.told: list[str] = []

    def machine(self, name: str) -> Machine:
        return self.world.machines[name]

    def other(self, name: str) -> str:
        return D if name == S else S

    # What nova-compute does

    def ask(self, host: str, op: str, **fields: Any) -> dict[str, Any]:
        """One operation of a host's agent."""
        answer = self.machine(host).client.call(
            op, instance=self.instance, **fields
        )
        return dict(answer)

    def tried(self, what: Callable[..., Any], *args: Any) -> bool:
        """Do something that Nova survives; whether it was done."""
        try:
            what(*args)
        except errors.KororaError as exc:
            self.told.append(f'{what.__name__}{args}: {exc.reason}')
            return False
        return True

    def start(self, host: str) -> None:
        """A start of the server: its first, or another."""
        machine = self.machine(host)
        standing = self.ask(host, 'protection', ledger=True)
        row = standing.get('ledger') or {}
        if standing['state'] == 'none' and row.get('holder') is None:
            self.ask(
                host,
                'seal',
                secret_uuid=self.secret_uuid,
                passphrase=base64.b64encode(self.passphrase).decode(),
            )
        self.ask(host, 'open')
        secret = machine.libvirt.secrets.get(self.instance)
        if secret != (self.secret_uuid, self.passphrase):
            raise AssertionError('libvirt got something else')
        self.ask(host, 'launch')
        self._run(machine)
        self.ask(host, 'close')

    def _run(self, machine: Machine) -> None:
        """A guest runs, and uses its vTPM."""
        machine.libvirt.domains[self.instance] = RUNNING
        path = self._vtpm(machine)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(16))

    def _vtpm(self, machine: Machine) -> pathlib.Path:
        """The file of its vTPM's state."""
        return machine.swtpm / self.instance / 'tpm2' / 'tpm2-00.permall'

    def stop(self, host: str) -> None:
        self.machine(host).libvirt.domains.pop(self.instance, None)

    def rest(self) -> None:
        """It is off for a while, and its agent sees that."""
        machine = self.machine(self.host)
        self.attend(machine)
        self.stop(self.host)
        for seconds in (0.0, 10.0):
            self.world.pass_time(seconds)
            self.attend(machine)

    def restart(self, host: str) -> None:
        self.stop(host)
        self.start(host)

    def migrate(self, fails: str = '') -> bool:
        """A live migration; whether it was one.

        :param fails: '' or the moment: ``before`` the stream, or in the
            ``stream``.
        """
        source = self.host
        dest = self.other(source)
        migration = str(uuid.uuid4())
        boots = self.machine(source).boots
        self.world.korora.nova.migrations.add(
            (migration, self.instance, source, dest)
        )
        try:
            for step in self.steps(source, dest, migration, fails):
                if self.machine(source).boots != boots:
                    # With its nova-compute; libvirt ends what was to come
                    self._lose_incoming(dest)
                    return False
                done = step()
                if done is not None:
                    return done
        finally:
            self.world.korora.nova.migrations.discard(
                (migration, self.instance, source, dest)
            )
        return True

    def steps(
        self, source: str, dest: str, migration: str, fails: str = ''
    ) -> list[Callable[[], bool | None]]:
        """nova-compute's, of the source; whoever returns ends it."""
        here, there = self.machine(source), self.machine(dest)

        def pre() -> bool | None:
            if (
                self.tried(self._announce, source)
                and self.tried(self._pre, source, dest, migration)
                and fails != 'before'
            ):
                return None
            return self._roll_back(source, dest, migration)

        def start() -> bool | None:
            if self.tried(self._start_stream, source, dest, migration):
                return None
            return self._roll_back(source, dest, migration)

        def stream() -> bool | None:
            if not fails and self._stream(here, there):
                return None
            return self._roll_back(source, dest, migration, started=True)

        def post() -> None:
            self.tried(self._say, source, 'stream_completed', migration)

        def post_at_destination() -> None:
            self.host = dest
            self.world.korora.nova.servers[self.instance] = dest
            self.tried(self._say, dest, 'activated', migration)
            self.tried(self.ask, dest, 'close')

        return [pre, start, stream, post, post_at_destination]

    def _lose_incoming(self, dest: str) -> None:
        domains = self.machine(dest).libvirt.domains
        if domains.get(self.instance) == INCOMING:
            domains.pop(self.instance)

    def _announce(self, source: str) -> None:
        self.ask(source, 'announce')

    def _pre(self, source: str, dest: str, migration: str) -> None:
        self.ask(
            dest,
            'receive',
            migration=migration,
            source=source,
            address=hosts.ADDRESS[dest],
            tls_name=dest,
        )
        self.machine(dest).libvirt.domains[self.instance] = INCOMING

    def _start_stream(self, source: str, dest: str, migration: str) -> None:
        self.ask(
            source,
            'start',
            migration=migration,
            dest=dest,
            address=hosts.ADDRESS[dest],
            tls_name=dest,
        )

    def _stream(self, source: Machine, dest: Machine) -> bool:
        """QEMU moves the guest, if it runs and its place is there."""
        if (
            source.libvirt.domains.get(self.instance) != RUNNING
            or self.instance not in dest.libvirt.domains
        ):
            return False
        del source.libvirt.domains[self.instance]
        self._run(dest)
        return True

    def move(self, migration: str, reverts: bool = False) -> bool:
        """A cold migration, or its revert; whether Nova has finished it.

        :param migration: Nova's.
        """
        source, dest = self.host, self.other(self.host)
        handover = way_back(migration) if reverts else migration
        kind = Move.REVERT if reverts else Move.COLD
        boots = self.machine(source).boots
        record = handover, self.instance, source, dest, kind
        self.world.korora.nova.migrations.add(record)
        try:
            prepared = self.tried(self._prepare, source, dest, handover, kind)
            if self.machine(source).boots != boots:
                return False  # with its nova-compute, before the copy
            if not prepared:
                self.tried(self._say, source, 'stays', handover)
                return False
            self.stop(source)
            self._copy_vtpm(source, dest)
        finally:
            self.world.korora.nova.migrations.discard(record)
        self.host = dest
        self.world.korora.nova.servers[self.instance] = dest
        self.tried(self._say, dest, 'activated', handover)
        return self.tried(self.start, dest)

    def _prepare(
        self, source: str, dest: str, handover: str, kind: str
    ) -> None:
        self.ask(
            source, 'prepare', migration=handover, dest=dest, kind=str(kind)
        )

    def _copy_vtpm(self, source: str, dest: str) -> None:
        there = self._vtpm(self.machine(dest))
        there.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(self._vtpm(self.machine(source)), there)

    def _roll_back(
        self, source: str, dest: str, migration: str, started: bool = False
    ) -> bool:
        """Nova calls it off; never true."""
        if not started:
            self.tried(self._say, source, 'never_started', migration)
        self.machine(dest).libvirt.domains.pop(self.instance, None)
        self.tried(self._say, dest, 'no_domain', migration)
        return False

    def _say(self, host: str, word: str, migration: str) -> None:
        self.ask(host, word, migration=migration)
        try:
            self.machine(host).settle()
        except (Gone, RuntimeError) as exc:
            self.told.append(str(exc))

    def delete(self) -> None:
        """Nova deletes the server; its host is told until it knows."""
        self.deleted = True
        self.world.korora.nova.servers.pop(self.instance, None)
        self.world.korora.nova.gone.add(self.instance)
        self.stop(self.host)
        self.tried(self._forget, self.host)

    def _forget(self, host: str) -> None:
        self.ask(host, 'forget')
        self.machine(host).settle()

    # What operators do

    def order(self, what: Callable[[], None]) -> None:
        """Have something done, now or when everybody is there again."""
        self.orders.append(what)
        self._carry_out()

    def _carry_out(self) -> None:
        orders, self.orders = self.orders, []
        for what in orders:
            if not self.tried(what):
                self.orders.append(what)

    def reissue(self) -> None:
        self.world.admin.reissue_server(
            self.instance, WHY, fenced='its guest was stopped'
        )

    def release(self) -> None:
        self.world.admin.release_server(self.instance, WHY)

    def evict(self, name: str) -> None:
        """Until nothing is the host's any more; it comes back as another."""
        after = ''
        while True:
            answer = self.world.admin.evict_host(name, WHY, after=after)
            after = answer['next']
            if not after:
                break
        if answer['left']:
            raise errors.Conflict(errors.Reason.CUSTODY_PENDING)
        self.orders.append(lambda: self.readmit(name))

    def readmit(self, name: str) -> None:
        """A host that was evicted comes back, with nothing on its disk."""
        machine = self.machine(name)
        self.world.admin.delete_host(name, force=True)
        machine.stop_agent()
        shutil.rmtree(machine.state_dir, ignore_errors=True)
        machine.power_agent()
        machine.join(self.world.admin)

    # What is true then

    def heal(self) -> bool:
        """Everybody is there again: whether all is settled."""
        for seconds in ROUNDS:
            self.world.pass_time(seconds)
            for machine in self.world.machines.values():
                self.attend(machine)
            self._carry_out()
            if seconds >= RECONCILED:
                for name in (S, D):
                    self.tried(self._reconcile, name)
            if self.deleted:
                self._reap()
            if self._settled():
                return True
        return False

    def _reconcile(self, host: str) -> None:
        """What nova-compute says of cold migrations that nobody goes on with.

        As ``relying_party.reconcile`` does.
        """
        here = self.host == host and not self.deleted
        off = self.deleted and host not in self.running()
        for key in self.machine(host).client.status().keys:
            if key.instance != self.instance:
                continue
            word = ''
            if key.state in _LEAVING and (here or off):
                word = 'stays'
            elif key.state == VaultState.INCOMING and here:
                word = 'activated'
            if word:
                self.tried(self._say, host, word, key.migration)

    def attend(self, machine: Machine) -> None:
        """What an agent's threads do, now."""
        for what in (machine.step, machine.settle):
            try:
                what()
            except (Gone, RuntimeError) as exc:
                self.told.append(str(exc))

    def _ask_operators(self, settled: bool) -> bool:
        """They do what ``server list --issues`` says, where they have to.

        :returns: whether all is settled then.
        """
        if settled and not self.may_reissue and not self._is_elsewhere():
            return True
        said = {
            issue['id']
            for server in self.world.admin.list_servers(issues=True)
            if server['instance'] == self.instance
            for issue in server['issues']
        }
        if 'gone' in said:
            self.order(self.release)
        elif self._is_elsewhere() or (
            self.may_reissue and said & {'behind', 'forked'}
        ):
            for name in (S, D):
                self.stop(name)
            self.order(self.reissue)
        else:
            return settled
        self.operated = True
        return self.heal()

    def _is_elsewhere(self) -> bool:
        """Both hosts booted between the end of a stream and Nova's.

        Its start is refused where Nova has it, and the key is not there.
        """
        return (
            not self.deleted
            and not self.running()
            and self.row().get('holder') == self.other(self.host)
        )

    def _reap(self) -> None:
        """nova-compute ends guests that Nova does not know any more."""
        for name in (S, D):
            if name in self.running() or (
                name == self.host and self.standing(name) != 'none'
            ):
                self.stop(name)
                self.tried(self._forget, name)

    def standing(self, host: str) -> str:
        return self.machine(host).state(self.instance)

    def row(self) -> dict[str, Any]:
        """The ledger's row, empty if there is none."""
        try:
            return dict(self.world.admin.get_server(self.instance))
        except errors.NotFound:
            return {}

    def _settled(self) -> bool:
        row = self.row()
        settled = {'none', 'held'}
        if not self.deleted:
            settled.add('claiming')  # until it is started again
        return (
            not self.orders
            and not row.get('pending')
            and not (self.deleted and row.get('holder'))
            and {self.standing(S), self.standing(D)} <= settled
        )

    def states(self) -> str:
        row = self.row()
        return (
            f'S {self.standing(S)}, D {self.standing(D)}, ledger '
            f'{row.get("holder")} epoch {row.get("epoch")} '
            f'pending {row.get("pending")}, Nova {self.host}, running '
            f'{self.running()}'
        )

    def running(self) -> list[str]:
        return [
            name
            for name in (S, D)
            if self.machine(name).libvirt.domains.get(self.instance) == RUNNING
        ]

    def check(self) -> Verdict:
        """Judge, and then use the server as if nothing had been."""
        verdict = Verdict()
        if not self._ask_operators(self.heal()):
            verdict.stuck.append(f'not settled: {self.states()}')
        if self.deleted:
            self._check_gone(verdict)
            return verdict
        self._check_place(verdict)
        if not verdict.good:
            return verdict
        if not self.migrate():
            verdict.stuck.append(f'a retry fails: {self.states()}')
        elif not self.heal():
            verdict.stuck.append(f'a retry hangs: {self.states()}')
        self._check_holder(verdict)
        self.delete()
        self.heal()
        self._check_gone(verdict)
        return verdict

    def _check_place(self, verdict: Verdict) -> None:
        running = self.running()
        if len(running) > 1:
            verdict.double.append(f'the guest runs twice: {self.states()}')
        if running:
            # Nova finds it where it is, when it looks
            self.host = running[0]
            self.world.korora.nova.servers[self.instance] = self.host
        self._check_holder(verdict)

    def _check_holder(self, verdict: Verdict) -> None:
        """Nova's host can start the server, and no other one."""
        stranger = self.other(self.host)
        opens = self.tried(self.ask, stranger, 'open')
        if not self.tried(self.restart, self.host):
            has = [n for n in (S, D) if self.standing(n) != 'none']
            (verdict.stuck if has else verdict.lost).append(
                f'it does not start on {self.host}: {self.told[-1]}, '
                f'{self.states()}'
            )
        elif (self.row().get('holder'), self.standing(self.host)) != (
            self.host,
            'held',
        ):
            verdict.double.append(f'the ledger errs: {self.states()}')
        elif opens:
            verdict.double.append(
                f'{stranger} can open the key, too: {self.states()}'
            )

    def _check_gone(self, verdict: Verdict) -> None:
        row = self.row()
        if row.get('holder') or row.get('pending'):
            verdict.stuck.append(f'the ledger still has it: {row}')
        for name in (S, D):
            machine = self.machine(name)
            if self.standing(name) != 'none':
                verdict.stuck.append(f'{name} still has it: {self.states()}')
            if self.instance in machine.libvirt.secrets:
                verdict.stuck.append(f'{name} left its secret')


# What happens to it


def moved(life: Life) -> None:
    """A whole life: first start, a migration, a restart, deletion."""
    if not life.tried(life.start, S):
        return
    life.migrate()
    life.tried(life.restart, life.host)
    life.delete()


def stopped(life: Life) -> None:
    """It is stopped and started; its vTPM's state is what it was."""
    for _ in range(2):
        if not life.tried(life.start, S):
            return
        life.rest()
    life.tried(life.start, S)


def cold(life: Life) -> None:
    """A cold migration that is reverted, and one that is not."""
    if not life.tried(life.start, S):
        return
    for reverted in (True, False):
        migration = str(uuid.uuid4())
        if life.move(migration) and reverted:
            life.move(migration, reverts=True)


def cold_failed(life: Life) -> None:
    """Nova fails to copy it, and says so; it starts where it was."""
    if not life.tried(life.start, S):
        return
    migration = str(uuid.uuid4())
    record = migration, life.instance, S, D, Move.COLD
    life.world.korora.nova.migrations.add(record)
    life.tried(life._prepare, S, D, migration, Move.COLD)
    life.stop(S)
    life.world.korora.nova.migrations.discard(record)
    life.tried(life._say, S, 'stays', migration)
    life.tried(life.start, S)


def rolled_back(life: Life) -> None:
    """Nova calls a migration off before its stream."""
    if life.tried(life.start, S):
        life.migrate(fails='before')


def broken(life: Life) -> None:
    """The stream breaks; the guest runs on where it was."""
    if life.tried(life.start, S):
        life.migrate(fails='stream')


def listed(life: Life) -> None:
    """A host has measured much, and all of it is to be sent."""
    life.machine(S).measure_much()
    if life.tried(life.start, S):
        life.tried(life.restart, S)


def reissued(life: Life) -> None:
    """The holder's disk was replaced: an operator lets it have a new key."""
    if not life.tried(life.start, S):
        return
    life.stop(S)
    shutil.rmtree(life.machine(S).state_dir / 'vault')
    (life.machine(S).state_dir / 'vault').mkdir(mode=0o700)
    life.order(life.reissue)
    life.tried(life.start, S)


def released(life: Life) -> None:
    """It is deleted while its host does not answer; an operator helps."""
    if not life.tried(life.start, S):
        return
    life.deleted = True
    life.world.korora.nova.gone.add(life.instance)
    life.stop(S)
    life.order(life.release)


def disputed(life: Life) -> None:
    """libvirt loses the end of its protocol; an operator decides."""
    if not life.tried(life.start, S):
        return
    migration = str(uuid.uuid4())
    record = migration, life.instance, S, D
    life.world.korora.nova.migrations.add(record)
    steps = life.steps(S, D, migration)
    begun = steps[0]() is None and steps[1]() is None
    life.world.korora.nova.migrations.discard(record)
    if not begun:
        return
    if life.running() == [S]:
        life.machine(D).libvirt.domains[life.instance] = RUNNING
    for seconds in (0.0, 70.0, 70.0):
        life.world.pass_time(seconds)
        for machine in life.world.machines.values():
            life.attend(machine)
    life.order(lambda: _resolve(life, migration))


def _resolve(life: Life, migration: str) -> None:
    try:
        life.world.admin.resolve_migration(migration, 'destination', WHY)
    except errors.Conflict as exc:
        # It may have been decided, and the other way, by both ends
        if exc.reason not in ('MIGRATION_SPENT', 'CANNOT_KEEP'):
            raise
        return
    life.stop(S)
    life.host = D
    life.world.korora.nova.servers[life.instance] = D


def evicted(life: Life) -> None:
    """The host where it runs burns down; it starts on another one."""
    if not (life.tried(life.start, S) and life.migrate()):
        return
    life.machine(D).power_off()
    life.order(lambda: life.evict(D))
    life.host = S
    life.world.korora.nova.servers[life.instance] = S
    life.tried(life.start, S)


#: Stories in which the service signs what it tells operators alone.
BY_OPERATORS = ('reissued', 'released', 'disputed', 'evicted')

STORIES: dict[str, Callable[[Life], None]] = {
    story.__name__: story
    for story in (
        moved,
        stopped,
        cold,
        cold_failed,
        rolled_back,
        broken,
        listed,
        reissued,
        released,
        disputed,
        evicted,
    )
}
