# SPDX-License-Identifier: Apache-2.0
"""Compute hosts without Nova's driver: our parts, on simulated agents."""

import re
from types import SimpleNamespace

import fixtures
import testtools
from nova.compute import vm_states

from korora_nova import errors
from korora_nova.relying_party import host as korora_host
from tests.support import fakes

UUID = '6d3cbd36-8a05-4a2c-b6e3-f2e3ec4f5c11'
SECRET = '0e8a4a5c-1111-4222-8333-94c3a7b1d0aa'
MIGRATION = '9ab6bd4c-6a49-4f8a-96a2-7e1b4f3c5d11'
VTPM = {'hw:tpm_version': '2.0', 'hw:tpm_secret_security': 'host'}
TRUSTED = {'korora:trusted_host': 'required'}


class Instance:
    """What is read of a ``nova.objects.Instance``."""

    def __init__(self, extra_specs=None, **fields):
        self.uuid = UUID
        self.host = 'h1'
        self.flavor = {'extra_specs': dict(extra_specs or {})}
        self.image_meta = None
        self.old_flavor = None
        self.system_metadata = {}
        self.vm_state = vm_states.ACTIVE
        self.task_state = None
        self.deleted = False
        self.saved = 0
        self.unset = set()
        self.__dict__.update(fields)

    def obj_attr_is_set(self, name):
        return name not in self.unset

    def save(self):
        self.saved += 1


class MigrateData:
    """What is read of a ``nova.objects.LibvirtLiveMigrateData``."""

    def __init__(self, **fields):
        self.fields = {'migration': SimpleNamespace(uuid=MIGRATION), **fields}

    def obj_attr_is_set(self, name):
        return name in self.fields

    def __getattr__(self, name):
        return self.fields[name]

    @property
    def has_vtpm(self):
        return 'vtpm_secret_uuid' in self.fields


class Hypervisor:
    """Secrets of a libvirt."""

    def __init__(self):
        self.secrets = {}
        #: Readable, as stock Nova leaves it.
        self.stock = None
        self.tpm = False
        self.names = True
        self.alive = False
        #: Servers whose vTPM's state was brought back; why it cannot be.
        self.brought_back = []
        self.fails = None

    def has_secret(self, instance):
        return instance.uuid in self.secrets

    def stock_secret(self, instance):
        return self.stock

    def undefine_secret(self, instance):
        self.secrets.pop(instance.uuid, None)

    def has_tpm(self, instance):
        return self.tpm

    def names_disks(self):
        return self.names

    def bring_back_vtpm(self, instance):
        self.brought_back.append(instance.uuid)
        if self.fails is not None:
            raise self.fails

    def is_alive(self, instance):
        return self.alive

    def is_off(self, instance):
        return not self.alive


class Host:
    """One host, and Nova and libvirt as its parts see them."""

    def __init__(self, test, cloud, name):
        self.name = name
        self.agent = cloud.agent(name)
        self.libvirt = Hypervisor()
        self.agent.define = self._define
        self.agent.undefine = self._undefine
        self.conf = SimpleNamespace(
            host=name,
            state_path=test.useFixture(fixtures.TempDir()).path,
            korora=SimpleNamespace(
                protect_vtpm=True,
                agent_timeout=5,
                boot_wait=0,
                boot_retry=100,
                reconcile_interval=0,
                reconcile_batch=10,
                require_authenticated_channel=True,
            ),
            libvirt=SimpleNamespace(
                live_migration_inbound_addr=None,
                live_migration_with_native_tls=False,
                live_migration_tunnelled=False,
            ),
        )
        self.uri = 'qemu+tls://%s/system'
        self.created = []
        #: The tenant's secret, or why it cannot be read.
        self.escrow = b'escrow'
        #: Servers, and live migrations that Nova records.
        self.running = []
        self.records = []
        #: All that Nova's cell has a record of; who was looked up.
        self.instances = {}
        self.looked_up = []
        self.moving = set()
        #: The cold migration under way.
        self.cold = SimpleNamespace(
            uuid=MIGRATION, source_compute='h1', dest_compute='h2'
        )
        self.fails = None
        #: What Nova was told: faults and reboots.
        self.told = []
        self.parts = korora_host.Host(
            self.conf,
            lambda timeout: self.agent,
            self.libvirt,
            self,
            self,
            'tests.Driver',
            lambda dest: self.uri % dest,
        )
        self.gate = self.parts.gate
        self.servers = self.parts.servers
        self.tombstones = self.parts.tombstones
        self.deletes = self.parts.deletes
        self.keys = self.parts.keys
        self.starts = self.parts.starts
        self.retries = self.parts.retries
        self.reconciler = self.parts.reconciler
        self.onboarding = self.parts.onboarding
        self.moves = self.parts.moves
        self.outgoing = self.parts.outgoing
        self.incoming = self.parts.incoming

    def _define(self, instance, secret_uuid, value):
        self.libvirt.secrets[instance] = (secret_uuid, value)
        self.libvirt.stock = None

    def _undefine(self, instance):
        self.libvirt.secrets.pop(instance, None)

    # Nova

    def servers_of(self, host):
        return self.running

    def find(self, uuid):
        return next((each for each in self.running if each.uuid == uuid), None)

    def look_up(self, uuid):
        self.looked_up.append(uuid)
        if self.fails is not None:
            raise self.fails
        return self.instances.get(uuid)

    def is_moving(self, instance):
        return instance.uuid in self.moving

    def add_fault(self, instance, exc):
        self.told.append(str(exc))

    def report_ended(self, context, instance, exc):
        self.told.append(str(exc))

    def set_error(self, instance):
        instance.vm_state = vm_states.ERROR

    def reboot(self, instance):
        instance.task_state = 'rebooting_hard'
        self.told.append('reboot')

    def live_migrations(self, context, instance):
        return self.records

    def cold_migration(self, context, instance):
        return self.cold

    def is_name(self, text):
        return re.fullmatch(r'[\w.:-]+', text, re.ASCII) is not None

    # The key manager

    def create(self, context, instance):
        self.created.append(instance.uuid)
        return SECRET, b'canary'

    def read(self, context, instance):
        if isinstance(self.escrow, errors.KororaError):
            raise self.escrow
        return SECRET, self.escrow


class Base(testtools.TestCase):
    def setUp(self):
        super().setUp()
        self.cloud = fakes.Cloud()
        self.h1, self.h2 = (
            Host(self, self.cloud, name) for name in ('h1', 'h2')
        )
        self.log = self.useFixture(fixtures.FakeLogger())
        self.instance = Instance(VTPM)

    def protect(self):
        """The server runs on h1, with its key in custody."""
        self.h1.agent.call(
            'seal', instance=UUID, secret_uuid=SECRET, passphrase='Y2FuYXJ5'
        )
        self.h1.agent.calls.clear()

    def untrusted(self, *hosts):
        self.cloud.untrusted.update(hosts)

    def refused(self, reason, call, *args, **kwargs):
        error = self.assertRaises(errors.KororaError, call, *args, **kwargs)
        self.assertEqual(reason, error.reason)

    def assert_closed(self):
        for host in (self.h1, self.h2):
            self.assertEqual({}, host.libvirt.secrets)
            self.assertEqual(set(), host.agent.opened)
