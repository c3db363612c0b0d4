# SPDX-License-Identifier: Apache-2.0
"""Driver "webhook": an HTTPS POST that is signed.

::

    Korora-Event:      host.trust.lost
    Korora-Delivery:   id of the event; the same each time it is sent
    Korora-Timestamp:  seconds since 1970
    Korora-Signature:  v1=HMAC-SHA256(key, timestamp "." body), hex

The receiver compares the signature, refuses timestamps that are minutes old,
and forgets deliveries that it has had.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import time

import requests
from oslo_config import cfg

from korora_nova import conf as options
from korora_nova import errors, transport
from korora_nova.response.drivers import base, events
from korora_nova.verifier.responses.words import Response

MIN_KEY = 32


class Webhook(base.Driver):
    """See the module."""

    TOUCHES = False

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        group = conf[options.RESPONSE]
        self._url = group.webhook_url or ''
        self._key_file = group.webhook_key_file or ''
        self._verify = group.webhook_ca_file or True
        self._timeout = group.webhook_timeout
        if not self._url.startswith('https://'):
            raise _useless('[response] webhook_url must begin with https://')
        self._key()

    def do(self, response: Response, scene: base.Scene) -> base.Outcome:
        scene.guard()
        self._post(events.of(response, undone=False))
        return base.Outcome()

    def undo(self, response: Response, scene: base.Scene) -> base.Outcome:
        scene.guard()
        self._post(events.of(response, undone=True))
        return base.Outcome()

    def _post(self, event: events.Event) -> None:
        body = json.dumps(event.payload(), sort_keys=True).encode()
        stamp = str(int(time.time()))
        headers = {
            'Content-Type': 'application/json',
            'Korora-Event': event.type,
            'Korora-Delivery': event.id,
            'Korora-Timestamp': stamp,
            'Korora-Signature': signature(self._key(), stamp, body),
        }
        try:
            with requests.Session() as session:
                session.mount('https://', transport.Adapter())
                # Not ~/.netrc, and no proxy that nobody named here.
                session.trust_env = False
                answer = transport.read(
                    session.post(
                        self._url,
                        data=body,
                        headers=headers,
                        timeout=self._timeout,
                        verify=self._verify,
                        allow_redirects=False,
                        stream=True,
                    )
                )
        except (requests.RequestException, OSError) as exc:
            # Its text has the URL, which may have a secret.
            raise _unreachable(type(exc).__name__) from None
        if not 200 <= answer.status < 300:
            raise _unreachable(f'HTTP {answer.status}')

    def _key(self) -> bytes:
        try:
            with open(self._key_file, 'rb') as file:
                key = file.read(4096).strip()
        except OSError as exc:
            raise _useless(
                f'[response] webhook_key_file cannot be read: {exc.strerror}'
            ) from None
        if len(key) < MIN_KEY:
            raise _useless(
                f'[response] webhook_key_file has less than {MIN_KEY} bytes'
            )
        return key


def signature(key: bytes, stamp: str, body: bytes) -> str:
    """The header Korora-Signature."""
    made = hmac.new(key, stamp.encode() + b'.' + body, hashlib.sha256)
    return f'v1={made.hexdigest()}'


def _useless(why: str) -> errors.Unavailable:
    return errors.Unavailable(
        errors.Reason.RESPONSE_DRIVER,
        f'The response driver webhook is of no use: {why}.',
    )


def _unreachable(why: str) -> errors.Unavailable:
    return errors.Unavailable(
        errors.Reason.WEBHOOK_UNAVAILABLE,
        f'The receiver of [response] webhook_url did not take it: {why}.',
    )
