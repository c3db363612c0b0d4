# SPDX-License-Identifier: Apache-2.0
"""Cold migration and resize, at both ends, without Nova's driver."""

import os
import shutil
from types import SimpleNamespace
from unittest import mock

import fixtures
import nova.privsep
import testtools
from nova.compute import task_states
from nova.virt.libvirt import utils as libvirt_utils

from korora_nova import errors
from korora_nova.custody.moves import way_back
from korora_nova.relying_party import hypervisor
from tests.unit.relying_party import compute

BACK = way_back(compute.MIGRATION)


class Failed(Exception):
    """Nova failed at something."""


class Base(compute.Base):
    def setUp(self):
        super().setUp()
        self.protect()

    def leave(self, instance=None, flavor=None, fails=None):
        """Nova powers off and copies on h1."""
        instance = instance or self.instance
        with self.h1.moves.leaving(None, instance, flavor or instance.flavor):
            self.touched = True
            if fails is not None:
                raise fails

    def finish(self, host, launch=True, **reverts):
        with host.moves.finishing(
            None, self.instance, self.h1.cold, launch=launch, **reverts
        ) as launched:
            return launched

    def states(self):
        return [
            host.agent.vault.get(compute.UUID, {}).get('state', 'none')
            for host in (self.h1, self.h2)
        ]

    def assert_untouched(self, reason, *args, **kwargs):
        self.touched = False
        self.refused(reason, self.leave, *args, **kwargs)
        self.assertFalse(self.touched)


class TestLeaving(Base):
    def test_key_goes_before(self):
        self.leave()
        self.assertEqual(['prepare'], self.h1.agent.ops())
        self.assertEqual(['moving', 'incoming'], self.states())
        asked = dict(self.h1.agent.calls)['prepare']
        self.assertEqual(
            {
                'instance': compute.UUID,
                'migration': compute.MIGRATION,
                'dest': 'h2',
                'kind': 'cold',
            },
            asked,
        )

    def test_copy_fails(self):
        self.assertRaises(Failed, self.leave, fails=Failed())
        self.assertEqual(['held', 'none'], self.states())
        self.assertEqual([compute.UUID], self.h1.libvirt.brought_back)

    def test_copy_fails_and_all_else(self):
        """The first failure is the one that Nova is told."""
        self.h1.agent.fail['stays'] = errors.Unavailable('AGENT_UNAVAILABLE')
        self.h1.libvirt.fails = OSError('disk')
        self.assertRaises(Failed, self.leave, fails=Failed())
        self.assertIn('the next start tries again', self.log.output)

    def test_refused(self):
        for host in ('h1', 'h2'):
            self.untrusted(host)
            self.assert_untouched('HOST_UNTRUSTED')
            self.cloud.untrusted.clear()
        self.cloud.up = False
        self.assert_untouched('SERVICE_UNAVAILABLE')
        self.cloud.up = True
        self.h2.agent.fail['prepared'] = errors.Unavailable('PEER_TOO_OLD')
        self.assert_untouched('PEER_TOO_OLD')
        self.h2.agent.alive = False
        self.assert_untouched('BUS_UNAVAILABLE')
        self.h1.agent.alive = False
        self.assert_untouched('AGENT_UNAVAILABLE')

    def test_refused_where_nova_is_another(self):
        self.h1.gate.obstacle = errors.Unavailable('NOVA_DRIFT')
        self.assert_untouched('NOVA_DRIFT')

    def test_lost_answer(self):
        """The agent handed it over; the driver says that it stays."""
        stock = self.h1.agent._prepare

        def lost(**fields):
            stock(**fields)
            raise errors.Unavailable('AGENT_UNAVAILABLE')

        self.h1.agent._prepare = lost
        self.assert_untouched('AGENT_UNAVAILABLE')
        self.assertEqual(['held', 'none'], self.states())

    def test_same_host(self):
        self.h1.cold.dest_compute = 'h1'
        self.leave()
        self.assertEqual(['attest'], self.h1.agent.ops())
        self.assertRaises(Failed, self.leave, fails=Failed())
        self.assertEqual([compute.UUID], self.h1.libvirt.brought_back)
        self.untrusted('h1')
        self.assert_untouched('HOST_UNTRUSTED')

    def test_another_vtpm(self):
        for specs in (
            {},
            {**compute.VTPM, 'hw:tpm_version': '1.2'},
            {**compute.VTPM, 'hw:tpm_model': 'tpm-crb'},
            {**compute.VTPM, 'hw:tpm_secret_security': 'user'},
        ):
            self.assert_untouched(
                'COLD_VTPM_CHANGED', flavor={'extra_specs': specs}
            )
        self.assertEqual([], self.h1.agent.ops())

    def test_the_same_vtpm_said_in_another_way(self):
        specs = {**compute.VTPM, 'hw:tpm_model': 'tpm-tis', 'hw:x': 'y'}
        self.leave(flavor={'extra_specs': specs})

    def test_gains_a_vtpm(self):
        plain = compute.Instance(uuid=compute.SECRET)
        self.assert_untouched(
            'COLD_VTPM_CHANGED', plain, flavor=self.instance.flavor
        )

    def test_flavor_that_lost_its_vtpm_on_the_bus(self):
        """T32: vault and ledger know."""
        self.instance.flavor = {'extra_specs': {}}
        self.leave()
        self.assertEqual(['moving', 'incoming'], self.states())

    def test_others(self):
        plain = compute.Instance(uuid=compute.SECRET)
        self.leave(plain)
        trusted = compute.Instance(compute.TRUSTED, uuid=compute.SECRET)
        self.leave(trusted)
        self.assertEqual(['verdict'], self.h1.agent.ops())
        self.untrusted('h2')
        self.assert_untouched('HOST_UNTRUSTED', trusted)
        self.h1.agent.alive = False
        self.leave(plain)

    def test_stock_key_is_taken_first(self):
        self.h1.agent.vault.clear()
        self.cloud.ledger.clear()
        self.h1.libvirt.stock = (compute.SECRET, b'canary')
        self.leave()
        self.assertEqual(['moving', 'incoming'], self.states())

    def test_power_off(self):
        """Of a move that is ours, and of one to another cell."""
        self.instance.task_state = task_states.RESIZE_MIGRATING
        check = self.h1.moves.check_power_off
        self.refused('COLD_MIGRATION_UNSUPPORTED', check, self.instance)
        with self.h1.moves.leaving(None, self.instance, self.instance.flavor):
            check(self.instance)
        self.refused('COLD_MIGRATION_UNSUPPORTED', check, self.instance)
        plain = compute.Instance(
            uuid=compute.SECRET, task_state=task_states.RESIZE_MIGRATING
        )
        check(plain)
        self.instance.task_state = task_states.POWERING_OFF
        check(self.instance)
        self.instance.unset.add('task_state')
        check(self.instance)


