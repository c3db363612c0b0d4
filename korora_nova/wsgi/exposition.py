# SPDX-License-Identifier: Apache-2.0
"""``korora_nova.wsgi.metrics:application``: ``/metrics`` for Prometheus.

It knows the fleet (:mod:`korora_nova.verifier.figures`), whether keys,
database and anchor can be used, and what the workers on this node have counted
(``[verifier] metrics_dir``). It has no authentication: serve it where nobody
but Prometheus can reach it, never at the address of the API.
"""

from __future__ import annotations

import pathlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import prometheus_client
import webob
from oslo_config import cfg
from oslo_log import log as logging
from prometheus_client import core, parser

from korora_nova import conf as options
from korora_nova import errors, metrics
from korora_nova.verifier import figures
from korora_nova.verifier.health import Health
from korora_nova.verifier.service import Service, from_conf

LOG = logging.getLogger(__name__)

PATH = '/metrics'
TEXT = 'text/plain; version=0.0.4; charset=utf-8'
#: Seconds for which figures that were read count.
REUSE = 5.0
#: Whether a thing that the service needs can be used.
USABLE = figures.Family(
    'korora_usable',
    'gauge',
    '1 if the service on this node can use its keys, database or anchor.',
    ('what',),
)


class Collector:
    """All families of one scrape.

    :param directory: of the workers' files; '' for none.
    """

    def __init__(
        self,
        service: Service,
        directory: str,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._service = service
        self._health = Health(service)
        self._directory = directory
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._read: tuple[float, figures.Figures] | None = None

    def collect(self) -> Iterator[Any]:
        checks = self._health.current()
        usable = {(one.name,): float(not one.reason) for one in checks}
        yield _family(USABLE, usable)
        if usable[('database',)]:
            yield from self._fleet()
        if self._directory:
            yield from _of_workers(pathlib.Path(self._directory))

    def _fleet(self) -> Iterator[Any]:
        try:
            found = self._figures()
        except errors.KororaError as exc:
            LOG.error('The figures of the fleet cannot be read: %s', exc)
            return
        for family, values in found.values.items():
            yield _family(family, values)
        bounds = [*map(str, figures.AGES), '+Inf']
        yield core.GaugeHistogramMetricFamily(
            figures.AGE.name,
            figures.AGE.help,
            buckets=list(zip(bounds, found.ages, strict=True)),
            gsum_value=found.age_sum,
        )

    def _figures(self) -> figures.Figures:
        with self._lock:
            read, now = self._read, self._monotonic()
            if read is None or not 0 <= now - read[0] < REUSE:
                read = self._read = now, figures.read(self._service)
            return read[1]


def _family(family: figures.Family, values: Any) -> Any:
    made: Any = (
        core.CounterMetricFamily(
            family.name, family.help, labels=family.labels
        )
        if family.kind == 'counter'
        else core.GaugeMetricFamily(
            family.name, family.help, labels=family.labels
        )
    )
    for labels, value in values.items():
        made.add_metric(labels, value)
    return made


def _of_workers(directory: pathlib.Path) -> Iterable[prometheus_client.Metric]:
    """What the workers of the service have written, each metric once."""
    found: dict[str, prometheus_client.Metric] = {}
    for path in sorted(directory.glob(f'{metrics.API}-*.prom')):
        try:
            families = list(
                parser.text_string_to_metric_families(path.read_text())
            )
        except (OSError, ValueError) as exc:
            LOG.warning('%s is left out: %s', path, type(exc).__name__)
            continue
        for family in families:
            known = found.setdefault(family.name, family)
            if known is not family:
                known.samples += family.samples
    return found.values()


class Application:
    """Answers one path."""

    def __init__(self, collector: Collector) -> None:
        self._collector: Any = collector

    def __call__(self, environ: Any, start_response: Any) -> Any:
        answer = webob.Response(status=404)
        if environ.get('PATH_INFO') == PATH:
            answer = webob.Response(
                body=prometheus_client.generate_latest(self._collector),
                headerlist=[('Content-Type', TEXT)],
            )
        return answer(environ, start_response)


def make_application(conf: cfg.ConfigOpts) -> Application:
    """The application of a configuration.

    :raises Unavailable: KEYS_INVALID, EXTENSION_INVALID, ANCHOR_UNAVAILABLE.
    """
    service = from_conf(conf)
    # This process reads what others count.
    metrics.stop()
    return Application(
        Collector(service, conf[options.VERIFIER].metrics_dir or '')
    )
