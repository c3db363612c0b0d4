# SPDX-License-Identifier: Apache-2.0
"""What an entry of an IMA list holds: templates and their fields.

Linux, Documentation/security/IMA-templates.rst and
security/integrity/ima/ima_template_lib.c. A template is a list of fields;
its data is, for each field::

    u32 size, little-endian | value

Values: a digest is "ALG:\\0" and the octets (``d-ng``), "TYPE:ALG:\\0" and
the octets (``d-ngv2``) or the octets alone (``d``: SHA-1 or MD5); a name
ends with NUL; numbers are little-endian. The name of the template is not
covered by the entry's hash: the fields have to make sense of the data.
"""

from __future__ import annotations

import binascii
import dataclasses
import functools
import struct
from collections.abc import Callable, Sequence
from typing import NamedTuple

from korora_nova import errors

#: Longest template data, bytes; and most fields of a custom template.
MAX_TEMPLATE_DATA = 1 << 20
MAX_FIELDS = 16
MAX_TEMPLATE_NAME = 256

#: Bytes of a digest, by the kernel's name (crypto/hash_info.c; SM3 was
#: renamed), in the order of ``enum hash_algo``.
DIGEST_SIZES = {
    'md4': 16,
    'md5': 16,
    'sha1': 20,
    'rmd160': 20,
    'sha256': 32,
    'sha384': 48,
    'sha512': 64,
    'sha224': 28,
    'rmd128': 16,
    'rmd256': 32,
    'rmd320': 40,
    'wp256': 32,
    'wp384': 48,
    'wp512': 64,
    'tgr128': 16,
    'tgr160': 20,
    'tgr192': 24,
    'sm3-256': 32,
    'streebog256': 32,
    'streebog512': 64,
    'sha3-256': 32,
    'sha3-384': 48,
    'sha3-512': 64,
    'sm3': 32,
}
#: The digest of a violation is zeros, which older kernels cut to this.
VIOLATION_SIZE = 20
#: What the digest of ``d-ngv2`` is of; that of a file needs no prefix.
_KINDS = {b'ima': '', b'verity': 'verity:'}
_SIZES = {size.encode(): value for size, value in DIGEST_SIZES.items()}

_DIGEST, _NAME, _HEX, _U32, _U16 = 'digest', 'name', 'hex', 'u32', 'u16'
_KIND = {
    'd': _DIGEST,
    'd-ng': _DIGEST,
    'd-ngv2': _DIGEST,
    'd-modsig': _DIGEST,
    'n': _NAME,
    'n-ng': _NAME,
    'sig': _HEX,
    'modsig': _HEX,
    'buf': _HEX,
    'evmsig': _HEX,
    'iuid': _U32,
    'igid': _U32,
    'imode': _U16,
    'xattrnames': _NAME,
    'xattrlengths': _HEX,
    'xattrvalues': _HEX,
}
#: Every field the kernel documents.
FIELDS = tuple(_KIND)
_NUMBERS = {_U32: 4, _U16: 2}
_DIGESTS = ('d-ng', 'd-ngv2', 'd')
_NAMES = ('n-ng', 'n')
_MAY_BE_EMPTY = ('xattrnames', 'd-modsig', 'iuid', 'igid', 'imode')
_LENGTH = struct.Struct('<I')
_SIZE = {order: struct.Struct(f'{order}I').unpack_from for order in '<>'}
_R = errors.Reason


class Entry(NamedTuple):
    """One measurement.

    :param digest: "ALG:HEX" of a file or buffer, "verity:ALG:HEX" of
        fs-verity; '' if the template has none. Of a violation it means
        nothing.
    :param path: of the file as the kernel knows it, or the name of a
        buffer, e.g. a keyring. Old kernels write '_' for a space.
    :param violation: the file was open for writing while it was measured.
    :param template: name of the template.
    :param signature: of the file, ``sig`` or ``evmsig``; may be empty.
    :param buffer: what was measured, if it was not a file: ``buf``.
    :param extra: other fields by name, as in the template data.
    """

    digest: str
    path: bytes
    violation: bool
    template: str = 'ima-ng'
    signature: bytes = b''
    buffer: bytes = b''
    extra: tuple[tuple[str, bytes], ...] = ()


