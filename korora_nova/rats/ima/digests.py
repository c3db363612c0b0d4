# SPDX-License-Identifier: Apache-2.0
"""Digests as lookups want them: the field d-ng as it stands in a list."""

from __future__ import annotations

import hashlib
import struct

from korora_nova import errors
from korora_nova.rats.ima.templates import DIGEST_SIZES, Malformed

_LENGTH = struct.Struct('<I')
#: Prefix of a key by the text before the hex digits.
_HEADS = {
    prefix + name: (
        _LENGTH.pack(len(prefix) + len(name) + 2 + size)
        + f'{prefix}{name}:\0'.encode(),
        2 * size,
    )
    for prefix in ('', 'verity:')
    for name, size in DIGEST_SIZES.items()
}
# SM3 goes by two names, depending on the kernel.
for _prefix in ('', 'verity:'):
    _HEADS[_prefix + 'sm3-256'] = _HEADS[_prefix + 'sm3']
_SIZES = {head: len(head) + size // 2 for head, size in _HEADS.values()}
# What hashlib calls an algorithm of the kernel, where that differs.
_HASHLIB = {
    'sha3-256': 'sha3_256',
    'sha3-384': 'sha3_384',
    'sha3-512': 'sha3_512',
    'rmd160': 'ripemd160',
    'sm3-256': 'sm3',
}


def key(digest: str) -> bytes:
    """The field d-ng, with its size, of "ALG:HEX" or "verity:ALG:HEX".

    :raises Malformed: it is not of that form.
    """
    name, _, text = digest.rpartition(':')
    head = _HEADS.get(name)
    try:
        if head is None or len(text) != head[1]:
            raise ValueError
        return head[0] + bytes.fromhex(text)
    except ValueError:
        raise Malformed('a digest is "ALG:HEX"') from None


def is_key(item: bytes) -> bool:
    """Whether a field d-ng, with its size, holds a digest."""
    return len(item) == _SIZES.get(item[: item.find(b':\0') + 2])


def wanted(digest: object, place: str) -> bytes:
    """:func:`key` of a digest in a policy.

    :raises Invalid: POLICY_INVALID, the place in the message.
    """
    try:
        if isinstance(digest, str):
            return key(digest)
    except Malformed:
        pass
    raise errors.Invalid(
        errors.Reason.POLICY_INVALID,
        f'{place} holds a digest that is not "ALG:HEX": {ascii(digest)[:96]}.',
        details={'place': place},
    )


def text(item: bytes) -> str:
    """The digest of which ``item`` is the :func:`key`."""
    head, _, digest = item[4:].partition(b':\0')
    return f'{head.decode()}:{digest.hex()}'


def compute(name: str, data: bytes) -> bytes | None:
    """Digest of data with an algorithm of the kernel, None if unknown."""
    try:
        return hashlib.new(_HASHLIB.get(name, name), data).digest()
    except ValueError:
        return None
