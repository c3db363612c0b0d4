# SPDX-License-Identifier: Apache-2.0
"""The end of a server, and what is known of one, without Nova's driver."""

from nova.compute import task_states, vm_states

from korora_nova import errors
from tests.unit.relying_party import compute


class TestServers(compute.Base):
    def test_device_that_libvirt_knows(self):
        """A dead agent, and a flavor that lost its vTPM on the bus."""
        self.h1.agent.alive = False
        plain = compute.Instance()
        self.assertFalse(self.h1.servers.standing(plain).custody)
        self.h1.libvirt.tpm = True
        self.refused('AGENT_UNAVAILABLE', self.h1.servers.standing, plain)

    def test_configuration_is_read_when_it_is_asked(self):
        self.assertTrue(self.h1.servers.standing(self.instance).custody)
        self.h1.conf.korora.protect_vtpm = False
        self.assertFalse(self.h1.servers.standing(self.instance).custody)

    def test_whom_nobody_can_be_asked_about(self):
        servers, plain = self.h1.servers, compute.Instance()
        for question in (servers.might_be_gated, servers.might_have_custody):
            self.h1.agent.alive = True
            self.assertFalse(question(plain))
            self.assertTrue(question(self.instance))
            self.h1.agent.alive = False
            self.assertFalse(question(plain))
            self.assertTrue(question(self.instance))

    def test_secret_in_migrate_data(self):
        check = self.h1.servers.check_no_secret
        standing = self.h1.servers.standing(self.instance)
        check(standing, compute.MigrateData())
        check(standing, compute.MigrateData(vtpm_secret_value=None))
        for name in ('vtpm_secret_uuid', 'vtpm_secret_value'):
            self.refused(
                'SECRET_IN_MIGRATE_DATA',
                check,
                standing,
                compute.MigrateData(**{name: 'canary'}),
            )


class TestDeletes(compute.Base):
    def setUp(self):
        super().setUp()
        self.protect()
        self.deletes = self.h1.deletes

    def test_what_is_a_delete(self):
        for fields in (
            {'deleted': True},
            {'vm_state': vm_states.DELETED},
            {'vm_state': vm_states.SOFT_DELETED},
            {'task_state': task_states.DELETING},
        ):
            self.h1.agent.calls.clear()
            self.deletes.destroyed(compute.Instance(compute.VTPM, **fields))
            self.assertEqual(['forget'], self.h1.agent.ops(), fields)
            self.cloud.ledger.clear()
            self.protect()

    def test_what_is_none(self):
        for fields in (
            {},
            {'task_state': task_states.REBOOT_STARTED_HARD},
            {'deleted': True, 'unset': {'deleted'}},
        ):
            self.deletes.destroyed(compute.Instance(compute.VTPM, **fields))
        self.assertEqual([], self.h1.agent.calls)

    def test_plain_server(self):
        self.h1.agent.vault.clear()
        self.h1.agent.alive = False
        self.deletes.destroyed(compute.Instance(deleted=True))
        self.assertEqual([], self.h1.tombstones.list())

    def test_dead_agent(self):
        gone = compute.Instance(compute.VTPM, deleted=True)
        self.h1.agent.alive = False
        self.deletes.destroyed(gone)
        self.deletes.settle()
        self.assertEqual([compute.UUID], self.h1.tombstones.list())
        self.assertIn('it is told later', self.log.output)
        self.h1.agent.alive = True
        self.deletes.settle()
        self.assertEqual([], self.h1.tombstones.list())
        self.assertEqual({}, self.h1.agent.vault)

    def test_the_next_delete_settles_too(self):
        self.h1.tombstones.add(compute.MIGRATION)
        self.deletes.destroyed(compute.Instance(compute.VTPM, deleted=True))
        self.assertEqual([], self.h1.tombstones.list())

    def test_agent_that_fails_in_between(self):
        self.h1.agent.fail['forget'] = errors.Unavailable('TPM_UNAVAILABLE')
        self.deletes.destroyed(compute.Instance(compute.VTPM, deleted=True))
        self.assertEqual([compute.UUID], self.h1.tombstones.list())

    def test_agent_that_refuses(self):
        self.h1.tombstones.add(compute.UUID)
        self.h1.agent.fail['forget'] = errors.CustodyError('VAULT_DAMAGED')
        self.deletes.settle()
        self.assertEqual([], self.h1.tombstones.list())
        self.assertIn('does not forget server', self.log.output)
