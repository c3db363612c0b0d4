# SPDX-License-Identifier: Apache-2.0
"""Patterns of paths: '*', '?' and '[...]' as in fnmatch, over bytes.

``*`` also matches '/'. A path that is neither absolute and canonical nor a
bare name matches no pattern: '/tmp/../bin/sh' is not below /tmp.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable

from korora_nova import errors

#: Each path that no list allows is compared with all patterns.
MAX_PATTERNS = 1000
#: Stars of a pattern, and its length: what a hostile path can cost.
MAX_STARS = 8
MAX_LENGTH = 1024
_SPECIAL = re.compile(r'[*?]|\[.+\]', re.S)
_ODD = re.compile(rb'/\.{0,2}(?:/|\Z)')


def is_pattern(text: str) -> bool:
    """Whether a string is more than a plain path."""
    return _SPECIAL.search(text) is not None


def octets(text: str, place: str) -> bytes:
    """A path of a policy as the kernel has it, "\\udcff" for the byte ff.

    :raises Invalid: POLICY_INVALID.
    """
    try:
        return text.encode(errors='surrogateescape')
    except UnicodeEncodeError:
        raise errors.Invalid(
            errors.Reason.POLICY_INVALID,
            f'{place} holds text that is not UTF-8.',
            details={'place': place},
        ) from None


class Patterns:
    """Patterns that are matched together.

    :raises Invalid: POLICY_INVALID; too many, too long, too many stars.
    """

    def __init__(self, patterns: Iterable[str], place: str) -> None:
        self.texts = tuple(sorted(set(patterns)))
        for text in self.texts:
            stars = len(re.findall(r'\*+', text))
            if stars > MAX_STARS or not 0 < len(text) <= MAX_LENGTH:
                raise errors.Invalid(
                    errors.Reason.POLICY_INVALID,
                    f'{place} holds a pattern that is empty, longer than '
                    f'{MAX_LENGTH} characters or has more than {MAX_STARS} '
                    'stars.',
                    details={'place': place},
                )
        if len(self.texts) > MAX_PATTERNS:
            raise errors.Invalid(
                errors.Reason.POLICY_INVALID,
                f'{place} holds more than {MAX_PATTERNS} patterns.',
                details={'place': place},
            )
        self._all = _compile(self.texts, place)
        self._each = {text: _compile((text,), place) for text in self.texts}

    def match(self, path: bytes) -> bool:
        """Whether any pattern matches."""
        return (
            bool(self.texts)
            and _canonical(path)
            and self._all.match(path) is not None
        )

    def matching(self, path: bytes) -> list[str]:
        """Those that match."""
        if not self.match(path):
            return []
        return [
            text for text, pattern in self._each.items() if pattern.match(path)
        ]


def _canonical(path: bytes) -> bool:
    # What is measured without a file has a name without '/'.
    start = path[:1] == b'/'
    return (start or b'/' not in path) and (
        _ODD.search(path if start else b'/' + path) is None
    )


def _compile(patterns: tuple[str, ...], place: str) -> re.Pattern[bytes]:
    # Latin-1 maps each byte to one character and back. fnmatch makes stars
    # atomic groups: no backtracking.
    joined = '|'.join(
        fnmatch.translate(octets(text, place).decode('latin-1'))
        for text in patterns
    )
    return re.compile(joined.encode('latin-1'))
