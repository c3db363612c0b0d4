# SPDX-License-Identifier: Apache-2.0
"""The agent's side: begins custodians, and gives them jobs."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import ClassVar, TypeVar

from oslo_log import log as logging

from korora_nova import errors, spans
from korora_nova.attester.custodian import jobs, zygote
from korora_nova.custody import messages
from korora_nova.tpm.device import Tpm

LOG = logging.getLogger(__name__)

#: Custodians at once, and seconds that an operation waits for its turn.
AT_ONCE = 32
PATIENCE = 10.0
#: Seconds for one job, and from one job to the next. A custodian that takes
#: longer is ended by the kernel, and a little later by the agent.
STEP = 30.0
IDLE = 300.0
_GRACE = 5.0
#: Seconds for a zygote to load, and for a custodian to be ready.
_READY = 30.0

# As in cmd.agent, before anything of oslo is imported
_PROGRAM = """import sys
sys.path[:] = {path!r}
sys.modules.setdefault('eventlet', None)
from {module} import main
main({descriptor})
"""

_A = TypeVar('_A', bound=messages.Message)


class Zygote:
    """The process that forks custodians; started again when it is gone.

    :param module: that has its ``main``.
    """

    def __init__(self, module: str = zygote.__name__) -> None:
        self._module = module
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    @property
    def pid(self) -> int | None:
        """Its process id, if it was started."""
        return self._process.pid if self._process is not None else None

    def start(self) -> None:
        """Have it load, if it does not run."""
        with self._lock:
            self._running()

    def stop(self) -> None:
        """End it, and with it all custodians."""
        with self._lock:
            self._end()

    def fork(self, begin: jobs.Begin) -> tuple[socket.socket, int]:
        """Ask for a custodian.

        :returns: the channel to it, on which it will be ready; and who was
            asked.
        :raises OSError: there is no process or descriptor to be had.
        """
        ours, theirs = _pair()
        content = messages.dumps(begin).encode()
        try:
            with theirs, self._lock:
                try:
                    asked = self._ask(content, theirs)
                except OSError:
                    self._end()
                    asked = self._ask(content, theirs)
        except BaseException:
            ours.close()
            raise
        return ours, asked

    def give_up(self, pid: int) -> None:
        """End one that does not do what it should."""
        with self._lock:
            if self.pid == pid:
                self._end()

    def _ask(self, content: bytes, channel: socket.socket) -> int:
        process, control = self._running()
        socket.send_fds(control, [content], [channel.fileno()])
        return process.pid

    def _running(self) -> tuple[subprocess.Popen[bytes], socket.socket]:
        if self._process and self._control and self._process.poll() is None:
            return self._process, self._control
        self._end()
        ours, theirs = _pair()
        # One that hangs must not hang the agent
        ours.settimeout(_READY)
        self._control = ours
        with theirs:
            program = _PROGRAM.format(
                path=sys.path, module=self._module, descriptor=theirs.fileno()
            )
            self._process = subprocess.Popen(
                [sys.executable, *_flags(), '-c', program],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )
        return self._process, ours

    def _end(self) -> None:
        process, self._process = self._process, None
        control, self._control = self._control, None
        if control is not None:
            control.close()
        if process is not None:
            process.kill()
            process.wait()


@dataclasses.dataclass(frozen=True)
class Sealing:
    """A request to seal whose passphrase only a custodian has."""

    OP: ClassVar[str] = 'seal'

    instance: str
    secret_uuid: str
    custodian: Custodian


class Custodians:
    """Begins custodians for one host.

    :param locked: whether only one whose memory is locked may have a key.
    :param step: seconds for one job; ``idle`` from one to the next.
    """

    def __init__(
        self,
        process: Zygote,
        tpm: Tpm,
        libvirt_uri: str,
        locked: bool,
        step: float = STEP,
        idle: float = IDLE,
    ) -> None:
        self.zygote = process
        self.tpm = tpm
        self.locked = locked
        self.spec = jobs.Begin(tpm.tcti, libvirt_uri, step, idle)
        self._slots = threading.BoundedSemaphore(AT_ONCE)

    def start(self) -> None:
        """See whether a key could be had.

        :raises Unavailable: MEMORY_NOT_LOCKED.
        """
        try:
            with self.begin() as custodian:
                custodian.ready()
        except errors.KororaError as exc:
            if exc.reason == errors.Reason.MEMORY_NOT_LOCKED:
                raise
            LOG.error('Until this is mended no key can be opened: %s', exc)

    @contextlib.contextmanager
    def begin(self) -> Iterator[Custodian]:
        """A custodian, until this ends.

        It gets ready while the caller does something else.

        :raises Retry: BUSY, there are too many.
        :raises Unavailable: CUSTODIAN_FAILED.
        """
        if not self._slots.acquire(timeout=PATIENCE):
            raise errors.Retry(
                errors.Reason.BUSY,
                f'{AT_ONCE} keys of this host are in use; try again.',
            )
        try:
            with contextlib.closing(Custodian(self)) as custodian:
                yield custodian
        finally:
            self._slots.release()

    @contextlib.contextmanager
    def take(
        self, connection: socket.socket, head: bytes, length: int
    ) -> Iterator[tuple[Sealing, str]]:
        """Let a custodian read a request to seal off a connection.

        :param head: what was read; ``length`` of what was not, bytes.
        :returns: the request, and the caller's trace.
        :raises Invalid: INVALID_REQUEST.
        """
        with self.begin() as custodian:
            taken = custodian.take(connection, head, length)
            yield (
                Sealing(taken.instance, taken.secret_uuid, custodian),
                taken.traceparent,
            )


class Custodian:
    """A process that holds one key at most.

    :ivar secret_uuid: libvirt's, kept with the key; '' before it has one.
    """

    def __init__(self, owner: Custodians) -> None:
        self._owner = owner
        self._process = -1
        self.secret_uuid = ''
        self._fork()

    def close(self) -> None:
        """It ends, and its memory with it."""
        self._channel.close()
        if self._process >= 0:
            os.close(self._process)
            self._process = -1

    def ready(self) -> None:
        """Wait until it can be given a key; the first time only.

        :raises Unavailable: CUSTODIAN_FAILED, MEMORY_NOT_LOCKED.
        """
        if self._process >= 0:
            return
        try:
            said = self._greet()
        except OSError as exc:
            # It was given nothing yet: whatever went wrong, begin anew
            self._channel.close()
            if isinstance(exc, TimeoutError):
                self._owner.zygote.give_up(self._asked)
            self._fork()
            try:
                said = self._greet()
            except OSError as again:
                raise _failed('begin', again) from None
        unfit = self._unfit(said)
        if unfit is not None:
            self._channel.close()  # nobody gives it a key by mistake
            raise unfit

    def _unfit(self, said: jobs.Ready) -> errors.Unavailable | None:
        if said.protocol != jobs.VERSION:
            return errors.Unavailable(
                errors.Reason.CUSTODIAN_FAILED,
                'korora-agent was replaced while it ran; start it again.',
            )
        if self._owner.locked and not said.locked:
            return errors.Unavailable(errors.Reason.MEMORY_NOT_LOCKED)
        return None

    def _fork(self) -> None:
        try:
            self._channel, self._asked = self._owner.zygote.fork(
                self._owner.spec
            )
        except OSError as exc:
            raise _failed('begin', exc) from None

    def _greet(self) -> jobs.Ready:
        """:raises OSError: it is gone, or does not get ready."""
        self._channel.settimeout(_READY)
        content, descriptors = zygote.receive(self._channel, jobs.MAX_PACKET)
        if not descriptors:
            raise ConnectionError(errno.ECONNRESET, 'it ended')
        self._process = descriptors[0]
        try:
            return jobs.Ready.parse(content.decode())
        except errors.Invalid:
            # Of a release whose first words are others
            return jobs.Ready(-1, False)

    def take(
        self, connection: socket.socket, head: bytes, length: int
    ) -> jobs.Taken:
        """See :meth:`Custodians.take`."""
        taken = self.do(
            jobs.Take(head, length), jobs.Taken, connection.fileno()
        )
        self.secret_uuid = taken.secret_uuid
        return taken

    def open(self, job: jobs.Unseal | jobs.Import) -> None:
        """Let it have a key.

        :raises KororaError: as the job does.
        """
        self.secret_uuid = self.do(job, jobs.Opened).secret_uuid

    def do(self, job: jobs.Job, answer: type[_A], *descriptors: int) -> _A:
        """Give it a job.

        :param answer: type of what it says.
        :param descriptors: that go along.
        :raises KororaError: as the job does.
        :raises Unavailable: CUSTODIAN_FAILED, INTERNAL.
        """
        with spans.span(f'custodian.{job.OP}'):
            self.ready()
            ask = self._ask_with_tpm if job.NEEDS_TPM else self._ask
            return _read(job, ask(job, descriptors), answer)

    def _ask_with_tpm(
        self, job: jobs.Job, descriptors: Sequence[int]
    ) -> jobs.Said:
        tpm = self._owner.tpm
        try:
            with tpm.lent() as count:
                said = self._ask(job, descriptors)
                count.update(said.tpm)
        except errors.Unavailable:
            # It may have left objects in a TPM without resource manager
            with contextlib.suppress(errors.KororaError):
                tpm.reclaim()
            raise
        return said

    def _ask(self, job: jobs.Job, descriptors: Sequence[int]) -> jobs.Said:
        """:raises Unavailable: CUSTODIAN_FAILED, and it is gone then."""
        asked = {'op': job.OP, 'job': job.to_json()}
        content = messages.dumps(asked).encode()
        try:
            self._channel.settimeout(self._owner.spec.step + _GRACE)
            if descriptors:
                socket.send_fds(self._channel, [content], [*descriptors])
            else:
                self._channel.send(content)
            said = self._channel.recv(jobs.MAX_PACKET)
            if not said:
                raise ConnectionError(errno.ECONNRESET, 'it ended')
            return jobs.Said.parse(said)
        except (OSError, ValueError, errors.KororaError) as exc:
            self._kill()
            raise _failed(job.OP, exc) from None

    def _kill(self) -> None:
        """End it, and wait until what it had open is closed."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._process, signal.SIGKILL)
        ended = select.poll()
        ended.register(self._process, select.POLLIN)
        ended.poll(_GRACE * 1000)


def _flags() -> list[str]:
    """Only the agent's own path, and no files that it does not write."""
    return ['-I', '-B'] if sys.dont_write_bytecode else ['-I']


def _pair() -> tuple[socket.socket, socket.socket]:
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def _read(job: jobs.Job, said: jobs.Said, answer: type[_A]) -> _A:
    if said.error is not None:
        raise said.error
    if said.broken:
        LOG.error('A custodian failed to %s: %s', job.OP, said.broken)
        raise errors.Unavailable(errors.Reason.INTERNAL)
    return answer.from_json(said.answer)


def _failed(step: str, exc: Exception) -> errors.Unavailable:
    """:param step: in which it failed; nothing else says what happened."""
    why = getattr(exc, 'strerror', None) or type(exc).__name__
    LOG.error('The custodian of a key failed to %s: %s', step, why)
    return errors.Unavailable(
        errors.Reason.CUSTODIAN_FAILED, details={'step': step, 'why': why}
    )
