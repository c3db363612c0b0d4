# SPDX-License-Identifier: Apache-2.0
"""RabbitMQ of its own, and the agents' calls over it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable

from oslo_config import cfg

from korora_nova.attester.rpc import Bus, Endpoint
from korora_nova.custody import transcript
from korora_nova.custody.chain import AnyVerified
from korora_nova.custody.transfer import Transfer, WrapRequest
from korora_nova.rats.tpm2.policy import PCRS_POLICY
from korora_tools import ui
from korora_tools.fleet.host import Host
from korora_tools.fleet.plan import Move
from korora_tools.fleet.processes import LOCAL, Process, Scratch, listening

#: Seconds that a destination waits for its source.
TIMEOUT = 10.0


def rabbitmq(scratch: Scratch) -> tuple[Process, str]:
    """It, and its URL. Its default user is for the loopback address."""
    home = scratch.path / 'rabbitmq'
    home.mkdir()
    port, mapper, other = (scratch.port() for _ in range(3))
    (home / 'rabbitmq.conf').write_text(
        f'listeners.tcp.1 = {LOCAL}:{port}\n'
        'log.console = false\n'
        'total_memory_available_override_value = 1GB\n'
    )
    (home / 'plugins').write_text('[].')
    environment = {'HOME': str(home), 'ERL_EPMD_PORT': str(mapper)}
    scratch.process(
        'epmd', ['epmd', '-port', str(mapper)], listening(mapper), environment
    ).wait()
    made = scratch.process(
        'rabbitmq',
        ['/usr/lib/rabbitmq/bin/rabbitmq-server'],
        listening(port),
        {
            **environment,
            'RABBITMQ_NODENAME': f'fleet{os.getpid()}@localhost',
            'RABBITMQ_DIST_PORT': str(other),
            'RABBITMQ_CONFIG_FILE': str(home / 'rabbitmq'),
            'RABBITMQ_MNESIA_BASE': str(home / 'mnesia'),
            'RABBITMQ_LOG_BASE': str(scratch.log),
            'RABBITMQ_ENABLED_PLUGINS_FILE': str(home / 'plugins'),
            'RABBITMQ_PID_FILE': str(home / 'pid'),
            'RABBITMQ_CONF_ENV_FILE': '/dev/null',
            'RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS': (
                '+S1:1 -kernel inet_dist_use_interface {127,0,0,1}'
            ),
        },
    )
    made.wait()
    return made, f'rabbit://guest:guest@{LOCAL}:{port}/'


class Buses:
    """The agents' own transport of hand-overs, one for each host.

    :param url: of the broker.
    """

    def __init__(
        self, stack: contextlib.ExitStack, url: str, hosts: Iterable[Host]
    ) -> None:
        self._buses: dict[str, Bus] = {}
        hosts = list(hosts)
        with ui.step(f'{len(hosts)} agents at the bus'):
            for host in hosts:
                conf = cfg.ConfigOpts()
                conf([], project='korora-fleet', default_config_files=[])
                bus = Bus(conf, url, host.name, TIMEOUT)
                bus.start(Endpoint(_Wrap(host), _refuse))
                self._buses[host.name] = bus
                stack.callback(bus.stop)

    def ask(
        self, source: Host, dest: Host, move: Move, instance: str, msk: bytes
    ) -> str:
        """See :class:`korora_tools.fleet.custody.Ask`."""
        request = WrapRequest(move.uuid, instance, msk, dest.name)
        return self._buses[dest.name].ask(source.name, request).permit


class _Wrap:
    """The source: a permit, and a transfer without a key."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def __call__(self, asked: WrapRequest) -> Transfer:
        permit = self._host.send(
            asked.migration, asked.instance, asked.dest, asked.msk_public
        )
        return self._transfer(permit, asked)

    def _transfer(self, permit: AnyVerified, asked: WrapRequest) -> Transfer:
        parts = (asked.msk_public, os.urandom(96), os.urandom(80))
        envelope = os.urandom(600)
        machine = self._host.machine
        with machine.operation():
            quote = machine.tpm.quote(
                transcript.transfer_qualifying(permit.token, *parts, envelope),
                tuple(PCRS_POLICY),
            )
        return Transfer(
            permit.token, machine.tpm.ak_public, *parts, envelope, quote
        )


def _refuse(asked: object) -> None:
    """No cold migrations here."""
    raise NotImplementedError
