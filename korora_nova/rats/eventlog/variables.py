# SPDX-License-Identifier: Apache-2.0
"""UEFI variables in events, and signature lists in variables."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import struct
import uuid
from collections.abc import Iterator
from typing import NamedTuple

from cryptography import exceptions, x509

from korora_nova.rats.eventlog import text
from korora_nova.rats.eventlog.boot import SignatureEntry

GLOBAL = '8be4df61-93ca-11d2-aa0d-00e098032b8c'
IMAGE_SECURITY = 'd719b2cb-3d3a-4596-a3bc-dad00e67656f'
DEVICE_SECURITY = 'b9c2b4f4-bf5f-462d-8adf-c5c70ac35dad'
SHIM = '605dab50-e046-4300-abb6-3dd810dd8b23'

#: Most entries of one database; 48 bytes each fill MAX_EVENT_BYTES.
MAX_ENTRIES = 16384
MAX_NAME = 1024

# See quirks.SHIM_LENGTH.
_MAX_SURPLUS = 8

# UEFI_VARIABLE_DATA (PFP 10.4.2.1): GUID | u64 characters | u64 bytes
# | name, UCS-2 without NUL | data.
_VARIABLE = struct.Struct('<16sQQ')
# EFI_SIGNATURE_LIST (UEFI 32.4.1): GUID | u32 list | u32 header
# | u32 signature, bytes; header; signatures of GUID owner and data.
_LIST = struct.Struct('<16sIII')
_OWNER = 16

#: Signature types (UEFI 32.4.1) -> kind, and the bytes of the digest that
#: the data is or starts with; None: the data itself is hashed.
_KINDS = {
    'c1c41626-504c-4092-aca9-41f936934328': ('sha256', 32),
    '826ca512-cf10-4ac9-b187-be01496631bd': ('sha1', 20),
    '0b6e5233-a65c-44c9-9407-d9ab83bfc8bd': ('sha224', 28),
    'ff3e5307-9fd0-48c9-85f1-8ad56c701e01': ('sha384', 48),
    '093e0fae-a6c4-4f50-9f1b-d41e2b89c19a': ('sha512', 64),
    '3bd2a492-96c0-4079-b420-fcf98ef103ed': ('x509-sha256', 32),
    '7076876e-80c2-4ee6-aad2-28b349a6865b': ('x509-sha384', 48),
    '446dbf63-2502-4cda-bcfa-2465d2b0fe9d': ('x509-sha512', 64),
    'a5c059a1-94e4-4aa7-87b5-ab155c2bf072': ('x509', None),
    '3c5766e8-269c-4e34-aa14-ed776e85b3b6': ('rsa2048', None),
    'e2b36190-879b-4a3d-ad8d-f2e7bba32784': ('rsa2048-sha256', None),
    '67f8444f-8743-48f1-a328-1eaab8736080': ('rsa2048-sha1', None),
    '4aafd29d-68df-49ee-8aa9-347d375665a7': ('pkcs7', None),
}
_BY_BYTES = {uuid.UUID(guid).bytes_le: kind for guid, kind in _KINDS.items()}


class Variable(NamedTuple):
    """A variable as an event has it.

    :param surplus: bytes after it, see quirks.SHIM_LENGTH.
    """

    vendor: str
    name: str
    value: bytes
    surplus: int


@dataclasses.dataclass(frozen=True)
class Signatures:
    """Entries of signature lists.

    :param complete: False: what follows the entries is malformed.
    """

    entries: tuple[SignatureEntry, ...]
    complete: bool


def guid(data: bytes) -> str:
    """A GUID's text; 16 bytes, mixed-endian (UEFI appendix A)."""
    return str(uuid.UUID(bytes_le=data))


_guid = functools.lru_cache(maxsize=256)(guid)


def parse(data: bytes) -> Variable | None:
    """UEFI_VARIABLE_DATA, or None if it is not that."""
    if len(data) < _VARIABLE.size:
        return None
    vendor, characters, size = _VARIABLE.unpack_from(data)
    start = _VARIABLE.size + 2 * characters
    surplus = len(data) - start - size
    if characters > MAX_NAME or not 0 <= surplus <= _MAX_SURPLUS:
        return None
    return Variable(
        _guid(vendor),
        text.utf16(data[_VARIABLE.size : start]),
        data[start : start + size],
        surplus,
    )


