# SPDX-License-Identifier: Apache-2.0
"""The trait of trusted hosts, in a real Placement with Nova's list made up."""

from __future__ import annotations

import collections
import io
import json
import pathlib
import uuid
from contextlib import redirect_stdout
from typing import Any
from unittest import mock

import fixtures
import requests
import testtools
from keystoneauth1 import adapter, session
from placement.tests.functional.fixtures import placement as placement_fixtures
from requests import adapters

from korora_nova import errors
from korora_nova.cmd import placement as command
from korora_nova.verifier import placement
from korora_nova.verifier.db import models
from korora_nova.verifier.placement import Done
from tests.functional.api import base

TRAIT = placement.TRAIT


class Counting(adapter.Adapter):
    """Counts requests; lets a test do something before each, or fail it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.asked: list[tuple[str, str]] = []
        self.before = lambda method, path: None

    def request(self, url: str, method: str, *args: Any, **more: Any) -> Any:
        self.asked.append((method, url))
        self.before(method, url)
        return super().request(url, method, *args, **more)


class FakeNova:
    """What Nova lists; or it is down."""

    def __init__(self) -> None:
        self.listed: dict[str, str] = {}
        self.down = False

    def providers(self) -> dict[str, str]:
        if self.down:
            raise errors.Unavailable('NOVA_UNAVAILABLE')
        return dict(self.listed)


class PlacementTestCase(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        # For wsgi_intercept, as in Nova's fixture.
        self.useFixture(
            fixtures.MonkeyPatch(
                'keystoneauth1.session.TCPKeepAliveAdapter.init_poolmanager',
                adapters.HTTPAdapter.init_poolmanager,
            )
        )
        fixture = self.useFixture(placement_fixtures.PlacementFixture())
        self.adapter = Counting(
            session.Session(
                auth=None, additional_headers={'x-auth-token': fixture.token}
            ),
            service_type='placement',
            endpoint_override=fixture.endpoint,
        )
        # SQLite in memory takes one writer at a time.
        self.useFixture(fixtures.MockPatchObject(placement, 'AT_ONCE', 1))
        self.placement = placement.Placement(self.adapter)
        self.nova = FakeNova()

    def ask(self, method: str, path: str, **kwargs: Any) -> Any:
        answer = adapter.Adapter.request(
            self.adapter, path, method, microversion='1.36', **kwargs
        )
        self.assertLess(answer.status_code, 300, answer.text)
        return answer.json() if answer.content else None

    def node(self, host: str, *traits: str) -> str:
        """A compute node of a host, with these traits."""
        provider = str(uuid.uuid4())
        self.ask(
            'POST',
            '/resource_providers',
            json={'name': f'{host}.{provider[:4]}', 'uuid': provider},
        )
        for trait in traits:
            self.ask('PUT', f'/traits/{trait}')
        if traits:
            self.put(provider, *traits)
        self.nova.listed[provider] = host
        return provider

    def put(self, provider: str, *traits: str) -> None:
        """As somebody else does it."""
        self.ask(
            'PUT',
            f'/resource_providers/{provider}/traits',
            json={
                'traits': list(traits),
                'resource_provider_generation': self.generation(provider),
            },
        )

    def generation(self, provider: str) -> int:
        found = self.ask('GET', f'/resource_providers/{provider}')
        return found['generation']

    def traits(self, provider: str) -> set[str]:
        found = self.ask('GET', f'/resource_providers/{provider}/traits')
        return set(found['traits'])

    def sync(self, *hosts: str, **kwargs: Any) -> placement.Report:
        self.adapter.asked.clear()
        return placement.synchronise(
            hosts, self.nova, self.placement, **kwargs
        )

    def writes(self) -> list[str]:
        return [path for method, path in self.adapter.asked if method != 'GET']


class SynchroniseTest(PlacementTestCase):
    def test_given_and_taken(self) -> None:
        h1, h2 = self.node('h1', 'CUSTOM_GPU'), self.node('h2')
        report = self.sync('h1')
        self.assertEqual({h1: Done.ADDED}, report.done)
        self.assertEqual({TRAIT, 'CUSTOM_GPU'}, self.traits(h1))
        self.assertEqual(set(), self.traits(h2))
        report = self.sync('h2')
        self.assertEqual({h1: Done.REMOVED, h2: Done.ADDED}, report.done)
        self.assertEqual({'CUSTOM_GPU'}, self.traits(h1))
        self.assertEqual({TRAIT}, self.traits(h2))

    def test_the_trait_is_taken_before_it_is_given(self) -> None:
        h1, h2 = self.node('h1'), self.node('h2')
        self.sync('h1')
        self.sync('h2')
        self.assertEqual(
            [f'/resource_providers/{one}/traits' for one in (h1, h2)],
            self.writes(),
        )

    def test_twice_is_as_once(self) -> None:
        h1 = self.node('h1')
        self.sync('h1')
        before = self.generation(h1)
        report = self.sync('h1')
        self.assertEqual({}, report.done)
        self.assertEqual([], self.writes())
        self.assertEqual(before, self.generation(h1))

    def test_requests_are_for_what_differs(self) -> None:
        """Of many providers; three requests say that all is well."""
        for number in range(60):
            self.node(f'h{number}')
        hosts = [f'h{number}' for number in range(60)]
        self.sync(*hosts)
        self.sync(*hosts)
        self.assertEqual(2, len(self.adapter.asked), self.adapter.asked)
        self.sync(*hosts[1:])
        self.assertEqual(4, len(self.adapter.asked), self.adapter.asked)

    def test_a_dry_run_changes_nothing_at_all(self) -> None:
        h1 = self.node('h1')
        report = self.sync('h1', dry_run=True)
        self.assertEqual((h1,), report.plan.add)
        self.assertEqual({}, report.done)
        self.assertEqual([], self.writes())
        self.assertFalse(self.placement.knows_trait())

    def test_nobody_is_trusted_and_the_trait_is_unknown(self) -> None:
        self.node('h1')
        self.assertEqual({}, self.sync().done)
        self.assertEqual([], self.writes())


class DriftTest(PlacementTestCase):
    def test_somebody_took_it_away(self) -> None:
        h1 = self.node('h1', 'CUSTOM_GPU')
        self.sync('h1')
        self.put(h1, 'CUSTOM_GPU')
        self.assertEqual({h1: Done.ADDED}, self.sync('h1').done)
        self.assertEqual({TRAIT, 'CUSTOM_GPU'}, self.traits(h1))

    def test_somebody_gave_it(self) -> None:
        h1 = self.node('h1', TRAIT, 'CUSTOM_GPU')
        self.assertEqual({h1: Done.REMOVED}, self.sync().done)
        self.assertEqual({'CUSTOM_GPU'}, self.traits(h1))

    def test_a_provider_that_is_no_compute_node(self) -> None:
        storage = self.node('storage', TRAIT)
        del self.nova.listed[storage]
        self.assertEqual({storage: Done.REMOVED}, self.sync('storage').done)

    def test_a_host_with_several_nodes_is_none(self) -> None:
        """As nova-compute for ironic: which of them has attested?"""
        nodes = [self.node('ironic') for _ in range(2)]
        self.assertEqual({}, self.sync('ironic').done)
        # One that had a single node, and got another one.
        self.put(self.node('h1'))
        self.sync('h1')
        first = next(k for k, v in self.nova.listed.items() if v == 'h1')
        self.node('h1')
        self.assertEqual({first: Done.REMOVED}, self.sync('h1').done)
        self.assertEqual([set(), set()], [self.traits(one) for one in nodes])

    def test_a_host_without_a_node(self) -> None:
        self.assertEqual({}, self.sync('enrolled-only').done)

    def test_a_node_that_placement_does_not_have_yet(self) -> None:
        ghost = str(uuid.uuid4())
        self.nova.listed[ghost] = 'h1'
        h2 = self.node('h2')
        report = self.sync('h1', 'h2')
        self.assertEqual({ghost: Done.MISSING, h2: Done.ADDED}, report.done)
        self.assertTrue(report.complete)


class ConflictTest(PlacementTestCase):
    def bump(self, provider: str, times: int) -> None:
        """Somebody changes a provider between our reading and writing."""
        left = [times]

        def before(method: str, path: str) -> None:
            if method == 'PUT' and provider in path and left[0]:
                left[0] -= 1
                self.put(
                    provider, *self.traits(provider), f'CUSTOM_T{left[0]}'
                )

        for number in range(times):
            self.ask('PUT', f'/traits/CUSTOM_T{number}')
        self.adapter.before = before

    def test_traits_of_others_that_come_in_between(self) -> None:
        h1 = self.node('h1')
        self.bump(h1, 2)
        self.assertEqual({h1: Done.ADDED}, self.sync('h1').done)
        self.assertEqual({TRAIT, 'CUSTOM_T0', 'CUSTOM_T1'}, self.traits(h1))

    def test_aggregates_that_come_in_between(self) -> None:
        h1 = self.node('h1')
        aggregate = str(uuid.uuid4())
        done = []

        def before(method: str, path: str) -> None:
            if method == 'PUT' and h1 in path and not done:
                done.append(1)
                self.ask(
                    'PUT',
                    f'/resource_providers/{h1}/aggregates',
                    json={
                        'aggregates': [aggregate],
                        'resource_provider_generation': self.generation(h1),
                    },
                )

        self.adapter.before = before
        self.assertEqual({h1: Done.ADDED}, self.sync('h1').done)
        found = self.ask('GET', f'/resource_providers/{h1}/aggregates')
        self.assertEqual([aggregate], found['aggregates'])

    def test_another_run_was_faster(self) -> None:
        h1 = self.node('h1')
        self.ask('PUT', f'/traits/{TRAIT}')
        done = []

        def before(method: str, path: str) -> None:
            if method == 'PUT' and h1 in path and not done:
                done.append(1)
                self.put(h1, TRAIT)

        self.adapter.before = before
        self.assertEqual({h1: Done.UNCHANGED}, self.sync('h1').done)

    def test_it_gives_up_and_goes_on_with_the_others(self) -> None:
        self.useFixture(fixtures.FakeLogger())
        h1, h2 = self.node('h1'), self.node('h2')
        self.bump(h1, placement.ATTEMPTS)
        report = self.sync('h1', 'h2')
        self.assertEqual({h1: Done.CONFLICT, h2: Done.ADDED}, report.done)
        self.assertFalse(report.complete)
        self.assertNotIn(TRAIT, self.traits(h1))
        self.assertTrue(self.sync('h1', 'h2').complete)

    def test_a_provider_that_goes_in_between(self) -> None:
        h1 = self.node('h1')

        def before(method: str, path: str) -> None:
            if method == 'PUT' and h1 in path:
                self.ask('DELETE', f'/resource_providers/{h1}')

        self.adapter.before = before
        self.assertEqual({h1: Done.MISSING}, self.sync('h1').done)


class BadDayTest(PlacementTestCase):
    def refused(self, reason: str, *hosts: str) -> errors.KororaError:
        found = self.assertRaises(errors.Unavailable, self.sync, *hosts)
        self.assertEqual(reason, found.reason)
        return found

    def answer(self, status: int, text: str = '') -> None:
        """What an odd proxy says to everything."""
        response = requests.Response()
        response.status_code = status
        response._content = text.encode()
        self.useFixture(
            fixtures.MockPatchObject(
                self.adapter, 'request', lambda *a, **k: response
            )
        )

    def test_placement_is_down(self) -> None:
        self.node('h1')
        self.adapter.endpoint_override = 'http://127.0.0.1:1'
        self.refused('PLACEMENT_UNAVAILABLE', 'h1')

    def test_it_goes_down_in_the_middle(self) -> None:
        nodes = [self.node(f'h{number}') for number in range(4)]

        def before(method: str, path: str) -> None:
            if method == 'PUT' and nodes[2] in path:
                raise requests.ConnectionError

        self.adapter.before = before
        self.refused('PLACEMENT_UNAVAILABLE', 'h0', 'h1', 'h2', 'h3')
        self.adapter.before = lambda method, path: None
        self.assertTrue(self.sync('h0', 'h1', 'h2', 'h3').complete)
        self.assertEqual([{TRAIT}] * 4, [self.traits(one) for one in nodes])

    def test_nova_is_down(self) -> None:
        """Nobody loses the trait because Nova does not list its host."""
        h1 = self.node('h1')
        self.sync('h1')
        self.nova.down = True
        self.refused('NOVA_UNAVAILABLE', 'h1')
        self.assertEqual([], self.adapter.asked)
        self.assertEqual({TRAIT}, self.traits(h1))

    def test_a_missing_role_is_told(self) -> None:
        self.answer(403)
        found = self.refused('PLACEMENT_UNAVAILABLE')
        self.assertIn('role', found.message)

    def test_answers_of_something_else(self) -> None:
        for status, text in (
            (500, ''),
            (200, '<html>'),
            (200, '[]'),
            (200, '{}'),
        ):
            self.answer(status, text)
            self.refused('PLACEMENT_UNAVAILABLE')
        # It knows the trait, and cannot say who has it.
        for text in ('', '[]', '{"resource_providers": 1}', '{"x": []}'):
            self.answer(200, text)
            self.assertRaises(errors.Unavailable, self.placement.having)
        self.answer(200, '{"resource_providers": [{"name": "x"}]}')
        self.assertRaises(errors.Unavailable, self.placement.having)


class Pages:
    """Nova's list, answered page by page."""

    def __init__(self, *pages: object) -> None:
        self.pages = list(pages)
        self.paths: list[str] = []

    def request(self, path: str, method: str, **kwargs: Any) -> Any:
        self.paths.append(path)
        response = requests.Response()
        response.status_code = 200
        page = self.pages.pop(0) if len(self.pages) > 1 else self.pages[0]
        response._content = json.dumps(page).encode()
        return response


