# SPDX-License-Identifier: Apache-2.0
"""Entries as they stand in a list, one at a time.

Binary list (Linux, security/integrity/ima/ima_fs.c), little-endian, or as
the machine is (without ima_canonical_fmt on a big-endian one)::

    u32 pcr | template hash | u32 size | template name
    | u32 size | template data

The list does not say how long the template hash is: it is detected, or
told. The template ``ima`` lacks the last size and its data is::

    digest of 20 bytes (MD5: 16) | u32 size | path without NUL

with a template hash over digest | path padded with NUL to 256 bytes.
ASCII list: ``%2d`` of the PCR, hex of the template hash, the template's
name and its fields, each after one space, and a newline. A newline in a
path looks like another entry, but its hash decides (except for a violation).
"""

from __future__ import annotations

import functools
import hashlib
import re
import struct
from collections.abc import Callable
from typing import NamedTuple

from korora_nova import errors
from korora_nova.rats.ima import templates
from korora_nova.rats.ima.templates import Malformed, Template
from korora_nova.rats.tpm2 import algorithms

#: PCR of the lists, unless CONFIG_IMA_MEASURE_PCR_IDX says otherwise.
IMA_PCR = 10
#: The last register of a PC's TPM.
MAX_PCR = 23
BINARY, BIG_ENDIAN, ASCII = 'binary', 'binary-big-endian', 'ascii'
#: Template hashes, and banks that a list can extend.
HASHES = {
    name: algorithms.BY_NAME[name].size
    for name in ('sha1', 'sha256', 'sha384', 'sha512')
}

#: Lines of one entry of an ASCII list: newlines in a path, and one.
MAX_LINES = 16

_BY_SIZE = {size: name for name, size in HASHES.items()}
_NAME_SIZE = 256
_LINE = templates.MAX_TEMPLATE_DATA * 2
_BEGINS = re.compile(rb'[ 0-9][0-9] [0-9a-f]{40,128} [a-z]')
_U32 = {order: struct.Struct(f'{order}I').unpack_from for order in '<>'}
_R = errors.Reason


class Record(NamedTuple):
    """An entry of a list.

    :param stated: the template hash that the list gives; zeros mark a
        violation.
    :param hashed: the template data as it is hashed.
    :param end: offset after the entry.
    """

    pcr: int
    stated: bytes
    template: Template
    values: list[bytes]
    hashed: bytes
    end: int

    @property
    def violation(self) -> bool:
        """Whether the entry records a violation."""
        return not any(self.stated)


def malformed(what: str, at: int) -> errors.EvidenceError:
    """IMA_LOG_MALFORMED for an entry that begins at an offset."""
    return errors.EvidenceError(
        _R.IMA_LOG_MALFORMED,
        f'The IMA measurement list is malformed: {what} (offset {at}).',
        place=f'offset {at}',
    )


def detect_form(log: bytes) -> str:
    """The form of a list, by how the PCR of its first entry is written."""
    if log[:2].strip(b' ').isdigit() and log[2:3] == b' ':
        return ASCII
    if log[:3] == bytes(3) and log[3:4] > b'\0':
        return BIG_ENDIAN
    return BINARY


