# SPDX-License-Identifier: Apache-2.0
"""korora-agent: the attester on a compute host.

::

    korora-agent [--config-file FILE]
    korora-agent check [-f json]        see :mod:`.check`
    korora-agent accept-vtpm-state SERVER       see :mod:`.accept`
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence


def main() -> None:
    """The command; exits at once, even if threads wait for a broker."""
    _without_eventlet()
    code = _run(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _run(args: Sequence[str]) -> int:
    if args[:1] == ['check']:
        from korora_nova.cmd import check

        return check.main(args[1:])
    if args[:1] == ['accept-vtpm-state']:
        from korora_nova.cmd import accept

        return accept.main(args[1:])
    from korora_nova.attester import process

    return process.run(args)


def _without_eventlet() -> None:
    """Let oslo's libraries use threads; they choose when they are imported.

    Some import eventlet wherever it is installed, whether they need it or
    not, and it prints a deprecation warning.
    """
    sys.modules.setdefault('eventlet', None)  # type: ignore[arg-type]
    from oslo_service import backend

    backend.init_backend(backend.BackendType.THREADING)