def page(*names: str, more: bool = False) -> dict[str, object]:
    return {
        'hypervisors': [
            {'id': f'uuid-{name}', 'service': {'host': name}} for name in names
        ],
        **({'hypervisors_links': [{'rel': 'next'}]} if more else {}),
    }


class NovaTest(testtools.TestCase):
    def test_pages(self) -> None:
        pages = Pages(page('a', 'b', more=True), page('c'))
        self.assertEqual(
            {'uuid-a': 'a', 'uuid-b': 'b', 'uuid-c': 'c'},
            placement.Nova(pages).providers(),
        )
        self.assertEqual(
            [
                '/os-hypervisors/detail',
                '/os-hypervisors/detail?marker=uuid-b',
            ],
            pages.paths,
        )

    def test_a_page_that_comes_again_and_again(self) -> None:
        pages = Pages(page('a', more=True))
        self.assertEqual({'uuid-a': 'a'}, placement.Nova(pages).providers())

    def test_nonsense(self) -> None:
        for said in (
            [],
            {'hypervisors': 'x'},
            {'hypervisors': [{}]},
            {'hypervisors': [{'id': 1, 'service': None}]},
        ):
            error = self.assertRaises(
                errors.Unavailable, placement.Nova(Pages(said)).providers
            )
            self.assertEqual('NOVA_UNAVAILABLE', error.reason)


