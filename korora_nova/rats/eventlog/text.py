# SPDX-License-Identifier: Apache-2.0
"""Text of events, as it can be shown and compared.

Whatever is not printable becomes an escape: text of a log never carries
control characters, and a hidden byte never matches a pattern.
"""

from __future__ import annotations

import re

#: Longest text that is read, bytes; GRUB's submenus have some 10,000.
MAX_TEXT = 65536
#: Longest text that is shown of data that is not verified.
MAX_SHOWN = 512

# Runs of control characters but tab and newline: the fast way.
_CONTROLS = re.compile('[\x00-\x08\x0b-\x1f\x7f-\xa0]+')


def utf8(data: bytes) -> str:
    """UTF-8 without its trailing NULs, cut."""
    return escaped(
        data[:MAX_TEXT].rstrip(b'\0').decode(errors='backslashreplace')
    )


def utf16(data: bytes) -> str:
    """UCS-2 as firmware writes it, without its trailing NULs, cut."""
    data = data[:MAX_TEXT]
    return escaped(
        data[: len(data) & ~1]
        .decode('utf-16-le', errors='backslashreplace')
        .rstrip('\0')
    )


def ucs2(data: bytes) -> str | None:
    """Printable UCS-2 without its trailing NULs, or None if it is not."""
    bare = data.rstrip(b'\0')
    # Other text has no NUL inside.
    if b'\0' not in bare or len(bare) > MAX_TEXT:
        return None
    try:
        found = (bare + bytes(len(bare) % 2)).decode('utf-16-le')
    except UnicodeDecodeError:
        return None
    return found if found.isprintable() else None


def either(data: bytes) -> str:
    """UCS-2 if every second byte is 0, else UTF-8."""
    wide = len(data) > 1 and not any(data[1:256:2])
    return utf16(data) if wide else utf8(data)


def escaped(text: str) -> str:
    """Text with escapes for what is not printable."""
    if text.isprintable():
        return text
    text = _CONTROLS.sub(
        lambda match: match[0].encode('unicode_escape').decode(), text
    )
    if text.isascii():
        return text
    return ''.join(
        char
        if char.isprintable() or char in '\n\t'
        else char.encode('unicode_escape').decode()
        for char in text
    )
