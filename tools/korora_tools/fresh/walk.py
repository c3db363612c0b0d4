# SPDX-License-Identifier: Apache-2.0
"""Follow the installation guide, on a machine that has the lab's packages.

``python3 -m korora_tools.fresh.walk --nodes DIR --show PATH... --json FILE``,
in a checkout on a bare system; see :mod:`korora_tools.fresh.docs`. The cloud
that the guide takes for granted is ``lab up --stock``, with Kororā taken out
of Nova's environment, and a TPM with a measured boot for h1. Where the guide
says "edit", words in capitals are replaced; the TPM's device, which only
hardware has, is named in agent.conf as well.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import re
import secrets
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

from korora_tools import checkout, ui
from korora_tools.fresh import document, nodes, units
from korora_tools.lab import (
    broker,
    control,
    host,
    hostconfig,
    machine,
    paths,
    processes,
)

INDEX = checkout.ROOT / 'doc/source/install/index.rst'
PATIENCE = 150.0
"""Two of the agent's intervals, and some."""
EDIT = re.compile(r'\$EDITOR (\S+)')
SYSTEMCTL = re.compile(r'systemctl (.*)')
# What only a machine with a TPM of its own has.
STANDS_IN = {'/etc/korora/agent.conf': f'[attester]\ntcti = {hostconfig.TCTI}'}
#: Options that the guide has to set, so the lab's files must not.
OURS = frozenset(
    (
        'swtpm_enabled',
        'swtpm_user',
        'swtpm_group',
        'live_migration_inbound_addr',
    )
)
NOVA = {
    'nova-compute': host.service(nodes.HOST, 'nova-compute'),
    'nova-scheduler': 'nova-scheduler',
    'nova-api': 'nova',
}


class Failed(Exception):
    """A command of the guide does not do what the guide says."""


def values(lab: paths.Lab) -> dict[str, str]:
    """What the reader's words in capitals stand for here."""
    return {
        'REPOSITORY': 'file://' + nodes.REPOSITORY,
        'CONSTRAINTS': '/srv/constraints.txt',
        'NOVA_VENV': str(checkout.VENV),
        'LISTEN_ADDRESS': paths.CTL_IP,
        'SERVICE_URL': f'http://controller:{paths.PORTS["korora"]}',
        'COMPUTE': nodes.HOST,
        'COMPUTE_ADDRESS': paths.HOSTS[nodes.HOST],
        'TPM_CA_FILES': '/srv/tpm-makers/*',
        'IMAGE': 'guest',
        'NOVA_PASSWORD': lab.password,
        **{
            f'{name}_PASSWORD': secrets.token_hex(12)
            for name in ('KORORA', 'AGENT', 'DATABASE', 'BUS', 'ENFORCER')
        },
    }


