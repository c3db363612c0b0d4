# SPDX-License-Identifier: Apache-2.0
"""The trait of trusted hosts beside Nova's own work in Placement."""

from unittest import mock

import nova.conf
from keystoneauth1 import adapter, session
from nova import context as nova_context

from korora_nova.verifier import placement
from korora_nova.verifier.placement import Done
from tests.functional.nova import base

TRAIT = placement.TRAIT
REQUIRED = {f'trait:{TRAIT}': 'required'}


class Base(base.Base):
    def setUp(self):
        super().setUp()
        self.trait_placement = placement.Placement(
            self.adapter(
                'placement',
                self.placement.fixture.endpoint,
                {'x-auth-token': self.placement.fixture.token},
            )
        )
        self.trait_nova = placement.Nova(
            self.adapter(
                'compute',
                self.api_fixture.base_url,
                {
                    'X-Auth-User': 'admin',
                    'X-User-Id': 'admin',
                    'X-Auth-Project-Id': self.api_fixture.project_id,
                    'X-Roles': 'admin,member,reader',
                },
            )
        )

    def adapter(self, service, endpoint, headers):
        return adapter.Adapter(
            session.Session(auth=None, additional_headers=headers),
            service_type=service,
            endpoint_override=endpoint,
        )

    def sync(self, *hosts):
        with mock.patch.object(placement, 'AT_ONCE', 1):
            report = placement.synchronise(
                hosts, self.trait_nova, self.trait_placement
            )
        self.assertTrue(report.complete)
        return sorted(report.done.values())

    def traits(self, host):
        provider = self._get_provider_uuid_by_host(host)
        return set(self._get_provider_traits(provider))

    def update(self, host):
        """The periodic task of nova-compute."""
        self.computes[host].manager.update_available_resource(
            nova_context.get_admin_context()
        )


class TestTrait(Base):
    def setUp(self):
        super().setUp()
        self.start_hosts('h1', 'h2')

    def test_providers_of_nova(self):
        self.assertEqual(
            {
                self._get_provider_uuid_by_host(host): host
                for host in ('h1', 'h2')
            },
            self.trait_nova.providers(),
        )

    def test_page_by_page(self):
        # One of Nova's own, not of this package.
        nova.conf.CONF.set_override('max_limit', 1, 'api')
        self.assertEqual(
            ['h1', 'h2'], sorted(self.trait_nova.providers().values())
        )

    def test_traits_of_nova_stay(self):
        before = self.traits('h1')
        self.assertGreater(len(before), 5)
        self.assertEqual([Done.ADDED], self.sync('h1'))
        self.assertEqual(before | {TRAIT}, self.traits('h1'))
        self.assertEqual([Done.REMOVED], self.sync())
        self.assertEqual(before, self.traits('h1'))

    def test_nova_compute_leaves_it_alone(self):
        """Its periodic task, also one that has something to change."""
        self.sync('h1')
        self.update('h1')
        self.assertIn(TRAIT, self.traits('h1'))
        driver = self.computes['h1'].driver
        with mock.patch.object(
            driver, '_static_traits', {'HW_CPU_X86_AVX512F': True}
        ):
            self.update('h1')
        self.assertLessEqual({TRAIT, 'HW_CPU_X86_AVX512F'}, self.traits('h1'))

    def test_nova_compute_does_not_bring_it_back(self):
        """It knows the trait from before it was taken away."""
        self.sync('h1')
        self.update('h1')
        self.sync()
        driver = self.computes['h1'].driver
        with mock.patch.object(
            driver, '_static_traits', {'HW_CPU_X86_AVX512F': True}
        ):
            self.update('h1')
            self.update('h1')
        self.assertNotIn(TRAIT, self.traits('h1'))
        self.assertIn('HW_CPU_X86_AVX512F', self.traits('h1'))

    def test_nova_compute_starts_again(self):
        self.sync('h1')
        self.computes['h1'] = self.restart_compute_service('h1')
        self.assertIn(TRAIT, self.traits('h1'))


class TestScheduling(Base):
    """Without the filter: what Placement alone comes to."""

    def setUp(self):
        super().setUp()
        self.start_hosts('h1', 'h2')

    def test_only_trusted_hosts_are_candidates(self):
        # The weigher prefers h1.
        self.assertEqual('h1', self.host_of(self.create()))
        self.sync('h2')
        self.assertEqual('h2', self.host_of(self.create(REQUIRED)))
        self.assertEqual('h1', self.host_of(self.create()))
        self.sync()
        self.create(REQUIRED, state='ERROR')

    def test_a_trait_is_no_trust(self):
        """It only ever narrows: the driver decides as before."""
        self.sync('h1', 'h2')
        self.cloud.untrusted.add('h1')
        server = self.create({**base.VTPM, **REQUIRED}, state='ACTIVE')
        self.assertEqual('h2', self.host_of(server))
