# SPDX-License-Identifier: Apache-2.0
"""Tests on Nova's own functional fixtures.

Nova 34's services run native threads; its tests decide at import. This must
come before anything of Nova is imported.
"""

import os

os.environ.setdefault('OS_NOVA_DISABLE_EVENTLET_PATCHING', 'true')

from nova import monkey_patch  # noqa: E402

# Another test module may have imported eventlet; unpatched, it does nothing.
monkey_patch.poison_eventlet = lambda: None
monkey_patch.patch()
