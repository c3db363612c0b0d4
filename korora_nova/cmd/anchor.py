# SPDX-License-Identifier: Apache-2.0
"""korora-manage anchor: make the anchor, and ask it."""

from __future__ import annotations

from oslo_config import cfg

from korora_nova import conf as options
from korora_nova.verifier.anchor import loading
from korora_nova.verifier.custody import ledger
from korora_nova.verifier.db import api


def create(conf: cfg.ConfigOpts) -> int:
    """Make the anchor of this database's ledger; it begins empty.

    From then on the database counts as it is now, so make sure first that
    it is not an old copy.
    """
    backend = conf[options.ANCHOR].backend
    if backend == 'none':
        print('[anchor] backend is none: there is nothing to make.')
        return 1
    incarnation = _incarnation(conf)
    loading.load(conf).create(incarnation)
    print(f'The anchor ({backend}) of the ledger {incarnation} is made.')
    return 0


def show(conf: cfg.ConfigOpts) -> None:
    """Say whether the anchor answers, and what it knows of servers."""
    anchor = loading.load(conf)
    incarnation = _incarnation(conf)
    marks = anchor.get(incarnation, conf.command.servers)
    print(f'backend: {conf[options.ANCHOR].backend}')
    print(f'ledger: {incarnation}')
    print(
        'a restored database is noticed: '
        + ('yes' if anchor.GUARANTEES else 'no')
    )
    for server in conf.command.servers:
        mark = marks.get(server)
        said = 'none' if mark is None else f'{mark.version} {mark.digest}'
        print(f'{server}: {said}')


def _incarnation(conf: cfg.ConfigOpts) -> str:
    """Of the ledger in the service's database."""
    with api.Database(conf).read() as session:
        return ledger.incarnation(session)
