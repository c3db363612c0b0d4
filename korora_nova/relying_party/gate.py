# SPDX-License-Identifier: Apache-2.0
"""Every decision of the compute driver, without Nova.

The gate knows the local agent only. It turns what Nova *says* about a
server (:class:`Server`, not to be believed) and what vault and ledger
*know* into a :class:`Standing`, and a standing into a :class:`Ticket` or
an error. Rules:

1. Vault and ledger override the flavor: they can only add protection (I12).
2. A server without requirement or vault record, with a vTPM of another mode
   or without, never needs the agent, and is never refused (I9). It waits for
   an agent that hangs once, not each time.
3. A server whose flavor asks for custody, or does not mention the vTPM that
   it has, is refused if nobody can tell.
4. A start is admitted before anything is destroyed, by evidence made for
   it: an attestation, or the approval that opens the key (I4).
5. An obstacle (unknown Nova, old libvirt) refuses what has a requirement,
   and nothing else.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import threading
import time
from collections.abc import Callable, Iterator

from korora_nova import errors
from korora_nova.attester.socket_client import AgentClient
from korora_nova.custody import answers
from korora_nova.relying_party import requirement as req
from korora_nova.secret import Secret

#: The agent answers from memory; a plain server must not wait for it.
QUICK = 5.0
#: Age of evidence that is good enough to begin a live migration with: a
#: permit is signed for evidence of that age, too. The hand-over takes new one.
YOUNG = 30.0
#: Of the 60 s that Nova gives the source's check, the way there needs some.
SOURCE_CHECK = 45.0
#: Times that the agent is asked before a guest starts, and seconds between.
LAUNCHES = 3
LAUNCH_AGAIN = 2.0
#: For so long an agent that hangs is not asked about plain servers again.
HUNG = 60.0


@dataclasses.dataclass(frozen=True)
class Server:
    """A server as Nova describes it; crosses the bus, not to be believed.

    :param vtpm: a hint beyond the flavor's that it has a vTPM.
    """

    uuid: str
    requirement: req.Requirement
    vtpm: bool = False

    @property
    def may_have_vtpm(self) -> bool:
        return self.vtpm or self.requirement.vtpm

    @property
    def may_be_protected(self) -> bool:
        """Whether Nova asks for custody, or does not explain its vTPM."""
        return self.requirement.custody or (
            self.vtpm and not self.requirement.vtpm
        )


@dataclasses.dataclass(frozen=True)
class Standing:
    """What is known about a server on this host.

    :param custody: its key is, or has to come, under custody.
    :param state: of the vault: none, held, incoming, outgoing, moving,
        relinquished; unknown, if nobody could be asked and nothing but vault
        or ledger could make it a protected server.
    :param known: vault or ledger says that somebody holds a key for it.
    :param before: nobody does, but somebody did: its secret exists.
    :param holder: who does, if the ledger was asked.
    :param migration: the hand-over that the vault record belongs to.
    """

    server: Server
    custody: bool
    state: str = 'none'
    known: bool = False
    before: bool = False
    holder: str | None = None
    migration: str | None = None

    @property
    def gated(self) -> bool:
        """Whether its host must be trusted."""
        return self.custody or self.server.requirement.trusted


@dataclasses.dataclass
class Ticket:
    """An admitted start.

    :param secret_uuid: libvirt's secret with the vTPM's key, once open.
    :param escrow: UUID and passphrase of the tenant's secret, for a key that
        comes back into custody.
    :param claimed: this very start took the key into custody, or tried.
    :param launch: false if the guest is only defined; no key is needed.
    """

    standing: Standing
    secret_uuid: str | None = None
    escrow: tuple[str, Secret] | None = None
    claimed: bool = False
    launch: bool = True


class Gate:
    """Decides for one host.

    :param agent: makes a client of the local agent that waits so many
        seconds for an answer.
    :param timeout: ``[korora] agent_timeout``.
    :param boot_wait: ``[korora] boot_wait``.
    """

    def __init__(
        self,
        agent: Callable[[float], AgentClient],
        *,
        timeout: float,
        boot_wait: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._agent = agent
        self._timeout = timeout
        self._boot_wait = boot_wait
        self._clock = clock
        self._sleep = sleep
        #: When what this thread does has to be over.
        self._deadline = threading.local()
        self._hung_until = -math.inf
        self._booting = threading.Lock()
        self._boot_until = -math.inf
        #: Why nothing with a requirement can be served, if so.
        self.obstacle: errors.KororaError | None = None

    def agent(self, budget: float | None = None) -> AgentClient:
        """The local agent; ``budget`` shortens its time, seconds.

        :raises Unavailable: AGENT_UNAVAILABLE, no time is left (``within``).
        """
        left = self._until() - self._clock()
        if left <= 0:
            raise errors.Unavailable(
                errors.Reason.AGENT_UNAVAILABLE,
                'The time that this operation may take on this host is over.',
            )
        wait = self._timeout if budget is None else min(budget, self._timeout)
        return self._agent(min(wait, left))

    @contextlib.contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """Bound all that this thread asks the agent meanwhile, together."""
        outer = self._until()
        self._deadline.until = min(outer, self._clock() + seconds)
        try:
            yield
        finally:
            self._deadline.until = outer

    def _until(self) -> float:
        until: float = getattr(self._deadline, 'until', math.inf)
        return until

    # What is known

    def standing(self, server: Server, *, ledger: bool = False) -> Standing:
        """Find out what a server's host must be.

        :param ledger: whether it matters which other host holds a key that
            this one does not.
        :raises Unavailable: the server may be protected, and neither vault
            nor ledger can tell.
        """
        # Whose flavor asks for custody gets it without more questions.
        ledger = server.may_have_vtpm and (
            ledger or not server.requirement.custody
        )
        if not server.may_be_protected and self._clock() < self._hung_until:
            return Standing(server, custody=False, state='unknown')
        try:
            answer = self._vault(server.uuid)
            if ledger and answer.state == 'none':
                # Another mode's vTPM must not wait for the service.
                budget = None if server.may_be_protected else QUICK
                answer = self.agent(budget).protection(
                    server.uuid, ledger=True
                )
                if not answer.ledger_known:
                    raise errors.Unavailable(errors.Reason.SERVICE_UNAVAILABLE)
        except errors.KororaError as exc:
            if server.may_be_protected:
                raise _infrastructure(exc) from exc
            return Standing(server, custody=False, state='unknown')
        # A row without holder: protected, and free to take a new key.
        row = answer.ledger
        known = answer.state != 'none' or (
            row is not None and row.holder is not None
        )
        return Standing(
            server,
            custody=known or row is not None or server.requirement.custody,
            state=answer.state,
            known=known,
            before=row is not None and not known,
            holder=row.holder if row is not None else None,
            migration=answer.migration or None,
        )

    def _vault(self, instance: str) -> answers.Protected:
        """What the vault says of a server; notes an agent that hangs."""
        began = self._clock()
        try:
            answer = self.agent(QUICK).protection(instance, ledger=False)
        except errors.Unavailable:
            # One that is not there says so at once.
            if self._clock() - began >= QUICK / 2:
                self._hung_until = self._clock() + HUNG
            raise
        self._hung_until = -math.inf
        return answer

    # Hosts

    def admit(self, standing: Standing, max_age: float | None = None) -> None:
        """Insist that this host is trusted now, if the server demands it.

        :param max_age: seconds; so old may evidence be for a server whose key
            has to come, or go, by new one before the server does.
        :raises Untrusted: it is not.
        :raises Unavailable: nobody can say.
        """
        if standing.gated:
            self.check_obstacle()
            self.agent().attest(max_age if standing.custody else None)

    def admit_peer(self, standing: Standing, host: str) -> None:
        """The same for another host, by its current signed result."""
        if standing.gated:
            self.check_obstacle()
            self.agent().verdict(host)

    def check_obstacle(self) -> None:
        if self.obstacle is not None:
            raise self.obstacle.fresh()

    def boot(self) -> None:
        """nova-compute starts now, and maybe the whole host with it."""
        self._boot_until = self._clock() + self._boot_wait

    @property
    def booting(self) -> bool:
        """Whether there is a wait left."""
        return self._clock() < self._boot_until

    def wait_for_trust(self) -> None:
        """Wait until this host can be attested, or the boot is over.

        One wait per process: it ends ``boot_wait`` seconds after
        :meth:`boot`, or with the first answer of whatever kind.
        """
        with self._booting:
            while self.booting:
                try:
                    left = self._boot_until - self._clock()
                    self.agent(max(1.0, left)).attest()
                    self._boot_until = -math.inf
                except errors.Unavailable:
                    self._sleep(1.0)
                except errors.KororaError:
                    self._boot_until = -math.inf

    # Starts

    def begin(self, standing: Standing) -> Ticket:
        """Admit a start, and open the server's key if it has one.

        To open a key is to attest: no other evidence is needed then.

        :raises KororaError: refused; nothing was changed.
        """
        ticket = Ticket(standing)
        if not standing.gated:
            return ticket
        self.check_obstacle()
        if not standing.custody:
            self.agent().attest()
        elif standing.state != 'none':
            # The agent knows which states it can open, or resolve.
            ticket.secret_uuid = self._open(standing.server.uuid)
        elif standing.known:
            raise errors.CustodyError(errors.Reason.VAULT_MISSING)
        else:
            self.agent().attest()
        return ticket

    def first_key(
        self, ticket: Ticket, secret_uuid: str, passphrase: Secret
    ) -> None:
        """Take a new server's key into custody and open it.

        :param secret_uuid: the tenant's secret in the key manager, and
            libvirt's.
        """
        # Even a lost answer may have claimed it.
        ticket.claimed = True
        self.agent().seal(ticket.standing.server.uuid, secret_uuid, passphrase)
        self.reopen(ticket)

    def reopen(self, ticket: Ticket) -> None:
        """Open a key (again)."""
        ticket.secret_uuid = self._open(ticket.standing.server.uuid)

    def launch(self, ticket: Ticket) -> None:
        """The guest starts now: its vTPM's state is what it was, or refuse.

        :raises CustodyError: VTPM_STATE_CHANGED.
        """
        for left in reversed(range(LAUNCHES)):
            try:
                self.agent().launch(ticket.standing.server.uuid)
                return
            except errors.Unavailable as exc:
                # Nova has destroyed the guest: an agent may just start again.
                if not left or exc.reason != errors.Reason.AGENT_UNAVAILABLE:
                    raise
            self._sleep(LAUNCH_AGAIN)

    def _open(self, instance: str) -> str:
        return self.agent().open(instance).secret_uuid

    def close(self, ticket: Ticket) -> None:
        """Let libvirt forget a key that the start needed."""
        if ticket.escrow is not None:
            ticket.escrow[1].wipe()
            ticket.escrow = None
        if ticket.secret_uuid is not None:
            ticket.secret_uuid = None
            self.agent().close(ticket.standing.server.uuid)

    # Moves

    def check_migrate_data(
        self, standing: Standing, *, has_secret: bool, protect_vtpm: bool
    ) -> None:
        """Refuse a passphrase that came over the bus (T38)."""
        if has_secret and (standing.custody or protect_vtpm):
            raise errors.CustodyError(errors.Reason.SECRET_IN_MIGRATE_DATA)


def _infrastructure(exc: errors.KororaError) -> errors.Unavailable:
    """Not knowing is never a statement about the server (I5)."""
    if isinstance(exc, errors.Unavailable):
        return exc.fresh()
    return errors.Unavailable(errors.Reason.AGENT_UNAVAILABLE, str(exc))
