# SPDX-License-Identifier: Apache-2.0
"""Scheduler filter: hosts that are trusted now, for servers that ask.

::

    [filter_scheduler]
    available_filters = nova.scheduler.filters.all_filters
    available_filters = korora_nova.relying_party.filter.AttestationFilter
    enabled_filters = ...,AttestationFilter

The filter spares hopeless attempts; the driver enforces.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

import nova.conf
from nova.scheduler import filters, utils
from oslo_log import log as logging

from korora_nova import client, conf, errors, metrics
from korora_nova.relying_party import facts, results, table

CONF = nova.conf.CONF
LOG = logging.getLogger(__name__)

#: So many hosts are named for each reason, at DEBUG.
SHOWN = 100

conf.register_korora_opts(CONF)


class AttestationFilter(filters.BaseHostFilter):  # type: ignore[misc]
    """Pass trusted hosts; for servers without requirement, pass all.

    One decision for all hosts of a request, from what is at hand; only the
    first request, and one that finds no host, waits, at most
    ``[korora] decision_timeout`` seconds.
    """

    # A new image can bring a requirement.
    RUN_ON_REBUILD = True
    run_filter_once_per_request = True

    def __init__(self) -> None:
        super().__init__()
        metrics.start(CONF.korora.metrics_dir, metrics.FILTER)
        # Nothing is asked, and no thread runs, before the first request: this
        # process may fork.
        self._results = results.Results(
            lambda: client.from_conf(CONF, conf.KORORA),
            CONF.korora.trusted_keys,
            cache=CONF.korora.result_cache,
            budget=CONF.korora.decision_timeout,
        )

    def filter_all(
        self, filter_obj_list: Iterable[Any], spec_obj: Any
    ) -> list[Any]:
        """Return the hosts that pass, as a list: never a generator.

        Nova turns an exception out of a filter into a server in ERROR, so
        whatever goes wrong is logged and refuses all hosts.
        """
        hosts = list(filter_obj_list)
        try:
            return self._trusted(hosts, spec_obj)
        except errors.KororaError as exc:
            metrics.FILTER_REQUESTS.add(outcome=metrics.outcome(exc))
            LOG.warning(
                'No host for server %(server)s: %(error)s',
                {'server': spec_obj.instance_uuid, 'error': exc},
            )
        except Exception:  # noqa: BLE001 boundary: Nova would set ERROR
            metrics.FILTER_REQUESTS.add(outcome=metrics.OTHER)
            LOG.exception('The attestation filter failed; no host passes')
        return []

    def host_passes(self, host_state: Any, filter_properties: Any) -> bool:
        """Decide on one host, for callers that ask one by one."""
        return bool(self.filter_all([host_state], filter_properties))

    def _trusted(self, hosts: list[Any], spec_obj: Any) -> list[Any]:
        if not self.RUN_ON_REBUILD and utils.request_is_rebuild(spec_obj):
            return hosts
        demanded = facts.of_request(spec_obj, CONF.korora.protect_vtpm)
        if not demanded.trusted:
            return hosts
        with metrics.FILTER_SECONDS.time({}):
            sifted = self._sift(hosts, demanded.max_age)
        _count(sifted)
        if sifted.refused:
            _tell(sifted, spec_obj.instance_uuid)
        return sifted.passed

    def _sift(self, hosts: list[Any], max_age: float | None) -> table.Sifted:
        known = self._results.decide()
        sifted = known.sift(hosts, time.time(), max_age)
        if hosts and not sifted.passed:
            newer = self._results.again(known)
            if newer is not None:
                sifted = newer.sift(hosts, time.time(), max_age)
        return sifted


def _count(sifted: table.Sifted) -> None:
    metrics.FILTER_REQUESTS.add(
        outcome=metrics.OK if sifted.passed else 'none'
    )
    metrics.FILTER_HOSTS.add(len(sifted.passed), outcome='passed')
    for reason, hosts in sifted.refused.items():
        metrics.FILTER_HOSTS.add(len(hosts), outcome=metrics.known(reason))


def _tell(sifted: table.Sifted, server: str) -> None:
    """One line for all hosts that were refused; DEBUG has names."""
    LOG.info(
        'Passed %(passed)d hosts for server %(server)s; refused: %(why)s',
        {
            'passed': len(sifted.passed),
            'server': server,
            'why': ', '.join(
                f'{len(hosts)} {reason}'
                for reason, hosts in sifted.refused.items()
            ),
        },
    )
    if not LOG.isEnabledFor(logging.DEBUG):
        return
    for reason, hosts in sifted.refused.items():
        LOG.debug(
            'Refused for server %(server)s: [%(reason)s] %(hosts)s%(more)s',
            {
                'server': server,
                'reason': reason,
                'hosts': ' '.join(hosts[:SHOWN]),
                'more': ' ...' if len(hosts) > SHOWN else '',
            },
        )
