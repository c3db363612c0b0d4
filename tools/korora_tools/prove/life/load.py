# SPDX-License-Identifier: Apache-2.0
"""Many protected servers, eight at a time: is anything left, does it grow?

``python -m korora_tools.prove.life.load OUT SERVERS`` on a lab that is up.
The guests are tiny and have nothing to boot; agents and TPMs are the lab's.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import pathlib
import subprocess
import sys
import tempfile
import threading
import time
from typing import Any

from korora_tools import ui
from korora_tools.demo import world as w
from korora_tools.lab import client, paths, processes
from korora_tools.prove.life.stage import TROUBLES, TRUSTED, Stage

Json = dict[str, Any]
AT_A_TIME = 8
#: Servers after which caches are full.
WARM = 40
TINY = 'vtpm-tiny'
#: What must not grow: name of the report, service of the lab.
WATCHED = {
    'service': 'korora',
    **{f'agent {h}': f'{h}/korora-agent' for h in TRUSTED},
    **{f'nova-compute {h}': f'{h}/nova-compute' for h in TRUSTED},
}


def prepare(world: w.World) -> str:
    """A tiny protected flavor and an empty image; the image's id."""
    specs = world.nova.get('/flavors/vtpm/os-extra_specs').json()
    flavor = {'id': TINY, 'name': TINY, 'ram': 64, 'vcpus': 1, 'disk': 0}
    made = world.nova.post(
        '/flavors', json={'flavor': flavor}, raise_exc=False
    )
    if made.status_code < 300:
        world.nova.post(f'/flavors/{TINY}/os-extra_specs', json=specs)
    image = str(
        world.glance.post(
            '/v2/images',
            json={
                'name': 'tiny',
                'disk_format': 'qcow2',
                'container_format': 'bare',
            },
        ).json()['id']
    )
    with tempfile.NamedTemporaryFile() as disk:
        subprocess.run(
            ['qemu-img', 'create', '-q', '-f', 'qcow2', disk.name, '1M'],
            check=True,
        )
        world.glance.put(
            f'/v2/images/{image}/file',
            data=pathlib.Path(disk.name).read_bytes(),
            headers={'Content-Type': 'application/octet-stream'},
        )
    return image


class Load:
    """Servers' lives, several at a time."""

    def __init__(self, lab: paths.Lab, servers: int, image: str) -> None:
        self.lab = lab
        self.servers = servers
        self.image = image
        self._lock = threading.Lock()
        self.done = 0
        self.migrations = 0
        self.wrong: list[str] = []
        self.ids: list[str] = []
        self.warm: dict[str, int] = {}

    def run(self) -> None:
        with concurrent.futures.ThreadPoolExecutor(AT_A_TIME) as pool:
            list(pool.map(self._one, range(self.servers)))

    def _one(self, number: int) -> None:
        world = w.World(self.lab, ui.say)
        home, other = TRUSTED[number % 2], TRUSTED[1 - number % 2]
        server = ''
        try:
            made = world.create(
                f'load-{number}', TINY, host=home, imageRef=self.image
            )
            server = made['id']
            with self._lock:
                self.ids.append(server)
            if made['status'] != 'ACTIVE':
                raise w.DemoError(f'{made["status"]}: {made.get("fault")}')
            moved = world.migrate_by_api(server, other, 300)
            if moved.observed != 'migrated':
                raise w.DemoError(f'{moved.observed} {moved.reason}')
            world.act(server, 'os-stop', 120)
            world.delete(server, 120)
            with self._lock:
                self.migrations += 1
        except TROUBLES as exc:
            with self._lock:
                self.wrong.append(f'{number}: {exc}'[:300])
            if server:  # else its host is full for those that follow
                with contextlib.suppress(*TROUBLES):
                    world.delete(server, 120)
        with self._lock:
            self.done += 1
            if self.done == WARM:
                self.warm = resident(self.lab)
            if self.done % AT_A_TIME == 0:
                ui.say(
                    f'... {self.done} of {self.servers} servers, '
                    f'{len(self.wrong)} wrong'
                )


def resident(lab: paths.Lab) -> dict[str, int]:
    """MiB of each watched service, all its processes together."""
    sessions = {}
    for name, service in WATCHED.items():
        record = processes.load(lab, service)
        if record:
            sessions[record['pid']] = name
    found = dict.fromkeys(WATCHED, 0.0)
    for stat in pathlib.Path('/proc').glob('[0-9]*/stat'):
        try:
            fields = stat.read_text().rpartition(')')[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if session := sessions.get(int(fields[3])):
            found[session] += int(fields[21]) * 4096 / (1 << 20)
    return {name: round(size) for name, size in found.items()}


def left(world: w.World, servers: list[str]) -> int:
    """Domains, secrets and keys of servers that are gone."""
    stage = Stage(world, 'vtpm', stock=False)
    end = time.monotonic() + 120
    while True:
        found = [s for s in servers if stage.leftovers(s)]
        if not found or time.monotonic() > end:
            return len(found)
        time.sleep(2)


def main() -> int:
    out, servers = sys.argv[1:]
    lab = paths.Lab.default()
    world = w.World(lab, ui.say)
    try:
        load = Load(lab, int(servers), prepare(world))
        began = time.monotonic()
        load.run()
        seconds = time.monotonic() - began
        now = resident(lab)
        report = {
            'servers': load.done,
            'migrations': load.migrations,
            'wrong': load.wrong,
            'left': left(world, load.ids),
            'rss_growth_mb': {
                name: now[name] - load.warm.get(name, now[name])
                for name in now
            },
            'rss_mb': now,
            'seconds': round(seconds),
        }
    except (*TROUBLES, client.CloudError) as exc:
        ui.fail(f'{type(exc).__name__}: {exc}')
        return 1
    pathlib.Path(out).write_text(json.dumps(report, indent=1))
    return 0


if __name__ == '__main__':
    sys.exit(main())
