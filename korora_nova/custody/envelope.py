# SPDX-License-Identifier: Apache-2.0
"""AES-256-GCM envelopes and the payload of a transit object.

A TPM seals at most 128 bytes, the passphrase of a vTPM has 512: the TPM
holds a key, the envelope holds the passphrase under it.
"""

from __future__ import annotations

import dataclasses
import os
import struct
import uuid
from collections.abc import Callable

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from korora_nova import errors, secret

KEY_BYTES = 32
NONCE_BYTES = 12
TAG_BYTES = 16
#: Longest plaintext, bytes.
MAX_PLAINTEXT = 4096

# Payload: magic | migration | instance | u64be epoch | key, 76 bytes.
_PAYLOAD = struct.Struct('>4s16s16sQ32s')
_MAGIC = b'KOR1'


def _refused(message: str) -> errors.CustodyError:
    return errors.CustodyError(errors.Reason.TRANSFER_INVALID, message)


def new_key(random: Callable[[int], bytes] = os.urandom) -> secret.Secret:
    """Draw a fresh envelope key."""
    return secret.Secret(random(KEY_BYTES))


def seal_envelope(
    key: secret.Secret,
    plaintext: secret.Secret,
    aad: bytes,
    random: Callable[[int], bytes] = os.urandom,
) -> bytes:
    """Encrypt; returns nonce (12) || ciphertext || tag (16).

    :raises ValueError: the key is not 32 bytes or the plaintext too long.
    """
    if len(key) != KEY_BYTES or len(plaintext) > MAX_PLAINTEXT:
        raise ValueError('wrong size of key or plaintext')
    nonce = random(NONCE_BYTES)
    cipher = AESGCM(key.reveal())
    return nonce + cipher.encrypt(nonce, plaintext.reveal(), aad)


def open_envelope(
    key: secret.Secret, envelope: bytes, aad: bytes
) -> secret.Secret:
    """Decrypt what :func:`seal_envelope` made.

    :raises CustodyError: TRANSFER_INVALID, altered, or another key or aad.
    """
    longest = NONCE_BYTES + MAX_PLAINTEXT + TAG_BYTES
    if not NONCE_BYTES + TAG_BYTES <= len(envelope) <= longest:
        raise _refused('The envelope has an impossible size.')
    if len(key) != KEY_BYTES:
        raise _refused('The key of the envelope has a wrong size.')
    nonce, sealed = envelope[:NONCE_BYTES], envelope[NONCE_BYTES:]
    try:
        return secret.Secret(AESGCM(key.reveal()).decrypt(nonce, sealed, aad))
    except InvalidTag:
        raise _refused(
            'The envelope was altered or belongs to another hand-over.'
        ) from None


@dataclasses.dataclass(frozen=True)
class TransitPayload:
    """What a transit object carries inside the TPMs.

    :param epoch: the epoch the permit burned for the destination.
    :param key: the 32-byte key of the envelope beside it.
    """

    migration: str
    instance: str
    epoch: int
    key: secret.Secret

    def pack(self) -> secret.Secret:
        """Return the 76 bytes to seal.

        :raises ValueError: a field does not fit.
        """
        if len(self.key) != KEY_BYTES or not 0 < self.epoch < 1 << 63:
            raise ValueError('a field does not fit the payload')
        return secret.Secret(
            _PAYLOAD.pack(
                _MAGIC,
                uuid.UUID(self.migration).bytes,
                uuid.UUID(self.instance).bytes,
                self.epoch,
                self.key.reveal(),
            )
        )

    @classmethod
    def unpack(cls, data: secret.Secret) -> TransitPayload:
        """Parse what a TPM unsealed.

        :raises CustodyError: TRANSFER_INVALID.
        """
        if len(data) != _PAYLOAD.size:
            raise _refused('The payload has a wrong size.')
        magic, migration, instance, epoch, key = _PAYLOAD.unpack(data.reveal())
        if magic != _MAGIC or not 0 < epoch < 1 << 63:
            raise _refused('The payload is not one of a hand-over.')
        return cls(
            str(uuid.UUID(bytes=migration)),
            str(uuid.UUID(bytes=instance)),
            epoch,
            secret.Secret(key),
        )

    def check(self, *, migration: str, instance: str, epoch: int) -> None:
        """Insist that the payload is that of this hand-over.

        :raises CustodyError: TRANSFER_INVALID.
        """
        if (self.migration, self.instance, self.epoch) != (
            migration,
            instance,
            epoch,
        ):
            raise _refused('The payload belongs to another hand-over.')
