# SPDX-License-Identifier: Apache-2.0
"""Run inside a lab that is up: all scenarios, or stock Nova's baseline.

``python -m korora_tools.demo.run OUT scenarios|baseline`` writes its part of
the demo's report to OUT as JSON. It runs in the control plane's network
namespace with the virtual environment's Python.
"""

import collections.abc
import importlib.metadata
import json
import pathlib
import platform
import statistics
import sys
import time
import typing

from keystoneauth1 import exceptions as ks_exc

from korora_nova import errors
from korora_tools import ui
from korora_tools.demo import canary, scenarios
from korora_tools.demo import world as w
from korora_tools.demo.stage import Outcome, Stage
from korora_tools.lab import client, paths

Json = dict[str, typing.Any]

#: What crosses Nova's bus.
BUS = f'tcp port {paths.PORTS["rabbitmq"]}'
#: A scenario that meets one of these could not be judged: it failed.
UNJUDGED = (
    w.DemoError,
    client.CloudError,
    ui.Problem,
    errors.KororaError,
    ks_exc.ClientException,
    TimeoutError,
    OSError,
)


def versions(world: w.World) -> Json:
    """Versions of everything that takes part."""
    found: Json = {'python': platform.python_version()}
    for name in (
        'nova',
        'keystone',
        'openstack-placement',
        'glance',
        'neutron',
        'barbican',
        'korora-nova',
        'tpm2-pytss',
    ):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = 'not installed'
    for line in world.virsh('h1', 'version').splitlines():
        for what, key in (
            ('Using library', 'libvirt'),
            ('Running hypervisor', 'qemu'),
        ):
            if line.startswith(what):
                found[key] = line.split()[-1]
    return found


def run_scenarios(
    world: w.World, wanted: collections.abc.Collection[str]
) -> Json:
    """All scenarios in order, the canary and the guest's own account."""
    stage = Stage(world)
    rows: list[Json] = []
    folder = world.lab.data / 'capture'
    with canary.Capture(folder, paths.CTL, BUS) as capture:
        for scenario in scenarios.ALL:
            if wanted and scenario.id not in wanted:
                continue
            rows.append(act(world, stage, scenario))
            if not stage.server:
                raise ui.Problem('no server to go on with')
        world.say('... canary: looking for the real passphrase')
        finds = search(world, capture, world.passphrase(stage.server))
    return report(world, stage, rows, finds)


def report(
    world: w.World,
    stage: Stage,
    rows: list[Json],
    finds: dict[str, canary.Finds],
) -> Json:
    """What came of it all; the main server is deleted."""
    assert stage.watcher is not None
    stage.watcher.stop()
    guest = stage.watcher.report()
    world.delete(stage.server)
    scenarios.clean_up()
    return {
        'versions': versions(world),
        'guest': {
            'continuity': guest.continuity,
            'boot_ids': guest.boot_ids,
            'ticks': guest.ticks,
            'max_gap_s': guest.max_gap_s,
            'emulator_trouble': guest.emulator_trouble,
        },
        'scenarios': rows,
        'canary': {k: f.total for k, f in finds.items()},
        'canary_files': {k: f.files for k, f in finds.items() if f.files},
        'migration': _figures(stage),
    }


def act(world: w.World, stage: Stage, scenario: scenarios.Scenario) -> Json:
    """Run a scenario, and say what came of it; its row of the report."""
    began = time.monotonic()
    try:
        outcome = scenario.run(stage)
    except UNJUDGED as exc:
        outcome = Outcome(f'{type(exc).__name__}: {exc}'[:600])
    ok = outcome.observed == scenario.expected
    if scenario.expected == 'refused':
        ok = ok and bool(outcome.reason)
    seconds = time.monotonic() - began
    why = f' [{outcome.reason}]' if outcome.reason else ''
    world.say(
        f'{"ok " if ok else "!!!"} {scenario.id:18} {scenario.what}: '
        f'{outcome.observed}{why} ({seconds:.1f} s)'
    )
    return {
        'id': scenario.id,
        'what': scenario.what,
        'expected': scenario.expected,
        'observed': outcome.observed,
        'reason': outcome.reason,
        'ok': ok,
        'seconds': round(seconds, 1),
    }


def _figures(stage: Stage) -> Json:
    """Medians over the migrations of the main server that went through."""
    if not stage.migrations:
        return {'n': 0}
    return {
        'n': len(stage.migrations),
        'total_s': statistics.median(m.total_s for m in stage.migrations),
        'downtime_ms': statistics.median(stage.downtimes_ms),
        'handover_ms': round(
            statistics.median(h['ms'] for h in stage.handovers), 1
        ),
        'tpm_commands': int(
            statistics.median(h['tpm_commands'] for h in stage.handovers)
        ),
    }


def run_baseline(world: w.World) -> Json:
    """One live migration of one vTPM server on stock Nova."""
    folder = world.lab.data / 'capture'
    with canary.Capture(folder, paths.CTL, BUS) as capture:
        server = world.create('stock', 'vtpm', host='h1')
        if server['status'] != 'ACTIVE':
            raise ui.Problem('stock Nova does not start the server')
        watcher = world.watcher(server['id'])
        watcher.wait_past(1, 120)
        result = world.migrate_live(server['id'], 'h2')
        world.say(
            f'ok  stock Nova: {result.observed} in {result.total_s:.1f} s'
        )
        watcher.stop()
        finds = search(world, capture, world.passphrase(server['id']))
    world.delete(server['id'])
    if result.observed != 'migrated':
        raise ui.Problem('stock Nova did not migrate the server')
    return {k: f.total for k, f in finds.items()}


def search(
    world: w.World, capture: canary.Capture, passphrase: bytes
) -> dict[str, canary.Finds]:
    """Everywhere the passphrase must not be; the guest still runs."""
    wanted = canary.needles(passphrase)
    capture.stop()
    return {'bus': capture.count(wanted), **elsewhere(world, wanted)}


def elsewhere(
    world: w.World, wanted: tuple[bytes, ...]
) -> dict[str, canary.Finds]:
    """The same but for what was captured."""
    lab = world.lab
    logs = [lab.log, *(lab.host(h) / 'var' / 'log' for h in paths.HOSTS)]
    dump = [
        'mariadb-dump',
        '--no-defaults',
        '--user=root',
        f'--socket={lab.run / "mysql.sock"}',
        '--all-databases',
        '--single-transaction',
    ]
    return {
        'logs': canary.search_trees(logs, wanted),
        'disk': canary.search_trees(
            [lab.root], wanted, [lab.cache, lab.data / 'capture', *logs]
        ),
        'db': canary.search_output('databases', dump, wanted),
    }


def main() -> int:
    out, what, *wanted = sys.argv[1:]
    world = w.World(paths.Lab.default(), ui.say)
    try:
        part = (
            run_baseline(world)
            if what == 'baseline'
            else run_scenarios(world, wanted)
        )
    except UNJUDGED as exc:
        ui.fail(str(exc))
        return 1
    except KeyboardInterrupt:
        return 130
    pathlib.Path(out).write_text(json.dumps(part, indent=2) + '\n')
    return 0


if __name__ == '__main__':
    sys.exit(main())
