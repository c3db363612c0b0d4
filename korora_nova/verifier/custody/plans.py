# SPDX-License-Identifier: Apache-2.0
"""What an operator is told of a step, before it and after it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

from sqlalchemy import orm

from korora_nova import errors
from korora_nova.verifier.custody import standing
from korora_nova.verifier.custody.ends import End
from korora_nova.verifier.custody.standing import Standing
from korora_nova.verifier.nova_record import NovaServer
from korora_nova.verifier.service import Service

#: Says what a step would do; it may be done already.
Planner = Callable[[orm.Session, Standing], 'Plan']
#: Does it, and returns the receipt.
Signer = Callable[[orm.Session, Standing], str]


@dataclasses.dataclass(frozen=True)
class Order:
    """Who wants something done, and why; dry: only be told.

    :param sentence: what the operator vouches for, '' for nothing.
    """

    actor: str
    reason: str
    dry_run: bool = False
    sentence: str = ''

    @classmethod
    def of(
        cls, actor: str, document: Mapping[str, object], vouched: str = ''
    ) -> Order:
        """Read the body of a request, which follows its schema.

        :param vouched: the field that has the sentence, if any.
        """
        return cls(
            actor,
            str(document['reason']),
            document.get('dry_run') is True,
            str(document.get(vouched, '')),
        )

    @property
    def note(self) -> str:
        """For the audit table."""
        vouched = f'; vouched: {self.sentence}' if self.sentence else ''
        return f'{self.reason}{vouched}'


@dataclasses.dataclass(frozen=True)
class Plan:
    """One step on one server.

    :param done: whether it was done, now or before (``done_before``).
    :param refused: why it cannot be; only a dry run is told here.
    :param consequences: sentences.
    :param ends: the hosts concerned, and what they said.
    :param nova: what Nova has; None: nothing, or it was not asked.
    :param receipt: the signed token; '' if none was needed.
    """

    instance: str
    done: bool
    consequences: Sequence[str]
    ends: Sequence[End] = ()
    nova: NovaServer | None = None
    refused: errors.KororaError | None = None
    receipt: str = ''
    done_before: bool = False

    def refuse(self, error: errors.KororaError) -> Plan:
        """The same, but it cannot be."""
        return dataclasses.replace(self, refused=error)

    def adding(self, *consequences: str) -> Plan:
        """The same, and more comes of it."""
        return dataclasses.replace(
            self, consequences=[*self.consequences, *consequences]
        )

    def finished(self, said: str = '', receipt: str = '') -> Plan:
        """It was done before; nothing comes of it now."""
        return dataclasses.replace(
            self,
            done=True,
            done_before=True,
            consequences=[said] if said else [],
            receipt=receipt,
            refused=None,
        )

    def to_json(self) -> dict[str, object]:
        refused = self.refused
        return {
            'instance': self.instance,
            'done': self.done,
            'consequences': list(self.consequences),
            'ends': [one.to_json() for one in self.ends],
            'nova': self.nova and self.nova.to_json(),
            'refused': refused
            and {'reason': refused.reason, 'message': refused.message},
            'receipt': self.receipt,
        }


def carry_out(
    service: Service,
    instance: str,
    order: Order,
    planner: Planner,
    signer: Signer,
    *,
    point: str,
) -> Plan:
    """Plan a step, and do it unless only the plan is wanted.

    :param point: fault point of its commit.
    :raises KororaError: it is refused.
    """
    if order.dry_run:
        found = standing.look(service, instance)
        with service.db.read() as session:
            plan = planner(session, found)
        return _unheard(service, plan)

    def transaction(session: orm.Session, found: Standing) -> Plan:
        plan = planner(session, found)
        if plan.refused is not None:
            raise plan.refused
        if plan.done:
            return plan
        return dataclasses.replace(
            plan, done=True, receipt=signer(session, found)
        )

    return standing.override(service, instance, transaction, point=point)


def _unheard(service: Service, plan: Plan) -> Plan:
    """A plan that would be refused because hosts have not reported."""
    if plan.refused is not None or plan.done:
        return plan
    try:
        standing.check_heard(service)
    except errors.Conflict as exc:
        return plan.refuse(exc)
    return plan
