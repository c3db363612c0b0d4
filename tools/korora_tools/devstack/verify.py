# SPDX-License-Identifier: Apache-2.0
"""Everything that has to be true on DevStack, in one run and one report."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from korora_tools import ui
from korora_tools.devstack import cloud, network, paths, scenarios, tempest
from korora_tools.devstack.node import Node

# What a node may have of ours: all of it gone after clean.sh.
LEFTOVERS = (
    '/etc/korora',
    '/var/lib/korora',
    '/run/korora',
    '/opt/stack/data/korora-tpm',
    '/opt/stack/data/korora-handout',
    '/opt/stack/nova/nova/virt/korora',
    '/etc/systemd/system/devstack@korora-*',
    '/etc/apache2/sites-*/korora-*',
    '/var/run/uwsgi/korora-*',
)
LEFT = f'ls -d {" ".join(LEFTOVERS)} 2>/dev/null; true'
OWNED_BY_ROOT = 'find /opt/stack/korora-nova -user root 2>/dev/null; true'
RUNNING = 'pgrep -af "korora|software-tpm" | grep -v pgrep; true'
NOVA_STATUS = 'git -C /opt/stack/nova status --porcelain'
CODES = ('stack_rc', 'restack_rc', 'offline_rc')
# Tests that have to pass, at least.
OURS, UPSTREAM = 40, 52
Report = dict[str, Any]


def single(made: cloud.Cloud, world: scenarios.World, report: Report) -> None:
    """Stack, and try the scenarios.

    :raises Problem: it does not stack, so nothing can follow.
    """
    ctl = made.controller
    made.down()
    made.prepare(ctl)
    report['devstack'] = made.commit()
    report['stack_rc'] = made.stack(ctl)
    if report['stack_rc']:
        raise ui.Problem(
            f'stack.sh ended with {report["stack_rc"]}; see '
            f'{made.work.log}/{ctl.name}.stack.log'
        )
    report['nova'] = ctl.output(
        f'{paths.VENV_BIN}/pip show nova | sed -n "s/^Version: //p"', 'stack'
    ).strip()
    report['scenarios'] = scenarios.run(world, *scenarios.SCENARIOS)
    report['affirming'] = report['scenarios'][0]['ok']


def restacks(
    made: cloud.Cloud, world: scenarios.World, report: Report
) -> None:
    """Restack twice over a running protected server, offline first."""
    ctl = made.controller

    def again(key: str, **how: bool) -> None:
        made.unstack(ctl)
        if dirty := ctl.output(NOVA_STATUS, 'stack').strip():
            raise scenarios.Failed(f"unstack.sh left in Nova's tree: {dirty}")
        report[key] = made.stack(ctl, **how)
        if report[key]:
            raise scenarios.Failed(f'stack.sh ended with {report[key]}')
        scenarios.affirming(world)
        scenarios.boot(world)
        scenarios.stop_start(world)

    def restack(_: scenarios.World) -> None:
        network.close_way_out(made.work, ctl.name)
        try:
            again('offline_rc', offline=True)
        finally:
            network.open_way_out(made.work, ctl.name)
        again('restack_rc')

    report['scenarios'] += scenarios.run(world, restack)


def subnode(made: cloud.Cloud, world: scenarios.World, report: Report) -> None:
    """A compute node joins, and becomes affirming by itself."""
    sub = made.node(paths.SUBNODES[0])
    report['subnode_rc'] = made.join(sub)
    if report['subnode_rc']:
        raise scenarios.Failed('stack.sh on the subnode failed')
    tempest.two_nodes(made)
    world.affirming(sub.name)


def multinode(
    made: cloud.Cloud, world: scenarios.World, report: Report
) -> None:
    """A protected server to a subnode and back; not to a tampered one."""
    found = report['multinode'] = {
        'migrated': False,
        'back': False,
        'refused': False,
    }
    ctl, sub = made.controller, made.node(paths.SUBNODES[0])
    world.delete('vtpm', 'mover')
    world.flavors()
    world.create('mover', scenarios.PROTECTED, host=ctl.name)

    def migrate(target: str) -> None:
        made.openstack(
            '--os-compute-api-version 2.95 server migrate --live-migration '
            f'--host {target} mover'
        )
        world.status('mover', 'ACTIVE')

    def there(key: str, target: Node) -> None:
        with ui.step(f'live migration to {target.name}'):
            migrate(target.name)
            found[key] = world.host_of('mover') == target.name
            if not found[key]:
                raise scenarios.Failed(f'the server is not on {target.name}')

    there('migrated', sub)
    there('back', ctl)
    with ui.step('live migration to a tampered subnode'):
        with world.tampered(sub):
            try:
                migrate(sub.name)
            except ui.Problem as exc:
                ui.note(f'          refused: {str(exc)[-160:]}')
            world.status('mover', 'ACTIVE')
            found['refused'] = world.host_of('mover') == ctl.name
    world.delete('mover')


def clean(made: cloud.Cloud, world: scenarios.World, report: Report) -> None:
    """clean.sh takes everything away."""
    report['left_after_clean'] = []

    def clean(_: scenarios.World) -> None:
        for name in (paths.SUBNODES[0], paths.CONTROLLER):
            node = made.node(name)
            if node.leader() is None:
                continue
            made.clean(node)
            left = ''.join(
                node.output(what) for what in (LEFT, OWNED_BY_ROOT, RUNNING)
            ).splitlines()
            left += node.output(NOVA_STATUS, 'stack').splitlines()
            report['left_after_clean'] += [f'{name}: {x}' for x in left]
        if report['left_after_clean']:
            raise scenarios.Failed('; '.join(report['left_after_clean']))

    report['scenarios'] += scenarios.run(world, clean)


def tests(made: cloud.Cloud, world: scenarios.World, report: Report) -> None:
    """Tempest: the plugin's tests and upstream's."""
    found = report['tempest'] = {}
    for name, regex in (
        ('ours', tempest.OURS),
        ('upstream', tempest.UPSTREAM),
    ):
        found[name] = tempest.run(made, name, regex)
    found['upstream']['excluded'] = tempest.EXCLUDED


PARTS = (single, restacks, subnode, multinode, tests, clean)


def run(
    made: cloud.Cloud, report: Report, write: Callable[[Report], None]
) -> Report:
    """What the report does not have yet; `write` gets it after each part.

    A part that breaks off is told of and does not end the others, but for
    the first one.
    """
    world = scenarios.World(made)
    done = report.setdefault('parts', [])
    for part in PARTS:
        if part.__name__ in done:
            continue
        try:
            part(made, world, report)
            done.append(part.__name__)
        except ui.Problem as exc:
            if part is single:
                raise
            ui.note(f'          {exc}')
            report.setdefault('failed', []).append(str(exc))
        finally:
            write(report)
    return report


def good(report: Report) -> bool:
    """Whether all was tried, and is as it should be."""
    try:
        ours, theirs = (report['tempest'][k] for k in ('ours', 'upstream'))
        return (
            len(report['parts']) == len(PARTS)
            and not report.get('failed')
            and not any(report[k] for k in CODES)
            and all(row['ok'] for row in report['scenarios'])
            and all(report['multinode'].values())
            and not ours['failed']
            and ours['passed'] >= OURS
            and not theirs['failed']
            and theirs['passed'] >= UPSTREAM
            and not report['left_after_clean']
        )
    except KeyError:
        return False