def detect_hash(log: bytes, form: str) -> str:
    """Algorithm of the template hash, from the shape of the first entry.

    :raises EvidenceError: IMA_LOG_MALFORMED, IMA_TEMPLATE.
    """
    if form == ASCII:
        size = log[3 : 3 + 129].find(b' ')
        if size in (40, 64, 96, 128):
            return _BY_SIZE[size // 2]
        raise malformed('a template hash of unknown size', 0)
    likely, order = b'', '>' if form == BIG_ENDIAN else '<'
    for name, size in HASHES.items():
        template = _template_name(log, 4 + size, order)
        if templates.lookup(template) is not None:
            return name
        if template and template.isascii() and not likely:
            likely = template
    if likely and likely.decode().isprintable():
        raise templates.unsupported(likely, 'offset 0')
    raise malformed('an unknown template or template hash', 0)


def _template_name(log: bytes, at: int, order: str) -> bytes:
    if at + 4 > len(log):
        return b''
    (size,) = _U32[order](log, at)
    if not 0 < size <= templates.MAX_TEMPLATE_NAME:
        return b''
    name = log[at + 4 : at + 4 + size]
    return name if len(name) == size else b''


def read_binary(
    log: bytes, at: int, hash_name: str, order: str = '<'
) -> Record:
    """The entry of a binary list at an offset.

    :raises EvidenceError: IMA_LOG_MALFORMED, IMA_TEMPLATE.
    """
    name_at = at + 4 + HASHES[hash_name]
    if name_at + 8 > len(log):
        raise malformed('a truncated entry', at)
    (pcr,) = _U32[order](log, at)
    name = _template_name(log, name_at, order)
    template = templates.lookup(name)
    data_at = name_at + 4 + len(name)
    if not name:
        raise malformed('a template name that is truncated or absurd', at)
    if data_at + 4 > len(log):
        raise malformed('a truncated entry', at)
    if template is None:
        raise templates.unsupported(name, f'offset {at}')
    stated = log[at + 4 : name_at]
    if template.legacy:
        return _legacy(log, at, data_at, pcr, stated, order)
    (size,) = _U32[order](log, data_at)
    end = data_at + 4 + size
    if size > templates.MAX_TEMPLATE_DATA or end > len(log):
        raise malformed('template data that is truncated or too long', at)
    data = log[data_at + 4 : end]
    try:
        values = templates.split(template, data, order)
    except Malformed as exc:
        raise malformed(str(exc), at) from None
    return Record(pcr, stated, template, values, data, end)


def _legacy(
    log: bytes, at: int, data_at: int, pcr: int, stated: bytes, order: str
) -> Record:
    """An entry of the template ``ima``: SHA-1 unless only MD5 explains it."""
    found = None
    for size in (20, 16):
        path_at = data_at + size + 4
        if path_at > len(log):
            continue
        (length,) = _U32[order](log, path_at - 4)
        end = path_at + length
        if length >= _NAME_SIZE or end > len(log):
            continue
        digest, path = log[data_at : data_at + size], log[path_at:end]
        found = found or legacy_record(pcr, stated, digest, path, end)
        record = legacy_record(pcr, stated, digest, path, end)
        if matches(record):
            return record
    if found is None:
        raise malformed('a truncated entry of the template ima', at)
    return found


def legacy_record(
    pcr: int, stated: bytes, digest: bytes, path: bytes, end: int
) -> Record:
    """An entry of the template ``ima`` from what it holds."""
    return Record(
        pcr,
        stated,
        templates.LEGACY,
        [digest, path + b'\0'],
        digest + path.ljust(_NAME_SIZE, b'\0'),
        end,
    )


def matches(record: Record) -> bool:
    """Whether the stated hash is that of the template data."""
    return _hash(record) == record.stated


def check_pcr(record: Record, at: int) -> None:
    """Insist on a register that there is, of an entry at an offset.

    :raises EvidenceError: IMA_LOG_MALFORMED.
    """
    if record.pcr > MAX_PCR:
        raise malformed(f'an entry for PCR {record.pcr}', at)


def check_hash(record: Record, at: int) -> None:
    """Insist on the stated hash, of an entry that begins at an offset.

    :raises EvidenceError: IMA_TEMPLATE_HASH.
    """
    want = _hash(record)
    if want != record.stated:
        details = {'want': want.hex(), 'got': record.stated.hex()}
        raise errors.EvidenceError(
            _R.IMA_TEMPLATE_HASH,
            'An entry of the IMA measurement list does '
            'not match its hash: want {want}, got {got} (offset {at}).'.format(
                **details, at=at
            ),
            place=f'offset {at}',
            details=details,
        )


def _hash(record: Record) -> bytes:
    made: bytes = getattr(hashlib, _BY_SIZE[len(record.stated)])(
        record.hashed
    ).digest()
    return made


def read_ascii(log: bytes, at: int, hash_name: str) -> Record:
    """The entry of an ASCII list at an offset.

    A path may hold newlines: an entry that does not match its hash, or
    cannot be read, goes on in the lines that follow if it then does; a
    violation, which has no hash, goes on up to what begins like an entry.
    The last line may lack its newline.

    :raises EvidenceError: IMA_LOG_MALFORMED, IMA_TEMPLATE.
    """
    first: Record | errors.EvidenceError | None = None
    end = at
    for _ in range(MAX_LINES):
        record: Record | errors.EvidenceError
        end = _line_end(log, at, end)
        try:
            record = _line(log, at, end, hash_name)
            if (
                not _begins_within(log, record.end)
                if record.violation
                else matches(record)
            ):
                return record
        except errors.EvidenceError as exc:
            record = exc
        first = first or record
        end += 1
        if end >= len(log):
            break
    if isinstance(first, Record):
        return first
    raise first or malformed('an empty line', at)


def _line_end(log: bytes, at: int, start: int) -> int:
    end = log.find(b'\n', start, at + _LINE)
    if end < 0:
        if len(log) - at > _LINE:
            raise malformed('a line that is too long', at)
        return len(log)
    return end


def _begins_within(log: bytes, at: int) -> bool:
    """Whether the line at an offset is not the beginning of an entry."""
    return at < len(log) and _BEGINS.match(log, at) is None


def _line(log: bytes, at: int, end: int, hash_name: str) -> Record:
    pcr, _, rest = log[at:end].lstrip(b' ').partition(b' ')
    stated, _, rest = rest.partition(b' ')
    name, _, text = rest.partition(b' ')
    if (
        not pcr.isdigit()
        or len(pcr) > 2
        or (len(stated) != 2 * HASHES[hash_name])
    ):
        raise malformed('a line that is not an entry', at)
    template = templates.lookup(name[: templates.MAX_TEMPLATE_NAME])
    if template is None:
        raise templates.unsupported(name, f'offset {at}')
    try:
        values = templates.from_text(template, text)
        hash_value = templates.unhex(stated)
    except Malformed as exc:
        raise malformed(str(exc), at) from None
    end += log[end : end + 1] == b'\n'
    if not template.legacy:
        return Record(
            int(pcr), hash_value, template, values, templates.join(values), end
        )
    if len(values[1]) > _NAME_SIZE:
        raise malformed('a path that is too long', at)
    return legacy_record(int(pcr), hash_value, values[0], values[1][:-1], end)


#: How an entry is read, by form of the list.
READERS: dict[str, Callable[[bytes, int, str], Record]] = {
    BINARY: read_binary,
    ASCII: read_ascii,
    BIG_ENDIAN: functools.partial(read_binary, order='>'),
}
