# SPDX-License-Identifier: Apache-2.0
"""Lists: how they are asked for and answered; pages, filters, entity tags.

In version 1.0 some lists are whole and take no parameters: what they are
asked with is not looked at.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import webob

from korora_nova import errors
from korora_nova.api import schemas, versions
from korora_nova.api.call import Answer, Call, Document, json_response
from korora_nova.custody import messages
from korora_nova.rats.schemas import Json
from korora_nova.verifier import hosts, paging, results
from korora_nova.verifier.appraisal import policies, references
from korora_nova.verifier.custody import log, migrations, servers
from korora_nova.verifier.responses import orders


def list_hosts(call: Call) -> Answer:
    wanted = hosts.Query()
    if _has_pages(call):
        wanted = hosts.Query(**_limited(call, schemas.LIST_HOSTS))
    return _page(call, 'hosts', hosts.list_hosts(call.service, wanted))


def list_references(call: Call) -> Answer:
    wanted = references.Query()
    if _has_pages(call):
        wanted = references.Query(**_limited(call, schemas.LIST_REFERENCES))
    found = references.list_references(call.service, wanted)
    return _page(call, 'references', found)


def list_policies(call: Call) -> Answer:
    wanted = policies.Query()
    if _has_pages(call):
        wanted = policies.Query(**_limited(call, schemas.LIST_POLICIES))
    found = policies.list_policies(call.service, wanted)
    return _page(call, 'policies', found)


def list_migrations(call: Call) -> Answer:
    wanted = migrations.Query()
    if _has_pages(call):
        wanted = migrations.Query(**_limited(call, schemas.LIST_MIGRATIONS))
    found = migrations.list_migrations(call.service, wanted)
    return _page(call, 'migrations', found)


def list_results(call: Call) -> Answer:
    """Its entity tag is how far it has read, which costs no list to know."""
    pages = _has_pages(call)
    wanted = _results_of(
        _limited(call, schemas.LIST_RESULTS)
        if pages
        else call.query('changes-since')
    )
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


def _results_of(query: Json) -> results.Query:
    text = query.get('changes-since')
    return results.Query(
        None if text is None else results.Since.parse(text),
        query.get('tier', ''),
        query.get('limit'),
        query.get('marker', ''),
    )


def list_servers(call: Call) -> Answer:
    query = _query(call, schemas.LIST_SERVERS)
    issues = query.pop('issues', 'false') == 'true'
    page = servers.list_servers(
        call.service, servers.Query(issues=issues, **query)
    )
    return _tagged(call, page) if _has_pages(call) else page


def list_receipts(call: Call) -> Answer:
    if not _has_pages(call):
        return log.list_receipts(call.service, log.Query(_since(call)))
    query = _limited(call, schemas.LIST_RECEIPTS)
    query['since'] = int(query.pop('marker', 0))
    page = log.list_receipts(call.service, log.Query(**query))
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
    query = _query(
        call, schemas.LIST_RESPONSES if pages else schemas.LIST_RESPONSES_1_0
    )
    every = query.pop('all', 'false') == 'true'
    try:
        page = orders.list_responses(
            call.service, orders.Query(every=every, **query)
        )
    except errors.Invalid:
        if pages:
            raise
        raise errors.NotFound(errors.Reason.RESPONSE_UNKNOWN) from None
    return _tagged(call, page) if pages else page


def _has_pages(call: Call) -> bool:
    """Whether the version is one in which every list has pages."""
    return bool(call.version >= versions.PAGES)


def _query(call: Call, schema: Json) -> dict[str, Any]:
    """The parameters of a list; a ``limit`` is a number, LIMIT at most.

    :raises Invalid: INVALID_REQUEST.
    """
    found = messages.validate(call.query(*schema['properties']), schema)
    if 'limit' in found:
        found['limit'] = min(int(found['limit']), paging.LIMIT)
    return found


def _limited(call: Call, schema: Json) -> dict[str, Any]:
    """The same; ``limit`` is LIMIT if none was given."""
    return {'limit': paging.LIMIT, **_query(call, schema)}


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
