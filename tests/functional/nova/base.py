# SPDX-License-Identifier: Apache-2.0
"""A cloud in one process: Nova's services, our driver and filter.

libvirt is Nova's fake, made stricter where it matters: a guest with a vTPM
does not start, and is not received, without its secret. Agents are
:mod:`tests.support.fakes`, one per compute host.
"""

import gc
import logging
import pathlib
import sysconfig
import threading
import time
from unittest import mock

import fixtures
import nova.conf
import nova.crypto
from castellan.common import exception as castellan_exception
from castellan.common.objects import passphrase
from castellan.key_manager import key_manager
from nova import context as nova_context
from nova import objects
from nova.tests import fixtures as nova_fixtures
from nova.tests.fixtures import libvirt as fakelibvirt
from nova.tests.functional import integrated_helpers
from nova.tests.functional.libvirt import base as libvirt_base
from nova.virt.libvirt import driver as libvirt_driver
from oslo_utils import uuidutils

from korora_nova import client, conf, errors
from korora_nova.rats.signed import keys, snapshot
from korora_nova.rats.signed import result as signed
from korora_nova.rats.signed import token as tokens
from korora_nova.relying_party import driver as korora_driver
from tests.functional.nova import patience
from tests.support import fakes

CONF = nova.conf.CONF
PASTE = sysconfig.get_path('data') + '/etc/nova/api-paste.ini'
CLOUD = '3f2a0a3c-6a31-4f3d-8f43-65b5a4ad0b0c'
INCARNATION = '9c5b94b1-35ad-49bb-b118-8e8fc24abf80'
VTPM = {
    'hw:tpm_version': '2.0',
    'hw:tpm_model': 'tpm-crb',
    'hw:tpm_secret_security': 'host',
}
TPM_XML = """<tpm model='tpm-crb'><backend type='emulator'/></tpm>"""
TRUSTED = {'korora:trusted_host': 'required'}


class KeyManager(key_manager.KeyManager):
    """Barbican in memory, as far as vTPMs need it."""

    def __init__(self, configuration):
        super().__init__(configuration)
        self.secrets = {}
        #: Whose they are: the tests have one.
        self.project = None

    def store(self, context, managed_object, expiration=None):
        self.project = context.project_id
        uuid = uuidutils.generate_uuid()
        assert isinstance(managed_object, passphrase.Passphrase)
        managed_object._id = uuid
        self.secrets[uuid] = managed_object
        return uuid

    def get(self, context, managed_object_id, metadata_only=False):
        if context.project_id != self.project:
            raise castellan_exception.KeyManagerError(reason='Forbidden')
        if managed_object_id not in self.secrets:
            raise castellan_exception.ManagedObjectNotFoundError(
                uuid=managed_object_id
            )
        return self.secrets[managed_object_id]

    def delete(self, context, managed_object_id, force=False):
        del self.secrets[managed_object_id]

    def _unused(self, *args, **kwargs):
        raise NotImplementedError

    create_key = create_key_pair = _unused
    add_consumer = remove_consumer = _unused


class Bulk:
    """The attestation service's bulk answer, signed for real."""

    etag = None

    def __init__(self, cloud, key, hosts):
        now = time.time()
        self.results = tuple(
            {
                'host': host,
                'token': signed.sign_result(
                    signed.Result(
                        host=host,
                        ak_name='00' * 34,
                        tier='contraindicated'
                        if host in cloud.untrusted
                        else 'affirming',
                        reasons=('PCR_NOT_GOLDEN',)
                        if host in cloud.untrusted
                        else (),
                        enforcer=cloud.missing(host),
                        issued=now,
                        expires=now + 60,
                        cloud=CLOUD,
                    ),
                    key,
                ),
            }
            for host in hosts
        )


class Service:
    def __init__(self, test):
        self.test = test

    def snapshot(self, base=''):
        if not self.test.cloud.up:
            raise errors.Unavailable('SERVICE_UNAVAILABLE')
        bulk = Bulk(self.test.cloud, self.test.key, self.test.computes)
        ring = keys.KeyRing.load(CONF.korora.trusted_keys)
        lines = {
            item['host']: snapshot.Row.claimed(
                tokens.authentic(item['token'], ring, signed.KIND)
            ).text()
            for item in bulk.results
        }
        head = snapshot.Head(
            CLOUD,
            INCARNATION,
            time.monotonic_ns(),
            len(lines),
            snapshot.digest(lines),
            time.time(),
        )
        return snapshot.Update(
            snapshot.sign(head, self.test.key),
            '',
            '\n'.join(lines[host] for host in sorted(lines)),
        )


