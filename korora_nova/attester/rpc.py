# SPDX-License-Identifier: Apache-2.0
"""The calls between two agents, over a bus that neither trusts."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import Any

import oslo_messaging
from oslo_config import cfg
from oslo_log import log as logging
from oslo_messaging import exceptions as bus_errors

from korora_nova import errors, metrics, spans, trail
from korora_nova.attester import server
from korora_nova.custody import messages
from korora_nova.custody.transfer import (
    PrepareRequest,
    Transfer,
    WrapRequest,
)

LOG = logging.getLogger(__name__)

TOPIC = 'korora-agent'
#: 1.1 has ``prepare``.
VERSION = '1.1'
_WRAP, _PREPARE = '1.0', '1.1'

_STOP_SECONDS = 5.0

# oslo.messaging asks every configuration for these options, but registers
# them on oslo.config's global one alone
_ASSUMED = {
    'oslo_messaging_metrics': cfg.BoolOpt('metrics_enabled', default=False),
    'oslo_messaging_tracing': cfg.BoolOpt('tracing_enabled', default=False),
}

Wrap = Callable[[WrapRequest], Transfer]
Prepare = Callable[[PrepareRequest], None]

#: What an agent of an older version says of a call that it does not know.
_UNKNOWN = ('UnsupportedVersion', 'NoSuchMethod')


class Endpoint:
    """What other agents may call, and nothing else."""

    target = oslo_messaging.Target(version=VERSION)

    def __init__(self, wrap: Wrap, prepare: Prepare) -> None:
        self._wrap = wrap
        self._prepare = prepare

    def wrap(self, ctxt: object, **request: object) -> dict[str, object]:
        """Return a transfer, or ``{"error": {...}}``; never raises."""

        def answer() -> dict[str, object]:
            asked = WrapRequest.from_json(request)
            with _span('wrap', ctxt, asked):
                return self._wrap(asked).to_json()

        return self._answer('wrap', answer)

    def prepare(self, ctxt: object, **request: object) -> dict[str, object]:
        """Return nothing, or ``{"error": {...}}``; never raises."""

        def answer() -> dict[str, object]:
            asked = PrepareRequest.from_json(request)
            with _span('prepare', ctxt, asked):
                self._prepare(asked)
            return {}

        return self._answer('prepare', answer)

    def _answer(
        self, method: str, call: Callable[[], dict[str, object]]
    ) -> dict[str, object]:
        with trail.scope():
            return self._guarded(method, call)

    def _guarded(
        self, method: str, call: Callable[[], dict[str, object]]
    ) -> dict[str, object]:
        try:
            with metrics.counted(metrics.AGENT_BUS, method=method):
                answer = call()
            LOG.info('%s for another host: done', method)
            return answer
        except errors.KororaError as exc:
            LOG.warning('Hand-over refused: %s %s', exc, exc.details)
            return {'error': server.failure(exc)}
        except Exception as exc:  # noqa: BLE001 - fail closed, answer all
            LOG.error('Hand-over failed: %s', server.describe(exc))
            internal = errors.Unavailable(errors.Reason.INTERNAL)
            return {'error': server.failure(internal)}


def _span(
    name: str, ctxt: object, asked: WrapRequest | PrepareRequest
) -> contextlib.AbstractContextManager[object]:
    trace = ctxt.get(spans.TRACEPARENT) if isinstance(ctxt, dict) else ''
    ids = {'instance': asked.instance, 'migration': asked.migration}
    trail.enter(str(trace), **ids)
    return spans.span(f'bus.{name}', remote=str(trace), **ids)


class Bus:
    """The transport of hand-overs, both ends.

    :param url: of a bus of its own; not Nova's.
    """

    def __init__(
        self, conf: cfg.ConfigOpts, url: str, host: str, timeout: float
    ) -> None:
        for group, option in _ASSUMED.items():
            conf.register_opt(option, group)
        self._transport = oslo_messaging.get_rpc_transport(conf, url=url)
        self._host = host
        self._timeout = timeout
        self._server: Any = None
        self._thread: threading.Thread | None = None

    def start(self, endpoint: Endpoint) -> None:
        """Answer calls to this host as soon as there is a bus."""
        self._thread = threading.Thread(
            target=self._serve, args=(endpoint,), name='bus', daemon=True
        )
        self._thread.start()

    def _serve(self, endpoint: Endpoint) -> None:
        server = oslo_messaging.get_rpc_server(
            self._transport,
            oslo_messaging.Target(topic=TOPIC, server=self._host),
            [endpoint],
            access_policy=oslo_messaging.DefaultRPCAccessPolicy,
        )
        server.start()  # returns when the broker is there
        self._server = server

    def stop(self) -> None:
        """Stop serving; not longer than a broker that is away admits."""
        closing = threading.Thread(
            target=self._close, name='bus-close', daemon=True
        )
        closing.start()
        closing.join(_STOP_SECONDS)

    def _close(self) -> None:
        if self._thread is not None:
            self._thread.join()
        if self._server is not None:
            self._server.stop()
            self._server.wait()
        self._transport.cleanup()

    def ask(self, source: str, request: WrapRequest) -> Transfer:
        """Ask the agent of ``source`` to wrap a server's key.

        :raises KororaError: the source's refusal, by its reason.
        :raises CustodyError: TRANSFER_INVALID.
        :raises Unavailable: BUS_UNAVAILABLE.
        """
        answer = self._call(source, _WRAP, 'wrap', request, self._timeout)
        return Transfer.from_json(answer)

    def prepare(self, dest: str, request: PrepareRequest) -> None:
        """Ask the agent of ``dest`` to ask for a server's key.

        :raises KororaError: the destination's refusal, by its reason.
        :raises Unavailable: BUS_UNAVAILABLE, PEER_TOO_OLD.
        """
        # It asks for the key meanwhile.
        wait = 2 * self._timeout
        self._call(dest, _PREPARE, 'prepare', request, wait)

    def _call(
        self,
        host: str,
        version: str,
        method: str,
        request: messages.Message,
        timeout: float,
    ) -> object:
        client = oslo_messaging.get_rpc_client(
            self._transport,
            oslo_messaging.Target(topic=TOPIC, server=host, version=version),
            timeout=timeout,
        )
        try:
            spans.count('rpc')
            answer = client.call(spans.carrier(), method, **request.to_json())
        except bus_errors.MessagingException as exc:
            raise _failed(host, exc) from None
        return answered(answer)


def answered(answer: object) -> object:
    """What another agent answered, unless that is a refusal.

    :raises KororaError: its refusal, by its reason.
    """
    reported = answer.get('error') if isinstance(answer, dict) else None
    if isinstance(reported, dict):
        raise errors.from_reason(
            str(reported.get('reason'))[:64],
            str(reported.get('message'))[:1024],
        )
    return answer


def _failed(
    host: str, exc: bus_errors.MessagingException
) -> errors.Unavailable:
    kind = getattr(exc, 'exc_type', None) or type(exc).__name__
    if kind in _UNKNOWN:
        return errors.Unavailable(
            errors.Reason.PEER_TOO_OLD,
            f'The agent of host {host} is too old for this.',
        )
    return errors.Unavailable(
        errors.Reason.BUS_UNAVAILABLE,
        f'The agent of host {host} did not answer over the bus of '
        f'[handover] transport_url: {kind}.',
    )
