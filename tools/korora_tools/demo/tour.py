# SPDX-License-Identifier: Apache-2.0
"""The demo told step by step, for a person who watches.

``python -m korora_tools.demo.tour OUT`` runs inside a lab that is up, like
:mod:`.run`, and writes the same report. Each chapter says what is about to
happen, lets a scenario of the demo do it, and then shows what crossed Nova's
message bus meanwhile, what the service says of it now, and what an attacker
has of it. On a terminal it waits for Enter between chapters.
"""

import collections.abc
import dataclasses
import json
import pathlib
import sys
import textwrap
import typing

from korora_tools import ui
from korora_tools.demo import canary, run, scenarios
from korora_tools.demo import world as w
from korora_tools.demo.stage import Stage
from korora_tools.lab import paths

Json = dict[str, typing.Any]
WIDTH = 76
_BY_ID = {one.id: one for one in scenarios.ALL}


@dataclasses.dataclass(frozen=True)
class Chapter:
    """A part of the tour.

    :param scenario: id of the demo's scenario that is acted.
    :param happens: what is about to happen; ``attacker`` what somebody who
        has watched or tampered with it has in the end.
    """

    title: str
    scenario: str
    happens: str
    attacker: str


CHAPTERS: tuple[Chapter, ...] = (
    Chapter(
        'A protected server starts',
        'boot',
        'Three compute hosts are up, each with a TPM. The agents of h1, h2 '
        'and h3 have sent what their TPMs signed of boot and run time. h1 and '
        'h2 are what was approved; somebody has changed what h3 boots. Now a '
        'tenant starts a server with an encrypted vTPM. The host makes a '
        'passphrase, seals it in its own TPM, and claims the key: the '
        'attestation service grants it, because this host is good and Nova '
        'has the server there.',
        'Who reads the bus, the databases and the disks of h1 finds no '
        'passphrase in clear. The sealed key opens only in this TPM, in this '
        'state, with an approval that lasts seconds. Barbican has an escrow, '
        "under Barbican's own key.",
    ),
    Chapter(
        'It moves, and the key moves with it',
        'migrate',
        'The operator types "openstack server migrate --live-migration". The '
        'scheduler passes over h3. h2 shows a fresh key of its TPM and proves '
        'its state; h1 proves its own; the service signs a permit for exactly '
        'this move. h1 wraps the key so that only the TPM of h2 can open it. '
        'Only when h2 says that it has sealed the key may the guest stream, '
        'over TLS that ends at the key that h2 attested.',
        'The transfer was on a bus that nobody has to trust. It is a wrapped '
        'key, and the TPM that could open it is in h2. A copy of it opens '
        'nothing: it is for one migration, one epoch and some seconds.',
    ),
    Chapter(
        'Somebody forces it to the tampered host',
        'forced-h3',
        'Now with "force", by which Nova skips its scheduler, to h3, whose '
        'boot was changed.',
        'Nothing: the driver on h3 refuses, and if it did not, the service '
        'would sign no permit. The guest runs on.',
    ),
    Chapter(
        'A good host turns bad',
        'h2-runtime-state',
        'h2 has just attested, and everybody still holds a good result of it. '
        'A program that nobody approved starts there: the kernel measures it '
        'before it runs, and its TPM cannot be made to forget. Then the '
        'server is to move there.',
        'A minute with a good result is worth nothing: both hosts prove '
        'themselves again for each hand-over.',
    ),
    Chapter(
        'The old copy comes back',
        'committed-copy',
        'Root on h1 keeps a backup of all that its agent has on disk. The '
        'server moves to h2. Then root puts the backup back, makes the record '
        'look like a key that is held, and asks the TPM to open it.',
        'A file whose epoch is over. The TPM wants an approval for it, and '
        'the service gives one for the current epoch only, to its holder.',
    ),
    Chapter(
        'The service is dead',
        'service-down',
        'The attestation service is stopped, as by a failure or an attack, '
        'and the server is to move.',
        'Whoever stops the service can keep protected servers from moving '
        'and starting. That gives nobody a key, and no guest stops.',
    ),
)


def spelled(text: str, indent: str = '  ') -> str:
    """A paragraph as a terminal shows it."""
    return textwrap.fill(
        text, WIDTH, initial_indent=indent, subsequent_indent=indent
    )


