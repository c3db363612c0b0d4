# SPDX-License-Identifier: Apache-2.0
"""One TPM, used one operation at a time.

An *operation* is a short series of commands that starts and ends with an
empty TPM: it holds the lock, owns a fresh connection (so a TPM that was
restarted is found again by itself) and flushes whatever it loaded.  Nothing
may wait for the network inside an operation.
"""

from __future__ import annotations

import collections
import contextlib
import os
import re
import threading
from collections.abc import Callable, Iterator

from tpm2_pytss import ESAPI, TCTI, TCTILdr, TSS2_Exception
from tpm2_pytss.constants import ESYS_TR, TPM2_CAP, TPM2_CC
from tpm2_pytss.TCTI import PyTCTI

from korora_nova import errors, spans
from korora_nova.tpm import causes
from korora_nova.tpm.authorisation import Authorisation

# TPM 2.0 Part 2, 6.6.2: response codes and their layers (TSS 2.0 overview)
_LAYER_MASK = 0x00FF0000
_RM_LAYERS = (0x000B0000, 0x000C0000)
_FMT1 = 0x080
_WARNING = 0x900
RC_PCR_CHANGED = 0x128

_TRANSIENT = 0x80000000
_LOADED_SESSIONS = 0x02000000
_SAVED_SESSIONS = 0x03000000
_HANDLES_PER_QUERY = 64
# Of a device or a socket, wherever it stands in a TCTI string
_PATH = re.compile('/[^,]*')


def is_refusal(error: TSS2_Exception) -> bool:
    """Whether the TPM itself said no, rather than something being broken.

    Errors of the transport and the stack, and the TPM's warnings (no memory,
    retry, lockout), are infrastructure.
    """
    code: int = error.rc
    layer = code & _LAYER_MASK
    if layer and layer not in _RM_LAYERS:
        return False
    code &= 0xFFFF
    return bool(code & _FMT1) or (code & _WARNING) != _WARNING


def unavailable(
    error: TSS2_Exception, tcti: str, last: causes.Command
) -> errors.Unavailable:
    """The error for a TPM that does not work, with where it is and why.

    :param last: the command that failed.
    """
    # The text of the stack is a function of the code, so no secret (I1)
    why = _obstacle(tcti) or causes.explain(error.rc, last) or error
    return errors.Unavailable(
        errors.Reason.TPM_UNAVAILABLE,
        f'The TPM of this host, [attester] tcti = {tcti}, does not answer '
        f'as it should: {why}.',
        details={'tcti': tcti, 'rc': f'0x{error.rc:08x}'},
    )


def _obstacle(tcti: str) -> str | None:
    """What the stack does not say about a path: to it, all is "IO failure"."""
    found = _PATH.search(tcti)
    if found is None:
        return None
    path = found[0]
    if not os.path.exists(path):
        return f'there is no {path}'
    if not os.access(path, os.R_OK | os.W_OK):
        return f'{path} is not for the user of this process'
    return None


class _CountingTcti(PyTCTI):  # type: ignore[misc]
    """Passes commands to another TCTI and counts them by name."""

    def __init__(self, inner: TCTI, count: collections.Counter[str]) -> None:
        super().__init__()
        self._inner = inner
        self._count = count
        self.last = causes.Command()

    def do_transmit(self, command: bytes) -> None:
        self.last = causes.Command.of(command)
        try:
            name = str(TPM2_CC(self.last.code))
        except ValueError:
            name = f'0x{self.last.code:x}'
        self._count[name] += 1
        self._inner.transmit(command)

    def do_receive(self, timeout: int) -> bytes:
        return bytes(self._inner.receive(timeout=timeout))

    def do_finalize(self) -> None:
        """The inner TCTI is closed by its owner."""


class Operation:
    """A running operation: the commands (``esys``) and what is loaded."""

    def __init__(self, esys: ESAPI, count: collections.Counter[str]) -> None:
        self.esys = esys
        self._count = count
        self._loaded: list[ESYS_TR] = []

    @property
    def commands(self) -> int:
        """Commands sent to the TPM so far in this operation."""
        return self._count.total()

    def own(self, handle: ESYS_TR) -> ESYS_TR:
        """Have ``handle`` flushed when the operation ends."""
        self._loaded.append(handle)
        return handle

    def flush(self, handle: ESYS_TR) -> None:
        """Flush an owned handle now."""
        self._loaded.remove(handle)
        self.esys.flush_context(handle)

    def disown(self, handle: ESYS_TR) -> None:
        """The TPM itself has flushed ``handle``."""
        self._loaded.remove(handle)

    def close(self) -> None:
        """Flush everything; a TPM that went away has nothing loaded."""
        while self._loaded:
            with contextlib.suppress(TSS2_Exception):
                self.esys.flush_context(self._loaded.pop())


