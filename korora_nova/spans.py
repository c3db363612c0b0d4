# SPDX-License-Identifier: Apache-2.0
"""What Kororā adds to an operation: time, CPU and counts, by process.

Off by default; then all of this does nothing::

    with spans.span('precheck', instance=instance.uuid):
        ...
    spans.count('tpm', commands)

A span knows the span around it, in its thread or, by W3C's ``traceparent``
(:func:`carrier`, ``remote``), in the process that called. The first one of an
operation of Nova takes the UUID in the request id of that for its trace: both
nova-compute of a migration, their agents and the service have the same.

Attributes are ids of servers and migrations, and words of this package; no
text comes from outside.
"""

from __future__ import annotations

import collections
import contextlib
import contextvars
import json
import os
import threading
import time
import uuid
from collections.abc import Mapping
from importlib import metadata
from types import TracebackType
from typing import Any, Final, Protocol

from oslo_log import log as logging

from korora_nova import trail

LOG = logging.getLogger(__name__)

NONE, TO_LOG, OPENTELEMETRY = EXPORTERS = ('none', 'log', 'opentelemetry')

#: What is counted: requests over HTTP, calls over the bus, commands to the
#: TPM, statements of SQL, calls of the agent's local socket.
KINDS: Final = ('http', 'rpc', 'tpm', 'sql', 'agent')

TRACEPARENT: Final = trail.TRACEPARENT


class Exporter(Protocol):
    """Where spans go."""

    def begin(self, span: Span) -> None:
        """May give the span another trace and id."""

    def end(self, span: Span) -> None: ...


_NOTHING: Final = contextlib.nullcontext()
_exporter: Exporter | None = None
_lock = threading.Lock()
_current: contextvars.ContextVar[Span | None] = contextvars.ContextVar(
    'korora_span', default=None
)


class Span:
    """One piece of work.

    :param parent: id of the span around it, '' for the first.
    :param outcome: '' if it went well; the reason id of a refusal, or the
        class of another exception.
    """

    def __init__(
        self, to: Exporter, name: str, attributes: Mapping[str, str], at: str
    ) -> None:
        self._to = to
        self.name = name
        self.attributes = {k: v for k, v in attributes.items() if v}
        self.above = _current.get()
        found = trail.TRACE.fullmatch(at)
        self.trace: str
        self.parent: str
        if self.above is not None:
            self.trace, self.parent = self.above.trace, self.above.id
            self.attributes = {**self.above.attributes, **self.attributes}
        elif found is not None:
            self.trace, self.parent = found[1], found[2]
        else:
            self.trace, self.parent = _new_trace(), ''
        self.id: str = os.urandom(8).hex()
        self.counts: collections.Counter[str] = collections.Counter()
        self.outcome = ''
        self.began = self.wall = self.cpu = 0.0
        #: The exporter's.
        self.handle: Any = None

    def __enter__(self) -> Span:
        _safely(self._to.begin, self)
        self._token = _current.set(self)
        self.began = time.time()
        self.wall, self.cpu = time.perf_counter(), time.thread_time()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.wall = time.perf_counter() - self.wall
        self.cpu = time.thread_time() - self.cpu
        _current.reset(self._token)
        if kind is not None:
            self.outcome = str(getattr(exc, 'reason', kind.__name__))
        if self.above is not None:
            with _lock:
                self.above.counts.update(self.counts)
        _safely(self._to.end, self)


def _new_trace() -> str:
    """The trace of what Nova does now, or a new one."""
    found = trail.request_id()
    return uuid.UUID(found.removeprefix('req-') or uuid.uuid4().hex).hex


def _safely(function: Any, span: Span) -> None:
    try:
        function(span)
    except Exception:  # noqa: BLE001 boundary: no operation fails for it
        LOG.warning('A span is lost', exc_info=True)


def span(
    name: str, *, remote: str = '', **attributes: str
) -> contextlib.AbstractContextManager[Span | None]:
    """Measure what is done inside.

    :param remote: the caller's ``traceparent``, which may be anything.
    :param attributes: ``instance`` and ``migration``, and words of ours.
    """
    if _exporter is None:
        return _NOTHING
    return Span(_exporter, name, attributes, remote)


def count(kind: str, number: int = 1) -> None:
    """Count something of :data:`KINDS` in the span around it."""
    if _exporter is None:
        return
    current = _current.get()
    if current is not None:
        with _lock:
            current.counts[kind] += number