class Narrator:
    """Tells, and waits where a person is there to read.

    :param interactive: whether to wait for Enter.
    """

    def __init__(
        self,
        interactive: bool,
        say: collections.abc.Callable[[str], None] = ui.note,
        wait: collections.abc.Callable[[str], str] = input,
    ) -> None:
        self._interactive = interactive
        self._say = say
        self._wait = wait

    def chapter(self, number: int, chapter: Chapter) -> None:
        title = f'{number}. {chapter.title}'
        self._say(f'\n{title}\n{"-" * len(title)}\n')
        self._say(spelled(chapter.happens) + '\n')
        self.pause('Enter: let it happen ')

    def shows(self, what: str, lines: collections.abc.Iterable[str]) -> None:
        self._say(f'\n  {what}:')
        for line in lines:
            self._say(spelled(line, '    '))

    def pause(self, prompt: str) -> None:
        """Nothing where nobody could answer."""
        if self._interactive:
            self._wait(f'  [{prompt}]')


def wire(
    streams: collections.abc.Sequence[pathlib.Path],
    wanted: tuple[bytes, ...],
    server: str,
) -> list[str]:
    """What was seen on Nova's bus.

    :param streams: one file for each direction of a connection.
    """
    size = sum(path.stat().st_size for path in streams)
    finds = sum(canary.count_in_file(path, wanted) for path in streams)
    named = sum(
        canary.count_in_file(path, (server.encode(),)) for path in streams
    )
    return [
        f'{size:,} bytes in {len(streams)} streams of RabbitMQ; the '
        f"server's id {named} times; its passphrase, in clear, hex or "
        f'base64, {finds} times'
    ]


def known(world: w.World, server: str) -> list[str]:
    """What the service says now."""
    listed = world.attestation('/v1/hosts')['hosts']
    tiers = ', '.join(f'{one["name"]} {one["tier"]}' for one in listed)
    row = world.attestation(f'/v1/servers/{server}')
    return [
        f'hosts: {tiers}',
        f'the key: held by {row["holder"]}, epoch {row["epoch"]}, '
        f'{row["version"]} signed documents so far',
    ]


class Tour:
    """All chapters, on one cloud."""

    def __init__(self, world: w.World, narrator: Narrator) -> None:
        self.world = world
        self.narrator = narrator
        self.stage = Stage(world)
        self.rows: list[Json] = []
        self.bus = canary.Finds()

    def run(self) -> Json:
        """The report, as that of the demo's scenarios."""
        for number, chapter in enumerate(CHAPTERS, 1):
            self.narrator.chapter(number, chapter)
            self._home()
            self._act(chapter)
            self.narrator.shows('An attacker has', [chapter.attacker])
            self.narrator.pause('Enter: go on ')
        wanted = self._wanted()
        finds = {'bus': self.bus, **run.elsewhere(self.world, wanted)}
        self.narrator.shows('In all, the passphrase was found', _counts(finds))
        return run.report(self.world, self.stage, self.rows, finds)

    def _home(self) -> None:
        """Every chapter but the first begins with the server on h1."""
        server = self.stage.server
        if server and self.world.host(server) != 'h1':
            ui.say('... first the server moves back to h1')
            self.stage.back_to_h1()

    def _act(self, chapter: Chapter) -> None:
        folder = self.world.lab.data / 'capture' / chapter.scenario
        with canary.Capture(folder, paths.CTL, run.BUS) as capture:
            row = run.act(self.world, self.stage, _BY_ID[chapter.scenario])
        self.rows.append(row)
        if not self.stage.server:
            raise ui.Problem('no server to go on with')
        streams, wanted = capture.reassemble(), self._wanted()
        for path in streams:
            self.bus.add(str(path), canary.count_in_file(path, wanted))
        server = self.stage.server
        self.narrator.shows('On the wire', wire(streams, wanted, server))
        if chapter.scenario != 'service-down':
            self.narrator.shows('The service', known(self.world, server))

    def _wanted(self) -> tuple[bytes, ...]:
        return canary.needles(self.world.passphrase(self.stage.server))


def _counts(finds: collections.abc.Mapping[str, canary.Finds]) -> list[str]:
    return [
        ', '.join(f'{where} {one.total}' for where, one in finds.items())
        + ' times'
    ]


def main() -> int:
    (out,) = sys.argv[1:]
    world = w.World(paths.Lab.default(), ui.say)
    narrator = Narrator(sys.stdin.isatty() and sys.stdout.isatty())
    try:
        found = Tour(world, narrator).run()
    except (*run.UNJUDGED, RuntimeError) as exc:  # also of a capture
        ui.fail(str(exc))
        return 1
    except (KeyboardInterrupt, EOFError):
        return 130
    pathlib.Path(out).write_text(json.dumps(found, indent=2) + '\n')
    return 0


if __name__ == '__main__':
    sys.exit(main())
