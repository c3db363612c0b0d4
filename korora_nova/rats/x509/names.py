# SPDX-License-Identifier: Apache-2.0
"""Distinguished names, compared as text (RFC 5280 section 7.1).

A maker's authority may write its name with other strings, other case and
other spaces than the certificates it issued do. A name only says whose key to
try: the signature decides.
"""

from __future__ import annotations

import stringprep
import unicodedata
from collections.abc import Hashable

from cryptography import x509


def comparable(name: x509.Name) -> Hashable:
    """Equal for names that match.

    The same attributes in the same order, those of one relative name in any
    order; values as :func:`folded`, bit strings as they are.
    """
    return tuple(
        frozenset((item.oid, _value(item.value)) for item in relative)
        for relative in name.rdns
    )


def match(one: x509.Name, other: x509.Name) -> bool:
    """Whether two names are the same as text."""
    return comparable(one) == comparable(other)


def folded(text: str) -> str:
    """Text without case, compatibility forms and insignificant spaces.

    RFC 4518 section 2, with the tables of RFC 3454 for case (B.2) and for
    what is mapped to nothing (B.1). These are of Unicode 3.2: newer
    characters are what they are compatible with, before that, too.
    """
    mapped = ''.join(
        stringprep.map_table_b2(character)
        for character in unicodedata.normalize('NFKC', text)
        if not stringprep.in_table_b1(character)
    )
    return ' '.join(unicodedata.normalize('NFKC', mapped).split())


def _value(value: str | bytes) -> str | bytes:
    return value if isinstance(value, bytes) else folded(value)