class Walk:
    """The reader: two nodes, the cloud, and what words stand for."""

    def __init__(
        self, lab: paths.Lab, top: pathlib.Path, shown: Sequence[str]
    ) -> None:
        self.lab = lab
        self.nodes = {
            'controller': nodes.controller(lab, top, shown),
            'compute': nodes.compute(lab, top, shown),
        }
        self.values = values(lab)
        self.passed = 0

    # -- one block --------------------------------------------------------

    def step(self, step: document.Step) -> None:
        """Do a block.

        :raises Failed: a command did not do what the guide says.
        """
        if name := step.ways.get('bring'):
            text = self.nodes['controller'].read(name)
            self.nodes[step.node].write(
                '/root/' + pathlib.Path(name).name, text
            )
        if path := step.ways.get('merge'):
            with self._done(step, step.line, f'add to {path}'):
                node = self.nodes[step.node]
                node.write(
                    path,
                    document.merge(node.read(path), self._filled(step.text)),
                )
        for command in step.commands:
            with self._done(step, command.line, command.text):
                self._command(step, command)

    def _done(self, step: document.Step, line: int, what: str) -> _Done:
        return _Done(self, f'{step.path.name}:{line}', step.node, what)

    def _command(self, step: document.Step, command: document.Command) -> None:
        text = self._filled(command.text)
        if found := EDIT.fullmatch(command.text):
            self._edit(self.nodes[step.node], found[1])
            return
        if found := SYSTEMCTL.fullmatch(text):
            self._systemctl(step.node, found[1].split())
            return
        pattern = step.ways.get('until', step.ways.get('expect', ''))
        wanted = re.compile(self._filled(pattern))
        end = time.monotonic() + (PATIENCE if 'until' in step.ways else 0)
        while True:
            code, output = self._run(step.node, text, command.admin)
            for node in self.nodes.values():
                node.check()
            if code:
                raise Failed(f'it ended with {code}:\n{output}')
            if wanted.search(output):
                break
            if time.monotonic() > end:
                raise Failed(
                    f'no "{wanted.pattern}" in what it says:\n' + output
                )
            time.sleep(2)
        if name := step.ways.get('keep'):
            # Programs may warn before they answer.
            self.values[name] = output.splitlines()[-1].split()[0]

    def _filled(self, text: str) -> str:
        return document.replace(text, self.values)

    def _run(self, name: str, text: str, admin: bool) -> tuple[int, str]:
        if name in self.nodes:
            env = {'TPM2TOOLS_TCTI': hostconfig.TCTI}
            if admin:
                env.update(self.lab.openrc())
            return self.nodes[name].run(text, env)
        env = database(self.lab) if name == 'database' else bus(self.lab)
        done = subprocess.run(
            [
                *processes.into(self.lab, 'ctl'),
                *nodes.environment(env),
                'bash',
                '-ec',
                text,
            ],
            capture_output=True,
            text=True,
        )
        return done.returncode, done.stdout + done.stderr

    # -- what is not a command here ---------------------------------------

    def _edit(self, node: nodes.Node, path: str) -> None:
        old = node.read(path)
        new = self._filled(old)
        if new == old:
            raise Failed('there is nothing to edit')
        if path in STANDS_IN:
            new = document.merge(new, STANDS_IN[path])
        node.write(path, new)

    def _systemctl(self, name: str, words: list[str]) -> None:
        node = self.nodes[name]
        if words == ['daemon-reload']:
            return
        if words[:2] == ['enable', '--now'] and len(words) == 3:
            node.start(words[2])
            return
        if words[0] == 'restart' and set(words[1:]) <= NOVA.keys():
            for service in words[1:]:
                self._restart(node, service)
            return
        raise Failed('no way here to do that')

    def _restart(self, node: nodes.Node, name: str) -> None:
        """Nova's services are the lab's; they read the node's keys.json."""
        place = nodes.HOST if name == 'nova-compute' else 'ctl'
        nodes.call(
            [
                *processes.into(self.lab, place),
                'mount',
                '--bind',
                str(node.root / 'etc/korora'),
                '/etc/korora',
            ]
        )
        processes.stop(self.lab, [NOVA[name]])
        processes.restart(self.lab, NOVA[name])
        if name == 'nova-api':
            processes.wait_for(
                self.lab, 'nova', processes.listening(self.lab, 'nova')
            )
        else:
            queue = name.removeprefix('nova-')
            control.consumers(
                self.lab,
                queue if queue == 'scheduler' else f'{queue}.{nodes.HOST}',
            )


class _Done:
    """Says what was done, or that it failed, and counts."""

    def __init__(self, walk: Walk, place: str, node: str, what: str) -> None:
        self.walk, self.place = walk, place
        self.text = f'{place} {node}: {what}'
        self.began = time.monotonic()

    def __enter__(self) -> None:
        return

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: object,
    ) -> None:
        took = time.monotonic() - self.began
        if error is None:
            self.walk.passed += 1
            ui.say(f'ok  {self.text} ({took:.1f} s)')
        elif isinstance(
            error, (ui.Problem, units.UnitError, document.DocumentError)
        ):
            raise Failed(f'{self.text}\n{error}') from error
        elif isinstance(error, Failed):
            raise Failed(f'{self.text}\n{error}') from error


# -- the cloud ------------------------------------------------------------


def database(lab: paths.Lab) -> dict[str, str]:
    """The environment of the database's administrator."""
    home = lab.run / 'database-admin'
    home.mkdir(exist_ok=True)
    (home / '.my.cnf').write_text(
        f'[client]\nuser=root\nsocket={lab.run}/mysql.sock\n'
    )
    return {'HOME': str(home)}


def bus(lab: paths.Lab) -> dict[str, str]:
    """The environment of RabbitMQ's administrator."""
    return {
        'HOME': str(lab.data / 'rabbit'),
        'PATH': f'/usr/lib/rabbitmq/bin:{nodes.PATH}',
        'RABBITMQ_NODENAME': 'lab@localhost',
        'RABBITMQ_CONF_ENV_FILE': '/dev/null',
    }