class TrustedTest(base.ApiTestCase):
    """Who is to have it: whom the filter would pass."""

    def setUp(self) -> None:
        super().setUp()
        self.good = self.host('h1')

    def trusted(self) -> set[str]:
        return placement.trusted(self.korora.service)

    def test_trusted(self) -> None:
        self.stranger('pending').enrol()
        bad = self.host('h2')
        bad.tpm.extend(4, b'\1' * 32)
        bad.attest_now()
        self.assertEqual({'h1'}, self.trusted())

    def test_results_expire(self) -> None:
        self.korora.clock.advance(181)
        self.assertEqual(set(), self.trusted())
        self.good.attest_now()
        self.assertEqual({'h1'}, self.trusted())

    def test_stock_nova(self) -> None:
        self.good.enforcer = None
        self.good.attest_now()
        self.assertEqual(set(), self.trusted())

    def test_evicted(self) -> None:
        self.admin.evict_host('h1', 'gone')
        self.assertEqual(set(), self.trusted())

    def test_a_clock_that_was_ahead(self) -> None:
        with self.korora.service.db.write() as session:
            row = session.get(models.Host, 'h1')
            row.issued += 10_000
            row.expires += 10_000
        self.assertEqual(set(), self.trusted())

    def test_a_database_that_was_emptied(self) -> None:
        with self.korora.service.db.write() as session:
            session.delete(session.get(models.Host, 'h1'))
        self.assertEqual(set(), self.trusted())


