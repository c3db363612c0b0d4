# SPDX-License-Identifier: Apache-2.0
"""The agent as a process: from its configuration to a signal."""

from __future__ import annotations

import contextlib
import gc
import pathlib
import signal
import threading
from collections.abc import Sequence

from oslo_log import log as logging

from korora_nova import conf as korora_conf
from korora_nova import errors, metrics, spans
from korora_nova.attester import lock
from korora_nova.attester.agent import Agent

LOG = logging.getLogger(__name__)

_CONFIG_FILE = '/etc/korora/agent.conf'


def run(args: Sequence[str]) -> int:
    """Run until SIGTERM or SIGINT.

    :returns: 1 if the configuration is unusable or another agent uses the
        state directory.
    """
    conf = korora_conf.parse(args, [_CONFIG_FILE])
    korora_conf.register_attester_opts(conf)
    logging.setup(conf, 'korora')
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with contextlib.ExitStack() as life:
        try:
            state_dir = pathlib.Path(conf[korora_conf.ATTESTER].state_dir)
            life.enter_context(lock.held(state_dir))
            options = conf[korora_conf.ATTESTER]
            spans.start(options.spans, 'korora-agent')
            metrics.start(options.metrics_dir, metrics.AGENT)
            # Until the first result: the file is there while the agent is.
            metrics.AGENT_TRUSTED.set(0)
            agent = Agent.from_conf(conf)
            agent.start()
        except (errors.KororaError, OSError) as exc:
            LOG.error('korora-agent cannot start: %s', exc)
            return 1
        # As in the service: a hand-over does not wait for that.
        gc.collect()
        gc.freeze()
        LOG.info('korora-agent serves %s', agent.host)
        stop.wait()
        LOG.info('korora-agent stops')
        agent.stop()
        metrics.stop()
    return 0
