# SPDX-License-Identifier: Apache-2.0
"""Driver "notify": versioned notifications over oslo.messaging."""

from __future__ import annotations

import datetime
import socket
from typing import Any

import oslo_messaging
from oslo_config import cfg
from oslo_messaging.notify import messaging

from korora_nova import conf as options
from korora_nova import errors
from korora_nova.response.drivers import base, events
from korora_nova.verifier.responses.words import Response

# oslo.messaging asks every configuration for these options, but registers
# them on oslo.config's global one alone
_ASSUMED = {
    'oslo_messaging_metrics': cfg.BoolOpt('metrics_enabled', default=False),
    'oslo_messaging_tracing': cfg.BoolOpt('tracing_enabled', default=False),
}


class _Sender(messaging.MessagingV2Driver):  # type: ignore[misc]
    """Says whether the bus took it; the library's only logs that."""

    def notify(
        self, ctxt: object, message: object, priority: str, retry: int
    ) -> None:
        for topic in self.topics:
            self.transport._send_notification(
                oslo_messaging.Target(topic=f'{topic}.{priority.lower()}'),
                ctxt,
                message,
                version=self.version,
                retry=retry,
            )


class Notify(base.Driver):
    """See the module."""

    TOUCHES = False

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        group = conf[options.RESPONSE]
        if not group.notification_url:
            raise errors.Unavailable(
                errors.Reason.RESPONSE_DRIVER,
                'The response driver notify needs [response] '
                'notification_url.',
            )
        for name, option in _ASSUMED.items():
            conf.register_opt(option, name)
        transport = oslo_messaging.get_notification_transport(
            conf, url=group.notification_url
        )
        self._publisher = f'korora-enforcer:{socket.gethostname()}'
        self._sender = _Sender(
            conf, topics=[group.notification_topic], transport=transport
        )

    def do(self, response: Response, scene: base.Scene) -> base.Outcome:
        scene.guard()
        self._send(events.of(response, undone=False))
        return base.Outcome()

    def undo(self, response: Response, scene: base.Scene) -> base.Outcome:
        scene.guard()
        self._send(events.of(response, undone=True))
        return base.Outcome()

    def _send(self, event: events.Event) -> None:
        message: dict[str, object] = {
            'message_id': event.id,
            'publisher_id': self._publisher,
            'event_type': event.type,
            'priority': event.level,
            'payload': event.payload(),
            'timestamp': str(_now()),
        }
        try:
            self._sender.notify({}, message, event.level, 0)
        except Exception as exc:  # noqa: BLE001 - a bus fails in many ways
            raise errors.Unavailable(
                errors.Reason.BUS_UNAVAILABLE,
                'The bus of [response] notification_url does not take '
                f'notifications: {type(exc).__name__}.',
            ) from None


def _now() -> Any:
    return datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)
