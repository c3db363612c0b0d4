# SPDX-License-Identifier: Apache-2.0
"""korora-enforcer: responds to hosts that lost their trust.

::

    korora-enforcer [--config-file FILE]
"""

from __future__ import annotations

import sys


def main() -> int:
    """The command."""
    # Some of oslo's libraries import it wherever it is installed.
    sys.modules.setdefault('eventlet', None)  # type: ignore[arg-type]
    from korora_nova.response import process

    return process.run(sys.argv[1:])


if __name__ == '__main__':
    sys.exit(main())