class Base(libvirt_base.ServersTestBase):
    CAST_AS_CALL = False
    ADMIN_API = True
    REQUIRES_LOCKING = False
    microversion = '2.95'
    #: Whether the scheduler knows who is trusted.
    FILTER = False

    _stock = libvirt_base.ServersTestBase
    _wait_for_server_parameter = patience.patient(
        _stock._wait_for_server_parameter
    )
    _wait_until_deleted = patience.patient(_stock._wait_until_deleted)
    _wait_for_instance_action_event = patience.patient(
        _stock._wait_for_instance_action_event
    )
    _wait_for_migration_status = patience.patient(
        _stock._wait_for_migration_status
    )

    def setUp(self):
        CONF.set_override('api_paste_config', PASTE, group='wsgi')
        self.addCleanup(CONF.clear_override, 'api_paste_config', group='wsgi')
        self.flags(swtpm_enabled=True, group='libvirt')
        self.flags(live_migration_scheme='tls', group='libvirt')
        self.flags(
            supported_tpm_secret_security=['user', 'host', 'deployment'],
            group='libvirt',
        )
        self.flags(
            backend='tests.functional.nova.base.KeyManager',
            group='key_manager',
        )
        self.states = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        self.flags(state_path=str(self.states))
        self.flags(boot_wait=0, group='korora')
        self.cloud = fakes.Cloud()
        self.key = keys.SigningKey.generate()
        self.protected = set()
        self.streams = []
        self.stream = 'ok'
        self.streaming = threading.Event()
        self.abort = threading.Event()
        self.useFixture(
            fixtures.MockPatchObject(integrated_helpers, 'time', patience.Time)
        )
        super().setUp()
        self._patch_libvirt()

    def _patch_libvirt(self):
        test = self
        patch = self.useFixture
        patch(
            fixtures.MockPatchObject(
                libvirt_driver.LibvirtDriver, '_check_vtpm_support'
            )
        )
        connection = fakelibvirt.virConnect
        if hasattr(connection, '_domain_capability_tpm'):
            # Nova 33's fake supports vTPMs by default.
            patch(
                fixtures.MockPatchObject(
                    connection,
                    '_domain_capability_tpm',
                    connection._domain_capability_tpm_supported,
                )
            )
        patch(
            fixtures.MonkeyPatch(
                'nova.tests.fixtures.libvirt.Domain.migrateToURI3',
                lambda domain, uri, params, flags: test._migrate(
                    domain, uri, params, flags
                ),
            )
        )
        patch(
            fixtures.MonkeyPatch(
                'nova.tests.fixtures.libvirt.Domain.abortJob',
                lambda domain: test._abort(domain),
            )
        )
        create = fakelibvirt.Domain.createWithFlags

        def launch(domain, flags):
            test.check_secret(domain._connection, domain.UUIDString())
            return create(domain, flags)

        patch(
            fixtures.MonkeyPatch(
                'nova.tests.fixtures.libvirt.Domain.createWithFlags', launch
            )
        )
        describe = fakelibvirt.Domain.XMLDesc

        def describe_tpm(domain, flags):
            # The fake drops the device from what it was given.
            xml = describe(domain, flags)
            if domain.UUIDString() in test.protected:
                xml = xml.replace('</devices>', TPM_XML + '</devices>')
            return xml

        patch(
            fixtures.MonkeyPatch(
                'nova.tests.fixtures.libvirt.Domain.XMLDesc', describe_tpm
            )
        )

    def check_secret(self, connection, uuid):
        """What libvirt does: no vTPM without its secret."""
        if uuid not in self.protected:
            return
        secret = connection.secretLookupByUsage(None, uuid)
        if secret is None:
            raise fakelibvirt.make_libvirtError(
                fakelibvirt.libvirtError,
                'no secret for the vTPM',
                error_code=fakelibvirt.VIR_ERR_INTERNAL_ERROR,
            )
        assert secret._private and secret._ephemeral

    def _setup_compute_service(self):
        # One line for each of Nova's many pools, at every end of a test.
        logging.getLogger('nova.thread_pool_factory').setLevel(logging.WARNING)
        self.flags(compute_driver='korora.KororaLibvirtDriver')
        test = self

        def make_agent(driver, timeout):
            return test.agent_of(driver)

        self.useFixture(
            fixtures.MockPatchObject(
                korora_driver.KororaLibvirtDriver, '_make_agent', make_agent
            )
        )

    def _setup_scheduler_service(self):
        name = 'korora_nova.relying_party.filter.AttestationFilter'
        self.flags(
            available_filters=['nova.scheduler.filters.all_filters', name],
            group='filter_scheduler',
        )
        path = self.useFixture(fixtures.TempDir()).join('keys.json')
        keys.KeyRing.build(
            CLOUD, result=[self.key.public], custody=[], approval=[]
        ).save(path)
        self.flags(trusted_keys=path, result_cache=0, group='korora')
        self.useFixture(
            fixtures.MockPatchObject(
                client, 'from_conf', lambda *args: Service(self)
            )
        )
        self.useFixture(
            nova_fixtures.HostNameWeigherFixture(
                {'h1': 300, 'h2': 200, 'h3': 100}
            )
        )
        if self.FILTER:
            self.flags(
                enabled_filters=[
                    *CONF.filter_scheduler.enabled_filters,
                    'AttestationFilter',
                ],
                group='filter_scheduler',
            )
        return self.start_service('scheduler')

    # Hosts

    def start_service(self, name, host=None, **kwargs):
        if name == 'compute':  # each remembers its own servers
            path = self.states / host
            path.mkdir(exist_ok=True)
            self.flags(state_path=str(path))
        return super().start_service(name, host, **kwargs)

    def agent_of(self, driver):
        """The agent of a driver's host, tied to its libvirt."""
        agent = self.cloud.agent(driver._korora.name)

        def define(instance, secret_uuid, value):
            driver._host.create_secret(
                'vtpm', instance, password=value, uuid=secret_uuid
            )

        agent.define = define

        def runs(instance):
            try:
                return bool(
                    driver._host.get_connection()
                    .lookupByUUIDString(instance)
                    .isActive()
                )
            except fakelibvirt.libvirtError:
                return False

        agent.runs = runs
        agent.undefine = lambda instance: driver._host.delete_secret(
            'vtpm', instance
        )
        return agent

    def start_hosts(self, *names, heard=True):
        """Start nova-compute of hosts.

        :param heard: wait until the agent of each hears from its driver.
        """
        for name in names:
            self.start_compute(name, libvirt_version=9_000_000)
            if heard and hasattr(self.computes[name].driver, '_korora'):
                agent = self.cloud.agent(name)
                self.wait_until(lambda agent=agent: agent.enforcer)

    def connection(self, host):
        return self.computes[host].driver._host.get_connection()

    def secrets(self, host):
        return list(self.connection(host)._secrets)

    def domain(self, host, server):
        return self.connection(host).lookupByUUIDString(server['id'])

    # Servers

    def create(self, extra_specs=None, host=None, state='ACTIVE', **kwargs):
        flavor = self._create_flavor(extra_spec=extra_specs or {})
        body = self._build_server(flavor_id=flavor, networks='none', **kwargs)
        if host is not None:
            body['availability_zone'] = f'nova:{host}'
        server = self.api.post_server({'server': body})
        if 'hw:tpm_version' in (extra_specs or {}):
            self.protected.add(server['id'])
        return self._wait_for_state_change(server, state)

    def instance(self, server):
        return objects.Instance.get_by_uuid(
            nova_context.get_admin_context(),
            server['id'],
            expected_attrs=['system_metadata', 'flavor'],
        )

    def show(self, server):
        return self.api.get_server(server['id'])

    def host_of(self, server):
        return self.show(server)['OS-EXT-SRV-ATTR:host']

    def act(self, server, action, body=None):
        self.api.post_server_action(server['id'], {action: body})

    def wait_until(self, condition):
        patience.until(condition, 'it did not come true')

    def assert_fault(self, server, reason):
        """The last fault, which the API shows for some states only."""

        def told():
            # Nova records it after it has restored the state.
            faults = objects.InstanceFaultList.get_by_instance_uuids(
                nova_context.get_admin_context(), [server['id']]
            )
            return faults and f'[{reason}]' in faults[0].message

        patience.until(told, f'no fault with {reason}')

    # Migrations

    def _migrate(self, domain, uri, params, flags):
        self.streams.append((uri, params, flags))
        self.streaming.set()
        source = domain._connection
        uuid = domain.UUIDString()
        dest = next(
            compute for name, compute in self.computes.items() if name in uri
        )
        connection = dest.driver._host.get_connection()
        if self.stream == 'abort':
            self.abort.wait(30)
        if self.stream != 'ok':
            if self.stream == 'fail':
                domain.fail_job()
            raise fakelibvirt.make_libvirtError(
                fakelibvirt.libvirtError,
                'the stream broke',
                error_code=fakelibvirt.VIR_ERR_OPERATION_FAILED,
            )
        self.check_secret(connection, uuid)
        connection.createXML(params['destination_xml'], 0)
        source.lookupByUUIDString(uuid).complete_job()

    def _abort(self, domain):
        domain._job_type = fakelibvirt.VIR_DOMAIN_JOB_CANCELLED
        self.abort.set()

    def migrate(self, server, host=None, status='completed', force=None):
        body = {'host': host, 'block_migration': 'auto'}
        api = self.api
        source = self.host_of(server)
        self.domain(source, server)._job_type = fakelibvirt.VIR_DOMAIN_JOB_NONE
        if force is not None:
            body['force'] = force
            with mock.patch.object(api, 'microversion', '2.67'):
                self.act(server, 'os-migrateLive', body)
        else:
            self.act(server, 'os-migrateLive', body)
        self._wait_for_migration_status(server, [status])
        return self._wait_for_server_parameter(
            server, {'status': 'ACTIVE', 'OS-EXT-STS:task_state': None}
        )

    def migration(self, server):
        return self.api.api_get(
            '/os-migrations?instance_uuid=%s' % server['id']
        ).body['migrations'][0]


conf.register_korora_opts(CONF)
# Modules stay.
gc.freeze()
