# SPDX-License-Identifier: Apache-2.0
"""Attestation results, for whoever relies on them."""

import webob

from korora_nova.api.call import Answer, Call, json_response
from korora_nova.verifier import results


def list_results(call: Call) -> Answer:
    """GET /v1/results"""
    since = results.since(call.query('changes-since').get('changes-since'))
    etag = results.etag(call.service)
    if etag in call.request.if_none_match:
        return webob.Response(status=304, etag=etag, content_type=None)
    answer = results.list_results(call.service, since)
    return json_response(answer, ETag=f'"{results.tag(answer)}"')


def show(call: Call) -> Answer:
    """GET /v1/results/{host}"""
    return results.show(call.service, call.path['host'])
