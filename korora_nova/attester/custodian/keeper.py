# SPDX-License-Identifier: Apache-2.0
"""What a custodian does: the only code of a host that has a plaintext."""

from __future__ import annotations

import dataclasses
import json
import os
import socket
import time
import uuid
from collections.abc import Callable

from korora_nova import errors, spans
from korora_nova.attester import server, socket_client
from korora_nova.attester.custodian import jobs
from korora_nova.attester.libvirt_secret import Libvirt
from korora_nova.custody import envelope, messages, operations
from korora_nova.rats import schemas
from korora_nova.secret import Secret
from korora_nova.tpm import handover, keys, seal
from korora_nova.tpm.device import Tpm

_UUID_BYTES = 16
_REQUEST: schemas.Schema = {'type': 'object'}


@dataclasses.dataclass(frozen=True)
class Custodial:
    """What the envelopes hold: libvirt's secret, its uuid included."""

    secret_uuid: str
    passphrase: Secret

    def pack(self) -> Secret:
        """16 bytes of uuid, then the passphrase."""
        prefix = uuid.UUID(self.secret_uuid).bytes
        return Secret(prefix + self.passphrase.reveal())

    @classmethod
    def unpack(cls, content: Secret) -> Custodial:
        """:raises CustodyError: TRANSFER_INVALID, too short."""
        plain = content.reveal()
        if len(plain) <= _UUID_BYTES:
            raise errors.CustodyError(errors.Reason.TRANSFER_INVALID)
        return cls(
            str(uuid.UUID(bytes=plain[:_UUID_BYTES])),
            Secret(plain[_UUID_BYTES:]),
        )


class Keeper:
    """Holds at most one key."""

    def __init__(self, begin: jobs.Begin) -> None:
        self._begin = begin
        self._tpm = Tpm(begin.tcti)
        self._key: Custodial | None = None

    def answer(self, content: bytes, descriptors: list[int]) -> bytes:
        """Do a job; see :class:`.jobs.Said`.

        :param descriptors: that came with it; closed here.
        """
        self._tpm.count.clear()
        said: dict[str, object] = {}
        try:
            said['answer'] = self._do(content, descriptors).to_json()
        except errors.KororaError as exc:
            said['error'] = server.failure(exc)
        except Exception as exc:  # noqa: BLE001 - the agent fails closed
            # No traceback: its frames' values could be the key
            said['broken'] = server.describe(exc)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        said['tpm'] = dict(self._tpm.count)
        return messages.dumps(said).encode()

    def _do(self, content: bytes, descriptors: list[int]) -> messages.Message:
        asked = json.loads(content)
        job = jobs.JOBS[asked['op']].from_json(asked['job'])
        return self.do(job, descriptors)

    def do(self, job: jobs.Job, descriptors: list[int]) -> messages.Message:
        """Do one job.

        :raises KororaError: as the agent would have it from this.
        """
        if isinstance(job, jobs.Take):
            # Not closed with the socket: it is the caller's descriptor
            connection = socket.socket(fileno=os.dup(descriptors[0]))
            with connection:
                return self.take(job, connection)
        doing: dict[type[jobs.Job], Callable[..., messages.Message]] = {
            jobs.Unseal: self.unseal,
            jobs.Import: self.import_,
            jobs.Seal: self.seal,
            jobs.Wrap: self.wrap,
            jobs.Define: self.define,
        }
        return doing[type(job)](job)

    def take(self, job: jobs.Take, connection: socket.socket) -> jobs.Taken:
        """Read the rest of a request to seal.

        :raises Invalid: INVALID_REQUEST.
        """
        # Half of the time, so that it can still say so
        deadline = time.monotonic() + self._begin.step / 2
        try:
            rest = socket_client.receive(connection, job.length, deadline)
            fields = messages.loads((job.head + rest).decode(), _REQUEST)
        except (OSError, UnicodeDecodeError):
            raise errors.Invalid(errors.Reason.INVALID_REQUEST) from None
        trace = str(fields.pop(spans.TRACEPARENT, ''))
        if (fields.pop('version', 0), fields.pop('op', '')) != (1, 'seal'):
            raise errors.Invalid(errors.Reason.INVALID_REQUEST)
        request = operations.Seal.from_json(fields)
        self._key = Custodial(request.secret_uuid, request.passphrase)
        return jobs.Taken(request.instance, request.secret_uuid, trace)

    def unseal(self, job: jobs.Unseal) -> jobs.Opened:
        """:raises CustodyError: UNSEAL_REFUSED, APPROVAL_INVALID or
        VAULT_DAMAGED.
        """
        with self._tpm.operation() as operation:
            key = seal.unseal(
                operation,
                keys.Storage(job.srk),
                seal.SealedKey(job.public, job.private),
                job.approval,
                job.signer,
            )
        try:
            plain = envelope.open_envelope(key, job.envelope, job.aad)
            return self._opened(plain)
        except errors.CustodyError:
            raise errors.CustodyError(
                errors.Reason.VAULT_DAMAGED,
                details={'instance': job.approval.instance},
            ) from None

    def import_(self, job: jobs.Import) -> jobs.Opened:
        """In the TPM: import, unseal once; then check the payload.

        :raises CustodyError: TRANSFER_INVALID, UNSEAL_REFUSED.
        """
        with self._tpm.operation() as operation:
            content = handover.import_transfer(
                operation,
                keys.Storage(job.srk),
                job.msk_context,
                handover.Wrapped(job.public, job.duplicate, job.seed),
                handover.TransitState(
                    job.pcr_digest, job.reset_restart, job.deadline
                ),
            )
        payload = envelope.TransitPayload.unpack(content)
        payload.check(
            migration=job.migration, instance=job.instance, epoch=job.epoch
        )
        return self._opened(
            envelope.open_envelope(payload.key, job.envelope, job.aad)
        )

    def _opened(self, plain: Secret) -> jobs.Opened:
        self._key = Custodial.unpack(plain)
        return jobs.Opened(self._key.secret_uuid)

    def seal(self, job: jobs.Seal) -> jobs.Sealed:
        """Under a fresh key that the TPM keeps."""
        plain = self._held().pack()
        key = envelope.new_key()
        with self._tpm.operation() as operation:
            sealed = seal.seal(
                operation, keys.Storage(job.srk), key, job.policy
            )
        return jobs.Sealed(
            sealed.public,
            sealed.private,
            envelope.seal_envelope(key, plain, job.aad),
        )

    def wrap(self, job: jobs.Wrap) -> jobs.Wrapped:
        """The transit object with a fresh key, and the envelope under it."""
        plain = self._held().pack()
        key = envelope.new_key()
        payload = envelope.TransitPayload(
            job.migration, job.instance, job.epoch, key
        )
        state = handover.TransitState(
            job.pcr_digest, job.reset_restart, job.deadline
        )
        wrapped = handover.wrap(job.msk_public, payload.pack(), state)
        return jobs.Wrapped(
            wrapped.public,
            wrapped.duplicate,
            wrapped.seed,
            envelope.seal_envelope(key, plain, job.aad),
        )

    def define(self, job: jobs.Define) -> jobs.Done:
        """:raises Unavailable: LIBVIRT_UNAVAILABLE."""
        self.hypervisor().define(
            job.secret_uuid, job.instance, self._held().passphrase
        )
        return jobs.Done()

    def hypervisor(self) -> Libvirt:
        """libvirt, for this process."""
        return Libvirt(self._begin.libvirt_uri)

    def _held(self) -> Custodial:
        if self._key is None:
            raise RuntimeError('there is no key to keep')
        return self._key
