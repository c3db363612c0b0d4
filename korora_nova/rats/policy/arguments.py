# SPDX-License-Identifier: Apache-2.0
"""Kernel command lines as arguments.

A policy compares arguments, not text: their order does not matter, and
Linux and systemd take ``-`` and ``_`` in a name for the same. Each
reader splits a line in its own way: Linux minds double quotes, scripts of
an initrd do not. So a word that any of them could see must be allowed, and one
that is required must be seen by Linux for certain.
"""

from __future__ import annotations

import fnmatch
import functools
import re
from collections.abc import Collection, Iterator
from typing import NamedTuple

# What Linux reads of a line: COMMAND_LINE_SIZE of x86 and arm64, less a NUL.
_SIZE = 2047
# Linux (lib/cmdline.c, next_arg) splits at white space outside of double
# quotes. To it the byte a0 is space, which is part of letters in UTF-8:
# anything that is not printable ASCII may separate.
_QUOTED = re.compile('(?:"[\x20-\x7e]*?(?:"|$)|[\x21\x23-\x7e])+')
_WORD = re.compile('[\x21-\x7e]+')
# The same without what may or may not separate.
_ARGUMENT = re.compile('(?:"[^"]*(?:"|$)|[^" \t\n])+')
_CLEAN = re.compile('[\x20\x21\x23-\x7e]+')
# What :mod:`korora_nova.rats.eventlog.text` makes of unprintable bytes.
_ESCAPE = re.compile(r'\\(?:x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8}|[tnr])')
_PATH = ('/', '(', '"/', '"(')

_NAME = r'[\w+:-][\w.+:-]*'
# A disk, by any of its names; none of root=/dev/nfs, /dev/ram0 and the like.
_DISK = re.compile(
    r'(?:PART)?UUID=[0-9A-Fa-f-]+|(?:PART)?LABEL=[\w.+-]+|'
    r'/dev/(?!nfs|cifs|ram|fd|nbd)' + _NAME + '(?:/' + _NAME + ')*',
    re.ASCII,
)
_UUID = r'[0-9A-Fa-f-]{36}'
#: Arguments whose values name disks or memory, and so differ between equal
#: hosts, to the form of these values (Linux, kernel-parameters.txt;
#: dracut.cmdline(7)).
VARIABLES = {
    'crashkernel': re.compile(r'[0-9KMGT,:@-]+(?:,high|,low)?|auto'),
    'rd.luks.name': re.compile(f'{_UUID}={_NAME}', re.ASCII),
    'rd.luks.uuid': re.compile(f'(?:luks-)?{_UUID}'),
    'rd.lvm.lv': re.compile(f'{_NAME}/{_NAME}', re.ASCII),
    'rd.lvm.vg': re.compile(_NAME, re.ASCII),
    'rd.md.uuid': re.compile('[0-9A-Fa-f:-]+'),
    'resume': _DISK,
    'resume_offset': re.compile('[0-9]+'),
    'root': _DISK,
}


class Line(NamedTuple):
    """A command line.

    :param words: all that any reader could find in it, without quotes.
    :param arguments: those that Linux reads for certain.
    """

    words: tuple[str, ...]
    arguments: tuple[str, ...]


def split(text: str, source: str = '') -> Line:
    """The arguments of a command line.

    :param source: 'grub' puts the kernel's path first: it is not an argument;
        a text of the 'stub' has no escapes.
    """
    plain = text if source == 'stub' else _ESCAPE.sub('\0', text)
    found: list[str] = []
    for pattern in (_QUOTED, _WORD):
        words = pattern.findall(plain)
        if source == 'grub' and words and words[0].startswith(_PATH):
            del words[0]
        found += (word.replace('"', '') for word in words)
    return Line(
        tuple(filter(None, dict.fromkeys(found))),
        tuple(_arguments(text[:_SIZE])),
    )


def _arguments(text: str) -> Iterator[str]:
    for word in _ARGUMENT.findall(text):
        quoted = word.startswith('"')
        name, equals, value = word[quoted:].partition('=')
        if value.startswith('"'):
            value, quoted = value[1:], True
        found = name + equals + value
        if quoted:
            found = found.removesuffix('"')
        if found == '--':
            return  # The rest is for init.
        if _CLEAN.fullmatch(found) and not _ESCAPE.search(found):
            yield found


def general(argument: str, variables: Collection[str]) -> str:
    """An argument with ``*`` for the value, if that may differ.

    :param variables: those of ``VARIABLES`` that may.
    """
    name, _, value = argument.partition('=')
    if name in variables and VARIABLES[name].fullmatch(value):
        return f'{name}=*'
    return argument


def generalized(line: Line, variables: Collection[str]) -> Line:
    """A line of such arguments, each once."""
    return Line(
        *(
            tuple(dict.fromkeys(general(word, variables) for word in words))
            for words in line
        )
    )


def normal(argument: str) -> str:
    """An argument or a pattern with one spelling of its name."""
    name, equals, value = argument.partition('=')
    return name.replace('-', '_') + equals + value


def matching(
    arguments: tuple[str, ...], patterns: tuple[str, ...]
) -> Iterator[str]:
    """Those arguments that match a pattern, ``*`` and ``?`` as in names."""
    if patterns:
        match = _compiled(patterns).fullmatch
        for argument in arguments:
            if match(normal(argument)):
                yield argument


@functools.lru_cache(maxsize=256)
def _compiled(patterns: tuple[str, ...]) -> re.Pattern[str]:
    # fnmatch makes stars atomic groups: no backtracking.
    return re.compile(
        '|'.join(fnmatch.translate(normal(pattern)) for pattern in patterns)
    )
