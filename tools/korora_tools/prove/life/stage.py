# SPDX-License-Identifier: Apache-2.0
"""One server of one kind, what is done to it, and what came of it."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator
from typing import Any

from keystoneauth1 import exceptions as ks_exc

from korora_nova import errors
from korora_tools import ui
from korora_tools.demo import world as w
from korora_tools.demo.migration import REASON
from korora_tools.lab import client, paths
from korora_tools.prove import cloud
from korora_tools.prove.faults import operator
from korora_tools.prove.faults.victims import VICTIMS
from korora_tools.prove.life.guest import UNSEALED_NOT, Guest, Words

Json = dict[str, Any]

#: Seconds for Nova to come to the end of one request.
PATIENCE = 150.0
SETTLE = 60.0
TRUSTED = ('h1', 'h2')
UNTRUSTED = 'h3'
#: A protected server; one without requirement.
KINDS = {'vtpm': 'vtpm', 'plain': 'plain'}
#: Statuses of a migration's record at which Nova does no more by itself.
_RESTING = client.ENDED | {'finished', 'confirmed', 'reverted'}
_BY_NAME = {victim.name: victim for victim in VICTIMS}

TROUBLES = (
    w.DemoError,
    client.CloudError,
    ui.Problem,
    errors.KororaError,
    ks_exc.ClientException,
    TimeoutError,
    OSError,
)


class NoServer(Exception):
    """There is no server to go on with."""


@dataclasses.dataclass
class Stage:
    """The cloud as one kind of server sees it.

    :param kind: ``vtpm`` or ``plain``.
    :param stock: the cloud is stock Nova: it has no agents, no service.
    """

    world: w.World
    kind: str
    stock: bool
    server: str = ''
    #: What it is made from.
    image: str = 'guest'
    #: What its guest said after its first start.
    words: Words = Words()
    #: Where it was when the operation began.
    home: str = ''
    #: It is not as it was created.
    spoilt: bool = False

    @property
    def lab(self) -> paths.Lab:
        return self.world.lab

    @property
    def protected(self) -> bool:
        return self.kind == 'vtpm'

    # -- the server -------------------------------------------------------

    @property
    def guest(self) -> Guest:
        return Guest(self.world, self.server, self.protected, self.image)

    def ready(self, image: str) -> None:
        """A server that runs on a trusted host, made anew if need be.

        :raises NoServer: there is none.
        """
        if self.image != image or not self._usable():
            self.discard()
            self.image = image
            made = self.world.create(
                'life-' + self.kind, self.kind, image, host='h1'
            )
            self.server = made['id']
            if made['status'] != 'ACTIVE':
                raise NoServer(f'{made["status"]} {made.get("fault")}')
            self.words = self.guest.words(whole=True)
            if self.words.sealed == UNSEALED_NOT:
                raise NoServer('its guest cannot seal to its vTPM')
        self.home = self.world.host(self.server)

    def _usable(self) -> bool:
        if not self.server:
            return False
        try:
            found = self.world.server(self.server)
        except ks_exc.ClientException:
            return False
        return (
            found['status'] == 'ACTIVE'
            and found['OS-EXT-STS:task_state'] is None
            and found['OS-EXT-SRV-ATTR:host'] in TRUSTED
        )

    def discard(self) -> None:
        if self.server:
            with contextlib.suppress(*TROUBLES):
                self.world.delete(self.server, 60)
        self.server = ''
        self.words = Words()
        self.spoilt = False

    @property
    def other(self) -> str:
        """The trusted host that the server is not on."""
        return TRUSTED[1 - TRUSTED.index(self.home)]

    # -- requests ---------------------------------------------------------

    def act(
        self,
        what: str,
        body: Any = None,
        *,
        microversion: str | None = None,
        wait: bool = True,
    ) -> str:
        """Ask for a server action, and wait for its end.

        :return: what came of it, as ``seen``.
        """
        answer = self.world.nova.post(
            f'/servers/{self.server}/action',
            json={what: body},
            raise_exc=False,
            **({'microversion': microversion} if microversion else {}),
        )
        if answer.status_code >= 300:
            return f'refused {answer.status_code}; {self.seen()}'
        if not wait:
            return ''
        time.sleep(0.5)
        return self.ended()

    def ended(self) -> str:
        """What came of the last request."""
        self.idle()
        failed = self._failure()
        return f'{failed}; {self.seen()}' if failed else self.seen()

    def idle(self, timeout: float = PATIENCE) -> None:
        """Wait until Nova does nothing more with the server."""
        idle_since = 0.0

        def ready() -> bool:
            nonlocal idle_since
            found = self.world.server(self.server)
            if found['OS-EXT-STS:task_state'] is not None:
                idle_since = 0.0
                return False
            idle_since = idle_since or time.monotonic()
            records = self.world.migrations(self.server)[:1]
            return (
                all(record['status'] in _RESTING for record in records)
                or time.monotonic() - idle_since > cloud.IDLE
            )

        ui.wait('Nova to end what it does', ready, timeout, 0.3)

    def _failure(self) -> str:
        """Of the latest request: ``failed``, and Kororā's reason if any."""
        actions = self.world.nova.get(
            f'/servers/{self.server}/os-instance-actions'
        ).json()['instanceActions']
        detail = self.world.nova.get(
            f'/servers/{self.server}/os-instance-actions/'
            + actions[0]['request_id']
        ).json()['instanceAction']
        wrong = [e for e in detail['events'] if e.get('result') == 'Error']
        if not wrong:
            return ''
        reasons = REASON.findall(
            ' '.join(f'{e.get("details")} {e.get("traceback")}' for e in wrong)
        )
        return f'failed {reasons[-1]}' if reasons else 'failed'

    def seen(self) -> str:
        """The server's status, and whether it is where it was."""
        try:
            found = self.world.server(self.server)
        except ks_exc.NotFound:
            return 'gone'
        host = found['OS-EXT-SRV-ATTR:host']
        place = {self.home: 'same', None: 'nowhere', UNTRUSTED: 'untrusted'}
        return f'{found["status"]} {place.get(host, "other")}'

    def domain(self) -> str:
        """libvirt's number of its domain: another one is another start.

        ``-`` if it is off.
        """
        host = self.world.host(self.server)
        if self.server not in self.world.virsh(host, 'list', '--uuid'):
            return '-'
        return self.world.virsh(host, 'domid', self.server).strip()

    def await_task(self, *names: str, status: str = '') -> None:
        """Wait until Nova is in the middle of something."""

        def there() -> bool:
            found = self.world.server(self.server)
            return found['OS-EXT-STS:task_state'] in names or (
                bool(status) and found['status'] == status
            )

        ui.wait('/'.join(names), there, 60, 0.05)

    # -- what goes wrong --------------------------------------------------

    @contextlib.contextmanager
    def without_service(self) -> Iterator[None]:
        """The attestation service is down; stock Nova has none."""
        if self.stock:
            yield
            return
        self.world.stop_service()
        try:
            yield
        finally:
            self.world.start_service()

    @contextlib.contextmanager
    def without_agent(self, host: str) -> Iterator[None]:
        if self.stock:
            yield
            return
        # TERM would let it end what it is at, and answer meanwhile
        _BY_NAME['korora-agent of source'].hit(self.lab, host, self.server)
        try:
            yield
        finally:
            self.world.start_agent(host)

    @contextlib.contextmanager
    def enabled(self, host: str) -> Iterator[None]:
        """The scheduler may choose a host."""
        self.world.enable(host, True)
        try:
            yield
        finally:
            self.world.enable(host, False)

    def compute_service(self, host: str) -> str:
        """Nova's id of a host's nova-compute."""
        found = self.world.nova.get(
            '/os-services', params={'binary': 'nova-compute', 'host': host}
        ).json()['services']
        return str(found[0]['id'])

    @contextlib.contextmanager
    def crashed(self, victim: str, host: str = '') -> Iterator[None]:
        """Something was killed, and comes back at the end."""
        back = self.killed(victim, host)
        try:
            yield
        finally:
            back()
            self.recovered()

    def killed(self, victim: str, host: str) -> Callable[[], None]:
        """Kill something; returns what starts it."""
        return _BY_NAME[victim].hit(self.lab, host, self.server)

    def recovered(self) -> None:
        """All is well, and what died has left nothing behind."""
        self.calm()
        # It may have left allocations, which fill a host
        operator.audit_placement(self.lab)

    def tampered(self, host: str) -> None:
        """Its boot state changes; ``lab reboot`` mends it."""
        if not self.stock:
            self.world.lab_command('tamper', host, '--boot')

    def mended(self, host: str) -> None:
        if not self.stock:
            self.world.lab_command('reboot', host)

    def calm(self) -> None:
        """All services are up, and the hosts trusted."""
        cloud.await_services(self.world, TRUSTED)
        if not self.stock:
            for host in TRUSTED:
                cloud.await_trust(self.world, host)

    # -- what must be true afterwards -------------------------------------

    def back_to_work(self) -> str:
        """Bring the server to ACTIVE by what its status asks for."""
        for _ in range(4):
            status = self.world.server(self.server)['status']
            # Of a host that lost power Nova says so for minutes.
            if status == 'ACTIVE' and self.domain() != '-':
                return ''
            how = {
                'SHUTOFF': 'os-start',
                'PAUSED': 'unpause',
                'SUSPENDED': 'resume',
                'VERIFY_RESIZE': 'confirmResize',
                'RESCUE': 'unrescue',
                'SHELVED': 'unshelve',
                'SHELVED_OFFLOADED': 'unshelve',
                'SOFT_DELETED': 'restore',
            }.get(status)
            if how is None:
                self.act('reboot', {'type': 'HARD'})
            else:
                self.act(how)
        return self.world.server(self.server)['status']

    def secret(self) -> str:
        """``kept`` if the guest unseals what it sealed first, else ``lost``.

        ``n/a`` without a vTPM.
        """
        found = self.guest.words()
        if not self.protected:
            return 'n/a'
        return 'kept' if found.sealed == self.words.sealed else 'lost'

    def variables(self) -> str:
        """Whether the firmware has the variable that the guest last saw."""
        found = self.guest.words().variable
        same = found == self.words.variable
        self.words = dataclasses.replace(self.words, variable=found)
        return 'variables ' + ('kept' if same else 'new')

    def emulator_crashed(self) -> bool:
        """The guest's console shows a crash that is the emulator's."""
        try:
            return self.guest.crashed()
        except TROUBLES:
            return False

    def custody(self) -> str:
        """What is wrong with the server's key, '' if nothing is."""
        if self.stock or not self.protected:
            return ''
        end = time.monotonic() + SETTLE
        while wrong := self._misplaced():
            if time.monotonic() > end:
                return wrong
            time.sleep(1)
        return ''

    def _misplaced(self) -> str:
        host = self.world.host(self.server)
        row = self.world.attestation(f'/v1/servers/{self.server}')
        if row['pending'] or row['holder'] != host:
            return f'ledger: {row["holder"]}, pending {row["pending"]}'
        keys = self._keys(self.server)
        if keys != {host: ['held']}:
            return f'keys: {keys}, Nova: {host}'
        states = [name for name in TRUSTED if self._vtpm(name, self.server)]
        if states != [host]:
            return f'states of the vTPM: {states}, Nova: {host}'
        return ''

    def _vtpm(self, host: str, server: str) -> bool:
        """Whether a host's libvirt has a state of a server's vTPM."""
        root = self.lab.host(host)
        return (root / 'var/lib/libvirt/swtpm' / server).exists()

    def _keys(self, server: str) -> dict[str, list[str]]:
        """Hosts that have something of a server's key, and its states."""
        found = cloud.keys_of(self.world, server, TRUSTED)
        return {host: keys for host, keys in found.items() if keys}

    def left(self, server: str) -> str:
        """What is left of a server that is gone, '' if nothing is."""

        def nothing() -> bool:
            return not self.leftovers(server)

        with contextlib.suppress(*TROUBLES):
            ui.wait('the end of all that belonged to it', nothing, SETTLE, 1)
        return self.leftovers(server)

    def leftovers(self, server: str) -> str:
        """What hosts still have of a server."""
        found = [
            f'{what} on {host}'
            for host in TRUSTED
            for what in ('list', 'secret-list')
            if server
            in self.world.virsh(
                host, what, *(['--uuid', '--all'] if what == 'list' else [])
            )
        ]
        found += [
            f'state of the vTPM on {host}'
            for host in TRUSTED
            if self._vtpm(host, server)
        ]
        if not self.stock and self.protected:
            found += [f'key on {host}' for host in self._keys(server)]
        return ', '.join(found)

    def flavor(self, size: str) -> str:
        """A flavor of this kind: '' or ``big``."""
        return f'{self.kind}-{size}' if size else self.kind

    def in_turn(self, *steps: Callable[[], str]) -> str:
        """What came of each of several requests."""
        return ' > '.join(step() for step in steps)
