# SPDX-License-Identifier: Apache-2.0
"""On the lab: root of a host keeps copies, and uses them later."""

from __future__ import annotations

import contextlib
import json
import pathlib
import re
import shutil
import tempfile
import time
from collections.abc import Iterator

from korora_tools import ui
from korora_tools.demo import canary, run
from korora_tools.lab import paths, processes
from korora_tools.prove.attack.ground import (
    Ground,
    Seen,
    on_lab,
    until,
)
from korora_tools.prove.life.stage import UNTRUSTED

_SWTPM = 'var/lib/libvirt/swtpm'
_VAULT = 'var/lib/korora/vault'
_SECRET = """<secret ephemeral='no' private='no'>
  <uuid>{uuid}</uuid>
  <usage type='vtpm'><name>{server}</name></usage>
</secret>
"""
#: Seconds after which an agent has looked at what a stopped guest left.
_LOOKED = 15.0
#: Seconds for a copied guest to show that its vTPM gives its word.
_BOOT = 150.0


class Copy:
    """All that root of a host can keep of a server: files, XML, secret."""

    def __init__(self, g: Ground, host: str, folder: pathlib.Path) -> None:
        self._g, self._folder, self._server = g, folder, g.server
        root = g.lab.host(host)
        _copy(root / 'instances' / self._server, folder / 'instance')
        _copy(root / 'instances' / '_base', folder / 'base')
        _copy(root / _SWTPM / self._server, folder / 'swtpm')
        vault = folder / 'vault'
        vault.mkdir()
        for record in (root / _VAULT).glob(f'{self._server}.*'):
            shutil.copy2(record, vault)
        self.xml = g.world.virsh(
            host, 'dumpxml', '--security-info', '--inactive', self._server
        )
        self.uuid, self.value = g.libvirt_secret(host)
        if not self.uuid:
            found = re.search(r"<encryption.*?secret='([^']+)'", self.xml)
            self.uuid = found[1] if found else ''

    def put(self, host: str) -> str:
        """Put it all into place on a host; what the key came to."""
        root = self._g.lab.host(host)
        for name, place in (
            ('instance', root / 'instances' / self._server),
            ('base', root / 'instances' / '_base'),
            ('swtpm', root / _SWTPM / self._server),
        ):
            _copy(self._folder / name, place)
        # What the first guest has printed says nothing of this one.
        self._g.lab.console(host, self._server).unlink(missing_ok=True)
        for record in (self._folder / 'vault').iterdir():
            document = json.loads(record.read_text())
            document['state'] = 'held'
            target = root / _VAULT / record.name
            target.write_text(json.dumps(document))
            target.chmod(0o600)
        if self.value:
            self._define_secret(host)
            return 'libvirt gave the passphrase'
        if self._g.stock:
            return 'libvirt did not give the passphrase'
        return f'agent: {self._g.agent_opens(host)}'

    def _define_secret(self, host: str) -> None:
        g = self._g
        self._write(
            host,
            'secret.xml',
            _SECRET.format(uuid=self.uuid, server=self._server),
        )
        g.world.virsh(host, 'secret-define', '/etc/libvirt/secret.xml')
        g.world.virsh(host, 'secret-set-value', self.uuid, self.value)

    def _write(self, host: str, name: str, text: str) -> None:
        (self._g.lab.host(host) / 'etc/libvirt' / name).write_text(text)

    def start(self, host: str) -> str:
        """Start the guest past Nova; libvirt's complaint, if any."""
        self._write(host, 'copy.xml', self.xml)
        try:
            self._g.world.virsh(host, 'define', '/etc/libvirt/copy.xml')
            self._g.world.virsh(host, 'start', self._server)
        except ui.Problem as exc:
            return str(exc).splitlines()[-1].strip()[:200]
        return ''

    def unseals(self, host: str, word: str) -> bool:
        """Whether the copy's vTPM gives the word of the guest's first boot."""
        console = self._g.lab.console(host, self._server)

        def shown() -> bool:
            return console.exists() and f'sealed={word}' in console.read_text(
                errors='replace'
            )

        return until(shown, _BOOT)

    def remove(self, host: str) -> None:
        """Nothing of the copy stays on a host."""
        world, root = self._g.world, self._g.lab.host(host)
        for command in (
            ('destroy', self._server),
            ('undefine', self._server),
            *([('secret-undefine', self.uuid)] if self.uuid else []),
        ):
            with contextlib.suppress(ui.Problem):
                world.virsh(host, *command)
        for name in ('secret.xml', 'copy.xml'):
            (root / 'etc/libvirt' / name).unlink(missing_ok=True)
        shutil.rmtree(root / 'instances' / self._server, ignore_errors=True)
        shutil.rmtree(root / _SWTPM / self._server, ignore_errors=True)
        for record in (root / _VAULT).glob(f'{self._server}.*'):
            if (self._folder / 'vault' / record.name).exists():
                record.unlink()


def _copy(source: pathlib.Path, target: pathlib.Path) -> None:
    if source.exists():
        shutil.rmtree(target, ignore_errors=True)
        target.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
        processes.run(
            paths.Lab.default(),
            ['cp', '-a', str(source), str(target)],
            'root',
            log=None,
        )


