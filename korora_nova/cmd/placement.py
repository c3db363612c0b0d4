# SPDX-License-Identifier: Apache-2.0
"""``korora-manage placement ...``."""

from __future__ import annotations

from typing import Any

from oslo_config import cfg

from korora_nova import conf as options
from korora_nova import metrics
from korora_nova.verifier import placement, service


def add_parsers(subparsers: Any) -> None:
    """The parsers of this noun's commands."""
    parser = subparsers.add_parser('sync', help=sync.__doc__)
    parser.set_defaults(action=sync)
    parser.add_argument(
        '--dry-run',
        action='store_true',
        help='say what would be changed, and change nothing',
    )


def sync(conf: cfg.ConfigOpts) -> int:
    """Give trusted hosts their trait in Placement, and no others."""
    known = service.from_conf(conf)
    metrics.start(conf[options.VERIFIER].metrics_dir, metrics.MANAGE)
    report = placement.synchronise(
        placement.trusted(known),
        placement.Nova.from_conf(conf),
        placement.Placement.from_conf(conf),
        dry_run=conf.command.dry_run,
    )
    if conf.command.dry_run:
        for word, providers in (
            ('lose', report.plan.remove),
            ('get', report.plan.add),
        ):
            for provider in providers:
                print(f'{provider} would {word} {placement.TRAIT}.')
        return 0
    for provider, done in report.done.items():
        print(f'{provider}: {done}')
    print(
        f'{report.plan.trusted} providers are to have {placement.TRAIT}; '
        f'{len(report.done)} were not as they should be.'
    )
    if report.complete:
        _count(report, known.clock())
    return 0 if report.complete else 1


def _count(report: placement.Report, now: float) -> None:
    metrics.PLACEMENT_PROVIDERS.set(report.plan.trusted, state='trusted')
    for done in placement.Done:
        metrics.PLACEMENT_PROVIDERS.set(report.counts[done], state=done)
    metrics.PLACEMENT_SYNCED.set(now)
    metrics.stop()
