# SPDX-License-Identifier: Apache-2.0
"""Start, record and stop the lab's processes; never anyone else's.

Each service runs in a session of its own. Its record, run/NAME.json, holds
pid and start time, so that a reused pid is never taken for ours, and what is
needed to start it again. NAME of a service inside a host is "hN/service".
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import signal
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from korora_tools import checkout, ui
from korora_tools.lab import paths

_children: dict[int, subprocess.Popen[Any]] = {}
_running: set[subprocess.Popen[Any]] = set()
_lock = threading.Lock()
_aborted = threading.Event()


def environment(lab: paths.Lab, **extra: str) -> dict[str, str]:
    """A clean environment: the virtual environment first, no proxies."""
    return {
        'PATH': f'{checkout.BIN}:/usr/sbin:/usr/bin:/sbin:/bin',
        'HOME': '/root',
        'LANG': 'C.UTF-8',
        'PYTHONWARNINGS': 'ignore',
        'TMPDIR': str(lab.tmp),
        'KORORA_LAB_DIR': str(lab.root),
        **extra,
    }


def start_time(pid: int) -> str | None:
    """Clock ticks at which a live process started; None if dead or zombie."""
    try:
        stat = pathlib.Path(f'/proc/{pid}/stat').read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat.rpartition(')')[2].split()
    return None if fields[0] in 'ZX' else fields[19]


def _record(lab: paths.Lab, name: str) -> pathlib.Path:
    return lab.run / (name.replace('/', '.') + '.json')


def load(lab: paths.Lab, name: str) -> dict[str, Any] | None:
    try:
        return json.loads(_record(lab, name).read_text())
    except FileNotFoundError:
        return None


def save(lab: paths.Lab, name: str, record: dict[str, Any]) -> None:
    path = _record(lab, name)
    path.with_suffix('.new').write_text(json.dumps(record))
    path.with_suffix('.new').rename(path)


def names(lab: paths.Lab) -> list[str]:
    """All recorded services, whether they run or not."""
    return sorted(
        json.loads(p.read_text())['name'] for p in lab.run.glob('*.json')
    )


def alive(record: Mapping[str, Any] | None) -> bool:
    return bool(
        record
        and record['started']
        and start_time(record['pid']) == record['started']
    )


def pid_of(lab: paths.Lab, name: str) -> int | None:
    record = load(lab, name)
    return record['pid'] if record and alive(record) else None


def into(lab: paths.Lab, place: str) -> list[str]:
    """The command prefix that runs something at a place.

    "root" is the machine itself, "ctl" the control plane's network, "hN" the
    inside of a compute host, "hN-net" only that host's network.
    """
    if place == 'root':
        return []
    if place == 'ctl':
        return ['nsenter', '--net=/run/netns/' + paths.CTL, '--']
    if place.endswith('-net'):
        return ['nsenter', '--net=/run/netns/korora-' + place[:-4], '--']
    pid = load(lab, place + '/init')
    if pid is None or not alive(pid):
        raise ui.Problem(f'host {place} is not running')
    return [
        'nsenter',
        '--target',
        str(pid['inner']),
        '--mount',
        '--uts',
        '--ipc',
        '--net',
        '--pid',
        '--wd=/',
        '--',
    ]


def spawn(
    lab: paths.Lab,
    name: str,
    argv: Sequence[str],
    place: str = 'ctl',
    env: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Start a service unless it runs; returns its record."""
    known = load(lab, name)
    if known and alive(known):
        return known
    if _aborted.is_set():
        raise ui.Problem('interrupted')
    log = lab.log / (name.replace('/', '-') + '.out')
    with open(log, 'ab') as out:
        process = subprocess.Popen(
            [*into(lab, place), *argv],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            cwd='/',
            env=environment(lab, **(env or {})),
            start_new_session=True,
        )
    _children[process.pid] = process
    record = {
        'name': name,
        'argv': list(argv),
        'place': place,
        'env': dict(env or {}),
        'pid': process.pid,
        'log': str(log),
        'started': start_time(process.pid),
    }
    save(lab, name, record)
    return record


def restart(lab: paths.Lab, name: str) -> dict[str, Any]:
    """Start a recorded, stopped service again with its own command."""
    record = load(lab, name)
    if record is None:
        raise ui.Problem(f'no service {name!r}; see: lab status')
    return spawn(lab, name, record['argv'], record['place'], record['env'])


def _signal(record: Mapping[str, Any], number: int) -> None:
    if alive(record):
        try:
            os.killpg(record['pid'], number)
        except ProcessLookupError:
            pass