@contextlib.contextmanager
def _copy_of(g: Ground, host: str) -> Iterator[Copy]:
    with tempfile.TemporaryDirectory(prefix='korora-copy-') as name:
        yield Copy(g, host, pathlib.Path(name))


@on_lab('T9')
def fork(g: Ground) -> Seen:
    """After the migration the source starts its old files again."""
    source, dest = g.home, g.other
    with _copy_of(g, source) as copy:
        moved = g.move(dest)
        if not g.runs_on(dest):
            raise ui.Problem(f'no migration to begin with: {moved}')
        return _second(g, copy, source)


@on_lab('T2')
def stolen_disks(g: Ground) -> Seen:
    """A host's disks are read out, and their guest started elsewhere."""
    with _copy_of(g, g.home) as copy:
        return _second(g, copy, UNTRUSTED)


def _second(g: Ground, copy: Copy, host: str) -> Seen:
    """Start a copy beside the guest, and see what it can."""
    try:
        key = copy.put(host)
        complaint = copy.start(host)
        runs = not complaint and g.runs_on(host)
        gives = runs and copy.unseals(host, g.word)
        where = ', '.join(g.places())
    finally:
        copy.remove(host)
    return Seen(
        runs,
        f'{key}; the guest runs on {where}'
        + ('; the copy unseals what the guest sealed' if gives else '')
        + (f'; libvirt: {complaint}' if complaint else ''),
    )


@on_lab('T11')
def old_vtpm_state(g: Ground) -> Seen:
    """An old copy of the vTPM's state is put back while it is stopped.

    Kororā compares it where it is told to: ``vtpm_state_check``.
    """
    if g.stock:
        return _rolled_back(g)
    with g.attester(g.home, vtpm_state_check='refuse'):
        seen = _rolled_back(g)
    return Seen(seen.succeeded, f'{seen.evidence}; vtpm_state_check = refuse')


def _rolled_back(g: Ground) -> Seen:
    host, server = g.home, g.server
    state = g.lab.host(host) / _SWTPM / server
    with tempfile.TemporaryDirectory(prefix='korora-copy-') as name:
        kept = pathlib.Path(name, 'swtpm')
        g.act('os-stop')
        _copy(state, kept)
        g.act('os-start')
        g.unseals()
        g.act('os-stop')
        time.sleep(_LOOKED)
        changed = _content(state) != _content(kept)
        _copy(kept, state)
        seen = g.act('os-start')
    runs = g.runs_on(host)
    gives = runs and g.unseals()
    if not runs:
        g.discard()
    return Seen(
        runs and changed,
        f'{seen}; the old state {"differs" if changed else "is the same"}'
        + ('; the guest unseals from it' if gives else ''),
    )


def _content(folder: pathlib.Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob('*')
        if path.is_file() and path.name != '.lock'
    }


@on_lab('T6')
def past_nova(g: Ground) -> Seen:
    """Root of the source moves the guest itself, by libvirt."""
    source = g.home
    address = paths.HOSTS[UNTRUSTED]
    channel = 'tcp' if g.stock else 'tls'
    with _copy_of(g, source) as copy:
        try:
            key = copy.put(UNTRUSTED)
            try:
                g.world.virsh(
                    source,
                    'migrate',
                    '--live',
                    '--p2p',
                    '--copy-storage-inc',
                    g.server,
                    f'qemu+{channel}://{address}/system',
                    f'tcp://{address}',
                )
                said = 'libvirt: done'
            except ui.Problem as exc:
                said = f'libvirt: {str(exc).splitlines()[-1].strip()[:200]}'
            there = g.runs_on(UNTRUSTED)
        finally:
            copy.remove(UNTRUSTED)
    if there:
        g.discard()
    return Seen(
        there,
        f'{key}; {said}; it {"runs" if there else "does not run"} '
        f'on {UNTRUSTED}',
    )


@on_lab('T5', 'T22', 'T38', apart=True)
def canary_everywhere(g: Ground) -> dict[str, Seen]:
    """The real passphrase, after a first start and a live migration."""
    folder = g.lab.data / 'capture'
    g.discard()
    with canary.Capture(folder, paths.CTL, run.BUS) as capture:
        g.ready()
        source = g.home
        passphrase = g.world.passphrase(g.server)
        moved = g.move(g.other)
        found = run.search(g.world, capture, passphrase)
    totals = {name: one.total for name, one in found.items()}
    left = sum(
        count
        for path, count in found['disk'].files.items()
        if path.startswith(f'{g.lab.host(source)}/')
    )
    g.figures['passphrase'] = {**totals, 'source': left}
    shutil.rmtree(folder, ignore_errors=True)
    said = ', '.join(f'{name} {count}' for name, count in totals.items())
    return {
        'T5': Seen(any(totals.values()), f'{moved}; in clear: {said}'),
        'T22': Seen(bool(left), f'{moved}; on the disk of the source: {left}'),
        'T38': Seen(
            bool(totals['bus']),
            f'{moved}; from a bus that carries it {totals["bus"]} times',
        ),
    }