class TestFinishing(Base):
    def test_start(self):
        self.leave()
        self.assertTrue(self.finish(self.h2))
        self.assertEqual(['activated', 'open', 'close'], self.h2.agent.ops())
        self.assertEqual(['relinquished', 'held'], self.states())
        self.assert_closed()

    def test_stopped(self):
        self.leave()
        self.assertFalse(self.finish(self.h2, launch=False))
        self.assertEqual(['activated'], self.h2.agent.ops())
        self.assertEqual(['relinquished', 'held'], self.states())

    def test_refused_start_ends_the_move_first(self):
        self.leave()
        self.untrusted('h2')
        done = []

        def finish():
            with self.h2.moves.finishing(
                None, self.instance, self.h1.cold, launch=True
            ) as launch:
                done.append(launch)

        self.refused('HOST_UNTRUSTED', finish)
        self.assertEqual([False], done)
        self.assertEqual(['relinquished', 'held'], self.states())
        self.assert_closed()

    def test_word_that_was_lost(self):
        """The start says the same."""
        self.leave()
        self.h2.agent.fail['activated'] = errors.Unavailable('RETRY')
        self.assertTrue(self.finish(self.h2))
        self.assertEqual(['relinquished', 'held'], self.states())

    def test_plain_server_asks_nobody(self):
        plain = compute.Instance(uuid=compute.SECRET)
        self.h2.agent.alive = False
        with self.h2.moves.finishing(None, plain, None, launch=True) as launch:
            self.assertTrue(launch)

    def test_revert_of_a_crash(self):
        """Nova asks which vTPM the old flavor has."""
        self.leave()
        with self.h1.moves.reverting_crash(self.instance):
            self.assertIs(self.instance.flavor, self.instance.old_flavor)
            self.assertTrue(self.finish(self.h1, reverts=True))
        self.assertIsNone(self.instance.old_flavor)
        self.assertEqual(['held', 'none'], self.states())
        old = self.instance.old_flavor = object()
        with self.h1.moves.reverting_crash(self.instance):
            pass
        self.assertIs(old, self.instance.old_flavor)
        plain = compute.Instance(uuid=compute.SECRET)
        with self.h1.moves.reverting_crash(plain):
            self.assertIsNone(plain.old_flavor)