def reap(records: Iterable[Mapping[str, Any]]) -> None:
    """Collect those that were our own children and have ended."""
    for record in records:
        if child := _children.get(record['pid']):
            child.poll()


def _lives(record: Mapping[str, Any]) -> bool:
    """Whether anything of a service that did run still does.

    nsenter ends at once when it is told to, what it has started does not.
    """
    group = str(record['pid'])
    for stat in pathlib.Path('/proc').glob('[0-9]*/stat'):
        try:
            # proc(5): state, parent, process group
            fields = stat.read_text().rpartition(')')[2].split()
        except OSError:
            continue
        if fields[2] == group and fields[0] != 'Z':
            return True
    return False


def stop(lab: paths.Lab, which: Iterable[str], grace: float = 10) -> None:
    """TERM to each service's session, KILL after `grace` seconds."""
    records = [r for name in which if alive(r := load(lab, name)) and r]
    for record in records:
        _signal(record, signal.SIGTERM)
    end = time.monotonic() + grace
    left = records
    while left and time.monotonic() < end:
        time.sleep(0.05)
        reap(left)
        left = [r for r in left if _lives(r)]
    for record in left:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(record['pid'], signal.SIGKILL)
    end = time.monotonic() + 5
    while any(_lives(r) for r in left) and time.monotonic() < end:
        time.sleep(0.05)
        reap(left)


def forget(lab: paths.Lab, name: str) -> None:
    _record(lab, name).unlink(missing_ok=True)


def wait_for(
    lab: paths.Lab, name: str, ready: Any, timeout: float = 90
) -> None:
    """Wait until a service answers; fail at once when it has died."""

    def dead() -> str | None:
        record = load(lab, name)
        if record and alive(record):
            return None
        return 'the process has ended' + tail(lab, name)

    ui.wait(name, ready, timeout, alive=dead)


def tail(lab: paths.Lab, name: str, lines: int = 15) -> str:
    """The last lines of a service's output, for error messages."""
    log = lab.log / (name.replace('/', '-') + '.out')
    if not log.exists():
        return ''
    text = log.read_text(errors='replace').splitlines()[-lines:]
    return '; {} ends with:\n  {}'.format(log, '\n  '.join(text))


def run(
    lab: paths.Lab,
    argv: Sequence[str],
    place: str = 'ctl',
    env: Mapping[str, str] | None = None,
    log: str | None = 'commands',
    stdin: str | None = None,
) -> str:
    """Run a command to its end, return its output.

    :raises Problem: it failed.
    """
    if _aborted.is_set():
        raise ui.Problem('interrupted')
    process = subprocess.Popen(
        [*into(lab, place), *argv],
        text=True,
        errors='replace',
        cwd='/',
        stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(lab, **(env or {})),
        start_new_session=True,
    )
    with _lock:
        _running.add(process)
    try:
        out, err = process.communicate(stdin)
    finally:
        with _lock:
            _running.discard(process)
    if log:
        with open(lab.log / (log + '.out'), 'a') as f:
            f.write('$ {}\n{}{}'.format(' '.join(argv), out, err))
    if process.returncode:
        raise ui.Problem(
            f'{" ".join(argv[:4])} ended with {process.returncode}:\n  '
            + '\n  '.join((out + err).splitlines()[-15:])
        )
    return out


def abort() -> None:
    """End the short commands now running; later ones are refused."""
    _aborted.set()
    with _lock:
        for process in _running:
            try:
                os.killpg(process.pid, signal.SIGTERM)
            except ProcessLookupError:
                pass


def resume() -> None:
    """Allow commands again, for cleaning up after `abort`."""
    _aborted.clear()


def listening(lab: paths.Lab, name: str) -> Callable[[], bool]:
    """A check whether a control-plane service listens on its port."""
    local = '{:08X}:{:04X}'.format(
        int.from_bytes(socket.inet_aton(paths.CTL_IP), 'little'),
        paths.PORTS[name],
    )

    def check() -> bool:
        pid = pid_of(lab, name)
        if pid is None:
            return False
        try:
            with open(f'/proc/{pid}/net/tcp') as table:
                rows = [line.split() for line in table]
        except FileNotFoundError:
            return False
        return any(row[1] == local and row[3] == '0A' for row in rows)

    return check


def answering(url: str) -> Callable[[], bool]:
    """A check whether a service answers HTTP, from where it can be reached.

    One that listens may still be loading its application.
    """

    # A proxy of this machine knows nothing of the lab's networks.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def check() -> bool:
        try:
            with opener.open(url, timeout=5):
                return True
        except OSError:
            return False

    return check
