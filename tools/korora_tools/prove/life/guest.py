# SPDX-License-Identifier: Apache-2.0
"""What a server's guest says of itself on its console."""

from __future__ import annotations

import dataclasses
import re

from korora_tools import ui
from korora_tools.demo import continuity
from korora_tools.demo import world as w
from korora_tools.lab import uefi

#: Seconds for a guest to start and to unseal.
PATIENCE = 150.0
#: What the guest prints for a word that its vTPM does not give.
UNSEALED_NOT = 'FAIL'
_SAID = re.compile(
    r'TICK n=\d+ .*?(?: secure=(?P<secure>\S*) var=(?P<variable>\S*))?'
    r'(?: sealed=(?P<sealed>\S+))?\s*\n'
)


@dataclasses.dataclass(frozen=True)
class Words:
    """:param secure: whether Secure Boot is ``on`` or ``off``.
    :param variable: what a variable of the firmware holds.
    :param sealed: what the vTPM unseals.
    """

    secure: str | None = None
    variable: str | None = None
    sealed: str | None = None


@dataclasses.dataclass(frozen=True)
class Guest:
    """The guest of one server.

    :param tpm: it has a vTPM.
    :param image: what it was booted from.
    """

    world: w.World
    server: str
    tpm: bool
    image: str

    @property
    def firmware(self) -> bool:
        """It keeps variables, and boots only what is signed."""
        return self.image == uefi.IMAGE

    def console(self) -> str:
        lab = self.world.lab
        path = lab.console(self.world.host(self.server), self.server)
        return path.read_text(errors='replace') if path.exists() else ''

    def crashed(self) -> bool:
        """The console shows a crash that is the emulator's."""
        return bool(continuity.TROUBLE.search(self.console()))

    def words(self, whole: bool = False) -> Words:
        """What it says from now on.

        :param whole: what it has said already counts, too.
        :raises Problem: it says nothing.
        :raises DemoError: it should have booted with Secure Boot.
        """
        if not (self.tpm or self.firmware):
            return Words()
        mark = 0 if whole else len(self.console())

        def said() -> list[Words]:
            text = self.console()
            return heard(text[mark if len(text) >= mark else 0 :])

        ui.wait('the guest to tell its words', lambda: bool(said()), PATIENCE)
        last = said()[-1]
        if self.firmware and last.secure != 'on':
            raise w.DemoError(f'Secure Boot is {last.secure} in the guest')
        return last


def heard(text: str) -> list[Words]:
    """The lines of a console that have any words.

    >>> heard('TICK n=2 up=3 secure=on var=a sealed=b\\n')
    [Words(secure='on', variable='a', sealed='b')]
    """
    found = (match.groupdict() for match in _SAID.finditer(text))
    return [Words(**one) for one in found if any(one.values())]