class Tpm:
    """The TPM that a TCTI string names, such as ``device:/dev/tpmrm0``.

    ``count`` holds the commands sent by name since the object was made.

    :param authorisation: passwords of its hierarchies.
    """

    def __init__(
        self, tcti: str, authorisation: Authorisation | None = None
    ) -> None:
        self.tcti = tcti
        self._authorisation = authorisation or Authorisation()
        self.count: collections.Counter[str] = collections.Counter()
        self._lock = threading.Lock()
        self._tallies = threading.local()

    @contextlib.contextmanager
    def tally(self) -> Iterator[collections.Counter[str]]:
        """Count the commands of this thread's operations by name."""
        count: collections.Counter[str] = collections.Counter()
        outer = getattr(self._tallies, 'count', None)
        self._tallies.count = count
        try:
            yield count
        finally:
            self._tallies.count = outer
            if outer is not None:
                outer.update(count)

    @contextlib.contextmanager
    def operation(self) -> Iterator[Operation]:
        """Run commands, alone on this TPM.

        :raises errors.Unavailable: TPM_UNAVAILABLE, for every error of the
            stack that the commands' caller did not translate.
        """
        with self._lock:
            count: collections.Counter[str] = collections.Counter()
            failed = causes.Command()

            def note(command: causes.Command) -> None:
                nonlocal failed
                failed = command

            try:
                with self._connect(count, note) as operation:
                    yield operation
            except TSS2_Exception as exc:
                raise unavailable(exc, self.tcti, failed) from None
            finally:
                self._note(count)

    @contextlib.contextmanager
    def lent(self) -> Iterator[collections.Counter[str]]:
        """Keep off this TPM while another process runs an operation.

        That opens it by itself. Its commands, by name, are put into what is
        yielded.
        """
        with self._lock:
            count: collections.Counter[str] = collections.Counter()
            try:
                yield count
            finally:
                self._note(count)

    def _note(self, count: collections.Counter[str]) -> None:
        self.count.update(count)
        spans.count('tpm', count.total())
        tally = getattr(self._tallies, 'count', None)
        if tally is not None:
            tally.update(count)

    @contextlib.contextmanager
    def _connect(
        self,
        count: collections.Counter[str],
        failed: Callable[[causes.Command], None],
    ) -> Iterator[Operation]:
        """:param failed: told the last command before what is loaded goes."""
        inner = TCTILdr.parse(self.tcti)
        try:
            tcti = _CountingTcti(inner, count)
            esys = ESAPI(tcti)
            self._authorise(esys)
            operation = Operation(esys, count)
            try:
                yield operation
            finally:
                failed(tcti.last)
                operation.close()
                esys.close()
        finally:
            inner.close()

    def _authorise(self, esys: ESAPI) -> None:
        """Use the passwords; this sends no command."""
        known = self._authorisation
        for handle, value in (
            (ESYS_TR.OWNER, known.owner),
            (ESYS_TR.ENDORSEMENT, known.endorsement),
        ):
            if len(value):
                esys.tr_set_auth(esys_handle=handle, auth_value=value.reveal())

    def reclaim(self) -> int:
        """Flush what an earlier life of this process left; return how much.

        Only a TPM without a resource manager has leftovers: the kernel's
        shows and frees each opener's own objects.
        """
        flushed = 0
        with self.operation() as operation:
            for first in (_TRANSIENT, _LOADED_SESSIONS, _SAVED_SESSIONS):
                _more, data = operation.esys.get_capability(
                    capability=TPM2_CAP.HANDLES,
                    prop=first,
                    property_count=_HANDLES_PER_QUERY,
                )
                # data owns the memory that its handles point into
                for handle in [int(h) for h in data.data.handles]:
                    operation.esys.flush_context(
                        operation.esys.tr_from_tpmpublic(handle)
                    )
                    flushed += 1
        return flushed
