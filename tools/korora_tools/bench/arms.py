# SPDX-License-Identifier: Apache-2.0
"""One lab that is stock Nova or Kororā, as its contender needs it.

Only processes change: the scheduler, the two nova-compute, and whether agents
and service run. The server and its hosts stay. Before stock Nova takes over,
libvirt is given the server's passphrase, as stock Nova would have left it; it
has to come back to where its key is before Kororā takes over again.
"""

from __future__ import annotations

import contextlib
import datetime
import pathlib
import re
import time
from collections.abc import Iterator, Mapping

from korora_tools import ui
from korora_tools.bench import pairs, slow
from korora_tools.demo import world as w
from korora_tools.lab import (
    attestation,
    config,
    hostconfig,
    paths,
    pki,
    processes,
)
from korora_tools.prove import cloud

HOSTS = ('h1', 'h2')
_AGENTS = [f'{host}/korora-agent' for host in paths.HOSTS]
_SECRET = """<secret ephemeral='no' private='no'><uuid>{secret}</uuid>
<usage type='vtpm'><name>{server}</name></usage></secret>"""

#: section -> option -> value
Options = Mapping[str, Mapping[str, str]]


def edited(text: str, options: Options) -> str:
    """The text of a configuration file with other values for some options."""
    for section, values in options.items():
        found = re.search(
            rf'^\[{section}\]\n(.*?)(?=^\[|\Z)', text, re.M | re.S
        )
        body = found[1] if found else ''
        for key, value in values.items():
            body = re.sub(rf'^{key} *=.*\n', '', body, flags=re.M)
            body += f'{key} = {value}\n'
        if found:
            text = text[: found.start(1)] + body + text[found.end(1) :]
        else:
            text += f'[{section}]\n{body}'
    return text


class Arms:
    """Switches between contenders.

    :param op: the agent's operation that a sleep comes before.
    """

    def __init__(self, world: w.World, server: str, op: str) -> None:
        self._world = world
        self._lab = world.lab
        self._server = server
        self._secret = world.server_secret(server)
        self._passphrase = world.passphrase(server)
        self._originals: dict[pathlib.Path, str] = {}
        self._life = contextlib.ExitStack()
        self._slow = [
            self._life.enter_context(
                slow.SlowSocket(
                    world.vault(host).parents[2] / 'run/korora/agent.sock', op
                )
            )
            for host in HOSTS
        ]

    def close(self) -> None:
        self._life.close()

    def begin(self) -> None:
        """Let agents and service report spans."""
        for host in paths.HOSTS:
            self._write(
                self._lab.host(host) / 'etc/korora/agent.conf',
                {'attester': {'spans': 'log'}},
            )
        self._write(
            attestation.directory(self._lab) / 'korora.conf',
            {'verifier': {'spans': 'log'}},
        )
        self._stop_korora()

    @contextlib.contextmanager
    def block(self, arm: str) -> Iterator[None]:
        """The lab is a contender's meanwhile."""
        stock = arm in (pairs.STOCK, pairs.STOCK_TLS)
        if stock:
            with self._stock(arm == pairs.STOCK_TLS):
                yield
            return
        for one in self._slow:
            one.delay = pairs.SLEEPS.get(arm, 0.0) / 1000
        self._start_korora()
        self._nova(
            config.FILTERS + ',AttestationFilter',
            'korora.KororaLibvirtDriver',
            {
                'korora': {
                    'spans': 'log',
                    **(
                        {'agent_socket': f'/run/korora/{slow.NAME}'}
                        if arm in pairs.SLEEPS
                        else {}
                    ),
                }
            },
        )
        for host in HOSTS:
            cloud.await_trust(self._world, host)
        yield
        self._stop_korora()

    @contextlib.contextmanager
    def _stock(self, tls: bool) -> Iterator[None]:
        home = self._world.host(self._server)
        self._define_secret(home)
        with self._certificates() if tls else contextlib.nullcontext():
            self._nova(
                config.FILTERS,
                'libvirt.LibvirtDriver',
                {
                    'libvirt': {
                        'live_migration_with_native_tls': str(tls).lower()
                    }
                },
            )
            yield
        if self._world.host(self._server) != home:
            raise ui.Problem('the server is not where its key is')
        for host in HOSTS:
            if self._secret in self._world.virsh(host, 'secret-list'):
                self._world.virsh(host, 'secret-undefine', self._secret)

    def _define_secret(self, host: str) -> None:
        inside = self._lab.host(host) / 'instances' / 'bench-secret.xml'
        inside.write_text(
            _SECRET.format(secret=self._secret, server=self._server)
        )
        try:
            self._world.virsh(
                host,
                'secret-define',
                str(self._lab.instances / inside.name),
            )
        finally:
            inside.unlink()
        processes.run(
            self._lab,
            [
                'virsh',
                '-q',
                'secret-set-value',
                self._secret,
                '--file',
                '/dev/stdin',
                '--plain',
            ],
            host,
            log=None,
            stdin=self._passphrase.decode('latin-1'),
        )

    @contextlib.contextmanager
    def _certificates(self) -> Iterator[None]:
        """QEMU finds certificates with the hosts' names, of a site's PKI."""
        with contextlib.ExitStack() as stack:
            for host in HOSTS:
                stack.enter_context(pki.for_streams(self._lab, host))
            yield

    # -- processes --------------------------------------------------------

    def _nova(self, filters: str, driver: str, options: Options) -> None:
        """Restart what differs between stock Nova and Kororā."""
        self._write(
            self._lab.etc / 'nova/nova-scheduler/nova.conf',
            {'filter_scheduler': {'enabled_filters': filters}},
        )
        for host in HOSTS:
            self._write(
                hostconfig.nova_file(self._lab, host),
                {'DEFAULT': {'compute_driver': driver}, **options},
            )
        names = ['nova-scheduler', *(f'{host}/nova-compute' for host in HOSTS)]
        processes.stop(self._lab, names)
        began = time.time()
        for name in names:
            processes.restart(self._lab, name)
        self._await_nova(began)

    def _await_nova(self, since: float) -> None:
        """Wait until what was restarted has reported."""

        def fresh() -> bool:
            found = self._world.nova.get('/os-services').json()['services']
            return all(
                one['updated_at'] is not None
                and _seconds(one['updated_at']) > since
                for one in found
                if one['binary'] == 'nova-scheduler' or one['host'] in HOSTS
            )

        ui.wait("Nova's services", fresh, 120, 0.5)
        cloud.await_services(self._world, HOSTS)

    def _write(self, path: pathlib.Path, options: Options) -> None:
        original = self._originals.setdefault(path, path.read_text())
        path.write_text(edited(original, options))

    def _stop_korora(self) -> None:
        processes.stop(self._lab, _AGENTS)
        self._world.stop_service()

    def _start_korora(self) -> None:
        self._world.start_service()
        for name in _AGENTS:
            processes.restart(self._lab, name)


def _seconds(time_of_nova: str) -> float:
    found = datetime.datetime.fromisoformat(time_of_nova.split('.')[0])
    return found.replace(tzinfo=datetime.timezone.utc).timestamp()