def build(vendor: str, name: str, value: bytes) -> bytes:
    """UEFI_VARIABLE_DATA of a variable."""
    return (
        _VARIABLE.pack(uuid.UUID(vendor).bytes_le, len(name), len(value))
        + name.encode('utf-16-le')
        + value
    )


def is_lists(value: bytes) -> bool:
    """Whether a value starts like signature lists."""
    return not value or (len(value) >= _LIST.size and value[:16] in _BY_BYTES)


def signatures(value: bytes) -> Signatures:
    """Read a variable of EFI_SIGNATURE_LISTs, as far as it goes."""
    entries: list[SignatureEntry] = []
    at = 0
    while at < len(value):
        if len(value) - at < _LIST.size:
            return Signatures(tuple(entries), False)
        kind, size, header, each = _LIST.unpack_from(value, at)
        first, end = at + _LIST.size + header, at + size
        if (
            end > len(value)
            or first > end
            or each <= _OWNER
            or ((end - first) % each)
            or (len(entries) + (end - first) // each > MAX_ENTRIES)
        ):
            return Signatures(tuple(entries), False)
        name, digest = _BY_BYTES.get(kind) or (_guid(kind), None)
        if digest is None or each < _OWNER + digest:
            entries += (
                _entry(name, value[start : start + each])
                for start in range(first, end, each)
            )
        else:
            entries += _hashes(name, digest, each, value[first:end])
        at = end
    return Signatures(tuple(entries), True)


def authority(value: bytes) -> SignatureEntry | None:
    """What vouched for an image: EFI_SIGNATURE_DATA (PFP 3.3.4.8).

    shim's own certificates come without an owner. A digest and a
    certificate are told apart by their form, as the event does not say.
    """
    for owner, data in (
        (bytes(_OWNER), value),
        (value[:_OWNER], value[_OWNER:]),
    ):
        if _is_der(data):
            return _x509(data, owner)
    if len(value) == _OWNER + 32:
        return SignatureEntry(
            'sha256',
            f'sha256:{value[_OWNER:].hex()}',
            guid(value[:_OWNER]),
            '',
        )
    return None


def _entry(name: str, data: bytes) -> SignatureEntry:
    owner, content = data[:_OWNER], data[_OWNER:]
    if name == 'x509':
        return _x509(content, owner)
    digest = f'sha256:{hashlib.sha256(content).hexdigest()}'
    return SignatureEntry(name, digest, _guid(owner), '')


def _hashes(
    name: str, digest: int, each: int, body: bytes
) -> Iterator[SignatureEntry]:
    """Entries that start with a digest; a dbx has hundreds."""
    algorithm = name.rpartition('-')[2] + ':'
    digits = body.hex()
    for at in range(0, len(body), each):
        first = 2 * (at + _OWNER)
        yield SignatureEntry(
            name,
            algorithm + digits[first : first + 2 * digest],
            _guid(body[at : at + _OWNER]),
            '',
        )


def _x509(der: bytes, owner: bytes) -> SignatureEntry:
    digest, subject = _certificate(der)
    return SignatureEntry('x509', digest, _guid(owner), subject)


@functools.lru_cache(maxsize=128)
def _certificate(der: bytes) -> tuple[str, str]:
    """Digest and subject; hosts share a handful of certificates."""
    try:
        subject = text.escaped(
            x509.load_der_x509_certificate(der).subject.rfc4514_string()
        )
    except (
        ValueError,
        TypeError,
        x509.InvalidVersion,
        exceptions.UnsupportedAlgorithm,
    ):
        subject = ''
    return f'sha256:{hashlib.sha256(der).hexdigest()}', subject


def _is_der(data: bytes) -> bool:
    """Whether data is one DER SEQUENCE of a certificate's size."""
    return (
        len(data) > 4
        and data[:2] == b'\x30\x82'
        and int.from_bytes(data[2:4], 'big') + 4 == len(data)
    )
