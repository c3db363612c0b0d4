# SPDX-License-Identifier: Apache-2.0
"""The installation guide, read as what is to be done.

A comment that readers do not see stands before each block that is done::

    .. fresh: on=controller until=h1.*affirming
    .. code-block:: console

       # a command of root
       $ a command of the cloud's administrator, \\
             longer than a line

``on`` names the node. ``until`` repeats the commands until their output has
the pattern, ``expect`` wants it at once, ``keep=WORD`` makes the first word of
the output's last line what WORD stands for, ``bring=FILE`` carries a file of
the controller to where the commands run. A block with ``merge=FILE`` is
configuration to add to a file. The guide's index names its pages, in order,
and the words in capitals that are the reader's to replace.
"""

from __future__ import annotations

import pathlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

MARK = re.compile(r'( *)\.\. fresh:(.*)')
DIRECTIVE = re.compile(r'( *)\.\. (code-block|literalinclude):: (\S+)')
ROW = re.compile(r'``([A-Z][A-Z_]+)``')
WAYS = frozenset(('on', 'until', 'expect', 'keep', 'bring', 'merge'))
NODES = frozenset(('controller', 'compute', 'database', 'broker'))


class DocumentError(Exception):
    """The guide says something that cannot be followed."""


@dataclass(frozen=True)
class Command:
    """One command: a line of shell, and whether it is the administrator's."""

    line: int
    text: str
    admin: bool


@dataclass(frozen=True)
class Step:
    """One block: commands on a node, or `merge` into a file of the node."""

    path: pathlib.Path
    line: int
    ways: Mapping[str, str]
    commands: tuple[Command, ...] = ()
    text: str = ''
    included: pathlib.Path | None = field(default=None)

    @property
    def node(self) -> str:
        return self.ways['on']


def pages(index: pathlib.Path) -> list[pathlib.Path]:
    """The pages of the guide, in the order of its first toctree."""
    lines = index.read_text().splitlines()
    start = lines.index('.. toctree::')
    return [
        index.with_name(line.strip() + '.rst')
        for _, line in _body(lines, start + 1, 0)
    ]


def words(index: pathlib.Path) -> set[str]:
    """The words in capitals that the index explains."""
    found = set()
    for line in index.read_text().splitlines():
        # The first column of the table.
        row = re.match(r'((``[A-Z_]+``,?\s*)+)(\s{2}|$)', line)
        if row:
            found.update(ROW.findall(row[1]))
    return found


def replace(text: str, values: Mapping[str, str]) -> str:
    """Put what the reader puts in the place of the words in capitals."""
    if not values:
        return text
    names = '|'.join(sorted(values))
    return re.sub(rf'\b({names})\b', lambda m: values[m[1]], text)


def steps(page: pathlib.Path) -> Iterator[Step]:
    """What a page tells its reader to do.

    :raises DocumentError: it cannot be followed.
    """
    lines = page.read_text().splitlines()
    for number, line in enumerate(lines):
        if mark := MARK.fullmatch(line):
            yield _step(page, lines, number, mark)


def _step(
    page: pathlib.Path, lines: list[str], number: int, mark: re.Match[str]
) -> Step:
    def wrong(what: str, at: int = number) -> DocumentError:
        return DocumentError(f'{page}:{at + 1}: {what}')

    ways = dict(word.partition('=')[::2] for word in mark[2].split())
    if not ways.keys() <= WAYS or ways.get('on') not in NODES:
        raise wrong('unknown word in the comment')
    found = DIRECTIVE.fullmatch(lines[number + 1])
    if found is None or found[1] != mark[1]:
        raise wrong('a code-block or literalinclude must follow', number + 1)
    body = list(_body(lines, number + 2, len(mark[1])))
    if found[2] == 'literalinclude':
        included = (page.parent / found[3]).resolve()
        step = Step(
            page,
            number + 1,
            ways,
            text=included.read_text(),
            included=included,
        )
    elif found[3] == 'console':
        step = Step(page, number + 1, ways, tuple(_commands(page, body)))
    else:
        text = '\n'.join(line.strip() for _, line in body) + '\n'
        step = Step(page, number + 1, ways, text=text)
    if bool(step.text) != ('merge' in ways):
        raise wrong('either commands or merge=FILE')
    return step


def _body(
    lines: list[str], start: int, indent: int
) -> Iterator[tuple[int, str]]:
    """Numbers and texts of a directive's lines, options left out."""
    for number in range(start, len(lines)):
        line = lines[number]
        if not line.strip():
            continue
        if len(line) - len(line.lstrip()) <= indent:
            return
        if not re.match(r' *:[a-z-]+:', line):
            yield number, line


def _commands(
    page: pathlib.Path, body: list[tuple[int, str]]
) -> Iterator[Command]:
    at, prompt, text = 0, '', ''
    for number, line in body:
        line = line.strip()
        if not text:
            at, prompt, line = number + 1, line[:2], line[2:]
            if prompt not in ('# ', '$ '):
                raise DocumentError(
                    f'{page}:{at}: a command has a prompt, "# " or "$ "'
                )
        text += line
        if text.endswith('\\'):
            text = text[:-1]
            continue
        yield Command(at, text, prompt == '$ ')
        text = ''
    if text:
        raise DocumentError(f'{page}:{at}: the command does not end')


def merge(old: str, new: str) -> str:
    """Add options to a configuration file, as a person edits it.

    An option that is there gets the new value; several lines of one option
    in `new` stay several. Sections that are not there come last.
    """
    lines = old.splitlines()
    wanted: dict[str, list[tuple[str, str]]] = {}
    section = ''
    for line in new.splitlines():
        line = line.strip()
        if line.startswith('['):
            section = line
            wanted.setdefault(section, [])
        elif line and not line.startswith('#'):
            key, _, value = line.partition('=')
            wanted[section].append((key.strip(), value.strip()))
    for section, options in wanted.items():
        lines = _merge_section(lines, section, options)
    return '\n'.join(lines) + '\n'


def _merge_section(
    lines: list[str], section: str, options: list[tuple[str, str]]
) -> list[str]:
    names = {key for key, _ in options}
    added = [f'{key} = {value}' for key, value in options]
    kept, inside, placed = [], False, False
    for line in lines:
        if line.startswith('['):
            inside = line.strip() == section
        elif inside and line.partition('=')[0].strip() in names:
            continue
        kept.append(line)
        if inside and not placed and line.startswith('['):
            kept += added
            placed = True
    return kept if placed else [*kept, section, *added]