@dataclasses.dataclass(frozen=True)
class Template:
    """A template: its name and its fields.

    :param legacy: the template ``ima``, whose layout is its own.
    """

    name: str
    fields: tuple[str, ...]
    legacy: bool = False

    @functools.cached_property
    def plain(self) -> bool:
        """Whether it is a digest and a path, and perhaps a signature."""
        return self.fields[0] in ('d-ng', 'd-ngv2') and self.fields[1:] in (
            ('n-ng',),
            ('n-ng', 'sig'),
        )

    @functools.cached_property
    def digest(self) -> int | None:
        """Index of the field with the digest."""
        return _index(self.fields, _DIGESTS)

    @functools.cached_property
    def path(self) -> int | None:
        """Index of the field with the path."""
        return _index(self.fields, _NAMES)


def _index(fields: tuple[str, ...], wanted: tuple[str, ...]) -> int | None:
    for name in wanted:
        if name in fields:
            return fields.index(name)
    return None


LEGACY = Template('ima', ('d', 'n'), legacy=True)
#: ima_template.c, ``builtin_templates``.
BUILT_IN = {
    item.name: item
    for item in (
        LEGACY,
        *(
            Template(name, tuple(fields.split('|')))
            for name, fields in {
                'ima-ng': 'd-ng|n-ng',
                'ima-sig': 'd-ng|n-ng|sig',
                'ima-ngv2': 'd-ngv2|n-ng',
                'ima-sigv2': 'd-ngv2|n-ng|sig',
                'ima-buf': 'd-ng|n-ng|buf',
                'ima-modsig': 'd-ng|n-ng|sig|d-modsig|modsig',
                'evm-sig': (
                    'd-ng|n-ng|evmsig|xattrnames|xattrlengths|xattrvalues|'
                    'iuid|igid|imode'
                ),
            }.items()
        ),
    )
}


class Malformed(Exception):
    """Template data that does not follow its template; says what."""


@functools.lru_cache(maxsize=256)
def lookup(name: bytes) -> Template | None:
    """The template of this name; a custom one is named by its fields."""
    try:
        text = name.decode('ascii')
    except UnicodeDecodeError:
        return None
    if text in BUILT_IN:
        return BUILT_IN[text]
    fields = tuple(text.split('|'))
    if len(fields) > MAX_FIELDS or not set(fields) <= set(FIELDS):
        return None
    return Template(text, fields)


def unsupported(name: bytes, place: str) -> errors.EvidenceError:
    """The error for a name that :func:`lookup` does not find."""
    shown = ascii(name[:MAX_TEMPLATE_NAME])[2:-1]
    return errors.EvidenceError(
        _R.IMA_TEMPLATE,
        f'An entry of the IMA measurement list has the '
        f"template '{shown}', which is not supported.",
        place=place,
    )


def split(template: Template, data: bytes, order: str = '<') -> list[bytes]:
    """The values in template data, whose sizes are in a byte order.

    :raises Malformed: they do not fill it exactly.
    """
    values: list[bytes] = []
    at = 0
    for _ in template.fields:
        start = at + 4
        if start > len(data):
            raise Malformed('the template data is too short')
        at = start + _SIZE[order](data, start - 4)[0]
        values.append(data[start:at])
    if at != len(data):
        raise Malformed('the fields do not fill the template data')
    return values


def join(values: Sequence[bytes]) -> bytes:
    """Template data from values."""
    return b''.join(_LENGTH.pack(len(value)) + value for value in values)


def entry(
    template: Template, values: Sequence[bytes], violation: bool
) -> Entry:
    """The measurement in an entry's values.

    :raises Malformed: a value is not what its field holds.
    """
    if template.plain:
        return Entry(
            digest_text(template.fields[0], values[0], violation),
            _name(values[1]),
            violation,
            template.name,
            b''.join(values[2:]),
        )
    digest, path, signature, buffer = '', b'', b'', b''
    extra: list[tuple[str, bytes]] = []
    at_digest, at_path = template.digest, template.path
    for index, (field, value) in enumerate(
        zip(template.fields, values, strict=True)
    ):
        if index == at_digest:
            digest = digest_text(field, value, violation)
        elif index == at_path:
            path = _name(value)
        elif field == 'buf':
            buffer = value
        elif field in ('sig', 'evmsig') and not signature:
            signature = value
        else:
            _check(field, value, violation)
            extra.append((field, value))
    return Entry(
        digest, path, violation, template.name, signature, buffer, tuple(extra)
    )


