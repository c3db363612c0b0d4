# SPDX-License-Identifier: Apache-2.0
"""``korora-agent accept-vtpm-state``: an operator's word for one start.

For a server that ``VTPM_STATE_CHANGED`` keeps off, although the state that its
vTPM has now is what the operator wants. Root of the host types it there.
"""

from __future__ import annotations

import pathlib
import sys
import uuid
from collections.abc import Sequence

from oslo_config import cfg

from korora_nova import conf as options
from korora_nova import errors
from korora_nova.attester import vtpm_state
from korora_nova.attester.accepted import Accepted

CONFIG_FILE = '/etc/korora/agent.conf'

CLI_OPTS: list[cfg.Opt] = [
    cfg.StrOpt('server', positional=True, help='UUID of the server.')
]


def main(args: Sequence[str]) -> int:
    """Accept what there is; returns the exit code.

    :param args: the command line behind ``accept-vtpm-state``.
    """
    conf = cfg.ConfigOpts()
    conf.register_cli_opts(CLI_OPTS)
    options.parse(args, [CONFIG_FILE], conf=conf)
    options.register_attester_opts(conf)
    state_dir = pathlib.Path(conf[options.ATTESTER].state_dir)
    try:
        server = str(uuid.UUID(conf.server))
        found = vtpm_state.measure(server, vtpm_state.DIRECTORY)
        Accepted(state_dir).accept(server, found)
    except ValueError:
        print(f'{conf.server} is no UUID of a server.', file=sys.stderr)
        return 1
    except (errors.KororaError, OSError) as exc:
        print(f'Not accepted: {exc}', file=sys.stderr)
        return 1
    print(
        f'The next start of {server} here may have '
        + (f'the state {found}.' if found else 'no state: its vTPM is new.')
    )
    return 0
