# SPDX-License-Identifier: Apache-2.0
"""Starts on this host: the key is open for as long as one takes."""

from __future__ import annotations

from korora_nova import errors
from korora_nova.attester.sealing import AtRest
from korora_nova.attester.statements import Statements
from korora_nova.attester.stops import Stops
from korora_nova.custody import answers

#: Seconds that a start waits for the other end of a cold migration that was
#: given up: longer than that waits until it looks.
COLD_WAIT = 20.0


class Starts:
    """The begin and the end of a start."""

    def __init__(
        self, rest: AtRest, statements: Statements, stops: Stops
    ) -> None:
        self._rest = rest
        self._statements = statements
        self._stops = stops

    def open(self, instance: str) -> answers.Key:
        """Give libvirt a passphrase: the server is started here.

        A cold migration of it is over then, at whichever end.
        """
        self._statements.arrive(instance)
        try:
            key = self._rest.open(instance)
        except errors.Conflict as exc:
            if (
                exc.reason != errors.Reason.CUSTODY_PENDING
                or not self._statements.await_cold(instance, COLD_WAIT)
            ):
                raise
            key = self._rest.open(instance)
        self._stops.opened(instance)
        return key

    def close(self, instance: str) -> None:
        """Take it away, whether or not the guest was started."""
        try:
            self._rest.close(instance)
        finally:
            self._stops.closed(instance)
