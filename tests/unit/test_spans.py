# SPDX-License-Identifier: Apache-2.0
"""Spans: nothing while off; who is whose, and what is counted, while on."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import threading
import time
import types
from unittest import mock

import testtools
from oslo_context import context, fixture

from korora_nova import errors, spans

REQUEST = 'req-0b1c2d3e-4f50-4a6b-8c7d-9e0f1a2b3c4d'
TRACE = '0b1c2d3e4f504a6b8c7d9e0f1a2b3c4d'
FROM = f'00-{TRACE}-{"c" * 16}-01'


class Kept:
    """An exporter that keeps what has ended."""

    def __init__(self) -> None:
        self.ended: list[spans.Span] = []

    def begin(self, span: spans.Span) -> None:
        pass

    def end(self, span: spans.Span) -> None:
        self.ended.append(span)


class OffTest(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        # A thread that works for nobody, whatever ran in it before
        self.useFixture(fixture.ClearRequestContext())

    def test_off_is_one_shared_nothing(self) -> None:
        self.assertFalse(spans.enabled())
        self.assertIs(spans.span('a', instance='x'), spans.span('b'))
        with spans.span('a'):
            spans.count('tpm', 3)
            spans.note(purpose='send')
            self.assertEqual({}, spans.carrier())

    def test_off_costs_nothing(self) -> None:
        began = time.thread_time()
        for _ in range(10_000):
            with spans.span('a', instance='x'):
                spans.count('http')
        self.assertLess(time.thread_time() - began, 0.5)

    def test_none_is_off(self) -> None:
        spans.start(spans.NONE, 'korora-agent')
        self.assertFalse(spans.enabled())


class SpansTest(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.useFixture(fixture.ClearRequestContext())
        self.kept = Kept()
        patch = mock.patch.object(spans, '_exporter', self.kept)
        patch.start()
        self.addCleanup(patch.stop)

    def test_times_and_counts(self) -> None:
        with spans.span('outer', instance='i') as outer:
            spans.count('http')
            with spans.span('inner', migration='m'):
                spans.count('tpm', 5)
                time.sleep(0.02)
        inner = self.kept.ended[0]
        self.assertEqual(['inner', 'outer'], [s.name for s in self.kept.ended])
        self.assertEqual({'tpm': 5}, dict(inner.counts))
        self.assertEqual({'http': 1, 'tpm': 5}, dict(outer.counts))
        self.assertEqual({'instance': 'i', 'migration': 'm'}, inner.attributes)
        self.assertEqual({'instance': 'i'}, outer.attributes)
        self.assertEqual((inner.trace, inner.parent), (outer.trace, outer.id))
        self.assertGreaterEqual(outer.wall, inner.wall)
        self.assertGreaterEqual(inner.wall, 0.02)
        self.assertLess(inner.cpu, 0.02)

    def test_what_is_outside_counts_nowhere(self) -> None:
        spans.count('http')
        with spans.span('a') as span:
            pass
        spans.note(purpose='send')
        self.assertEqual({}, dict(span.counts))
        self.assertEqual({}, span.attributes)

    def test_another_thread_is_outside(self) -> None:
        with spans.span('a') as span:
            thread = threading.Thread(target=spans.count, args=('http',))
            thread.start()
            thread.join()
        self.assertEqual({}, dict(span.counts))

    def test_trace_is_of_novas_request(self) -> None:
        context.RequestContext(request_id=REQUEST)
        with spans.span('precheck'):
            pass
        self.assertEqual(TRACE, self.kept.ended[0].trace)
        context.RequestContext(request_id='req-of-somebody')
        with spans.span('precheck'):
            pass
        self.assertNotIn('somebody', self.kept.ended[1].trace)

    def test_trace_goes_on_in_another_process(self) -> None:
        with spans.span('agent') as caller:
            said = spans.carrier()[spans.TRACEPARENT]
        with spans.span('api', remote=said) as called:
            pass
        self.assertEqual(
            (caller.trace, caller.id), (called.trace, called.parent)
        )

    def test_what_is_no_traceparent_is_ignored(self) -> None:
        for said in ('', '00-zz', said_too_long(), 'None', '{}'):
            with spans.span('api', remote=said) as called:
                pass
            self.assertEqual('', called.parent)

    def test_outcome_is_a_reason_never_a_text(self) -> None:
        with testtools.ExpectedException(errors.Untrusted):
            with spans.span('a'):
                raise errors.Untrusted(
                    errors.Reason.HOST_UNTRUSTED, 'words of a peer'
                )
        with testtools.ExpectedException(ValueError):
            with spans.span('b'):
                raise ValueError('words of a peer')
        self.assertEqual(
            ['HOST_UNTRUSTED', 'ValueError'],
            [span.outcome for span in self.kept.ended],
        )

    def test_exporter_that_fails_fails_nothing(self) -> None:
        with (
            mock.patch.object(self.kept, 'begin', side_effect=OSError),
            mock.patch.object(self.kept, 'end', side_effect=OSError),
        ):
            with spans.span('a'):
                spans.count('http')


def said_too_long() -> str:
    return f'00-{"a" * 32}-{"b" * 16}-01' + '0' * 10_000


class LogTest(testtools.TestCase):
    def test_line(self) -> None:
        with mock.patch.object(spans, '_exporter', None):
            spans.start(spans.TO_LOG, 'korora-agent')
            with mock.patch.object(spans.LOG, 'info') as info:
                with spans.span('a', instance='i'):
                    spans.count('http')
        found = json.loads(info.call_args.args[1])
        self.assertEqual(
            {
                'span': 'a',
                'process': 'korora-agent',
                'parent': '',
                'root': True,
                'counts': {'http': 1},
                'outcome': '',
                'instance': 'i',
            },
            {
                key: value
                for key, value in found.items()
                if key not in ('trace', 'id', 'began', 'wall_ms', 'cpu_ms')
            },
        )


class OpenTelemetryTest(testtools.TestCase):
    def test_without_it_spans_are_off(self) -> None:
        with (
            mock.patch.object(spans, '_exporter', None),
            mock.patch.dict(sys.modules, {'opentelemetry': None}),
            mock.patch.object(spans.LOG, 'error') as error,
        ):
            spans.start(spans.OPENTELEMETRY, 'korora-agent')
            self.assertFalse(spans.enabled())
        self.assertTrue(error.called)

    def test_it_is_told_of_the_trace(self) -> None:
        """With a provider of opentelemetry-instrument."""
        api = mock.Mock(ProxyTracerProvider=types.SimpleNamespace)
        tracer = api.get_tracer_provider.return_value.get_tracer.return_value
        made = tracer.start_span.return_value
        made.get_span_context.return_value.is_valid = False
        with mock.patch.dict(
            sys.modules, {'opentelemetry': mock.Mock(trace=api)}
        ):
            exporter = spans._OpenTelemetry('korora-agent')
        with mock.patch.object(spans, '_exporter', exporter):
            with spans.span('a', instance='i', remote=FROM):
                spans.count('tpm', 2)
        self.assertEqual(
            (int(TRACE, 16), int('c' * 16, 16)),
            api.SpanContext.call_args.args,
        )
        said = {c.args for c in made.set_attribute.call_args_list}
        self.assertTrue(
            {('korora.instance', 'i'), ('korora.tpm', 2)} <= said, said
        )
        made.end.assert_called_once_with()


@testtools.skipIf(
    importlib.util.find_spec('opentelemetry') is None
    or importlib.util.find_spec('opentelemetry.sdk') is None,
    'opentelemetry-sdk is not installed',
)
class SdkTest(testtools.TestCase):
    """What the site has."""

    def start(self, **environ: str) -> object:
        patches = (
            mock.patch.object(spans, '_exporter', None),
            mock.patch.dict(os.environ, environ),
        )
        for patch in patches:
            patch.start()
            self.addCleanup(patch.stop)
        os.environ.pop('OTEL_SERVICE_NAME', None)
        with mock.patch.object(spans.LOG, 'error') as error:
            spans.start(spans.OPENTELEMETRY, 'korora-agent')
        return error

    def test_spans(self) -> None:
        from opentelemetry.sdk import trace
        from opentelemetry.sdk.trace import export
        from opentelemetry.sdk.trace.export import in_memory_span_exporter

        memory = in_memory_span_exporter.InMemorySpanExporter()
        with mock.patch.object(
            trace.TracerProvider,
            'get_tracer',
            autospec=True,
            side_effect=trace.TracerProvider.get_tracer,
        ) as made:
            self.start(OTEL_TRACES_EXPORTER='none')
        made.call_args.args[0].add_span_processor(
            export.SimpleSpanProcessor(memory)
        )
        with spans.span('outer', remote=FROM):
            with spans.span('inner', instance='i'):
                spans.count('sql', 4)
        inner, outer = memory.get_finished_spans()
        self.assertEqual(int(TRACE, 16), inner.context.trace_id)
        self.assertEqual(outer.context.span_id, inner.parent.span_id)
        self.assertEqual(int('c' * 16, 16), outer.parent.span_id)
        self.assertEqual('i', inner.attributes['korora.instance'])
        self.assertEqual(4, outer.attributes['korora.sql'])
        self.assertEqual(
            'korora-agent', outer.resource.attributes['service.name']
        )

    def test_exporter_of_the_environment(self) -> None:
        self.start(OTEL_TRACES_EXPORTER='console')
        self.assertTrue(spans.enabled())

    def test_exporter_that_nobody_has(self) -> None:
        error = self.start(OTEL_TRACES_EXPORTER='carrier-pigeon')
        self.assertFalse(spans.enabled())
        self.assertIn('carrier-pigeon', str(error.call_args))
