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
    matchers = [_compiled(pattern) for pattern in patterns]
    for argument in arguments:
        spelled = normal(argument)
        if any(matcher.fullmatch(spelled) for matcher in matchers):
            yield argument


@functools.lru_cache(maxsize=4096)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(fnmatch.translate(normal(pattern)))
