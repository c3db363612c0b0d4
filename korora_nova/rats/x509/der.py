# SPDX-License-Identifier: Apache-2.0
"""Elements of DER, to read and to write (X.690 sections 8.1 and 10.1)."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

SEQUENCE = 0x30
SET = 0x31


@dataclasses.dataclass(frozen=True)
class Element:
    """One element whose tag is one octet.

    :param tag: identifier octet.
    """

    tag: int
    content: bytes = dataclasses.field(repr=False)

    @property
    def der(self) -> bytes:
        """Header and content."""
        size = len(self.content)
        if size < 0x80:
            return bytes((self.tag, size)) + self.content
        octets = size.to_bytes((size.bit_length() + 7) // 8, 'big')
        return bytes((self.tag, 0x80 | len(octets))) + octets + self.content

    def parts(self) -> list[Element]:
        """The elements in it.

        :raises ValueError: as :func:`elements`.
        """
        return elements(self.content)

    def of(self, parts: Iterable[Element]) -> Element:
        """The same with other elements in it."""
        return Element(self.tag, b''.join(part.der for part in parts))


def elements(data: bytes) -> list[Element]:
    """The elements of a string, of which ``.der`` gives the same bytes.

    :raises ValueError: it is not DER, or has a tag of several octets.
    """
    found, at = [], 0
    while at < len(data):
        begin, end = span(data, at)
        element = Element(data[at], data[begin:end])
        if element.tag & 0x1F == 0x1F or element.der != data[at:end]:
            raise ValueError('not DER')
        found.append(element)
        at = end
    return found


def element(data: bytes) -> Element:
    """The one element that a string is.

    :raises ValueError: as :func:`elements`, or there is not exactly one.
    """
    (only,) = elements(data)
    return only


def span(data: bytes, at: int) -> tuple[int, int]:
    """Begin and end of the content of an element; it may be cut off.

    :raises ValueError: there is no header of a definite form.
    """
    first = data[at + 1] if at + 1 < len(data) else 0x80
    octets = first & 0x7F if first >= 0x80 else 0
    begin = at + 2 + octets
    if first == 0x80 or begin > len(data):
        raise ValueError('not DER')
    length = int.from_bytes(data[at + 2 : begin], 'big') if octets else first
    return begin, begin + length
