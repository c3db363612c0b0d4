# SPDX-License-Identifier: Apache-2.0
"""The driver: asks verifier and registrar, and finds the hosts' agents."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import ClassVar

from oslo_config import cfg
from oslo_log import log as logging

from korora_nova import conf as options
from korora_nova import errors
from korora_nova.rats import verdict
from korora_nova.rats.words import Tier
from korora_nova.verifier.sources import base
from korora_nova.verifier.sources.base import Asked, Enrolled, Known, Said
from korora_nova.verifier.sources.keylime import client, identity, status

LOG = logging.getLogger(__name__)

#: Clocks of the verifier and of this service may differ by this much,
#: seconds; an answer that is older was kept by somebody in between.
MAX_SKEW = 30.0

_R = errors.Reason


class KeylimeSource:
    """See :class:`base.Source`."""

    PROOF: ClassVar[bool] = True
    ASKED: ClassVar[bool] = True

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        options.register_keylime_opts(conf)
        group = conf[options.KEYLIME]
        self._client = client.Client(group)
        self._timeout: float = group.timeout
        self._refresh: float = group.refresh
        self._max_age: float = conf[options.SOURCES].max_age

    def ask(
        self,
        hosts: Sequence[Enrolled],
        known: Mapping[str, Known],
        now: float,
    ) -> Asked:
        """See :meth:`base.Source.ask`."""
        deadline = client.Deadline(self._timeout)
        answer = self._client.agents(deadline)
        # Its time is of the end of the question at the latest.
        if not -MAX_SKEW <= answer.at - now <= MAX_SKEW + self._timeout:
            raise base.unavailable(
                'keylime',
                'its clock and that of this service differ, or the answer is '
                'an old one',
            )
        agents = {
            agent: record
            for agent, record in answer.agents.items()
            if 0 < len(agent) <= client.MAX_ID
        }
        found = self._identify(agents, known, now, deadline)
        return Asked(
            _Answer(agents, found, answer.at, now, self._max_age).said(hosts),
            found,
        )

    def _identify(
        self,
        agents: Mapping[str, object],
        known: Mapping[str, Known],
        now: float,
        deadline: client.Deadline,
    ) -> Mapping[str, Known]:
        """In which TPM each agent is; as many as the time allows.

        A registrar that does not answer takes nobody's word away.
        """
        found = identity.kept(known, agents)
        due = list(identity.due(found, agents, now, self._refresh))
        if not due:
            return found
        try:
            version = self._client.registrar(deadline)
            for agent in due:
                read = identity.read(
                    found.get(agent),
                    self._client.registered(version, agent, deadline),
                    agents[agent],
                )
                if read is not None:
                    found[agent] = dataclasses.replace(read, read_at=now)
        except errors.Unavailable as exc:
            LOG.warning('Not all agents could be looked up: %s', exc)
        return found


@dataclasses.dataclass(frozen=True)
class _Answer:
    """What both services said; see :class:`KeylimeSource`."""

    agents: Mapping[str, object]
    known: Mapping[str, Known]
    at: float
    now: float
    max_age: float

    def said(self, hosts: Sequence[Enrolled]) -> Mapping[str, Said]:
        """The verdict on each host."""
        by_key = defaultdict(list)
        for agent, one in self.known.items():
            by_key[one.ek_name].append(agent)
        return {
            host: self._host(host, sorted(by_key.get(ek_name, ())))
            for host, ek_name in hosts
        }

    def _host(self, host: str, agents: Sequence[str]) -> Said:
        """The worst of all agents in its TPM."""
        if not agents:
            # Some give the agent the name of its host.
            if host in self.known:
                return self._none(_R.SOURCE_IDENTITY, host)
            return self._none(_R.SOURCE_HOST_UNKNOWN, '')
        return min(
            (self._agent(agent) for agent in agents),
            key=lambda one: verdict.ORDER.index(one.tier),
        )

    def _agent(self, agent: str) -> Said:
        if not self.known[agent].agrees:
            return self._none(_R.SOURCE_IDENTITY, agent)
        return status.verdict(
            agent,
            self.agents[agent],
            at=self.at,
            now=self.now,
            max_age=self.max_age,
        )

    def _none(self, reason: str, agent: str) -> Said:
        return Said(
            Tier.NONE, (reason,), agent, self.now, self.now + self.max_age
        )