class TestGoingBack(Base):
    def setUp(self):
        super().setUp()
        self.leave()
        self.finish(self.h2)
        self.instance.host = 'h2'
        self.instance.task_state = task_states.RESIZE_REVERTING
        self.h2.agent.calls.clear()

    def destroy(self, fails=None):
        self.touched = self.returned = False
        with self.h2.moves.going_back(None, self.instance):
            self.touched = True
            self.returned = self.h2.moves.is_returning(self.instance)
            if fails is not None:
                raise fails

    def test_nothing_is_kept_here_only_if_it_goes(self):
        self.destroy()
        self.assertTrue(self.returned)
        self.assertFalse(self.h2.moves.is_returning(self.instance))

    def test_key_goes_before(self):
        self.destroy()
        asked = dict(self.h2.agent.calls)['prepare']
        self.assertEqual(
            (BACK, 'h1', 'revert'),
            (asked['migration'], asked['dest'], asked['kind']),
        )
        self.instance.host = 'h1'
        self.assertTrue(self.finish(self.h1, reverts=True))
        self.assertEqual(['held', 'relinquished'], self.states())

    def test_refused(self):
        self.untrusted('h1')
        self.refused('HOST_UNTRUSTED', self.destroy)
        self.assertFalse(self.touched)
        self.assertEqual('held', self.states()[1])

    def test_destroy_fails(self):
        self.assertRaises(Failed, self.destroy, fails=Failed())
        self.assertEqual('held', self.states()[1])
        self.assertFalse(self.h2.moves.is_returning(self.instance))

    def test_agent_that_cannot_tell(self):
        """It may be protected: the server stays."""
        self.h2.agent.alive = False
        self.refused('AGENT_UNAVAILABLE', self.destroy)
        self.assertFalse(self.touched)

    def test_same_host(self):
        self.h2.cold = SimpleNamespace(
            uuid=compute.MIGRATION, source_compute='h2', dest_compute='h2'
        )
        self.destroy()
        self.assertFalse(self.returned)
        self.assertEqual(['attest'], self.h2.agent.ops())
        self.untrusted('h2')
        self.refused('HOST_UNTRUSTED', self.destroy)

    def test_anything_else(self):
        """Nova destroys for many reasons, and this never fails one."""
        self.h2.agent.alive = False
        for changes in (
            {'task_state': task_states.DELETING},
            {'task_state': None},
            {'host': 'h1'},
        ):
            with mock.patch.multiple(self.instance, **changes):
                self.destroy()
        self.instance.unset.add('task_state')
        self.destroy()
        self.instance.unset.clear()
        self.instance = compute.Instance(
            uuid=compute.SECRET,
            host='h2',
            task_state=task_states.RESIZE_REVERTING,
        )
        self.destroy()


