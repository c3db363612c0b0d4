# SPDX-License-Identifier: Apache-2.0
"""What the agent asks of a custodian, and what that answers.

Nothing in them is secret: a key comes to a custodian out of the TPM or over a
socket that the agent passes on unread, and leaves it sealed, wrapped, or to
libvirt.

=======  ===========  =======================================================
job      answer       what the custodian does
=======  ===========  =======================================================
Take     Taken        reads a request to seal a new key
Unseal   Opened       opens a key that rests on this host
Import   Opened       opens a key that came from another host
Seal     Sealed       seals its key to this host
Wrap     Wrapped      wraps its key to another host
Define   Done         gives its key to libvirt
=======  ===========  =======================================================
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

from korora_nova import errors
from korora_nova.custody import messages
from korora_nova.custody.approval import SCHEMA as _APPROVAL
from korora_nova.custody.approval import Approval
from korora_nova.rats import schemas

#: Of what both processes say. Differs if the package was replaced under an
#: agent that runs on, whose zygote died.
VERSION = 1
#: Longest packet, bytes.
MAX_PACKET = 1 << 17

_ENVELOPE = schemas.base64_string(8192)
_CONTEXT = schemas.base64_string(8192)
_SECONDS: schemas.Schema = {'type': 'number', 'exclusiveMinimum': 0}
_UUID_OR_NONE: schemas.Schema = {'anyOf': [schemas.UUID, {'const': ''}]}
_STATE: dict[str, object] = {
    'pcr_digest': schemas.base64_string(32),
    'reset_restart': schemas.base64_string(8),
    'deadline': schemas.COUNTER,
}
_STATE_BLOBS = ('pcr_digest', 'reset_restart')
_HANDOVER: dict[str, object] = {
    'migration': schemas.UUID,
    'instance': schemas.UUID,
    'epoch': schemas.EPOCH,
    'aad': messages.BLOB,
    **_STATE,
}


def _closed(**properties: object) -> schemas.Schema:
    return schemas.closed({'version': schemas.VERSION, **properties})


@dataclasses.dataclass(frozen=True)
class Begin(messages.Message):
    """Asks the zygote for a custodian; its channel comes along.

    :param tcti: of the TPM; ``libvirt_uri`` of libvirt.
    :param step: seconds for a job; ``idle`` from one to the next.
    """

    SCHEMA = _closed(
        tcti=schemas.text(4096),
        libvirt_uri=schemas.text(4096),
        step=_SECONDS,
        idle=_SECONDS,
    )

    tcti: str
    libvirt_uri: str
    step: float
    idle: float


@dataclasses.dataclass(frozen=True)
class Ready(messages.Message):
    """The first that a custodian says; a descriptor of it comes along.

    :param protocol: its :data:`VERSION`.
    :param locked: whether its memory is.
    """

    SCHEMA = _closed(protocol={'type': 'integer'}, locked={'type': 'boolean'})

    protocol: int
    locked: bool


@dataclasses.dataclass(frozen=True)
class Job(messages.Message):
    """One job.

    :cvar OP: its name.
    :cvar NEEDS_TPM: whether it opens the TPM.
    """

    OP: ClassVar[str]
    NEEDS_TPM: ClassVar[bool] = True


@dataclasses.dataclass(frozen=True)
class Take(Job):
    """Read a request to seal off the socket that comes along.

    :param head: what was read of it; ``length`` of what is left, bytes.
    """

    OP = 'take'
    NEEDS_TPM = False
    SCHEMA = _closed(
        head=messages.BLOB,
        length={'type': 'integer', 'minimum': 0, 'maximum': 1 << 16},
    )
    BLOBS = ('head',)

    head: bytes
    length: int


@dataclasses.dataclass(frozen=True)
class Unseal(Job):
    """Open a key at rest, and its envelope.

    :param srk: handle of the storage root key, serialized by tpm2-tss.
    :param public: TPM2B_PUBLIC of the sealed object; ``private`` its
        TPM2B_PRIVATE.
    :param signer: TPM2B_PUBLIC of the pinned key that signed the approval.
    :param aad: of the envelope.
    """

    OP = 'unseal'
    SCHEMA = _closed(
        srk=messages.BLOB,
        public=messages.BLOB,
        private=messages.BLOB,
        signer=messages.BLOB,
        envelope=_ENVELOPE,
        aad=messages.BLOB,
        approval=_APPROVAL,
    )
    BLOBS = ('srk', 'public', 'private', 'signer', 'envelope', 'aad')

    srk: bytes
    public: bytes
    private: bytes
    signer: bytes
    envelope: bytes
    aad: bytes
    approval: Approval

    def to_json(self) -> dict[str, object]:
        """See :meth:`.Message.to_json`."""
        return {**super().to_json(), 'approval': self.approval.to_json()}

    @classmethod
    def from_json(cls, document: object) -> Unseal:
        """See :meth:`.Message.from_json`."""
        made = super().from_json(document)
        return dataclasses.replace(
            made, approval=Approval.from_json(made.approval)
        )


@dataclasses.dataclass(frozen=True)
class Import(Job):
    """Open a key that came in a transit object, and its envelope.

    :param msk_context: of the key that it was wrapped to.
    :param public: of the transit object, with ``duplicate`` and ``seed``.
    :param pcr_digest: the state, with ``reset_restart`` and ``deadline``, in
        which it opens.
    """

    OP = 'import'
    SCHEMA = _closed(
        srk=messages.BLOB,
        msk_context=_CONTEXT,
        public=messages.BLOB,
        duplicate=messages.BLOB,
        seed=messages.BLOB,
        envelope=_ENVELOPE,
        **_HANDOVER,
    )
    BLOBS = (
        'srk',
        'msk_context',
        'public',
        'duplicate',
        'seed',
        'envelope',
        'aad',
        *_STATE_BLOBS,
    )

    srk: bytes
    msk_context: bytes
    public: bytes
    duplicate: bytes
    seed: bytes
    envelope: bytes
    migration: str
    instance: str
    epoch: int
    aad: bytes
    pcr_digest: bytes
    reset_restart: bytes
    deadline: int


@dataclasses.dataclass(frozen=True)
class Seal(Job):
    """Seal the key to this TPM, under a fresh key of its own.

    :param policy: the authPolicy that alone opens it.
    """

    OP = 'seal'
    SCHEMA = _closed(
        srk=messages.BLOB, policy=messages.BLOB, aad=messages.BLOB
    )
    BLOBS = ('srk', 'policy', 'aad')

    srk: bytes
    policy: bytes
    aad: bytes


@dataclasses.dataclass(frozen=True)
class Wrap(Job):
    """Wrap the key to another TPM: see :class:`Import`."""

    OP = 'wrap'
    NEEDS_TPM = False
    SCHEMA = _closed(msk_public=messages.BLOB, **_HANDOVER)
    BLOBS = ('msk_public', 'aad', *_STATE_BLOBS)

    msk_public: bytes
    migration: str
    instance: str
    epoch: int
    aad: bytes
    pcr_digest: bytes
    reset_restart: bytes
    deadline: int


@dataclasses.dataclass(frozen=True)
class Define(Job):
    """Give libvirt the passphrase."""

    OP = 'define'
    NEEDS_TPM = False
    SCHEMA = _closed(secret_uuid=_UUID_OR_NONE, instance=schemas.UUID)

    secret_uuid: str
    instance: str


#: Name -> job.
JOBS: dict[str, type[Job]] = {
    job.OP: job for job in (Take, Unseal, Import, Seal, Wrap, Define)
}


@dataclasses.dataclass(frozen=True)
class Taken(messages.Message):
    """What a request to seal says besides the passphrase.

    :param traceparent: the caller's, which may be anything.
    """

    SCHEMA = _closed(
        instance=schemas.UUID,
        secret_uuid=schemas.UUID,
        traceparent={'type': 'string'},
    )

    instance: str
    secret_uuid: str
    traceparent: str


@dataclasses.dataclass(frozen=True)
class Opened(messages.Message):
    """The custodian has a key; libvirt's uuid was kept with it."""

    SCHEMA = _closed(secret_uuid=schemas.UUID)

    secret_uuid: str


