# SPDX-License-Identifier: Apache-2.0
"""Real custodians whose libvirt is a stand-in of the test's process.

The one difference to production is :class:`Keeper`: its libvirt is behind a
:class:`Door`, and a test can have something happen in it (:func:`arm`).
"""

from __future__ import annotations

import base64
import json
import os
import pathlib
import signal
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from korora_nova import errors
from korora_nova.attester.custodian import (
    custodians,
    hardening,
    jobs,
    keeper,
    zygote,
)
from korora_nova.custody import messages
from korora_nova.secret import Secret
from korora_nova.tpm import device

_SCHEME = 'door:'

#: What :func:`arm` can have happen.
KILL, HANG, STOP, FAIL = 'kill', 'hang', 'stop', 'fail'
#: The same of one that begins: it cannot lock, or is of another release.
UNLOCKED, OTHER = 'unlocked', 'other'
BEFORE, AFTER = 'before', 'after'
#: In place of a job: a custodian begins.
BEGIN = 'begin'

_shared: dict[int, custodians.Zygote] = {}


def shared() -> custodians.Zygote:
    """The zygote of all agents of this process."""
    pid = os.getpid()
    if pid not in _shared:
        _shared[pid] = custodians.Zygote(__name__)
    return _shared[pid]


def main(descriptor: int) -> None:
    """The zygote's."""
    zygote.main(descriptor, Keeper)


def uri(path: str) -> str:
    """What an agent is told of its libvirt, behind a door at a path."""
    return f'{_SCHEME}{path}'


def arm(path: str, op: str, moment: str, what: str) -> None:
    """The next custodian that comes there does that, once.

    :param moment: or the number of the command that it sends the TPM.
    """
    pathlib.Path(f'{path}.armed').write_text(json.dumps([op, moment, what]))


def armed(path: str) -> bool:
    """Whether that has not happened yet."""
    return pathlib.Path(f'{path}.armed').exists()


def children(pid: int) -> list[int]:
    """Of a process: of an agent its zygote, of that the custodians."""
    found: list[int] = []
    for task in pathlib.Path(f'/proc/{pid}/task').glob('*/children'):
        found += [int(one) for one in task.read_text().split()]
    return found


class Keeper(keeper.Keeper):
    """Does what was armed; see :func:`arm`."""

    def __init__(self, begin: jobs.Begin) -> None:
        super().__init__(begin)
        self._path = begin.libvirt_uri.removeprefix(_SCHEME)
        self._meet(BEGIN, BEFORE)

    def do(self, job: jobs.Job, descriptors: list[int]) -> messages.Message:
        self._meet(job.OP, BEFORE)
        answer = super().do(job, descriptors)
        self._meet(job.OP, AFTER)
        return answer

    def hypervisor(self) -> Any:
        return _Behind(self._path)

    def _meet(self, op: str, moment: str) -> None:
        path = pathlib.Path(f'{self._path}.armed')
        try:
            wanted = json.loads(path.read_text())
        except OSError:
            return
        if wanted[0] == op and wanted[1].isdigit() and moment == BEFORE:
            path.unlink()
            self._count(int(wanted[1]), wanted[2])
        elif wanted[:2] == [op, moment]:
            path.unlink()
            self._act(wanted[2])

    def _act(self, what: str) -> None:
        if what == KILL:
            os.kill(os.getpid(), signal.SIGKILL)
        elif what == STOP:
            os.kill(os.getpid(), signal.SIGSTOP)
        elif what == HANG:
            time.sleep(600)
        elif what == UNLOCKED:
            hardening.lock_memory = lambda: False
        elif what == OTHER:
            jobs.VERSION += 1  # type: ignore
        else:
            key = self._key.passphrase.reveal() if self._key else b''
            raise RuntimeError(key)

    def _count(self, left: int, what: str) -> None:
        """Act when the TPM has got that many commands."""
        genuine = device._CountingTcti.do_transmit

        def transmit(tcti: Any, command: bytes) -> None:
            nonlocal left
            genuine(tcti, command)
            left -= 1
            if not left:
                self._act(what)

        device._CountingTcti.do_transmit = transmit  # type: ignore


class _Behind:
    """The libvirt of a custodian: in another process."""

    def __init__(self, path: str) -> None:
        self._path = path

    def define(self, uuid: str, instance: str, value: Secret) -> None:
        asked = [uuid, instance, base64.b64encode(value.reveal()).decode()]
        with socket.socket(socket.AF_UNIX) as call:
            call.connect(self._path)
            call.sendall(json.dumps(asked).encode() + b'\n')
            with call.makefile('rb') as said:
                reason = json.loads(said.readline())
        if reason:
            raise errors.from_reason(reason)


class Inside(custodians.Custodian):
    """No process: what an agent without custodians would do."""

    def _fork(self) -> None:
        self._keeper = Keeper(self._owner.spec)

    def ready(self) -> None:
        pass

    def close(self) -> None:
        pass

    def _ask(self, job: jobs.Job, descriptors: Sequence[int]) -> Any:
        asked = {'op': job.OP, 'job': job.to_json()}
        return jobs.Said.parse(
            self._keeper.answer(
                json.dumps(asked).encode(), [os.dup(d) for d in descriptors]
            )
        )


def keep_inside() -> None:
    """From now on this process has its keys in its own memory."""
    custodians.Custodian = Inside  # type: ignore


class Door:
    """Lets custodians define secrets in a test's own libvirt."""

    def __init__(self, path: str, libvirt: Callable[[], Any]) -> None:
        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                uuid, instance, value = json.loads(self.rfile.readline())
                reason = ''
                try:
                    libvirt().define(
                        uuid, instance, Secret(base64.b64decode(value))
                    )
                except errors.KororaError as exc:
                    reason = exc.reason
                self.wfile.write(json.dumps(reason).encode() + b'\n')

        class Server(
            socketserver.ThreadingMixIn, socketserver.UnixStreamServer
        ):
            daemon_threads = True

        if os.path.exists(path):
            os.unlink(path)
        self._server = Server(path, Handler)
        threading.Thread(
            target=self._server.serve_forever, args=(0.05,), daemon=True
        ).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
