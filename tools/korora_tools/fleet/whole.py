# SPDX-License-Identifier: Apache-2.0
"""The simulation as a whole: set up, live, judge."""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import time
import warnings
from collections.abc import Iterator
from typing import Any

from korora_tools import ui
from korora_tools.fleet import run, serving, stack

Json = dict[str, Any]


def simulate(options: argparse.Namespace) -> Json:
    """What ``tools/fleet`` reports.

    :raises Problem: the service could not be set up.
    """
    settings = run.Settings(
        hosts=options.hosts,
        rounds=options.rounds,
        interval=options.interval,
        lives=options.lives,
        threads=options.threads,
        seed=options.seed,
    )
    with contextlib.ExitStack() as cleanup:
        cleanup.enter_context(quietly())
        service = stack.Simple(cleanup, options.workers)
        endpoint = service.endpoints[0]
        if options.workers > 1:
            balancer = serving.Balancer(service.base.scratch, service.ports)
            balancer.await_workers()
            endpoint = balancer.endpoint
        fleet = run.Fleet(
            settings,
            ways(service.base, endpoint),
            service.base.vendor,
            service.base.nova,
            service.base.scratch.path,
        )
        fleet.enrol()
        began = time.monotonic()
        with ui.step(
            f'{settings.rounds} rounds of {settings.hosts} hosts, '
            f'{settings.lives} protected servers'
        ):
            lives = fleet.live()
        took = time.monotonic() - began
        with ui.step('who can open which key'):
            audit = lives.audit(fleet.ways.admin)
        return report(settings, fleet, lives, audit, took)


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """What agents log of refusals is what they are told to meet."""
    logging.disable(logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        try:
            yield
        finally:
            logging.disable(logging.NOTSET)


def ways(base: stack.Base, endpoint: str) -> run.Ways:
    """All users of one endpoint."""
    session = base.keystone.session('korora-agent', 'service')
    return run.Ways(
        endpoint,
        base.client(endpoint, 'korora-agent'),
        base.client(endpoint, 'admin', 'admin'),
        base.client(endpoint, 'korora-scheduler'),
        lambda: str(session.get_token()),
    )


def report(
    settings: run.Settings,
    fleet: run.Fleet,
    lives: Any,
    audit: dict[str, int],
    took: float,
) -> Json:
    kinds: dict[str, int] = {}
    for one in fleet.members:
        kinds[one.kind.value] = kinds.get(one.kind.value, 0) + 1
    found = fleet.tally.summary()
    attested = sum(found['answers'].get('attest', {}).values())
    return {
        **vars(settings),
        'kinds': dict(sorted(kinds.items())),
        'seconds': round(took, 1),
        'attestations_per_s': round(attested / took, 1),
        **found,
        'custody': dict(sorted(lives.done.items())),
        **audit,
    }


def conclude(found: Json) -> int:
    """Say it to a person; 0 if nothing was judged wrongly."""
    for key in ('kinds', 'sent', 'answers', 'custody'):
        ui.note(f'{key:16} {json.dumps(found[key])}')
    wrong = (
        'false_trusted',
        'false_untrusted',
        'wrong',
        'lost',
        'custody_double',
    )
    for key in ('seconds', 'attestations_per_s', *wrong):
        ui.note(f'{key:16} {found[key]}')
    for line in found['details']:
        ui.note(f'WRONG: {line}')
    return 1 if any(found[key] for key in wrong) else 0
