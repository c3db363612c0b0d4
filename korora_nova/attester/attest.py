# SPDX-License-Identifier: Apache-2.0
"""What this host says to the attestation service, each time with proof."""

from __future__ import annotations

import base64
import dataclasses
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from oslo_log import log as logging

from korora_nova import errors
from korora_nova.attester.collect import Collector
from korora_nova.attester.trust import TrustedKeys
from korora_nova.custody import messages
from korora_nova.rats import evidence
from korora_nova.rats.quote.verify import Quote
from korora_nova.rats.signed.result import VerifiedResult, verify_result
from korora_nova.tpm import keys
from korora_nova.tpm.device import Tpm

LOG = logging.getLogger(__name__)

STEADY = 'steady'
ON_DEMAND = 'on-demand'

_ATTEMPTS = 4

T = TypeVar('T')


class Client(Protocol):
    """What the agent uses of :class:`korora_nova.client.AttestationClient`."""

    def enrol(
        self,
        host: str,
        *,
        ek_cert: str,
        ek_public: str,
        ak_public: str,
        srk_public: str,
    ) -> dict[str, Any]: ...

    def prove(self, host: str, proof: str) -> dict[str, Any]: ...

    def challenge(self, host: str, challenge_class: str) -> dict[str, Any]: ...

    def evidence(
        self, host: str, message: dict[str, Any]
    ) -> dict[str, Any]: ...

    def get_host(self, host: str) -> dict[str, Any]: ...

    def get_result(self, host: str) -> dict[str, Any]: ...

    def get_migration(self, migration: str) -> dict[str, Any]: ...

    def get_server(self, instance: str) -> dict[str, Any]: ...


@dataclasses.dataclass(frozen=True)
class Challenge:
    """A challenge of the service: 32 bytes."""

    value: bytes
    incarnation: str

    @classmethod
    def from_json(cls, document: Any) -> Challenge:
        """:raises errors.Unavailable: it is not a challenge."""
        try:
            value = bytes.fromhex(document['challenge'])
            incarnation = str(document['incarnation'])
        except (KeyError, TypeError, ValueError):
            raise strange('challenge') from None
        if len(value) != 32:
            raise strange('challenge')
        return cls(value, incarnation)


@dataclasses.dataclass(frozen=True)
class Answer:
    """An answer of the service, and the quote that it was given for."""

    document: dict[str, Any]
    quote: Quote
    challenge: Challenge

    def get(self, field: str, kind: type) -> Any:
        """A field of the expected type.

        :raises errors.Unavailable: the answer lacks it.
        """
        value = self.document.get(field)
        if not isinstance(value, kind):
            raise strange(field)
        return value


def strange(field: str) -> errors.Unavailable:
    """The service answered, but not as its API says."""
    return errors.Unavailable(
        errors.Reason.SERVICE_UNAVAILABLE,
        f'The answer of the attestation service lacks a valid {field!r}.',
    )


class Attester:
    """The host's voice: every call is a fresh quote with its purpose."""

    def __init__(
        self,
        host: str,
        tpm: Tpm,
        client: Client,
        collector: Collector,
        trusted: TrustedKeys,
    ) -> None:
        self.host = host
        self.tpm = tpm
        self.client = client
        self.trusted = trusted
        self._collector = collector
        self._provisioning = threading.Lock()
        self._identity: keys.Identity | None = None
        self.result: VerifiedResult | None = None
        self.incarnation = ''
        # How much of the IMA list the service has seen; 0: nothing
        self._ima_offset = 0

    @property
    def identity(self) -> keys.Identity:
        """The host's keys, found or created at their first use.

        :raises errors.Unavailable: TPM_UNAVAILABLE.
        """
        with self._provisioning:
            if self._identity is None:
                self.tpm.reclaim()
                with self.tpm.operation() as operation:
                    self._identity = keys.provision(operation)
            return self._identity

    def challenge(self, challenge_class: str = ON_DEMAND) -> Challenge:
        """Ask for a challenge."""
        return Challenge.from_json(
            self.client.challenge(self.host, challenge_class)
        )

    def say(self, purpose: str, body: dict[str, Any]) -> Answer:
        """Attest for a purpose over an on-demand challenge.

        A lost race with another evidence of this host is tried again.
        """
        for attempt in range(_ATTEMPTS):
            try:
                return self.continuing(
                    lambda whole: self.answer(
                        self.challenge(), purpose, body, whole=whole
                    )
                )
            except errors.Retry as error:
                if (
                    error.reason != errors.Reason.RETRY
                    or attempt + 1 == _ATTEMPTS
                ):
                    raise
                time.sleep(0.02 * (attempt + 1))
        raise AssertionError('unreachable')

    def continuing(self, attempt: Callable[[bool], T]) -> T:
        """Run an attempt, and once more if the IMA list did not continue.

        :param attempt: asks for a challenge and answers it; it is told
            whether to send the whole list.
        """
        try:
            return attempt(False)
        except errors.Conflict as error:
            if error.reason != errors.Reason.IMA_CONTINUITY:
                raise
            LOG.info('The service asks for the whole IMA list')
        return attempt(True)

    def answer(
        self,
        challenge: Challenge,
        purpose: str,
        body: dict[str, Any],
        *,
        whole: bool = False,
    ) -> Answer:
        """Answer one challenge with evidence; note this host's new result.

        :param whole: send the IMA list from its beginning.
        :raises errors.Conflict: IMA_CONTINUITY, the service has to see the
            whole list; see :meth:`continuing`.
        """
        text = messages.dumps({'version': 1, **body})
        qualifying = evidence.qualify(
            challenge.value, purpose, self.host, text.encode()
        )
        identity = self.identity
        offset = 0 if whole else self._ima_offset
        with self.tpm.operation() as operation:
            quote = keys.quote(operation, identity, qualifying)
        # Read last: what was measured before the quote is in the logs
        logs = self._collector.read(offset)
        proof = evidence.Evidence(quote, logs.uefi, logs.ima, logs.ima_offset)
        document = self._submit(
            {
                'version': 1,
                'challenge': challenge.value.hex(),
                'purpose': purpose,
                'body': text,
                'evidence': proof.to_json(),
            }
        )
        self._note(document, challenge)
        return Answer(document, quote, challenge)

    def _submit(self, message: dict[str, Any]) -> dict[str, Any]:
        try:
            return self.client.evidence(self.host, message)
        except errors.Untrusted:
            self.result = None  # the one at hand is not the last any more
            raise

    def _note(self, document: dict[str, Any], challenge: Challenge) -> None:
        self.incarnation = challenge.incarnation
        offset = document.get('ima_offset', 0)
        known = type(offset) is int and 0 <= offset <= evidence.MAX_IMA_OFFSET
        self._ima_offset = offset if known else 0
        token = document.get('result')
        if not isinstance(token, str):
            return
        ring = self.trusted.ring()
        self.result = verify_result(
            token, ring, host=self.host, cloud=ring.cloud, now=time.time()
        )

    def require_affirming(self, host: str) -> VerifiedResult:
        """The service's current word on another host.

        :raises errors.Untrusted: it is not affirming, or not the service's.
        """
        document = self.client.get_result(host)
        token = document.get('token')
        if not isinstance(token, str):
            raise strange('token')
        ring = self.trusted.ring()
        now = time.time()
        result = verify_result(
            token, ring, host=host, cloud=ring.cloud, now=now
        )
        result.require_affirming(now)
        return result


def b64(content: bytes) -> str:
    """Base64 text."""
    return base64.b64encode(content).decode()
