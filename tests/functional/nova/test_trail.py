# SPDX-License-Identifier: Apache-2.0
"""One migration, followed by its ids through the logs of every process.

Nova, its drivers, two real agents with TPMs, their bus, and the real service:
all in this process, so that each record says whose it is.
"""

from __future__ import annotations

import logging
import pathlib
import threading
from typing import Any

import fixtures
from oslo_context import context

from korora_nova.attester import libvirt_secret
from korora_nova.attester.socket_client import AgentClient
from korora_nova.secret import Secret
from tests.functional.nova import base
from tests.support import hosts


class Libvirt(hosts.FakeLibvirt):
    """What an agent sees of the libvirt of its host's driver."""

    def __init__(self, driver: Any) -> None:
        super().__init__()
        self.driver = driver

    def define(self, uuid: str, instance: str, value: Secret) -> None:
        self.driver()._host.create_secret(
            'vtpm',
            instance,
            password=value.reveal(),
            uuid=uuid,
            ephemeral=True,
            private=True,
        )

    def undefine(self, uuid: str, instance: str) -> None:
        self.driver()._host.delete_secret('vtpm', instance)

    def domain_state(self, instance: str) -> str:
        try:
            connection = self.driver()._host.get_connection()
            active = connection.lookupByUUIDString(instance).isActive()
        except Exception:  # noqa: BLE001 the fake's own
            return libvirt_secret.NONE
        return libvirt_secret.RUNNING if active else libvirt_secret.NONE


class Record:
    """What oslo.log would write."""

    def __init__(self, record: logging.LogRecord) -> None:
        self.name = record.name
        self.text = record.getMessage()
        current = context.get_current()
        values = current.get_logging_values() if current is not None else {}
        self.request = values.get('request_id')
        self.above = values.get('global_request_id')
        self.migration = values.get('migration')
        self.thread = threading.current_thread().name

    def __repr__(self) -> str:
        return f'{self.name}: {self.text} [{self.above} {self.request}]'


class Keeping(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.records: list[Record] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(Record(record))


class TestTrail(base.Base):
    def setUp(self) -> None:
        self.useFixture(fixtures.MockPatchObject(hosts, 'ADDRESS', {}))
        self.korora = hosts.LiveKorora()
        self.useFixture(self.korora)
        self.machines: dict[str, hosts.Machine] = {}
        super().setUp()
        directory = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        admin = self.korora.client_as('admin')
        self.korora.nova.check = lambda **kwargs: None
        for name in ('h1', 'h2'):
            machine = hosts.Machine(name, self.korora, directory)
            self.addCleanup(machine.scrap)
            machine.libvirt = Libvirt(
                lambda name=name: self.computes[name].driver
            )
            machine.restart_agent()
            machine.join(admin)
            self.machines[name] = machine
        admin.create_reference('golden', 'h1')
        for machine in self.machines.values():
            machine.agent.attestation.step()
        self.start_hosts('h1', 'h2', heard=False)

    def agent_of(self, driver: Any) -> Any:
        return AgentClient(self.machines[driver._korora.name].socket, 30)

    # Real TPMs take their time, on a busy machine more than Nova's helpers.

    def _wait_for_server_parameter(
        self, server: Any, params: Any, retries: int = 0, *args: Any, **kw: Any
    ) -> Any:
        return super()._wait_for_server_parameter(
            server, params, 240, *args, **kw
        )

    def _wait_for_migration_status(self, server: Any, statuses: Any) -> Any:
        found: list[Any] = []

        def there() -> bool:
            found.extend(
                one
                for one in self.api.api_get('/os-migrations').body[
                    'migrations'
                ]
                if one['status'] in statuses
            )
            return bool(found)

        self.wait_until(there)
        return found[0]

    def followed(self, act: Any) -> list[Record]:
        """What our code logs meanwhile."""
        kept = Keeping()
        logger = logging.getLogger('korora_nova')
        logger.addHandler(kept)
        self.addCleanup(logger.removeHandler, kept)
        act()
        return kept.records

    def test_one_migration(self) -> None:
        server = self.create(base.VTPM, host='h1')
        records = self.followed(lambda: self.migrate(server))
        self.assertEqual('h2', self.host_of(server))
        migration = self.migration(server)['uuid']
        request = self.request(server)
        told = {
            (one.name.removeprefix('korora_nova.'), one.text)
            for one in records
            if request in (one.above, one.request)
            and migration in (one.migration, *one.text.split(': ')[0].split())
        }
        for wanted in (
            # The driver of the destination, and its agent.
            ('relying_party.incoming', 'received the vTPM key'),
            ('attester.server', 'receive: done'),
            # The agent of the source, over the bus, and its driver.
            ('attester.rpc', 'wrap for another host: done'),
            ('relying_party.outgoing', 'the stream may start'),
            ('attester.server', 'start: done'),
            # The service, for both.
            ('verifier.attest', 'Host h2: receive: done'),
            ('verifier.attest', 'Host h1: send: done'),
            ('verifier.attest', 'Host h2: sealed: done'),
            ('verifier.attest', 'Host h1: start: done'),
        ):
            self.assertTrue(
                any(
                    wanted[0] == name and wanted[1] in text
                    for name, text in told
                ),
                (wanted, records),
            )
        # Each request to the service, and each call of an agent, has an id
        # of its own, too.
        own = {
            one.request
            for one in records
            if 'relying_party' not in one.name and one.above == request
        }
        self.assertGreaterEqual(len(own), 7)
        self.assertNotIn(request, own)

    def test_a_refusal(self) -> None:
        """The lines that matter most have the ids, too."""
        server = self.create(base.VTPM, host='h1')
        self.machines['h2'].run_file('/usr/bin/unknown', b'\1' * 32)
        records = self.followed(
            lambda: self.migrate(server, host='h2', status='error')
        )
        self.assertEqual('h1', self.host_of(server))
        request = self.request(server)
        refused = {
            (one.name.removeprefix('korora_nova.'), reason)
            for one in records
            for reason in ('HOST_UNTRUSTED', 'IMA_UNKNOWN_FILE')
            if reason in one.text and request in (one.above, one.request)
        }
        self.assertLessEqual(
            {
                ('verifier.attest', 'IMA_UNKNOWN_FILE'),
                ('attester.server', 'HOST_UNTRUSTED'),
                ('relying_party.refusal', 'HOST_UNTRUSTED'),
            },
            refused,
            records,
        )

    def request(self, server: Any) -> str:
        """The id that ``openstack server event list`` shows."""
        actions = self.api.get_instance_actions(server['id'])
        return next(
            one['request_id']
            for one in actions
            if one['action'] == 'live-migration'
        )
