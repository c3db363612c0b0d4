# SPDX-License-Identifier: Apache-2.0
"""The end of a server, and what is known of one, without Nova's driver."""

import os

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

    def test_lowered_vtpm_and_dead_agent(self):
        """A user's, says the flavor; this host remembers better (I12)."""
        user = compute.Instance(
            {**compute.VTPM, 'hw:tpm_secret_security': 'user'}
        )
        self.h1.libvirt.tpm = True
        standing = self.h1.servers.standing
        for agent, up in ((True, False), (False, True)):
            self.h1.agent.alive, self.cloud.up = agent, up
            self.assertFalse(standing(user).gated)
        self.h1.agent.alive = self.cloud.up = True
        self.protect()
        self.assertTrue(standing(user).custody)
        self.h1.agent.alive = False
        self.refused('AGENT_UNAVAILABLE', standing, user)
        # The vault lost it, and nobody can say whether it was protected.
        self.h1.agent.alive, self.cloud.up = True, False
        self.h1.agent.vault.clear()
        self.refused('AGENT_UNAVAILABLE', standing, user)
        self.cloud.up = True
        self.cloud.ledger.clear()
        self.assertFalse(standing(user).gated)
        self.h1.agent.alive = False
        self.assertFalse(standing(user).gated)

    def test_what_the_vault_has_is_remembered_at_the_start(self):
        plain = compute.Instance()
        servers = self.h1.servers
        servers.remember({compute.UUID})
        self.h1.agent.alive = False
        self.refused('AGENT_UNAVAILABLE', servers.standing, plain)
        servers.remember(set())
        self.assertFalse(servers.standing(plain).gated)

    def test_note_that_cannot_be_kept(self):
        names = self.h1.servers._protected
        names._directory = os.devnull
        self.assertTrue(self.h1.servers.standing(self.instance).custody)
        self.assertIn('Cannot note whether server', self.log.output)

    def test_configuration_is_read_when_it_is_asked(self):
        self.assertTrue(self.h1.servers.standing(self.instance).custody)
        self.h1.conf.korora.protect_vtpm = False
        self.assertFalse(self.h1.servers.standing(self.instance).custody)

    def test_whom_nobody_can_be_asked_about(self):
        servers, plain = self.h1.servers, compute.Instance(uuid='another')
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

    def destroy(self, instance, whole=True):
        with self.deletes.destroying(instance, whole=whole):
            pass

    def test_what_is_a_delete(self):
        for fields in (
            {'deleted': True},
            {'vm_state': vm_states.DELETED},
            {'vm_state': vm_states.SOFT_DELETED},
            {'task_state': task_states.DELETING},
            # Evacuated or migrated from here, and deleted since.
            {'deleted': True, 'host': 'h2'},
            {'deleted': True, 'host': None},
        ):
            self.h1.agent.calls.clear()
            self.destroy(compute.Instance(compute.VTPM, **fields))
            self.assertEqual(['forget'], self.h1.agent.ops(), fields)
            self.cloud.ledger.clear()
            self.protect()

    def test_what_is_none(self):
        for fields in (
            {},
            {'task_state': task_states.REBOOT_STARTED_HARD},
            {'deleted': True, 'unset': {'deleted'}},
            # It may be another host's, and here only what it left.
            {'vm_state': vm_states.SOFT_DELETED, 'host': 'h2'},
            {'task_state': task_states.DELETING, 'host': 'h2'},
            {'task_state': task_states.DELETING, 'host': None},
        ):
            self.destroy(compute.Instance(compute.VTPM, **fields))
        self.assertEqual([], self.h1.agent.calls)

    def test_what_is_made_again(self):
        """T48: a delete, or a restore, at an odd moment."""
        for fields in (
            {'vm_state': vm_states.SOFT_DELETED},
            {'task_state': task_states.DELETING},
            {'deleted': True},
        ):
            self.destroy(compute.Instance(compute.VTPM, **fields), whole=False)
        self.assertEqual([], self.h1.agent.calls)

    def test_what_a_build_saved_meanwhile(self):
        """H4: Nova loads it while it destroys, and the delete is lost."""
        instance = compute.Instance(
            compute.VTPM, task_state=task_states.DELETING
        )
        with self.deletes.destroying(instance, whole=True):
            instance.vm_state = vm_states.ACTIVE
            instance.task_state = None
        self.assertEqual(['forget'], self.h1.agent.ops())

    def test_delete_that_fails(self):
        def fail():
            with self.deletes.destroying(
                compute.Instance(compute.VTPM, deleted=True), whole=True
            ):
                raise ValueError

        self.assertRaises(ValueError, fail)
        self.assertEqual([], self.h1.agent.calls)

    def test_plain_server(self):
        self.h1.agent.vault.clear()
        self.h1.agent.alive = False
        self.destroy(compute.Instance(deleted=True))
        self.assertEqual([], self.h1.tombstones.list())

    def test_nothing_is_remembered(self):
        for alive, fields in (
            (True, {'deleted': True}),
            (False, {'deleted': True}),
            # Another host builds it.
            (True, {'vm_state': vm_states.BUILDING}),
        ):
            self.h1.agent.alive = True
            self.h1.servers.standing(self.instance)
            self.assertEqual(1, len(self.h1.servers._protected.list()))
            self.h1.agent.alive = alive
            self.destroy(compute.Instance(compute.VTPM, **fields))
            self.assertEqual([], self.h1.servers._protected.list())
        # But for the delete, whose agent was dead.
        self.assertEqual([compute.UUID], self.h1.tombstones.list())

    def test_dead_agent(self):
        gone = compute.Instance(compute.VTPM, deleted=True)
        self.h1.agent.alive = False
        self.destroy(gone)
        self.deletes.settle()
        self.assertEqual([compute.UUID], self.h1.tombstones.list())
        self.assertIn('it is told later', self.log.output)
        self.h1.agent.alive = True
        self.deletes.settle()
        self.assertEqual([], self.h1.tombstones.list())
        self.assertEqual({}, self.h1.agent.vault)

    def test_the_next_delete_settles_too(self):
        self.h1.tombstones.add(compute.MIGRATION)
        self.destroy(compute.Instance(compute.VTPM, deleted=True))
        self.assertEqual([], self.h1.tombstones.list())

    def test_agent_that_fails_in_between(self):
        self.h1.agent.fail['forget'] = errors.Unavailable('TPM_UNAVAILABLE')
        self.destroy(compute.Instance(compute.VTPM, deleted=True))
        self.assertEqual([compute.UUID], self.h1.tombstones.list())

    def test_agent_that_refuses(self):
        self.h1.tombstones.add(compute.UUID)
        self.h1.agent.fail['forget'] = errors.CustodyError('VAULT_DAMAGED')
        self.deletes.settle()
        self.assertEqual([], self.h1.tombstones.list())
        self.assertIn('does not forget server', self.log.output)