def note(**attributes: str) -> None:
    """Say more of the span around it."""
    if _exporter is None:
        return
    current = _current.get()
    if current is not None:
        current.attributes.update({k: v for k, v in attributes.items() if v})


def carrier() -> dict[str, str]:
    """What another process must be told to go on with this trace."""
    current = None if _exporter is None else _current.get()
    if current is None:
        return trail.carrier()
    return {TRACEPARENT: f'00-{current.trace}-{current.id}-01'}


def enabled() -> bool:
    return _exporter is not None


def start(exporter: str, process: str) -> None:
    """Begin, if that is configured; never fails.

    :param exporter: one of :data:`EXPORTERS`.
    :param process: its name, for whoever shows spans.
    """
    global _exporter
    try:
        if exporter == TO_LOG:
            _exporter = _Log(process)
        elif exporter == OPENTELEMETRY:
            _exporter = _OpenTelemetry(process)
    except Exception as exc:  # noqa: BLE001 boundary: the process must start
        LOG.error('Spans are off: %s: %s', type(exc).__name__, exc)


class _Log:
    """One line of JSON for each span."""

    def __init__(self, process: str) -> None:
        self._process = process

    def begin(self, span: Span) -> None:
        """Nothing is written before its end."""

    def end(self, span: Span) -> None:
        document = {
            'span': span.name,
            'process': self._process,
            'trace': span.trace,
            'id': span.id,
            'parent': span.parent,
            'root': span.above is None,
            'began': round(span.began, 6),
            'wall_ms': round(span.wall * 1000, 3),
            'cpu_ms': round(span.cpu * 1000, 3),
            'counts': dict(span.counts),
            'outcome': span.outcome,
            **span.attributes,
        }
        LOG.info('span %s', json.dumps(document, separators=(',', ':')))


class _OpenTelemetry:
    """The API of OpenTelemetry; what its SDK does is the site's.

    A provider that is there is used: that of ``opentelemetry-instrument``.
    """

    def __init__(self, process: str) -> None:
        from opentelemetry import trace

        self._api = trace
        provider = trace.get_tracer_provider()
        if isinstance(provider, trace.ProxyTracerProvider):
            provider = _configure(process)
        self._tracer = provider.get_tracer('korora_nova')

    def begin(self, span: Span) -> None:
        api = self._api
        above = (
            span.above.handle
            if span.above is not None
            # Nova's own part of the operation is no span: its request is
            else api.NonRecordingSpan(
                api.SpanContext(
                    int(span.trace, 16),
                    int(span.parent or span.trace[16:], 16) or 1,
                    is_remote=True,
                    trace_flags=api.TraceFlags(api.TraceFlags.SAMPLED),
                )
            )
        )
        span.handle = self._tracer.start_span(
            f'korora.{span.name}', api.set_span_in_context(above)
        )
        made = span.handle.get_span_context()
        if made.is_valid:
            span.trace = f'{made.trace_id:032x}'
            span.id = f'{made.span_id:016x}'

    def end(self, span: Span) -> None:
        if span.handle is None:
            return
        for key, value in {
            **span.attributes,
            **span.counts,
            'cpu_ms': round(span.cpu * 1000, 3),
            'outcome': span.outcome or 'ok',
        }.items():
            span.handle.set_attribute(f'korora.{key}', value)
        if span.outcome:
            span.handle.set_status(self._api.StatusCode.ERROR)
        span.handle.end()


def _configure(process: str) -> Any:
    """A provider as the site's variables want it; the SDK reads the others.

    :raises ImportError: there is no SDK.
    :raises ValueError: no package has an exporter of this name.
    """
    from opentelemetry.sdk import resources, trace
    from opentelemetry.sdk.trace import export

    os.environ.setdefault(resources.OTEL_SERVICE_NAME, process)
    provider = trace.TracerProvider()
    for name in os.environ.get('OTEL_TRACES_EXPORTER', 'otlp').split(','):
        if name == 'otlp':
            protocol = os.environ.get(
                'OTEL_EXPORTER_OTLP_PROTOCOL', 'http/protobuf'
            )
            name = f'otlp_proto_{protocol.partition("/")[0]}'
        if name == 'none':
            continue
        found = [
            *metadata.entry_points(
                group='opentelemetry_traces_exporter', name=name.strip()
            )
        ]
        if not found:
            raise ValueError(f'no OpenTelemetry exporter {name} is installed')
        provider.add_span_processor(
            export.BatchSpanProcessor(found[0].load()())
        )
    return provider
