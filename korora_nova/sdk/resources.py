# SPDX-License-Identifier: Apache-2.0
"""What the API has, as resources of openstacksdk.

Nothing signed is verified here: whoever relies on a token verifies it with
pinned keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from openstack import resource


class _Resource(resource.Resource):
    """Lists in pages, by the marker that each answer ends with."""

    _max_microversion = '1.1'
    allow_fetch = True
    allow_list = True

    @classmethod
    def _get_next_link(
        cls,
        uri: str,
        response: Any,
        data: Any,
        marker: str | None,
        limit: Any,
        total_yielded: int,
    ) -> tuple[str | None, Mapping[str, str | list[str] | int | None]]:
        behind = data.get('next') if isinstance(data, dict) else None
        if not behind:
            return None, {}
        return uri, {'marker': behind, **({'limit': limit} if limit else {})}


class Host(_Resource):
    """A compute host, and what is thought of it."""

    base_path = '/hosts'
    resources_key = 'hosts'
    allow_delete = True
    _query_mapping = resource.QueryParameters('status', 'tier')

    name = resource.Body('name', alternate_id=True)
    status = resource.Body('status')
    tier = resource.Body('tier')
    reasons = resource.Body('reasons', type=list)
    ek_hash = resource.Body('ek_hash')
    is_certified = resource.Body('certified', type=bool)
    is_enforcing = resource.Body('enforcing', type=bool)
    enforcer = resource.Body('enforcer', type=dict)
    certificate = resource.Body('certificate', type=dict)
    streams = resource.Body('streams')
    #: Seconds since 1970, as are the other times.
    enrolled_at = resource.Body('enrolled_at', type=float)
    last_attested = resource.Body('last_attested', type=float)
    evicted_at = resource.Body('evicted_at', type=float)
    policies = resource.Body('policies', type=list)
    sources = resource.Body('sources', type=list)


class Result(_Resource):
    """The latest attestation result of a host."""

    base_path = '/results'
    resources_key = 'results'
    _query_mapping = resource.QueryParameters(
        'tier', changes_since='changes-since'
    )

    host = resource.Body('host', alternate_id=True)
    tier = resource.Body('tier')
    reasons = resource.Body('reasons', type=list)
    #: Signed.
    token = resource.Body('token')
    findings = resource.Body('findings', type=list)
    sources = resource.Body('sources', type=list)


class Reference(_Resource):
    """Reference values that were learned from a host."""

    base_path = '/references'
    resources_key = 'references'
    allow_create = True
    allow_delete = True
    _query_mapping = resource.QueryParameters('host')

    name = resource.Body('name', alternate_id=True)
    host = resource.Body('host')
    created_at = resource.Body('created_at', type=float)
    pcrs = resource.Body('pcrs', type=dict)
    ima_digests = resource.Body('ima_digests', type=list)
    measured = resource.Body('measured', type=dict)
    boot = resource.Body('boot', type=dict)


class Policy(_Resource):
    """An appraisal policy; lists are without its document."""

    base_path = '/policies'
    resources_key = 'policies'
    allow_delete = True
    _query_mapping = resource.QueryParameters('host')

    name = resource.Body('name', alternate_id=True)
    description = resource.Body('description')
    revision = resource.Body('revision', type=int)
    hosts = resource.Body('hosts', type=list)
    rules = resource.Body('rules', type=list)
    document = resource.Body('document', type=dict)
    created_at = resource.Body('created_at', type=float)
    updated_at = resource.Body('updated_at', type=float)
    actor = resource.Body('actor')


class Server(_Resource):
    """A server whose key is in custody."""

    base_path = '/servers'
    resources_key = 'servers'
    _query_mapping = resource.QueryParameters('issues', 'holder')

    instance = resource.Body('instance', alternate_id=True)
    state = resource.Body('state')
    holder = resource.Body('holder')
    epoch = resource.Body('epoch', type=int)
    pending = resource.Body('pending')
    issues = resource.Body('issues', type=list)
    ends = resource.Body('ends', type=list)
    exits = resource.Body('exits', type=list)
    refused = resource.Body('refused', type=dict)


class Migration(_Resource):
    """A hand-over of a server's key from host to host."""

    base_path = '/migrations'
    resources_key = 'migrations'
    _query_mapping = resource.QueryParameters(
        'instance', 'host', 'status', 'kind'
    )

    instance = resource.Body('instance')
    source = resource.Body('source')
    dest = resource.Body('dest')
    kind = resource.Body('kind')
    status = resource.Body('status')
    epoch = resource.Body('epoch', type=int)
    source_word = resource.Body('source_word')
    dest_word = resource.Body('dest_word')
    #: Signed; None until it is decided.
    receipt = resource.Body('receipt')
    taint = resource.Body('taint', type=list)
    created_at = resource.Body('created_at', type=float)
    updated_at = resource.Body('updated_at', type=float)


class Response(_Resource):
    """What is done about a host that lost its trust."""

    base_path = '/responses'
    resources_key = 'responses'
    _query_mapping = resource.QueryParameters('all', 'host', 'state', 'driver')

    host = resource.Body('host')
    driver = resource.Body('driver')
    state = resource.Body('state')
    reasons = resource.Body('reasons', type=list)
    why = resource.Body('why')
    error = resource.Body('error')
    created_at = resource.Body('created_at', type=float)
    updated_at = resource.Body('updated_at', type=float)
