# SPDX-License-Identifier: Apache-2.0
"""Kernel command lines as arguments.

A policy compares arguments, not text: their order does not matter, quotes
do not hide them, and Linux and systemd take ``-`` and ``_`` in a name for
the same.
"""

from __future__ import annotations

import fnmatch
import functools
import re
from collections.abc import Iterator

# Linux (lib/cmdline.c, next_arg) splits at white space outside of double
# quotes. To it the byte a0 is space, which is part of letters in UTF-8:
# anything that is not printable ASCII separates here.
_ARGUMENT = re.compile('(?:"[\x20-\x7e]*?(?:"|$)|[\x21\x23-\x7e])+')


def split(text: str, source: str = '') -> tuple[str, ...]:
    """The arguments of a command line, without quotes.

    :param source: 'grub' puts the kernel's path in front, which is none.
    """
    found = tuple(match[0].replace('"', '')
                  for match in _ARGUMENT.finditer(text))
    if source == 'grub' and found and found[0].startswith(('/', '(')):
        return found[1:]
    return found


def normal(argument: str) -> str:
    """An argument or a pattern with one spelling of its name."""
    name, equals, value = argument.partition('=')
    return name.replace('-', '_') + equals + value


def matching(arguments: tuple[str, ...],
             patterns: tuple[str, ...]) -> Iterator[str]:
    """Those arguments that match a pattern, ``*`` and ``?`` as in names."""
    if patterns:
        match = _compiled(patterns).fullmatch
        for argument in arguments:
            if match(normal(argument)):
                yield argument


@functools.lru_cache(maxsize=256)
def _compiled(patterns: tuple[str, ...]) -> re.Pattern[str]:
    # fnmatch makes stars atomic groups: no backtracking.
    return re.compile('|'.join(
        fnmatch.translate(normal(pattern)) for pattern in patterns))
