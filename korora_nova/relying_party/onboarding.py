# SPDX-License-Identifier: Apache-2.0
"""Servers whose vTPM stock Nova made: their keys come into custody."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from oslo_config import cfg
from oslo_log import log as logging

from korora_nova import errors
from korora_nova.relying_party import facts
from korora_nova.relying_party.keys import Keys
from korora_nova.relying_party.servers import Servers
from korora_nova.relying_party.starts import Starts

LOG = logging.getLogger(__name__)


class Onboarding:
    """Takes keys while the servers run."""

    def __init__(
        self,
        servers: Servers,
        starts: Starts,
        keys: Keys,
        conf: cfg.ConfigOpts,
    ) -> None:
        self._servers = servers
        self._starts = starts
        self._keys = keys
        self._conf = conf
        #: Why a key could not be taken yet, by server; '' for all.
        self._refused: dict[str, str] = {}

    def take(self, instance: Any) -> bool:
        """Take a server's key, if it has to come into custody.

        :returns: False if it has to wait for a start under way.
        :raises KororaError: refused; the secret stays where it is.
        """
        with self._starts.held_off(instance) as free:
            if not free:
                return False
            standing = self._servers.standing(instance, ledger=True)
            if standing.custody and not standing.known:
                self._keys.take_stock(instance, standing)
            return True

    def take_all(self, instances: Iterable[Any]) -> bool:
        """Take the keys of all these servers; whether none is left."""
        done = True
        try:
            for instance in instances:
                done = self._try(instance) and done
        except (errors.Unavailable, errors.Untrusted) as exc:
            # It would be the same for every server.
            self._tell_once('', exc)
            return False
        return done

    def _try(self, instance: Any) -> bool:
        """Take a server's key; whether there is nothing left to do.

        :raises Unavailable, Untrusted: no key of this host can be taken.
        """
        try:
            server = facts.of_instance(
                instance, self._conf.korora.protect_vtpm
            )
            if not server.requirement.custody:
                return True
            # What is under way may be about its key.
            return instance.task_state is None and self.take(instance)
        except (errors.Unavailable, errors.Untrusted):
            raise
        except errors.KororaError as exc:
            self._tell_once(instance.uuid, exc)
            return False

    def _tell_once(self, server: str, exc: errors.KororaError) -> None:
        if self._refused.get(server) != str(exc):
            LOG.warning(
                'Keys of vTPMs that stock Nova made are not in '
                'custody yet, those of %(server)s; tried again '
                'without restart: %(error)s',
                {'server': server or 'all servers here', 'error': exc},
            )
        self._refused[server] = str(exc)
