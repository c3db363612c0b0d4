# SPDX-License-Identifier: Apache-2.0
"""What a scenario may do: drive the cloud as its people do, or attack it.

Runs with the project's virtual environment inside the control plane's
network namespace, where the cloud's endpoints answer.
"""

import collections.abc
import json
import os
import pathlib
import shutil
import socket
import subprocess
import time
import typing

from korora_nova import errors
from korora_nova.attester import socket_client
from korora_tools import checkout, ui
from korora_tools.demo import continuity, migration
from korora_tools.demo.migration import REASON, Migration
from korora_tools.lab import client, paths, processes

Json = dict[str, typing.Any]
#: Seconds after which the scheduler has asked again; [korora] result_cache.
SCHEDULER_KEEPS = 7.0


class DemoError(Exception):
    """The cloud did something no scenario can judge."""


def _is_free() -> bool:
    with socket.socket() as one:
        return one.connect_ex((paths.CTL_IP, paths.PORTS['korora'])) != 0


class World(client.Cloud):
    """The lab, its cloud and its three hosts."""

    def __init__(
        self, lab: paths.Lab, say: collections.abc.Callable[[str], None]
    ) -> None:
        super().__init__(lab)
        self.say = say

    # -- the cloud's clients ---------------------------------------------

    def openstack(self, *arguments: str) -> typing.Any:
        """Run the ``openstack`` client; JSON answers are decoded.

        :raises DemoError: the command failed.
        """
        done = subprocess.run(
            [str(checkout.BIN / 'openstack'), *arguments],
            capture_output=True,
            text=True,
            env={
                **os.environ,
                **self.lab.openrc(),
                'PYTHONWARNINGS': 'ignore',
            },
        )
        if done.returncode:
            raise DemoError(
                f'openstack {" ".join(arguments)}: '
                + (done.stderr.strip() or done.stdout.strip())[-600:]
            )
        if 'json' in arguments:
            return json.loads(done.stdout)
        return done.stdout

    def enable(self, host: str, enabled: bool) -> None:
        """Enable or disable a host's nova-compute in Nova's scheduler."""
        for service in self.nova.get(
            '/os-services?binary=nova-compute'
        ).json()['services']:
            if service['host'] == host:
                self.nova.put(
                    f'/os-services/{service["id"]}',
                    json={'status': 'enabled' if enabled else 'disabled'},
                )

    # -- live migration --------------------------------------------------

    def migrate_live(
        self, uuid: str, host: str | None = None, timeout: float = 120
    ) -> Migration:
        """``openstack server migrate --live-migration``, to its end."""
        arguments = [
            '--os-compute-api-version',
            '2.96',
            'server',
            'migrate',
            '--live-migration',
        ]
        if host:
            arguments += ['--host', host]

        def ask() -> bool:
            try:
                self.openstack(*arguments, uuid)
            except DemoError as exc:
                self.say('    Nova answers: ' + migration.answer(str(exc)))
                return False
            return True

        return self._migrate(uuid, ask, timeout)

    def migrate_by_api(
        self, uuid: str, host: str | None = None, timeout: float = 120
    ) -> Migration:
        """The same without the client's own start-up, for the figures."""

        def ask() -> bool:
            return (
                self.nova.post(
                    f'/servers/{uuid}/action',
                    json={
                        'os-migrateLive': {
                            'host': host,
                            'block_migration': 'auto',
                        }
                    },
                    raise_exc=False,
                ).status_code
                < 300
            )

        return self._migrate(uuid, ask, timeout)

    def migrate_forced(
        self, uuid: str, host: str, timeout: float = 120
    ) -> Migration:
        """Skip the scheduler: ``force`` of compute API 2.67."""

        def ask() -> bool:
            return (
                self.nova.post(
                    f'/servers/{uuid}/action',
                    json={
                        'os-migrateLive': {
                            'host': host,
                            'block_migration': 'auto',
                            'force': True,
                        }
                    },
                    microversion='2.67',
                    raise_exc=False,
                ).status_code
                < 300
            )

        return self._migrate(uuid, ask, timeout)

    def start_migration(self, uuid: str, host: str) -> str:
        """Ask for a migration and return once its stream has begun."""
        known = {m['id'] for m in self.migrations(uuid)}
        self.nova.post(
            f'/servers/{uuid}/action',
            json={'os-migrateLive': {'host': host, 'block_migration': 'auto'}},
        )
        end = time.monotonic() + 60
        while time.monotonic() < end:
            for record in self.migrations(uuid):
                if record['id'] in known:
                    continue
                if record['status'] == 'running':
                    return str(record['id'])
                if record['status'] in client.ENDED:
                    raise DemoError(
                        f'the migration ended as {record["status"]}'
                    )
            time.sleep(0.1)
        raise DemoError('the stream did not begin')

    def abort_migration(self, uuid: str, migration: str) -> Migration:
        """Abort a running migration as its operator would."""
        source = self.host(uuid)
        began = time.monotonic()
        self.nova.delete(f'/servers/{uuid}/migrations/{migration}')
        return self._ended(
            uuid,
            source,
            began,
            {
                m['id']
                for m in self.migrations(uuid)
                if str(m['id']) != migration
            },
            120,
        )

    def _migrate(
        self,
        uuid: str,
        ask: collections.abc.Callable[[], bool],
        timeout: float,
    ) -> Migration:
        source = self.host(uuid)
        known = {m['id'] for m in self.migrations(uuid)}
        began = time.monotonic()
        marks = {
            log: log.stat().st_size for log in self.lab.log.glob('nova-*.log')
        }
        if not ask():
            server = self.server(uuid)
            return Migration(
                False,
                source,
                source,
                server['status'],
                'none',
                0.0,
                migration.logged_reason(uuid, marks),
            )
        return self._ended(uuid, source, began, known, timeout)

    def _ended(
        self,
        uuid: str,
        source: str,
        began: float,
        known: set[int],
        timeout: float,
    ) -> Migration:
        moved = 0.0
        end = time.monotonic() + timeout
        while True:
            server = self.server(uuid)
            idle = server['OS-EXT-STS:task_state'] is None
            if idle and not moved and server['OS-EXT-SRV-ATTR:host'] != source:
                moved = time.monotonic() - began
            fresh = [m for m in self.migrations(uuid) if m['id'] not in known]
            if idle and (
                fresh
                and all(m['status'] in client.ENDED for m in fresh)
                or not fresh
                and time.monotonic() - began > 15
            ):
                break
            if time.monotonic() > end:
                raise DemoError(
                    f'the migration of {uuid} does not end: '
                    f'{[m["status"] for m in fresh]}'
                )
            time.sleep(0.05)
        server = self.server(uuid)
        return Migration(
            True,
            source,
            server['OS-EXT-SRV-ATTR:host'],
            server['status'],
            fresh[0]['status'] if fresh else 'none',
            round(moved, 2),
            self.reason(uuid),
            fresh[0]['uuid'] if fresh else '',
        )

    def reason(self, uuid: str) -> str:
        """The reason id Nova shows for the server's latest action."""
        actions = self.nova.get(f'/servers/{uuid}/os-instance-actions').json()
        for action in actions['instanceActions'][:1]:
            detail = self.nova.get(
                f'/servers/{uuid}/os-instance-actions/{action["request_id"]}'
            ).json()['instanceAction']
            for event in reversed(detail['events']):
                found = REASON.findall(
                    f'{event.get("details")} {event.get("traceback")}'
                )
                if found:
                    return str(found[-1])
        fault = (self.server(uuid).get('fault') or {}).get('message', '')
        found = REASON.findall(fault)
        return str(found[-1]) if found else ''

    # -- the hosts -------------------------------------------------------

    def lab_command(self, *arguments: str) -> None:
        """Run ``tools/lab`` as its user would."""
        done = subprocess.run(
            [str(checkout.ROOT / 'tools' / 'lab'), *arguments],
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise DemoError(
                'lab '
                + ' '.join(arguments)
                + ': '
                + (done.stdout + done.stderr)[-600:]
            )

    def virsh(self, host: str, *arguments: str) -> str:
        return processes.run(self.lab, ['virsh', '-q', *arguments], host)

    def downtime_ms(self, host: str, server: str) -> float:
        """Of the last live migration to a host, as its libvirt counted."""
        text = self.virsh(
            host,
            'domjobinfo',
            server,
            '--completed',
            '--keep-completed',
            '--rawstats',
        )
        stats = dict(
            line.split(':', 1) for line in text.splitlines() if ':' in line
        )
        return float({k.strip(): v for k, v in stats.items()}['downtime'])

    def agent(self, host: str, op: str, **fields: typing.Any) -> Json:
        """Call a host's korora-agent on its local socket, as root."""
        init = processes.load(self.lab, host + '/init')
        if init is None:
            raise DemoError(f'{host} is down')
        path = f'/proc/{init["inner"]}/root/run/korora/agent.sock'
        return socket_client.AgentClient(path, 60).call(op, **fields)

    def agent_refusal(self, host: str, op: str, **fields: typing.Any) -> str:
        """Reason id with which the agent refuses, '' if it does not."""
        try:
            self.agent(host, op, **fields)
        except errors.KororaError as exc:
            return exc.reason
        return ''

    def vault(self, host: str) -> pathlib.Path:
        """The agent's state directory, as seen from outside the host."""
        init = processes.load(self.lab, host + '/init')
        if init is None:
            raise DemoError(f'{host} is down')
        return pathlib.Path(f'/proc/{init["inner"]}/root/var/lib/korora')

    def back_up_vault(self, host: str, to: pathlib.Path) -> None:
        """What an attacker with root on the host can always keep."""
        shutil.rmtree(to, ignore_errors=True)
        shutil.copytree(self.vault(host), to)

    def restore_vault(self, host: str, backup: pathlib.Path) -> None:
        """Put the backup in place under a stopped agent."""
        processes.stop(self.lab, [host + '/korora-agent'])
        vault = self.vault(host)
        for entry in vault.iterdir():
            if entry.is_dir():
                shutil.rmtree(entry)
            else:
                entry.unlink()
        shutil.copytree(backup, vault, dirs_exist_ok=True)

    def start_agent(self, host: str) -> None:
        """Start it again, and wait until it hears from nova-compute."""
        began = time.time()
        processes.restart(self.lab, host + '/korora-agent')
        end = time.monotonic() + 30
        while True:
            try:
                self.agent(host, 'status')
                known = self.attestation(f'/v1/hosts/{host}')
                if known['enforcing'] and known['last_attested'] > began:
                    return
                error = errors.Unavailable(errors.Reason.ENFORCER_ABSENT)
            except errors.Unavailable as exc:
                error = exc
            if time.monotonic() > end:
                raise error
            time.sleep(0.2)

    def attestation(self, path: str) -> Json:
        """GET from the attestation service, as the cloud's admin."""
        return client.adapter_for('attestation').get(path).json()

    def stop_service(self) -> None:
        processes.stop(self.lab, ['korora'])
        ui.wait("the service's port to be free", _is_free, 30)

    def start_service(self) -> None:
        processes.restart(self.lab, 'korora')
        processes.wait_for(
            self.lab,
            'korora',
            processes.answering(paths.url('korora', '/')),
            60,
        )

    # -- what is looked for ----------------------------------------------

    def passphrase(self, uuid: str) -> bytes:
        """The server's vTPM passphrase, from its owner's Barbican."""
        secret = self.server_secret(uuid)
        response = client.adapter_for('key-manager').get(
            f'/v1/secrets/{secret}/payload',
            headers={'Accept': 'application/octet-stream'},
            raise_exc=False,
            log=False,
        )
        if response.status_code == 406:
            response = client.adapter_for('key-manager').get(
                f'/v1/secrets/{secret}/payload',
                headers={'Accept': 'text/plain'},
                log=False,
            )
        if response.status_code != 200 or len(response.content) < 256:
            raise DemoError(
                'Barbican does not give the passphrase: HTTP '
                f'{response.status_code}'
            )
        return bytes(response.content)

    def server_secret(self, uuid: str) -> str:
        """Barbican's id of the secret that belongs to a server."""
        found = [
            s
            for s in client.adapter_for('key-manager')
            .get('/v1/secrets?limit=100')
            .json()['secrets']
            if uuid in (s.get('name') or '')
        ]
        if len(found) != 1:
            raise DemoError(f'{len(found)} secrets for server {uuid}')
        return str(found[0]['secret_ref'].rsplit('/', 1)[-1])

    def watcher(
        self, uuid: str, without: collections.abc.Collection[str] = ()
    ) -> continuity.Watcher:
        """Watches a server's guest from now on.

        :param without: earlier boots, which consoles may still tell of.
        """
        watcher = continuity.Watcher(
            [self.lab.console(h, uuid) for h in paths.HOSTS], without=without
        )
        watcher.start()
        return watcher
