# SPDX-License-Identifier: Apache-2.0
"""Commands on compute hosts, as an operator configured them."""

from __future__ import annotations

import dataclasses
import re
import shlex
import subprocess
from collections.abc import Sequence

from oslo_log import log as logging

LOG = logging.getLogger(__name__)

# Neither an option of a command nor syntax of the shell that ssh starts.
_HOST = re.compile(r'[A-Za-z0-9][A-Za-z0-9._:-]*')
_WORD = re.compile(r'[A-Za-z0-9_/.:,=@%+-]+')
#: Characters of output in an error.
_SHOWN = 2000


class CommandError(Exception):
    """A command on a compute host failed, or took too long."""


@dataclasses.dataclass(frozen=True)
class Finished:
    """A command that ended; its output as text."""

    code: int
    output: str
    errors: str


def words(command: str, host: str, more: Sequence[str] = ()) -> list[str]:
    """The words of a configured command for a host, and those after it.

    :param more: words that stay whole even if a remote shell reads them.
    :raises ValueError: a name or word does not, or there is no command.
    """
    if not _HOST.fullmatch(host):
        raise ValueError(f'{host!r} is not a host name for a command line')
    for word in more:
        if not _WORD.fullmatch(word):
            raise ValueError(f'{word!r} needs quoting')
    found = [word.replace('{host}', host) for word in shlex.split(command)]
    if not found:
        raise ValueError('no command is configured')
    return [*found, *more]


def run(
    command: str, host: str, *more: str, timeout: int, check: bool = True
) -> Finished:
    """Run a configured command for a host.

    :param timeout: seconds; it is killed then.
    :param check: whether a failure of the command is an error.
    :raises CommandError: it cannot be run, took too long or failed.
    """
    argv = words(command, host, more)
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout,
            text=True,
            errors='replace',
        )
    except subprocess.TimeoutExpired:
        raise CommandError(
            f'{shlex.join(argv)} took longer than {timeout} seconds'
        ) from None
    except OSError as exc:
        raise CommandError(f'{shlex.join(argv)}: {exc}') from exc
    LOG.info('%s: exit code %d', shlex.join(argv), done.returncode)
    if check and done.returncode:
        raise CommandError(
            f'{shlex.join(argv)}: exit code {done.returncode}\n'
            + (done.stdout + done.stderr)[-_SHOWN:]
        )
    return Finished(done.returncode, done.stdout, done.stderr)
