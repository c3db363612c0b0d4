# SPDX-License-Identifier: Apache-2.0
"""A request is a span of its caller's trace."""

from __future__ import annotations

from unittest import mock

import testtools
import webob

from korora_nova import errors, spans
from korora_nova.api import auth, dispatch, routes

TRACE, CALLER = 'a' * 32, 'b' * 16


class SpansTest(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.ended: list[spans.Span] = []
        patch = mock.patch.object(
            spans, '_exporter', mock.Mock(end=self.ended.append)
        )
        patch.start()
        self.addCleanup(patch.stop)

    def ask(self, handler: mock.Mock, **headers: str) -> webob.Response:
        handler.__name__ = 'show_versions'
        api = dispatch.Api(mock.Mock(), mock.Mock())
        request = webob.Request.blank('/', headers=headers)
        request.environ[auth.ENV_CONTEXT] = mock.Mock(user_id='user')
        found = {}, {'GET': routes.Route(handler, None)}
        with mock.patch.object(routes, 'match', return_value=found):
            return request.get_response(api)

    def test_trace_of_the_header(self) -> None:
        def handler(_: object) -> dict[str, object]:
            spans.count('sql', 3)
            spans.note(purpose='send', instance='')
            return {}

        self.ask(
            mock.Mock(side_effect=handler),
            traceparent=f'00-{TRACE}-{CALLER}-01',
        )
        span = self.ended[0]
        self.assertEqual(
            ('api.show_versions', TRACE, CALLER, {'purpose': 'send'}),
            (span.name, span.trace, span.parent, span.attributes),
        )
        self.assertEqual({'sql': 3}, dict(span.counts))

    def test_header_that_is_none(self) -> None:
        for said in ('', 'x', f'00-{TRACE}', 'ä' * 100):
            self.ask(mock.Mock(return_value={}), traceparent=said)
        self.assertEqual({''}, {span.parent for span in self.ended})

    def test_refusal(self) -> None:
        self.assertRaises(
            errors.Untrusted,
            self.ask,
            mock.Mock(side_effect=errors.Untrusted(errors.Reason.EVICTED)),
        )
        self.assertEqual(errors.Reason.EVICTED, self.ended[0].outcome)
