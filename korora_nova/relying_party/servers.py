# SPDX-License-Identifier: Apache-2.0
"""What this host knows of Nova's servers, and tells its agent of them."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from oslo_config import cfg
from oslo_log import log as logging

from korora_nova import errors
from korora_nova.relying_party import facts
from korora_nova.relying_party.gate import Gate, Server, Standing
from korora_nova.relying_party.names import Names

LOG = logging.getLogger(__name__)


class Servers:
    """Answers for one host.

    :param has_tpm: whether this host's libvirt knows a server with a vTPM.
    :param protected: servers that were under custody when last asked about.
    """

    def __init__(
        self,
        gate: Gate,
        conf: cfg.ConfigOpts,
        has_tpm: Callable[[Any], bool],
        protected: Names,
    ) -> None:
        self._gate = gate
        self._conf = conf
        self._has_tpm = has_tpm
        self._protected = protected

    def standing(
        self,
        instance: Any,
        *,
        image_meta: Any = None,
        vtpm: bool = False,
        ledger: bool = False,
    ) -> Standing:
        """What must hold for a server's host.

        :param image_meta: the image it is about to use, if not its own.
        :param vtpm: the migrate data says that it has a vTPM.
        :param ledger: see :meth:`gate.Gate.standing`.
        :raises KororaError: it may be protected, and nobody can tell.
        """
        server = facts.of_instance(
            instance,
            self._conf.korora.protect_vtpm,
            image_meta=image_meta,
            vtpm=vtpm,
        )
        standing = self._gate.standing(server, ledger=ledger)
        if standing.state == 'unknown':
            self._check_unknown(instance, server)
        else:
            self._note(server.uuid, standing.custody)
        return standing

    def _check_unknown(self, instance: Any, server: Server) -> None:
        """What this host knows by itself: the flavor came over the bus.

        :raises Unavailable: AGENT_UNAVAILABLE, it is or may be protected.
        """
        if server.uuid in self._protected or (
            not server.requirement.vtpm and self._has_tpm(instance)
        ):
            raise errors.Unavailable(errors.Reason.AGENT_UNAVAILABLE)

    def remember(self, keys: Collection[str]) -> None:
        """Remember the servers that the vault has keys of, and no others."""
        for server in {*keys, *self._protected.list()}:
            self._note(server, server in keys)

    def gone(self, instance: Any) -> None:
        """The server is deleted, or built elsewhere."""
        self._note(instance.uuid, False)

    def _note(self, server: str, protected: bool) -> None:
        """Remember who is protected, for when the agent cannot say."""
        if (server in self._protected) == protected:
            return
        try:
            if protected:
                self._protected.add(server)
            else:
                self._protected.discard(server)
        except (OSError, ValueError) as exc:
            LOG.error(
                'Cannot note whether server %(server)s is protected: '
                '%(error)s',
                {'server': server, 'error': exc},
            )

    def check_no_secret(self, standing: Standing, migrate_data: Any) -> None:
        """:raises CustodyError: SECRET_IN_MIGRATE_DATA."""
        self._gate.check_migrate_data(
            standing,
            has_secret=facts.has_secret(migrate_data),
            protect_vtpm=self._conf.korora.protect_vtpm,
        )

    def might_be_gated(self, instance: Any) -> bool:
        """Whether its host must be trusted, as far as can be told."""
        try:
            return self.standing(instance).gated
        except errors.KororaError:
            return True

    def might_have_custody(self, instance: Any) -> bool:
        """Whether its key is under custody, as far as can be told."""
        try:
            return self.standing(instance).custody
        except errors.KororaError:
            return True


def tell(
    call: Callable[..., object], instance: Any, *args: str, **kwargs: float
) -> bool:
    """Tell the agent something; it must never fail an operation.

    :param call: a method of the agent's client.
    :returns: whether the agent took it.
    """
    try:
        call(instance.uuid, *args, **kwargs)
        return True
    except errors.KororaError as exc:
        LOG.warning(
            'The agent did not take "%(op)s": %(error)s',
            {'op': getattr(call, '__name__', '?'), 'error': exc},
            instance=instance,
        )
        return False