def digest_text(field: str, value: bytes, violation: bool = False) -> str:
    """ "ALG:HEX" of the value of a field that holds a digest.

    :raises Malformed: the algorithm is unknown or the size is not its own.
    """
    if field == 'd':
        algorithm = {20: b'sha1', 16: b'md5'}.get(len(value), b'')
        prefix, digest = '', value
    else:
        head, separator, digest = value.partition(b':\0')
        kind, second, algorithm = head.rpartition(b':')
        if (
            not separator
            or bool(second) != (field == 'd-ngv2')
            or (second and kind not in _KINDS)
        ):
            raise Malformed(f'the field {field} does not hold a digest')
        prefix = _KINDS[kind] if second else ''
    size = _SIZES.get(algorithm)
    if (
        size is None
        or len(digest) != size
        and not (violation and len(digest) == VIOLATION_SIZE)
    ):
        raise Malformed(
            f'the digest in the field {field} has an unknown '
            'algorithm or a wrong size'
        )
    return f'{prefix}{algorithm.decode()}:{digest.hex()}'


def _name(value: bytes) -> bytes:
    if value.find(0) != len(value) - 1 or not value:
        raise Malformed('a name does not end with its first NUL')
    return value[:-1]


def _check(field: str, value: bytes, violation: bool) -> None:
    kind = _KIND[field]
    if kind == _HEX or not value and field in _MAY_BE_EMPTY:
        return
    if kind == _DIGEST:
        digest_text(field, value, violation)
    elif kind == _NAME:
        _name(value)
    elif len(value) != _NUMBERS[kind]:
        raise Malformed(f'the field {field} has a wrong size')


def from_text(template: Template, text: bytes) -> list[bytes]:
    """The values that follow the template's name in the ASCII list.

    One space stands before each. A name may hold spaces: it takes what the
    other fields leave.

    :raises Malformed: too few of them, or one cannot be read.
    """
    words = text.split(b' ')
    count, at = len(template.fields), template.path
    if len(words) == count - 1 and _KIND[template.fields[-1]] == _HEX:
        words.append(b'')  # somebody stripped the line
    spare = len(words) - count
    if spare > 0 and at is not None:
        words[at : at + spare + 1] = [b' '.join(words[at : at + spare + 1])]
    if len(words) != count:
        raise Malformed('the line has not as many fields as the template')
    return [
        _READ[_KIND[field]](field, word)
        for field, word in zip(template.fields, words, strict=True)
    ]


def _read_digest(field: str, word: bytes) -> bytes:
    if field == 'd' or not word:
        return unhex(word)
    algorithm, _, digest = word.rpartition(b':')
    return algorithm + b':\0' + unhex(digest)


def _read_name(field: str, word: bytes) -> bytes:
    return word + b'\0' if word or field not in _MAY_BE_EMPTY else b''


def _read_number(field: str, word: bytes) -> bytes:
    size = _NUMBERS[_KIND[field]]
    if not word:
        return b''
    if not word.isdigit() or len(word) > 10 or int(word) >> 8 * size:
        raise Malformed(f'the field {field} is not a number')
    return int(word).to_bytes(size, 'little')


def unhex(word: bytes) -> bytes:
    """The octets that lower-case hex spells.

    :raises Malformed: it is something else.
    """
    try:
        return binascii.unhexlify(word)
    except binascii.Error:
        raise Malformed('not hexadecimal') from None


_READ: dict[str, Callable[[str, bytes], bytes]] = {
    _DIGEST: _read_digest,
    _NAME: _read_name,
    _HEX: lambda field, word: unhex(word),
    _U32: _read_number,
    _U16: _read_number,
}
