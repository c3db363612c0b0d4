# SPDX-License-Identifier: Apache-2.0
"""The rule about kernel command lines.

GRUB measures the command line into PCR 8, systemd-stub into PCR 12, the
kernel's EFI stub what it was given into PCR 9. Each of them that the log shows
is judged, and once if GRUB only put "BOOT_IMAGE=" before it; one whose text
the log does not have counts against the host unless references have all that
was measured into its PCR. GRUB does not say which of its texts is a command
line, so those of commands that start something count as well.

Nothing says that the running kernel was given a line that was measured: that
follows from what was started, PCR 4, and from its order.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

from korora_nova import errors
from korora_nova.rats import schemas
from korora_nova.rats.eventlog import boot, ipl
from korora_nova.rats.finding import Finding, printable
from korora_nova.rats.policy import arguments
from korora_nova.rats.policy.node import (
    BOOLEAN,
    Params,
    Rule,
    invalid,
    named,
    strings,
)
from korora_nova.rats.reference import ReferenceValues
from korora_nova.rats.state import VerifiedState

_R = errors.Reason

PCRS = (8, 9, 12)
#: Arguments of all command lines of a boot; Linux takes 2048 characters.
MAX_ARGUMENTS = 16384
# GRUB's commands that start something.
_LOADERS = frozenset(
    (
        'linux',
        'linux16',
        'linuxefi',
        'chainloader',
        'multiboot',
        'multiboot2',
        'xen_hypervisor',
    )
)


@dataclasses.dataclass(frozen=True)
class CommandLine(Rule):
    """Kernels were started with allowed arguments only."""

    patterns: tuple[str, ...]
    required: tuple[str, ...]
    forbidden: tuple[str, ...]
    references: bool
    variables: frozenset[str] = frozenset(arguments.VARIABLES)
    learned: frozenset[arguments.Line] = frozenset()
    #: PCR to measurements, hex, that references have.
    known: Mapping[int, frozenset[str]] = dataclasses.field(
        default_factory=dict
    )
    #: PCRs in which references have a command line.
    places: frozenset[int] = frozenset()

    NAME = 'command-line'
    HELP = (
        'Each argument of each kernel command line matches a pattern '
        '(* and ? as in file names) and each required pattern an '
        'argument, or the line is one of a reference; no argument '
        'matches a forbidden pattern. Of lines of references, the values of '
        'these variables (default: all of '
        f'{", ".join(arguments.VARIABLES)}) may differ, as long as they name '
        'disks or memory. Use it together with '
        'boot-components or pcrs of PCR 4 with references: true, which '
        'prove that nothing but GRUB and its kernel was started.'
    )
    SCHEMA = schemas.closed(
        {
            'patterns': strings(1024),
            'required': strings(1024),
            'forbidden': strings(1024),
            'references': BOOLEAN,
            'variables': {
                'type': 'array',
                'uniqueItems': True,
                'items': {'enum': list(arguments.VARIABLES)},
            },
        },
        ('patterns', 'required', 'forbidden', 'references', 'variables'),
    )

    @classmethod
    def parse(cls, params: Params, path: str) -> CommandLine:
        references = params.get('references', False)
        if not params.get('patterns') and not references:
            raise invalid(
                path, 'it allows nothing: give patterns or references: true'
            )
        return cls(
            path,
            tuple(params.get('patterns', ())),
            tuple(params.get('required', ())),
            tuple(params.get('forbidden', ())),
            references,
            frozenset(params.get('variables', arguments.VARIABLES)),
        )

    def bind(self, references: Sequence[ReferenceValues]) -> CommandLine:
        if not self.references:
            return self
        return dataclasses.replace(
            self,
            learned=frozenset(
                arguments.generalized(line, self.variables)
                for item in references
                if item.boot
                for line in (*_lines(item.boot), *_started(item.boot))
            ),
            known={
                index: frozenset[str]().union(
                    *(item.measured.get(index, ()) for item in references)
                )
                for index in PCRS
            },
            places=frozenset(
                line.pcr
                for item in references
                if item.boot
                for line in item.boot.command_lines
            ),
        )

    def check(self, state: VerifiedState) -> list[Finding]:
        found = self.unexplained(state, PCRS)
        if found:
            return found
        if not self.patterns and not any(self.known.values()):
            return [self.no_reference('kernel command lines')]
        told = tuple(_lines(state.facts))
        lines = list(dict.fromkeys((*told, *_started(state.facts))))
        if sum(len(line.words) for line in lines) > MAX_ARGUMENTS:
            return [
                self.fails(
                    _R.COMMAND_LINE,
                    'The kernel command lines have more than '
                    f'{MAX_ARGUMENTS} arguments.',
                )
            ]
        measured = [index for index in PCRS if state.measured(index)]
        pinned = [
            index
            for index in measured
            if self.known.get(index, frozenset()).issuperset(
                state.measured(index)
            )
        ]
        if not told and (not pinned or pinned != measured):
            return [
                self.fails(
                    _R.COMMAND_LINE,
                    'No verified event has a kernel command line.',
                )
            ]
        return (
            self._knowing(state, pinned)._judge(lines)
            + self._strange(state)
            + self.fails_each(
                _R.EVENT_UNVERIFIED,
                [
                    f'{named(index)}: '
                    f'{printable(text) or "its text is missing"}'
                    for index, text in dict.fromkeys(
                        (item.pcr, item.text)
                        for item in state.facts.command_lines
                        if not item.verified and item.pcr not in pinned
                    )
                ],
                'A kernel command line is not what the event log says, in {}',
            )
        )

    def _knowing(
        self, state: VerifiedState, pinned: Sequence[int]
    ) -> CommandLine:
        """With what references measured, even if its text was not known."""
        return dataclasses.replace(
            self,
            learned=self.learned.union(
                arguments.generalized(
                    arguments.split(item.text, item.source), self.variables
                )
                for item in _verified(state.facts)
                if item.source == 'kernel' and item.pcr in pinned
            ),
        )

    def _strange(self, state: VerifiedState) -> list[Finding]:
        """Lines where no reference has any: root can extend PCR 12, while
        the line that counts is in a PCR where its text is not known."""
        found = {item.pcr for item in state.facts.command_lines}
        return self.fails_each(
            _R.COMMAND_LINE,
            [
                named(index)
                for index in sorted(found - self.places if self.places else ())
            ],
            'A kernel command line was measured into {}, where no reference '
            'has any',
        )

    def _judge(self, lines: Sequence[arguments.Line]) -> list[Finding]:
        wrong = dict.fromkeys(
            word for line in lines for word in self._unknown(line)
        )
        bad = dict.fromkeys(
            word
            for line in lines
            for word in arguments.matching(line.words, self.forbidden)
        )
        missing = dict.fromkeys(
            pattern for line in lines for pattern in self._missing(line)
        )
        return (
            self.fails_each(
                _R.COMMAND_LINE,
                [printable(word) for word in bad],
                'The kernel argument {} is forbidden',
            )
            + self.fails_each(
                _R.COMMAND_LINE,
                [printable(word) for word in wrong if word not in bad],
                'The kernel argument {} is not one that the policy allows',
            )
            + self.fails_each(
                _R.COMMAND_LINE,
                list(missing),
                'A kernel command line lacks the required argument {}',
                'want',
            )
        )

    def _unknown(self, line: arguments.Line) -> list[str]:
        if self._learned(line):
            return []
        good = set(arguments.matching(line.words, self.patterns))
        return [
            word
            for word in line.words
            if word not in good and not self._varies(word)
        ]

    def _learned(self, line: arguments.Line) -> bool:
        return arguments.generalized(line, self.variables) in self.learned

    def _varies(self, word: str) -> bool:
        """Whether a reference has this variable, with any value."""
        found = arguments.general(word, self.variables)
        return found != word and any(
            found in line.words for line in self.learned
        )

    def _missing(self, line: arguments.Line) -> list[str]:
        if self._learned(line):
            return []
        return [
            pattern
            for pattern in self.required
            if not any(arguments.matching(line.arguments, (pattern,)))
        ]


def _lines(state: boot.BootState) -> Iterator[arguments.Line]:
    """The arguments of verified command lines."""
    for item in _verified(state):
        yield arguments.split(item.text, item.source)


def _verified(state: boot.BootState) -> Iterator[boot.CommandLine]:
    """Verified command lines, but not what GRUB makes of its own ones."""
    lines = [item for item in state.command_lines if item.verified]
    same = {
        ipl.BOOT_IMAGE + item.text for item in lines if item.source == 'grub'
    }
    for item in lines:
        if item.source != 'kernel' or item.text not in same:
            yield item


def _started(state: boot.BootState) -> Iterator[arguments.Line]:
    """The arguments of what GRUB's commands started, or could have."""
    for item in state.commands:
        name, _, rest = item.text.partition(' ')
        if name in _LOADERS or name.startswith('"'):
            yield arguments.split(
                rest if name in _LOADERS else item.text, item.source
            )