def cloud(lab: paths.Lab, top: pathlib.Path) -> None:
    """A stock cloud, and a TPM for h1.

    :raises Problem: the lab did not come up, or a step failed.
    """
    if subprocess.call([checkout.ROOT / 'tools/lab', 'up', '--stock']):
        raise ui.Problem('there is no cloud')
    with ui.step('take Kororā out of the cloud'):
        nodes.call(
            [
                str(checkout.BIN / 'python'),
                '-m',
                'pip',
                'uninstall',
                '-qy',
                'korora-nova',
            ]
        )
        _forget(lab)
        path = hostconfig.nova_file(lab, nodes.HOST)
        path.write_text(
            ''.join(
                line
                for line in path.read_text().splitlines(keepends=True)
                if line.partition(' = ')[0] not in OURS
            )
        )
    with ui.step('a TPM and a measured boot for h1'):
        machine.make_vendor(lab)
        machine.make_tpm(lab, nodes.HOST)
        machine.power_on(lab, nodes.HOST)
        machine.export_roots(lab, top / 'controller/srv/tpm-makers')
    for name in ('controller', 'compute'):
        place = top / name / 'srv/constraints.txt'
        place.write_text(checkout.CONSTRAINTS.read_text())
    for path in (
        pathlib.Path('/etc/hosts'),
        lab.host(nodes.HOST) / 'etc/hosts',
    ):
        with path.open('a') as hosts:
            hosts.write(f'{paths.CTL_IP} controller\n')


def _forget(lab: paths.Lab) -> None:
    """The lab's accounts, database and virtual host for Kororā."""
    into = processes.into(lab, 'ctl')
    openstack = [
        *into,
        *nodes.environment(lab.openrc()),
        str(checkout.BIN / 'openstack'),
    ]
    users = ('korora', 'korora-agent', 'korora-enforcer')
    nodes.call([*openstack, 'user', 'delete', *users])
    nodes.call([*openstack, 'role', 'delete', 'attester', 'responder'])
    nodes.call(
        [
            *into,
            *nodes.environment(database(lab)),
            'mariadb',
            '-e',
            'DROP DATABASE korora',
        ]
    )
    rabbit = [*into, *nodes.environment(bus(lab)), 'rabbitmqctl', '-q']
    nodes.call([*rabbit, 'delete_vhost', paths.HANDOVER_VHOST])
    nodes.call([*rabbit, 'delete_user', broker.HANDOVER_USER])


def versions(node: nodes.Node) -> dict[str, str]:
    """Of what pip chose for the agent."""
    program = (
        'import importlib.metadata as m; print(*(f"{n} {m.version(n)}" '
        'for n in ("tpm2-pytss", "cryptography")), sep="\\n")'
    )
    _, output = node.run(f"/opt/korora/bin/python -c '{program}'")
    return dict(
        line.split(' ', 1) for line in output.splitlines() if ' ' in line
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Follow the guide; 0 if all of it works."""
    parser = argparse.ArgumentParser(prog='walk')
    parser.add_argument('--nodes', type=pathlib.Path, required=True)
    parser.add_argument('--show', nargs='*', default=[])
    parser.add_argument('--json', type=pathlib.Path, required=True)
    args = parser.parse_args(argv)
    lab = paths.Lab.default()
    walk: Walk | None = None
    report: dict[str, Any] = {'failed': 1, 'versions': {}}
    try:
        cloud(lab, args.nodes)
        with ui.step('two bare nodes'):
            walk = Walk(lab, args.nodes, args.show)
        ui.say('... the guide')
        for page in document.pages(INDEX):
            for step in document.steps(page):
                walk.step(step)
        report['failed'] = 0
        report['versions'] = versions(walk.nodes['compute'])
    except (Failed, ui.Problem, document.DocumentError) as exc:
        ui.fail(str(exc))
        if walk is not None:
            for node in walk.nodes.values():
                ui.note(f'{node.name}: {node.tail(30)}')
            _complaints(lab)
    report['passed'] = walk.passed if walk else 0
    args.json.write_text(json.dumps(report))
    return int(report['failed'])


def _complaints(lab: paths.Lab, count: int = 15) -> None:
    """Show the last errors in the logs of the cloud, and of vTPMs on h1."""
    wanted = re.compile(r'\d (ERROR|WARNING) (nova|korora)')
    for path in sorted(lab.log.glob('nova*.log')):
        _last(
            path,
            [
                line
                for line in path.read_text(errors='replace').splitlines()
                if wanted.search(line)
            ][-count:],
        )
    for path in lab.host(nodes.HOST).glob('var/log/swtpm/**/*.log'):
        _last(path, path.read_text(errors='replace').splitlines()[-count:])


def _last(path: pathlib.Path, lines: list[str]) -> None:
    if lines:
        ui.note('\n  '.join([f'{path.name}:', *lines]))


if __name__ == '__main__':
    sys.exit(main())
