# SPDX-License-Identifier: Apache-2.0
"""The directory in which QEMU finds its certificates, replaced at once.

::

    /etc/pki/qemu/korora -> korora.5f0c7a92
    /etc/pki/qemu/korora.5f0c7a92/ca-cert.pem ...

QEMU opens one file after the other whenever a migration begins, by the name
of the link. One rename makes the link point to another directory, which is
complete by then; the one before stays until the next time. AppArmor lets QEMU
read what is below ``/etc/pki/qemu``, and looks at where the link leads.
"""

from __future__ import annotations

import os
import pathlib
import re
import shutil
import stat
from collections.abc import Mapping

from korora_nova.attester.files import sync_directory

#: Longest file that is read there, bytes.
MAX_FILE = 1 << 16
#: What only QEMU's user may read.
KEYS = ('server-key.pem', 'client-key.pem')


class Foreign(Exception):
    """What is in the place of the link was not made here."""


def read(link: pathlib.Path) -> dict[str, bytes]:
    """What QEMU finds now, by name; nothing if it finds no directory.

    :raises OSError: it cannot be read.
    :raises Foreign: it is no link of ours.
    """
    if _target(link) is None or not link.exists():
        return {}
    found = {}
    for path in sorted(link.iterdir()):
        with path.open('rb') as stream:
            found[path.name] = stream.read(MAX_FILE)
    return found


def is_readable(link: pathlib.Path, uid: int) -> bool:
    """Whether the keys there are this user's, and nobody else's.

    :raises OSError: they cannot be seen.
    """
    return all(
        (found.st_uid, stat.S_IMODE(found.st_mode)) == (uid, 0o400)
        for found in (os.stat(link / name) for name in KEYS)
    )


def install(
    link: pathlib.Path, contents: Mapping[str, bytes], uid: int
) -> None:
    """Let QEMU find these files and no others; durable.

    :param uid: of QEMU's user, who owns the keys and nothing else.
    :raises OSError: nothing has changed for QEMU.
    :raises Foreign: likewise.
    """
    before = _target(link)
    _make(link.parent)
    made = link.parent / f'{link.name}.{os.urandom(4).hex()}'
    os.mkdir(made, 0o700)
    try:
        for name, content in contents.items():
            _write(made / name, content, uid if name in KEYS else None)
        os.chmod(made, 0o755)
        sync_directory(made)
        new = link.parent / f'.{link.name}.new'
        new.unlink(missing_ok=True)
        new.symlink_to(made.name)
        os.replace(new, link)
        sync_directory(link.parent)
    except BaseException:
        if _target(link) != made.name:
            shutil.rmtree(made, ignore_errors=True)
        raise
    _sweep(link, {made.name, before})


def _target(link: pathlib.Path) -> str | None:
    """Where the link leads, by its name beside it; None: there is nothing."""
    try:
        target = os.readlink(link)
    except FileNotFoundError:
        return None
    except OSError:
        raise Foreign(f'{link} is no symbolic link') from None
    if not re.fullmatch(_made(link), target):
        raise Foreign(f'{link} leads to {target}')
    return target


def _made(link: pathlib.Path) -> str:
    return re.escape(link.name) + r'\.[0-9a-f]{8}'


def _make(directory: pathlib.Path) -> None:
    """Make a directory that all may enter, whatever the umask is."""
    if not directory.exists():
        _make(directory.parent)
        directory.mkdir()
        directory.chmod(0o755)


def _write(path: pathlib.Path, content: bytes, uid: int | None) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    with os.fdopen(os.open(path, flags, 0o600), 'wb') as stream:
        stream.write(content)
        stream.flush()
        if uid is not None and uid != os.geteuid():
            os.fchown(stream.fileno(), uid, -1)
        os.fchmod(stream.fileno(), 0o644 if uid is None else 0o400)
        os.fsync(stream.fileno())


def _sweep(link: pathlib.Path, kept: set[str | None]) -> None:
    """Remove what earlier times, and crashes, have left."""
    for path in link.parent.iterdir():
        if path.name not in kept and re.fullmatch(_made(link), path.name):
            shutil.rmtree(path, ignore_errors=True)
