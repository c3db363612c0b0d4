# SPDX-License-Identifier: Apache-2.0
"""korora-enforcer as a process: from its configuration to a signal."""

from __future__ import annotations

import os
import signal
import socket
import threading
import uuid
from collections.abc import Sequence

from oslo_config import cfg
from oslo_log import log as logging

from korora_nova import conf as options
from korora_nova import errors
from korora_nova.rats.signed import keys
from korora_nova.response import decide
from korora_nova.response.drivers.loading import Drivers
from korora_nova.response.responder import LEASE, Responder
from korora_nova.verifier.db import api
from korora_nova.verifier.responses.lease import Lease

LOG = logging.getLogger(__name__)


def run(args: Sequence[str]) -> int:
    """Run until SIGTERM or SIGINT.

    :returns: 1 if the configuration is unusable.
    """
    conf = options.parse(args, options.default_files())
    options.register_response_opts(conf)
    logging.setup(conf, options.PROJECT)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        responder = from_conf(conf)
    except errors.KororaError as exc:
        LOG.error('korora-enforcer cannot start: %s', exc)
        return 1
    LOG.info(
        'korora-enforcer responds with: %s%s',
        ', '.join(responder.drivers.on) or 'nothing',
        ' (dry run)' if responder.settings.dry_run else '',
    )
    responder.run(stop, conf[options.RESPONSE].interval)
    LOG.info('korora-enforcer stops')
    return 0


def from_conf(
    conf: cfg.ConfigOpts, drivers: Drivers | None = None
) -> Responder:
    """The process that a configuration describes.

    :raises Unavailable: RESPONSE_DRIVER, KEYS_INVALID, NOVA_UNAVAILABLE.
    """
    options.register_response_opts(conf)
    group = conf[options.RESPONSE]
    database = api.Database(conf)
    found = Drivers(conf, group.drivers) if drivers is None else drivers
    ring = _Ring(group.trusted_keys)
    ring()
    return Responder(
        database,
        Lease(
            database,
            f'{socket.gethostname()}/{os.getpid()}/{uuid.uuid4()}',
            LEASE,
        ),
        decide.Settings(
            bad_results=group.bad_results,
            good_results=group.good_results,
            max_share=group.max_share,
            max_hosts=group.max_hosts,
            window=group.window,
            approval=group.approval,
            dry_run=group.dry_run,
            drivers={name: one.TOUCHES for name, one in found.on.items()},
        ),
        found,
        ring,
        group.survey_interval,
    )


class _Ring:
    """The pinned keys, read again when their file has changed."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._known: tuple[object, keys.KeyRing] | None = None

    def __call__(self) -> keys.KeyRing:
        """:raises Unavailable: KEYS_INVALID."""
        try:
            found = os.stat(self._path)
        except OSError as exc:
            raise errors.Unavailable(
                errors.Reason.KEYS_INVALID,
                f'Cannot read the trusted keys {self._path}: {exc.strerror}.',
            ) from None
        stamp = found.st_mtime_ns, found.st_ino, found.st_size
        if self._known is None or self._known[0] != stamp:
            self._known = stamp, keys.KeyRing.load(self._path)
        return self._known[1]
