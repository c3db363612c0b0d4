# SPDX-License-Identifier: Apache-2.0
"""WSGI applications under uWSGI, as the lab has them, and HAProxy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import requests

from korora_tools import checkout, ui
from korora_tools.fleet import database
from korora_tools.fleet.processes import LOCAL, Process, Scratch, listening

#: Threads of a worker.
THREADS = 4


def uwsgi(
    scratch: Scratch,
    name: str,
    module: str,
    port: int,
    env: Mapping[str, str],
    threads: int = THREADS,
) -> Process:
    """One worker process of an application."""
    path = scratch.path / f'{name}.ini'
    path.write_text(
        '\n'.join(
            [
                '[uwsgi]',
                f'http-socket = {LOCAL}:{port}',
                f'module = {module}:application',
                f'home = {checkout.VENV}',
                'processes = 1',
                f'threads = {threads}',
                'enable-threads = true',
                'need-app = true',
                'die-on-term = true',
                'buffer-size = 65535',
                'disable-logging = true',
                'lazy-apps = true',
                'listen = 100',
                # keystoneauth's connection pools see resets without these
                'add-header = Connection: close',
                'post-buffering = 65536',
                '',
            ]
        )
    )
    return scratch.process(
        name,
        [str(checkout.BIN / 'uwsgi'), '--ini', str(path)],
        listening(port),
        env,
    )


#: Asks a node of Galera whether it may be asked (as clustercheck does).
_CHECK = """#!/bin/sh
exec timeout 2 mariadb --no-defaults --connect-timeout=1 -N \\
    -u{user} -p{password} -h "$3" -P "$4" \\
    -e "SHOW STATUS WHERE variable_name = 'wsrep_local_state' AND value = 4
        OR variable_name = 'wsrep_ready' AND value = 'ON'" \\
    2>/dev/null | grep -c . | grep -qx 2
"""

_HAPROXY = """
global
    maxconn 2000
    insecure-fork-wanted
    external-check

defaults
    timeout connect 2s
    timeout client 1h
    timeout server 1h
    timeout check 3s
    retries 2
    option redispatch

listen api
    bind {local}:{api}
    mode http
    timeout client 60s
    timeout server 60s
    balance roundrobin
    option httpchk GET /
    http-check expect rstatus ^[23]
{workers}
"""

_DATABASE = """
listen database
    bind {local}:{database}
    mode tcp
    balance roundrobin
    option external-check
    external-check path /usr/bin:/bin
    external-check command {check}
{nodes}
"""


class Balancer:
    """HAProxy before the workers, and before the nodes of the database.

    Each new connection goes to the next node, so that one request may write
    on one node and read on another.

    :param nodes: of a cluster, if there is one.
    :ivar api: port of the service; ``database`` of the cluster.
    """

    def __init__(
        self,
        scratch: Scratch,
        workers: Sequence[int],
        nodes: Sequence[database.Server] = (),
    ) -> None:
        self.api, self.database = scratch.port(), scratch.port()
        path = scratch.path / 'haproxy.cfg'
        text = _HAPROXY.format(
            local=LOCAL,
            api=self.api,
            workers=_lines('worker', workers, 'inter 2s fall 3 rise 1'),
        )
        if nodes:
            text += _DATABASE.format(
                local=LOCAL,
                database=self.database,
                check=self._check(scratch),
                nodes=_lines(
                    'node',
                    [one.port for one in nodes],
                    'inter 1s fall 2 rise 2 on-marked-down shutdown-sessions',
                ),
            )
        path.write_text(text)
        self.process = scratch.process(
            'haproxy',
            ['haproxy', '-db', '-f', str(path)],
            listening(self.api),
        )
        self.process.wait()

    @property
    def endpoint(self) -> str:
        """Of the service."""
        return f'http://{LOCAL}:{self.api}'

    def await_workers(self) -> None:
        """Until one is asked.

        :raises Problem: none answers.
        """
        ui.wait('workers behind HAProxy', self._answers, 120)

    def _answers(self) -> bool:
        try:
            return requests.get(self.endpoint, timeout=5).status_code < 400
        except requests.RequestException:
            return False

    def _check(self, scratch: Scratch) -> Path:
        path = scratch.path / 'node-check'
        path.write_text(
            _CHECK.format(user=database.USER, password=database.PASSWORD)
        )
        path.chmod(0o755)
        return path


def _lines(name: str, ports: Sequence[int], options: str) -> str:
    return '\n'.join(
        f'    server {name}{number} {LOCAL}:{port} check {options}'
        for number, port in enumerate(ports, 1)
    )
