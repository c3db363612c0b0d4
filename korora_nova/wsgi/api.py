# SPDX-License-Identifier: Apache-2.0
"""``korora_nova.wsgi.api:application`` for any WSGI server.

The configuration is read from ``korora.conf`` in the directory that the
environment variable KORORA_CONFIG_DIR names, /etc/korora by default.
"""

import os
import threading
from collections.abc import Callable
from typing import Any

from oslo_log import log as logging

from korora_nova import conf as options
from korora_nova.api import deploy

CONFIG_DIR = 'KORORA_CONFIG_DIR'
DEFAULT_DIR = '/etc/korora'


def make_application() -> Callable[..., Any]:
    """Read the configuration and assemble the application."""
    directory = os.environ.get(CONFIG_DIR, DEFAULT_DIR)
    conf = options.parse([], [os.path.join(directory, 'korora.conf')])
    logging.setup(conf, options.PROJECT)
    return deploy.application(conf)


# Some servers import the module in several threads at once.
_LOCK = threading.Lock()
application: Callable[..., Any] | None = None

with _LOCK:
    if application is None:
        application = make_application()
