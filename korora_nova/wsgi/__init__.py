# SPDX-License-Identifier: Apache-2.0
"""Entry points of WSGI servers.

The configuration is read from ``korora.conf`` in the directory that the
environment variable KORORA_CONFIG_DIR names, /etc/korora by default.
"""

import os

from oslo_config import cfg
from oslo_log import log as logging

from korora_nova import conf as options

CONFIG_DIR = 'KORORA_CONFIG_DIR'
DEFAULT_DIR = '/etc/korora'


def configuration() -> cfg.ConfigOpts:
    """Read the configuration, and begin to log as it says."""
    directory = os.environ.get(CONFIG_DIR, DEFAULT_DIR)
    conf = options.parse([], [os.path.join(directory, 'korora.conf')])
    logging.setup(conf, options.PROJECT)
    return conf
