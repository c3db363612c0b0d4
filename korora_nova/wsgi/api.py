# SPDX-License-Identifier: Apache-2.0
"""``korora_nova.wsgi.api:application`` for any WSGI server."""

import gc
import threading
from collections.abc import Callable
from typing import Any

from korora_nova.api import deploy
from korora_nova.wsgi import configuration


def make_application() -> Callable[..., Any]:
    """Read the configuration and assemble the application."""
    made = deploy.application(configuration())
    # What was loaded stays: to search it for garbage stops a request for
    # some 60 ms.
    gc.collect()
    gc.freeze()
    return made


# Some servers import the module in several threads at once.
_LOCK = threading.Lock()
application: Callable[..., Any] | None = None

with _LOCK:
    if application is None:
        application = make_application()
