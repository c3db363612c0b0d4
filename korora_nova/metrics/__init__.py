# SPDX-License-Identifier: Apache-2.0
"""What is counted, for Prometheus: every metric that a process counts.

Off by default; then each point is one call that returns at once::

    metrics.FILTER_HOSTS.add(3, outcome='passed')
    with metrics.API_SECONDS.time({'handler': name}):
        ...

Labels have few values, all of them words of this package: never the name of a
host, server, user or file. What a peer calls a reason is one of
:mod:`korora_nova.reasons`, or :data:`OTHER`. What the service's database says
about the whole fleet is counted in ``verifier.figures``.
"""

from __future__ import annotations

from korora_nova.metrics.counting import (
    METRICS,
    OK,
    OTHER,
    Counter,
    Gauge,
    Histogram,
    Metric,
    counted,
    enabled,
    known,
    outcome,
    start,
    stop,
    write,
)

__all__ = [
    'METRICS',
    'OK',
    'OTHER',
    'Counter',
    'Gauge',
    'Histogram',
    'Metric',
    'counted',
    'enabled',
    'known',
    'outcome',
    'start',
    'stop',
    'write',
]

#: Processes: how their files begin.
API, AGENT, FILTER, MANAGE = (
    'korora-api',
    'korora-agent',
    'korora-filter',
    'korora-manage',
)

# -- the attestation service ----------------------------------------------

API_REQUESTS = Counter(
    'korora_api_requests_total',
    'Requests to the attestation API, by handler and HTTP status.',
    ('handler', 'code'),
)
API_REFUSALS = Counter(
    'korora_api_refusals_total',
    'Requests that the attestation API refused, by reason id.',
    ('reason',),
)
API_SECONDS = Histogram(
    'korora_api_request_duration_seconds',
    'Time of requests to the attestation API, Keystone included.',
    ('handler',),
)
ATTESTATIONS = Counter(
    'korora_api_attestations_total',
    'Evidence that was appraised, by its purpose and what came of it.',
    ('purpose', 'tier'),
)
OFFLINE_APPROVALS = Counter(
    'korora_api_offline_approvals_total',
    'Approvals that were given in advance, for offline windows of hosts.',
)

# -- korora-agent ---------------------------------------------------------

AGENT_ATTESTATIONS = Counter(
    'korora_agent_attestations_total',
    'Attestations that the service answered ("ok"), or not: a reason id.',
    ('outcome',),
)
AGENT_TRUSTED = Gauge(
    'korora_agent_trusted',
    '1 if the last result of this host is affirming, else 0.',
)
AGENT_EXPIRES = Gauge(
    'korora_agent_result_expiry_timestamp_seconds',
    'When the last result of this host expires, seconds since 1970.',
)
AGENT_OPERATIONS = Counter(
    'korora_agent_operations_total',
    'Operations of the local socket, by outcome: "ok" or a reason id.',
    ('op', 'outcome'),
)
AGENT_SECONDS = Histogram(
    'korora_agent_operation_duration_seconds',
    'Time of operations of the local socket.',
    ('op',),
)
AGENT_OFFLINE_SERVERS = Gauge(
    'korora_agent_offline_servers',
    'Servers that may start here although the service cannot be reached.',
)
AGENT_OFFLINE_STARTS = Counter(
    'korora_agent_offline_starts_total',
    'Starts for which the service could not be reached, and that it had '
    'approved in advance: "ok" or a reason id.',
    ('outcome',),
)
AGENT_BUS = Counter(
    'korora_agent_bus_requests_total',
    'Calls by agents of other hosts, by outcome: "ok" or a reason id.',
    ('method', 'outcome'),
)

# -- AttestationFilter ----------------------------------------------------

FILTER_REQUESTS = Counter(
    'korora_filter_requests_total',
    'Scheduling requests that need a trusted host: "ok" if some host passed, '
    '"none" if all were refused, a reason id if nothing could be decided.',
    ('outcome',),
)
FILTER_HOSTS = Counter(
    'korora_filter_hosts_total',
    'Hosts in these requests: "passed", or the reason id of the refusal.',
    ('outcome',),
)
FILTER_SECONDS = Histogram(
    'korora_filter_duration_seconds',
    'Time of these requests in the filter.',
)
FILTER_REFRESHES = Counter(
    'korora_filter_refreshes_total',
    'Refreshes of the results of all hosts: "ok" or a reason id.',
    ('outcome',),
)
FILTER_REFRESHED = Gauge(
    'korora_filter_refresh_timestamp_seconds',
    'When the results of all hosts were refreshed last, seconds since 1970.',
)

# -- korora-manage placement sync -----------------------------------------

PLACEMENT_PROVIDERS = Gauge(
    'korora_placement_providers',
    'Resource providers by what the last run did: those that it wanted to '
    'have the trait are "trusted".',
    ('state',),
)
PLACEMENT_SYNCED = Gauge(
    'korora_placement_sync_timestamp_seconds',
    'When all was as it should be for the last time, seconds since 1970.',
)
