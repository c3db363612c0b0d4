# SPDX-License-Identifier: Apache-2.0
"""korora-sources: asks other verifiers what they say of the hosts.

::

    korora-sources [--config-file FILE]
    korora-sources --once
    korora-sources --forget SOURCE=SUBJECT

It needs what the attestation service needs, and runs beside it, on any number
of its nodes. ``--once`` asks each source once; the status is 1 if one did not
answer. ``--forget`` lets it read anew whose machine a source means by a name.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Sequence

from oslo_config import cfg
from oslo_log import log as logging

from korora_nova import conf as options
from korora_nova import errors
from korora_nova.verifier import service
from korora_nova.verifier.db import api
from korora_nova.verifier.sources import asking, verdicts

LOG = logging.getLogger(__name__)

CLI_OPTS = [
    cfg.BoolOpt('once', default=False, help='Ask each source once, and end.'),
    cfg.MultiStrOpt(
        'forget',
        default=[],
        metavar='SOURCE=SUBJECT',
        help='Let the TPM of this name of a source be read anew.',
    ),
]


def main(args: Sequence[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT; returns the exit status."""
    conf = cfg.ConfigOpts()
    conf.register_cli_opts(CLI_OPTS)
    try:
        options.parse(
            sys.argv[1:] if args is None else args,
            conf=conf,
            config_files=options.default_files(),
        )
        options.register_verifier_opts(conf)
        logging.setup(conf, options.PROJECT)
        with api.available():
            made = service.from_conf(conf)
            if conf.forget:
                return _forget(made, conf.forget)
            return _run(conf, asking.askers(made, conf))
    except (errors.KororaError, cfg.Error, OSError) as exc:
        print(f'korora-sources: {exc}', file=sys.stderr)
        return 1


def _run(conf: cfg.ConfigOpts, askers: Sequence[asking.Asker]) -> int:
    if conf.once:
        return 0 if all([one.step() for one in askers]) else 1
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    if not askers:
        LOG.warning('[sources] names none that has to be asked.')
    for one in askers:
        one.start()
    stop.wait()
    for one in askers:
        one.stop()
    return 0


def _forget(made: service.Service, names: Sequence[str]) -> int:
    code = 0
    for name in names:
        source, _, subject = name.partition('=')
        if verdicts.forget(made, source, subject):
            print(f'{subject} of {source} is read anew.')
        else:
            print(f'{source} has no {subject}.', file=sys.stderr)
            code = 1
    return code


if __name__ == '__main__':
    sys.exit(main())
