# SPDX-License-Identifier: Apache-2.0
"""Lists: how they are asked for and answered; pages, filters, entity tags.

In version 1.0 some lists are whole and take no parameters: what they are
asked with is not looked at.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import webob

from korora_nova import errors
from korora_nova.api import schemas, versions
from korora_nova.api.call import Answer, Call, Document, json_response
from korora_nova.custody import messages
from korora_nova.rats.schemas import Schema, properties
from korora_nova.verifier import hosts, paging, results
from korora_nova.verifier.appraisal import policies, references
from korora_nova.verifier.custody import log, migrations, servers
from korora_nova.verifier.responses import orders


def list_hosts(call: Call) -> Answer:
    wanted = hosts.Query()
    if _has_pages(call):
        asked = _asked(call, schemas.LIST_HOSTS)
        wanted = hosts.Query(
            asked.text('status'),
            asked.text('tier'),
            asked.limit(),
            asked.text('marker'),
        )
    return _page(call, 'hosts', hosts.list_hosts(call.service, wanted))


def list_references(call: Call) -> Answer:
    wanted = references.Query()
    if _has_pages(call):
        asked = _asked(call, schemas.LIST_REFERENCES)
        wanted = references.Query(
            asked.text('host'), asked.limit(), asked.text('marker')
        )
    found = references.list_references(call.service, wanted)
    return _page(call, 'references', found)


def list_policies(call: Call) -> Answer:
    wanted = policies.Query()
    if _has_pages(call):
        asked = _asked(call, schemas.LIST_POLICIES)
        wanted = policies.Query(
            asked.text('host'), asked.limit(), asked.text('marker')
        )
    found = policies.list_policies(call.service, wanted)
    return _page(call, 'policies', found)


def list_migrations(call: Call) -> Answer:
    wanted = migrations.Query()
    if _has_pages(call):
        asked = _asked(call, schemas.LIST_MIGRATIONS)
        wanted = migrations.Query(
            asked.text('instance'),
            asked.text('host'),
            asked.text('status'),
            asked.text('kind'),
            asked.limit(),
            asked.text('marker'),
        )
    found = migrations.list_migrations(call.service, wanted)
    return _page(call, 'migrations', found)


def list_results(call: Call) -> Answer:
    """Its entity tag is how far it has read, which costs no list to know."""
    pages = _has_pages(call)
    wanted = _results_of(call, pages)
    if wanted.tier:
        # It ends by time, which counts no change.
        found = results.list_results(call.service, wanted)
        return _tagged(call, {**found.to_json(), 'next': found.next})
    of = f'-{call.version}' if pages else ''
    same = _unchanged(call, f'{results.mark(call.service)}{of}')
    if same is not None:
        return same
    found = results.list_results(call.service, wanted)
    more = {'next': found.next} if pages else {}
    return json_response(
        {**found.to_json(), **more}, ETag=f'"{found.mark}{of}"'
    )


def _results_of(call: Call, pages: bool) -> results.Query:
    asked = (
        _asked(call, schemas.LIST_RESULTS)
        if pages
        else _Asked(call.query('changes-since'))
    )
    since = asked.query.get('changes-since')
    return results.Query(
        None if since is None else results.Since.parse(since),
        asked.text('tier'),
        asked.limit() if pages else None,
        asked.text('marker'),
    )


def list_servers(call: Call) -> Answer:
    asked = _asked(call, schemas.LIST_SERVERS)
    page = servers.list_servers(
        call.service,
        servers.Query(
            asked.is_true('issues'),
            asked.text('holder'),
            asked.limit(servers.DEFAULT),
            asked.text('marker'),
        ),
    )
    return _tagged(call, page) if _has_pages(call) else page


def list_receipts(call: Call) -> Answer:
    if not _has_pages(call):
        return log.list_receipts(call.service, log.Query(_since(call)))
    asked = _asked(call, schemas.LIST_RECEIPTS)
    page = log.list_receipts(
        call.service,
        log.Query(
            int(asked.text('marker') or 0),
            asked.text('instance'),
            asked.limit(),
        ),
    )
    return _tagged(
        call,
        {
            'receipts': page.receipts,
            'next': str(page.next or ''),
            'last': str(page.last),
        },
    )


def _since(call: Call) -> int:
    since = call.query('since').get('since', '0')
    if not since.isascii() or not since.isdigit() or len(since) > 18:
        raise errors.Invalid(
            errors.Reason.INVALID_REQUEST,
            'The parameter since is a sequence number.',
        )
    return int(since)


def list_responses(call: Call) -> Answer:
    pages = _has_pages(call)
    asked = _asked(
        call, schemas.LIST_RESPONSES if pages else schemas.LIST_RESPONSES_1_0
    )
    wanted = orders.Query(
        asked.is_true('all'),
        asked.text('host'),
        asked.text('state'),
        asked.text('driver'),
        asked.limit(),
        asked.text('marker'),
    )
    try:
        page = orders.list_responses(call.service, wanted)
    except errors.Invalid:
        if pages:
            raise
        raise errors.NotFound(errors.Reason.RESPONSE_UNKNOWN) from None
    return _tagged(call, page) if pages else page


def _has_pages(call: Call) -> bool:
    """Whether the version is one in which every list has pages."""
    return bool(call.version >= versions.PAGES)


class _Asked(NamedTuple):
    """The parameters of a list, which follow their schema."""

    query: Mapping[str, str]

    def text(self, name: str) -> str:
        return self.query.get(name, '')

    def is_true(self, name: str) -> bool:
        return self.text(name) == 'true'

    def limit(self, default: int = paging.LIMIT) -> int:
        return min(int(self.query.get('limit', default)), paging.LIMIT)


def _asked(call: Call, schema: Schema) -> _Asked:
    """:raises Invalid: INVALID_REQUEST."""
    names = properties(schema)
    return _Asked(messages.validate(call.query(*names), schema))


def _page(call: Call, name: str, page: paging.Page[Any]) -> Answer:
    """A list under its name, in the form of the version."""
    if not _has_pages(call):
        return {name: list(page.items)}
    return _tagged(call, {name: list(page.items), 'next': page.next})


def _tagged(
    call: Call, document: Document | Mapping[str, object]
) -> webob.Response:
    """An answer with the digest of its body as its entity tag, or 304."""
    response = json_response(document)
    response.etag = hashlib.sha256(response.body).hexdigest()[:32]
    return _unchanged(call, response.etag) or response


def _unchanged(call: Call, etag: str) -> webob.Response | None:
    """304 if the caller has what this is the entity tag of."""
    if etag in call.request.if_none_match:
        return webob.Response(status=304, etag=etag, content_type=None)
    return None
