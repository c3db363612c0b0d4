# SPDX-License-Identifier: Apache-2.0
"""The process that custodians are forked from, one for each agent.

It has loaded all that a custodian needs, so that one begins in milliseconds,
and has one thread, so that it may fork; the agent has many. It reads nothing
but who is to be forked: no key comes near it.

It ends when the agent has ended, and custodians end with it.
"""

from __future__ import annotations

import array
import gc
import os
import signal
import socket
import sys
from collections.abc import Callable

from korora_nova.attester.custodian import hardening, jobs
from korora_nova.attester.custodian.keeper import Keeper
from korora_nova.custody import messages

Make = Callable[[jobs.Begin], Keeper]

_MAX_BEGIN = 1 << 14
#: Signals to the agent's whole group or unit are the agent's affair.
_IGNORED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def main(descriptor: int, make: Make = Keeper) -> None:
    """Fork whatever is asked for, until the agent has ended.

    :param descriptor: socket to the agent.
    :param make: of what a custodian consists.
    """
    control = socket.socket(fileno=descriptor)
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
    # Children that ended leave no zombie
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    hardening.conceal()
    hardening.name('korora-zygote')
    gc.collect()
    # Else the collector of every child would copy what all of them share
    gc.freeze()
    while True:
        content, descriptors = receive(control, _MAX_BEGIN)
        if not descriptors:
            os._exit(0)
        _fork(control, content, descriptors[0], make)
        os.close(descriptors[0])


def receive(channel: socket.socket, size: int) -> tuple[bytes, list[int]]:
    """One packet, and descriptors that came with it; b'' at the end."""
    room = socket.CMSG_SPACE(array.array('i', [0]).itemsize)
    content, extra, _flags, _address = channel.recvmsg(
        size, room, socket.MSG_CMSG_CLOEXEC
    )
    descriptors = array.array('i')
    for level, kind, data in extra:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            descriptors.frombytes(
                data[: len(data) - len(data) % descriptors.itemsize]
            )
    return content, list(descriptors)


def _fork(
    control: socket.socket, content: bytes, descriptor: int, make: Make
) -> None:
    """Without a child the agent finds its channel closed."""
    parent = os.getpid()
    try:
        if os.fork():
            return
    except OSError as exc:
        print(f'korora-agent: no custodian: {exc}', file=sys.stderr)
        return
    try:
        hardening.die_with(parent)
        control.close()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        hardening.name('korora-key')
        begin = jobs.Begin.parse(content.decode())
        _serve(socket.socket(fileno=descriptor), make(begin), begin)
    finally:
        os._exit(0)


def _serve(channel: socket.socket, keeper: Keeper, begin: jobs.Begin) -> None:
    """Do jobs until the agent closes the channel, or takes too long.

    SIGALRM is the kernel's and ends the process even where it hangs.
    """
    signal.setitimer(signal.ITIMER_REAL, begin.step)
    ready = jobs.Ready(jobs.VERSION, hardening.lock_memory())
    itself = os.pidfd_open(os.getpid())
    socket.send_fds(channel, [messages.dumps(ready).encode()], [itself])
    os.close(itself)
    while True:
        signal.setitimer(signal.ITIMER_REAL, begin.idle)
        content, descriptors = receive(channel, jobs.MAX_PACKET)
        if not content:
            return
        signal.setitimer(signal.ITIMER_REAL, begin.step)
        channel.send(keeper.answer(content, descriptors))