class TestLeftOver(Base):
    """The reconciler: prepared, and nobody went on."""

    def look(self):
        self.assertTrue(self.h1.reconciler.step())

    def test_server_is_here_and_idle(self):
        self.leave()
        self.h1.instances[compute.UUID] = self.instance
        self.look()
        self.assertEqual(['held', 'none'], self.states())

    def test_it_may_still_go_on(self):
        self.leave()
        for changes in (
            {'task_state': task_states.RESIZE_MIGRATING},
            {'host': 'h2'},
            {'deleted': True},
        ):
            self.h1.libvirt.alive = 'deleted' in changes
            with mock.patch.multiple(self.instance, **changes):
                self.h1.instances[compute.UUID] = self.instance
                self.look()
            self.assertEqual(['moving', 'incoming'], self.states())
        self.h1.instances.clear()
        self.look()
        self.assertEqual(['moving', 'incoming'], self.states())

    def test_deleted_where_it_went(self):
        self.leave()
        self.instance.deleted = True
        self.h1.instances[compute.UUID] = self.instance
        self.look()
        self.assertEqual(['held', 'none'], self.states())
        self.look()
        self.assertEqual(['none', 'none'], self.states())

    def test_arrived(self):
        """A stopped server, and the agent was away when Nova finished."""
        self.leave()
        self.instance.host = 'h2'
        self.h2.instances[compute.UUID] = self.instance
        self.instance.task_state = task_states.RESIZE_FINISH
        self.assertTrue(self.h2.reconciler.step())
        self.assertEqual(['moving', 'incoming'], self.states())
        self.instance.task_state = None
        self.assertTrue(self.h2.reconciler.step())
        self.assertEqual(['relinquished', 'held'], self.states())

    def test_streams_are_the_agents(self):
        self.h1.agent.call('announce', instance=compute.UUID)
        self.h2.agent.call(
            'receive',
            instance=compute.UUID,
            migration=compute.MIGRATION,
            source='h1',
            address='h2',
            tls_name='',
        )
        for host in (self.h1, self.h2):
            self.instance.host = host.name
            host.instances[compute.UUID] = self.instance
            host.agent.runs = lambda instance: False
            self.assertTrue(host.reconciler.step())
        self.assertEqual(['outgoing', 'incoming'], self.states())
        self.assertNotIn('WARNING', self.log.output)


class TestVtpmState(testtools.TestCase):
    """On a real disk; Nova's privileges are this user's."""

    def setUp(self):
        super().setUp()
        self.place = self.useFixture(fixtures.TempDir()).path
        self.base = self.useFixture(fixtures.TempDir()).path
        self.instance = compute.Instance()
        patch = self.useFixture
        patch(fixtures.MockPatchObject(libvirt_utils, 'VTPM_DIR', self.place))
        patch(
            fixtures.MockPatchObject(
                libvirt_utils, 'get_instance_path', lambda _: self.base
            )
        )
        patch(
            fixtures.MockPatch(
                'pwd.getpwnam', lambda _: SimpleNamespace(pw_uid=os.getuid())
            )
        )
        patch(
            fixtures.MockPatch(
                'grp.getgrnam', lambda _: SimpleNamespace(gr_gid=os.getgid())
            )
        )
        context = nova.privsep.sys_admin_pctxt
        context.set_client_mode(False)
        self.addCleanup(context.set_client_mode, True)
        self.hypervisor = hypervisor.Hypervisor(lambda: None)

    def write(self, directory, text='state'):
        path = os.path.join(directory, compute.UUID, 'tpm2')
        os.makedirs(path)
        with open(os.path.join(path, 'tpm2-00.permall'), 'w') as file:
            file.write(text)

    def read(self):
        path = os.path.join(
            self.place, compute.UUID, 'tpm2', 'tpm2-00.permall'
        )
        with open(path) as file:
            return file.read()

    def bring_back(self):
        self.hypervisor.bring_back_vtpm(self.instance)

    def test_moved_away(self):
        self.write(os.path.join(self.base, 'swtpm'))
        for _ in range(2):
            self.bring_back()
            self.assertEqual('state', self.read())
        self.assertEqual([], os.listdir(os.path.join(self.base, 'swtpm')))

    def test_nova_failed_after_the_copy(self):
        """Its directory still has the name for the way."""
        going = os.path.join(f'{self.base}_resize', 'swtpm')
        self.write(going)
        self.addCleanup(shutil.rmtree, f'{self.base}_resize')
        self.bring_back()
        self.assertEqual('state', self.read())
        # What a resize on the same host leaves is the older one.
        self.write(going, 'old')
        self.bring_back()
        self.assertEqual('state', self.read())

    def test_never_moved(self):
        self.write(self.place)
        self.bring_back()
        self.assertEqual('state', self.read())

    def test_there_is_none(self):
        self.bring_back()
        self.assertEqual([], os.listdir(self.place))

    def test_two(self):
        """An operator decides; libvirt would start with the older one."""
        self.write(os.path.join(self.base, 'swtpm'), 'new')
        self.write(self.place, 'old')
        error = self.assertRaises(errors.CustodyError, self.bring_back)
        self.assertEqual('VTPM_STATE_TWICE', error.reason)
        self.assertEqual('old', self.read())
        shutil.rmtree(os.path.join(self.place, compute.UUID))
        self.bring_back()
        self.assertEqual('new', self.read())
