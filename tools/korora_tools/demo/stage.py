# SPDX-License-Identifier: Apache-2.0
"""What the scenarios share: the main server, and how it is moved."""

import dataclasses
import time

from korora_tools.demo import continuity
from korora_tools.demo import world as w
from korora_tools.demo.migration import Migration
from korora_tools.lab import paths

SETTLE = 30  # seconds within which agents have settled a hand-over


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What came of a scenario; ``reason`` is the refusal's stable id."""

    observed: str
    reason: str = ''


@dataclasses.dataclass
class Stage:
    """The cloud, the main server and what was measured on the way."""

    world: w.World
    server: str = ''
    watcher: continuity.Watcher | None = None
    migrations: list[Migration] = dataclasses.field(default_factory=list)
    downtimes_ms: list[float] = dataclasses.field(default_factory=list)
    handovers: list[dict[str, float]] = dataclasses.field(default_factory=list)

    def guest_runs(self) -> bool:
        """Whether the main guest prints a newer tick within a minute."""
        assert self.watcher is not None
        try:
            self.watcher.wait_past(self.watcher.latest(), 60)
        except TimeoutError:
            self._describe_silence()
            return False
        return True

    def _describe_silence(self) -> None:
        """Print what distinguishes a dead guest from a hanging one."""
        host = self.world.host(self.server)
        console = self.world.lab.console(host, self.server)
        tail = (
            console.read_text(errors='replace').splitlines()[-5:]
            if console.exists()
            else ['no console']
        )
        states = [
            f'{h} ' + self.world.virsh(h, 'list', '--all').strip()
            for h in paths.HOSTS
        ]
        self.world.say(
            '    the guest is silent; ' + '; '.join([*states, *tail])
        )

    def move(self, host: str | None = None) -> Migration:
        """Migrate the main server as its operator would."""
        result = self.world.migrate_live(self.server, host)
        if result.observed == 'migrated':
            self.settled()
        return result

    def move_measured(self, host: str) -> Migration:
        """Migrate the main server and take the figures of a success."""
        result = self.world.migrate_by_api(self.server, host)
        if result.observed == 'migrated':
            self._measure(result)
            self.settled()
        return result

    def _measure(self, result: Migration) -> None:
        downtime = self.world.downtime_ms(result.host, self.server)
        self.migrations.append(result)
        self.downtimes_ms.append(downtime)
        sides = [
            self.world.agent(h, 'status')['last_handover']
            for h in (result.source, result.host)
        ]
        self.handovers.append(
            {
                'ms': sides[1]['ms'],
                'tpm_commands': sum(s['tpm_commands'] for s in sides),
            }
        )

    def settled(self, timeout: float = SETTLE) -> None:
        """Wait until the ledger has no hand-over of the server pending."""
        end = time.monotonic() + timeout
        while True:
            row = self.world.attestation(f'/v1/servers/{self.server}')
            if not row['pending']:
                return
            if time.monotonic() > end:
                raise w.DemoError('the hand-over stays pending')
            time.sleep(0.2)

    def back_to_h1(self) -> None:
        """Undo what a scenario left, outside what is judged."""
        if self.world.host(self.server) != 'h1':
            result = self.move_measured('h1')
            if result.observed != 'migrated':
                raise w.DemoError(
                    f'no way back to h1: {result.reason or result.status}'
                )

    def refused(self, result: Migration) -> Outcome:
        """A refusal counts only if the guest still runs where it was."""
        observed = result.observed
        if observed == 'refused' and not self.guest_runs():
            observed = 'refused, but the guest stopped'
        return Outcome(observed, result.reason)