@dataclasses.dataclass(frozen=True)
class Sealed(messages.Message):
    """A sealed object, and the envelope under the key in it."""

    SCHEMA = _closed(
        public=messages.BLOB, private=messages.BLOB, envelope=_ENVELOPE
    )
    BLOBS = ('public', 'private', 'envelope')

    public: bytes
    private: bytes
    envelope: bytes


@dataclasses.dataclass(frozen=True)
class Wrapped(messages.Message):
    """A transit object, and the envelope under the key in it."""

    SCHEMA = _closed(
        public=messages.BLOB,
        duplicate=messages.BLOB,
        seed=messages.BLOB,
        envelope=_ENVELOPE,
    )
    BLOBS = ('public', 'duplicate', 'seed', 'envelope')

    public: bytes
    duplicate: bytes
    seed: bytes
    envelope: bytes


@dataclasses.dataclass(frozen=True)
class Done(messages.Message):
    """Nothing to tell."""

    SCHEMA = _closed()


_COUNTS: schemas.Schema = {
    'type': 'object',
    'additionalProperties': {'type': 'integer', 'minimum': 0},
}
_ERROR = schemas.closed(
    {
        'reason': {'type': 'string'},
        'message': {'type': 'string'},
        'details': {
            'type': 'object',
            'additionalProperties': {'type': 'string'},
        },
    }
)
_SAID: schemas.Schema = {
    'type': 'object',
    'properties': {
        'tpm': _COUNTS,
        'answer': {'type': 'object'},
        'error': _ERROR,
        'broken': {'type': 'string', 'minLength': 1},
    },
    'required': ['tpm'],
    'minProperties': 2,
    'maxProperties': 2,
    'additionalProperties': False,
}


@dataclasses.dataclass(frozen=True)
class Said:
    """What a custodian said of a job.

    :param tpm: commands that it sent, by name.
    :param answer: JSON of the answer, unless there is none.
    :param error: a refusal.
    :param broken: what failed unexpectedly, without a value.
    """

    tpm: Mapping[str, int]
    answer: object = None
    error: errors.KororaError | None = None
    broken: str = ''

    @classmethod
    def parse(cls, content: bytes) -> Said:
        """Read it.

        :raises Invalid: it is nothing of the kind.
        :raises UnicodeDecodeError: nor is it text.
        """
        fields = messages.loads(content.decode(), _SAID)
        if 'error' in fields:
            error = fields['error']
            fields['error'] = errors.from_reason(
                error['reason'], error['message'], error['details']
            )
        return cls(**fields)