class CommandTest(testtools.TestCase):
    def run_with(
        self,
        done: dict[str, Done],
        dry_run: bool = False,
        metrics_dir: str | None = None,
    ) -> tuple[int, str]:
        conf: Any = mock.MagicMock()
        conf.command.dry_run = dry_run
        conf.__getitem__.return_value.metrics_dir = metrics_dir
        plan = placement.Plan(('p1',), ('p2',), 7)
        said = io.StringIO()
        with (
            mock.patch.object(command.service, 'from_conf') as made,
            mock.patch.multiple(
                placement,
                trusted=mock.DEFAULT,
                Nova=mock.DEFAULT,
                Placement=mock.DEFAULT,
            ),
            mock.patch.object(
                placement,
                'synchronise',
                return_value=placement.Report(plan, done),
            ),
            redirect_stdout(said),
        ):
            made.return_value.clock.return_value = 7.0
            return command.sync(conf), said.getvalue()

    def test_done(self) -> None:
        code, said = self.run_with({'p1': Done.REMOVED, 'p2': Done.ADDED})
        self.assertEqual(0, code)
        self.assertIn('p1: removed\np2: added\n7 providers', said)

    def test_not_all(self) -> None:
        code, _ = self.run_with({'p1': Done.CONFLICT})
        self.assertEqual(1, code)

    def test_dry_run(self) -> None:
        code, said = self.run_with({}, dry_run=True)
        self.assertEqual(0, code)
        self.assertIn(f'p1 would lose {TRAIT}.\np2 would get', said)

    def test_counted_when_all_is_as_it_should_be(self) -> None:
        directory = self.useFixture(fixtures.TempDir()).path
        path = pathlib.Path(directory, 'korora-manage-0.prom')
        for done, wanted in (
            (Done.CONFLICT, False),
            (Done.ADDED, True),
            (Done.CONFLICT, True),
        ):
            self.run_with({'p1': done}, metrics_dir=directory)
            self.assertEqual(wanted, path.exists())
        text = path.read_text()
        for line in (
            'korora_placement_sync_timestamp_seconds{worker="0"} 7.0',
            'korora_placement_providers{state="trusted",worker="0"} 7.0',
            'korora_placement_providers{state="added",worker="0"} 1.0',
        ):
            self.assertIn(f'{line}\n', text)


class PlanTest(testtools.TestCase):
    def test_ten_thousand(self) -> None:
        providers = {f'p{number}': f'h{number}' for number in range(10_000)}
        hosts = [f'h{number}' for number in range(1, 10_000)]
        having = [f'p{number}' for number in range(9_999)]
        found = placement.plan(providers, set(hosts), having)
        self.assertEqual(
            (('p0',), ('p9999',), 9_999),
            (found.remove, found.add, found.trusted),
        )

    def test_counts(self) -> None:
        report = placement.Report(
            placement.Plan((), (), 0), {'a': Done.ADDED, 'b': Done.ADDED}
        )
        self.assertEqual(collections.Counter({Done.ADDED: 2}), report.counts)
