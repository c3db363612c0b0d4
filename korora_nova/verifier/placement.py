# SPDX-License-Identifier: Apache-2.0
"""The trait that Placement has of compute nodes on trusted hosts: a hint.

With ``trait:CUSTOM_KORORA_TRUSTED=required`` in a flavor, Placement offers no
other hosts, however many there are. Filter and driver decide as before: they
believe what is signed, and Placement signs nothing.

1. Nova says which provider is which host. A host with several of them, as
   nova-compute for ironic has, is none: nobody knows which one attested.
2. Placement is asked once who has the trait. Only what differs is touched.
3. The trait is taken away first, and then given.
4. A provider's traits are replaced under its generation: whoever changed
   anything of it meanwhile (nova-compute, an operator, another run of this)
   makes the replacement fail, and all of them are read again. Other traits
   stay as they are.

Nothing is remembered: whatever happened to Placement, to this service or to
the last run, the next one brings about what should be.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent import futures
from typing import Any
from urllib import parse as urls

import requests
import sqlalchemy as sa
from keystoneauth1 import exceptions as ks_exc
from keystoneauth1 import loading as ks_loading
from oslo_config import cfg
from oslo_log import log as logging

from korora_nova import conf as options
from korora_nova import errors, transport
from korora_nova.rats.words import Tier, Word
from korora_nova.verifier import enforcement, results
from korora_nova.verifier.db import models
from korora_nova.verifier.service import Service

LOG = logging.getLogger(__name__)

TRAIT = 'CUSTOM_KORORA_TRUSTED'
#: Placement's: 1.18 finds providers by traits. Nova's: 2.53 has the uuids
#: of providers; from 2.88 on a list asks every compute node over the bus.
PLACEMENT_VERSION = '1.18'
NOVA_VERSION = '2.53'
#: Seconds for an answer as a whole.
TIMEOUT = 60.0
#: Requests at once, and attempts at a provider that others change, too.
AT_ONCE = 8
ATTEMPTS = 5


class Done(Word):
    """What came of one provider."""

    ADDED = 'added'
    REMOVED = 'removed'
    #: Somebody else has done it meanwhile.
    UNCHANGED = 'unchanged'
    #: Placement does not know it.
    MISSING = 'missing'
    #: Others change it all the time.
    CONFLICT = 'conflict'


@dataclasses.dataclass(frozen=True)
class Plan:
    """Providers that are to lose or get the trait.

    :param trusted: how many are to have it when all is done.
    """

    remove: tuple[str, ...]
    add: tuple[str, ...]
    trusted: int


@dataclasses.dataclass(frozen=True)
class Report:
    """What was done, by provider; of a dry run nothing."""

    plan: Plan
    done: Mapping[str, Done]

    @property
    def counts(self) -> Mapping[Done, int]:
        return collections.Counter(self.done.values())

    @property
    def complete(self) -> bool:
        """Whether nothing is left for the next run."""
        return not self.counts[Done.CONFLICT]


def plan(
    providers: Mapping[str, str],
    trusted: Collection[str],
    having: Collection[str],
) -> Plan:
    """What has to be changed.

    :param providers: host of each provider that Nova knows.
    :param trusted: hosts.
    :param having: providers with the trait, also such that Nova does not
        know.
    """
    counts = collections.Counter(providers.values())
    wanted = {
        provider
        for provider, host in providers.items()
        if host in trusted and counts[host] == 1
    }
    return Plan(
        tuple(sorted(set(having) - wanted)),
        tuple(sorted(wanted - set(having))),
        len(wanted),
    )


def trusted(service: Service) -> set[str]:
    """Hosts that the filter would pass now.

    :raises Unavailable: DATABASE_UNAVAILABLE.
    """
    table, now = models.Host, service.clock()
    with service.db.read() as session:
        rows = session.scalars(
            sa.select(table).where(
                table.tier == str(Tier.AFFIRMING), table.expires > now
            )
        )
        return {
            row.name
            for row in rows
            if results.current(row, now)[0] is Tier.AFFIRMING
            and not enforcement.Heard.of(row).missing(service)
        }


def synchronise(
    hosts: Collection[str],
    nova: Nova,
    placement: Placement,
    *,
    dry_run: bool = False,
) -> Report:
    """Give the trait to the providers of these hosts, and to no other.

    :param hosts: that are trusted now; see :func:`trusted`.
    :raises Unavailable: NOVA_UNAVAILABLE, and nothing was changed;
        PLACEMENT_UNAVAILABLE, perhaps in the middle.
    """
    providers = nova.providers()
    known = placement.knows_trait()
    found = plan(providers, hosts, placement.having() if known else ())
    if dry_run:
        return Report(found, {})
    if found.add and not known:
        placement.create_trait()
    done: dict[str, Done] = {}
    for chosen, change in (
        (found.remove, placement.remove),
        (found.add, placement.add),
    ):
        done.update(_all(chosen, change))
    return Report(found, done)


def _all(
    providers: Iterable[str], change: Callable[[str], Done]
) -> Mapping[str, Done]:
    """Change them all, some at once.

    :raises Unavailable: the first one that failed; no more are begun.
    """
    pool = futures.ThreadPoolExecutor(AT_ONCE, 'placement')
    try:
        begun = {one: pool.submit(change, one) for one in providers}
        futures.wait(begun.values(), return_when=futures.FIRST_EXCEPTION)
    finally:
        pool.shutdown(cancel_futures=True)
    for one in begun.values():
        if not one.cancelled() and one.exception() is not None:
            one.result()
    return {provider: one.result() for provider, one in begun.items()}


class _Api:
    """One API, with the credentials of a section.

    :param adapter: keystoneauth's.
    """

    NAME: str
    REASON: str
    VERSION: str

    def __init__(self, adapter: Any) -> None:
        self._adapter = adapter

    def _ask(
        self, method: str, path: str, *expected: int, json: object = None
    ) -> Any:
        """The answer, of which only these statuses are expected.

        :raises Unavailable: anything else.
        """
        try:
            answer = self._adapter.request(
                path,
                method,
                microversion=self.VERSION,
                raise_exc=False,
                timeout=TIMEOUT,
                rate_semaphore=transport.UNTHROTTLED,
                **({} if json is None else {'json': json}),
            )
        except (ks_exc.ClientException, requests.RequestException) as exc:
            raise self._failed(type(exc).__name__) from exc
        if answer.status_code not in expected:
            why = f'HTTP {answer.status_code}'
            if answer.status_code in (401, 403):
                why += ': the user lacks a role'
            raise self._failed(why)
        return answer

    def _object(self, answer: Any, field: str) -> tuple[Any, Any]:
        """A list in an answer, and the whole answer.

        :raises Unavailable: it is of another form.
        """
        try:
            whole = answer.json()
            items = whole[field]
        except (ValueError, KeyError, TypeError):
            raise self._failed('an answer of another form') from None
        if not isinstance(items, list):
            raise self._failed('an answer of another form')
        return items, whole

    def _failed(self, why: str) -> errors.Unavailable:
        return errors.Unavailable(
            self.REASON,
            f'{self.NAME} did not do what was asked: {why}.',
            details={'why': why},
        )


class Nova(_Api):
    """Which provider is which host."""

    NAME = 'Nova'
    REASON = errors.Reason.NOVA_UNAVAILABLE
    VERSION = NOVA_VERSION

    @classmethod
    def from_conf(cls, conf: cfg.ConfigOpts) -> Nova:
        """:raises Unavailable: NOVA_UNAVAILABLE."""
        return cls(_adapter(conf, options.NOVA, cls.REASON))

    def providers(self) -> dict[str, str]:
        """The host of each provider, of all cells that answer.

        :raises Unavailable: NOVA_UNAVAILABLE.
        """
        found: dict[str, str] = {}
        marker = ''
        while True:
            query = f'?marker={urls.quote(marker)}' if marker else ''
            answer = self._ask('GET', f'/os-hypervisors/detail{query}', 200)
            items, whole = self._object(answer, 'hypervisors')
            try:
                page = {
                    str(one['id']): one['service']['host'] for one in items
                }
            except (KeyError, TypeError):
                raise self._failed('an answer of another form') from None
            # A page that does not go on would never end.
            if not page.keys() - found.keys():
                return found
            found.update(page)
            if not whole.get('hypervisors_links'):
                return found
            marker = str(items[-1]['id'])


class Placement(_Api):
    """Providers and their traits."""

    NAME = 'Placement'
    REASON = errors.Reason.PLACEMENT_UNAVAILABLE
    VERSION = PLACEMENT_VERSION

    @classmethod
    def from_conf(cls, conf: cfg.ConfigOpts) -> Placement:
        """:raises Unavailable: PLACEMENT_UNAVAILABLE."""
        return cls(_adapter(conf, options.PLACEMENT, cls.REASON))

    def knows_trait(self) -> bool:
        """:raises Unavailable: PLACEMENT_UNAVAILABLE."""
        answer = self._ask('GET', f'/traits/{TRAIT}', 204, 404)
        return bool(answer.status_code == 204)

    def create_trait(self) -> None:
        """Make it, unless it is there.

        :raises Unavailable: PLACEMENT_UNAVAILABLE.
        """
        self._ask('PUT', f'/traits/{TRAIT}', 201, 204)

    def having(self) -> set[str]:
        """Providers with the trait.

        :raises Unavailable: PLACEMENT_UNAVAILABLE.
        """
        answer = self._ask('GET', f'/resource_providers?required={TRAIT}', 200)
        items, _ = self._object(answer, 'resource_providers')
        try:
            return {str(one['uuid']) for one in items}
        except (KeyError, TypeError):
            raise self._failed('an answer of another form') from None

    def add(self, provider: str) -> Done:
        """Give a provider the trait.

        :raises Unavailable: PLACEMENT_UNAVAILABLE.
        """
        return self._change(provider, True)

    def remove(self, provider: str) -> Done:
        """Take it away.

        :raises Unavailable: PLACEMENT_UNAVAILABLE.
        """
        return self._change(provider, False)

    def _change(self, provider: str, wanted: bool) -> Done:
        path = f'/resource_providers/{urls.quote(provider, safe="")}/traits'
        for _ in range(ATTEMPTS):
            answer = self._ask('GET', path, 200, 404)
            if answer.status_code == 404:
                return Done.MISSING
            traits, whole = self._object(answer, 'traits')
            if (TRAIT in traits) == wanted:
                return Done.UNCHANGED
            others = [one for one in traits if one != TRAIT]
            answer = self._ask(
                'PUT',
                path,
                200,
                404,
                409,
                json={
                    'traits': [*others, TRAIT] if wanted else others,
                    'resource_provider_generation': whole.get(
                        'resource_provider_generation'
                    ),
                },
            )
            if answer.status_code == 404:
                return Done.MISSING
            if answer.status_code == 200:
                return Done.ADDED if wanted else Done.REMOVED
        LOG.warning('Others change provider %s all the time', provider)
        return Done.CONFLICT


def _adapter(conf: cfg.ConfigOpts, group: str, reason: str) -> Any:
    """An adapter with the credentials of a section.

    :raises Unavailable: with this reason: they cannot be used.
    """
    try:
        auth = ks_loading.load_auth_from_conf_options(conf, group)
        session = ks_loading.load_session_from_conf_options(
            conf, group, auth=auth
        )
        transport.bound(session)
        return ks_loading.load_adapter_from_conf_options(
            conf, group, session=session, auth=auth
        )
    except ks_exc.ClientException as exc:
        raise errors.Unavailable(
            reason,
            f'The section [{group}] does not give usable credentials: '
            f'{type(exc).__name__}.',
        ) from exc
