# SPDX-License-Identifier: Apache-2.0
"""Secrets and domains in a libvirt of our own, in namespaces of our own."""

from __future__ import annotations

import json
import os
import pathlib
import select
import shutil
import socket
import subprocess
import tempfile
import time
import uuid
from typing import ClassVar
from unittest import mock

import libvirt
import testtools

from korora_nova import errors
from korora_nova.attester import libvirt_secret
from korora_nova.attester.custodian import custodians, jobs
from korora_nova.custody import operations
from korora_nova.secret import Secret
from korora_nova.tpm import device

PASSPHRASE = Secret(bytes(range(256)) * 2)

_SCRIPT = """
mount --bind {root}/etc /etc/libvirt
mount --bind {root}/lib /var/lib/libvirt
mount -t tmpfs tmpfs /run  # where libvirt never ran there is no /run/libvirt
mkdir /run/libvirt
mount --bind {root}/run /run/libvirt
mount --bind {root}/log /var/log/libvirt
mount --bind {root}/cache /var/cache/libvirt
# Not exec: QEMU's parent ends, and somebody has to reap it
libvirtd --pid-file /run/libvirt/libvirtd.pid &
wait $!
"""
_STARTUP = 60
_DOMAIN = """
<domain type='qemu'>
 <name>guest</name><uuid>{uuid}</uuid>
 <memory unit='MiB'>64</memory>
 <os><type arch='x86_64' machine='q35'>hvm</type></os>
</domain>
"""


def _words(path: pathlib.Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []


class Daemon:
    """A libvirtd that sees nothing of this machine's and is seen by none."""

    def __init__(self) -> None:
        self.root = pathlib.Path(tempfile.mkdtemp(prefix='korora-libvirt-'))
        for name in ('etc', 'lib', 'run', 'log', 'cache'):
            (self.root / name).mkdir()
        (self.root / 'etc/libvirtd.conf').write_text(
            'auth_unix_ro = "none"\nauth_unix_rw = "none"\n'
            f'host_uuid = "{uuid.uuid4()}"\n'
            'log_outputs = "3:stderr"\n'
        )
        (self.root / 'etc/qemu.conf').write_text(
            'user = "root"\ngroup = "root"\nsecurity_driver = "none"\n'
            'namespaces = []\ncgroup_controllers = []\n'
            'stdio_handler = "file"\n'
        )
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def uri(self) -> str:
        return f'qemu:///system?socket={self.root}/run/libvirt-sock'

    def start(self) -> None:
        self.process = subprocess.Popen(
            [
                'unshare',
                '--mount',
                '--net',
                '--ipc',
                '--pid',
                '--fork',
                '--kill-child',
                '--mount-proc',
                '--propagation',
                'private',
                'sh',
                '-ec',
                _SCRIPT.format(root=self.root),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + _STARTUP
        while time.monotonic() < deadline:
            try:
                libvirt.open(self.uri).close()
                return
            except libvirt.libvirtError:
                time.sleep(0.1)
        self.stop()
        raise RuntimeError('libvirtd does not start')

    def kill(self) -> None:
        """End libvirtd and all in its namespaces, and see them ended."""
        process, self.process = self.process, None
        if process is None:
            return
        children = pathlib.Path(
            f'/proc/{process.pid}/task/{process.pid}/children'
        )
        watched = [os.pidfd_open(int(pid)) for pid in _words(children)]
        process.kill()
        process.wait()
        # The kernel ends the namespaces' first process after their maker
        for descriptor in watched:
            select.select([descriptor], [], [], _STARTUP)
            os.close(descriptor)

    def stop(self) -> None:
        self.kill()
        shutil.rmtree(self.root, ignore_errors=True)


class LibvirtTest(testtools.TestCase):
    daemon: ClassVar[Daemon]

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        libvirt.registerErrorHandler(lambda *_: None, None)
        cls.daemon = Daemon()
        cls.addClassCleanup(cls.daemon.stop)

    def setUp(self) -> None:
        super().setUp()
        self.libvirt = libvirt_secret.Libvirt(self.daemon.uri)
        self.instance = str(uuid.uuid4())
        self.uuid = str(uuid.uuid4())

    def secrets(self) -> list[str]:
        connection = libvirt.open(self.daemon.uri)
        found = [
            secret.UUIDString()
            for secret in connection.listAllSecrets()
            if secret.usageID() == self.instance
        ]
        connection.close()
        return found

    def on_disk(self) -> list[str]:
        return [
            name
            for _dir, _dirs, names in os.walk(self.daemon.root / 'etc')
            for name in names
            if self.uuid in name
        ]

    def test_uuid_of_a_secret_of_another(self) -> None:
        other = str(uuid.uuid4())
        self.libvirt.define(self.uuid, other, PASSPHRASE)
        error = self.assertRaises(
            errors.Unavailable,
            self.libvirt.define,
            self.uuid,
            self.instance,
            PASSPHRASE,
        )
        self.assertEqual(errors.Reason.LIBVIRT_UNAVAILABLE, error.reason)
        self.libvirt.undefine(self.uuid, self.instance)
        connection = libvirt.open(self.daemon.uri)
        self.addCleanup(connection.close)
        kept = connection.secretLookupByUUIDString(self.uuid)
        self.assertEqual(other, kept.usageID())

    def test_private_and_ephemeral(self) -> None:
        self.libvirt.define(self.uuid, self.instance, PASSPHRASE)
        self.assertEqual([self.uuid], self.secrets())
        self.assertEqual([], self.on_disk())
        connection = libvirt.open(self.daemon.uri)
        secret = connection.secretLookupByUUIDString(self.uuid)
        error = self.assertRaises(libvirt.libvirtError, secret.value)
        self.assertEqual(
            libvirt.VIR_ERR_INVALID_SECRET, error.get_error_code()
        )
        self.assertIn("ephemeral='yes' private='yes'", secret.XMLDesc())
        connection.close()
        self.libvirt.undefine(self.uuid, self.instance)
        self.assertEqual([], self.secrets())

    def test_undefine_tolerates_none(self) -> None:
        self.libvirt.undefine(self.uuid, self.instance)
        self.libvirt.undefine('', self.instance)

    def test_undefine_by_instance_alone(self) -> None:
        self.libvirt.define(self.uuid, self.instance, PASSPHRASE)
        self.libvirt.undefine('', self.instance)
        self.assertEqual([], self.secrets())

    def test_replaces_another_secret_of_the_instance(self) -> None:
        """Such as the persistent, readable one of stock Nova."""
        connection = libvirt.open(self.daemon.uri)
        connection.secretDefineXML(
            f"<secret ephemeral='no' private='no'><uuid>{self.uuid}</uuid>"
            f"<usage type='vtpm'><name>{self.instance}</name></usage>"
            '</secret>'
        ).setValue(b'stock')
        connection.close()
        self.assertEqual(2, len(self.on_disk()))
        other = str(uuid.uuid4())
        self.libvirt.define(other, self.instance, PASSPHRASE)
        self.assertEqual([other], self.secrets())
        self.assertEqual([], self.on_disk())

    def test_reconnects(self) -> None:
        self.libvirt.define(self.uuid, self.instance, PASSPHRASE)
        self.daemon.kill()
        error = self.assertRaises(
            errors.Unavailable, self.libvirt.domain_state, self.instance
        )
        self.assertEqual(errors.Reason.LIBVIRT_UNAVAILABLE, error.reason)
        self.assertIn(f'libvirt_uri = {self.daemon.uri}', error.message)
        self.daemon.start()
        self.assertEqual(
            libvirt_secret.NONE, self.libvirt.domain_state(self.instance)
        )
        # ephemeral: gone with the daemon
        self.assertEqual([], self.secrets())


class CustodianTest(testtools.TestCase):
    """A custodian as agents have them, and a real libvirt."""

    def setUp(self) -> None:
        super().setUp()
        self.daemon = Daemon()
        self.addCleanup(self.daemon.stop)
        process = custodians.Zygote()
        self.addCleanup(process.stop)
        self.custodians = custodians.Custodians(
            process, device.Tpm('none'), self.daemon.uri, locked=False
        )
        self.uuid, self.instance = str(uuid.uuid4()), str(uuid.uuid4())

    def define(self, custodian: custodians.Custodian) -> None:
        """From nova-compute's words to libvirt's secret."""
        request = operations.Seal(self.instance, self.uuid, PASSPHRASE)
        fields = {'version': 1, 'op': 'seal', **request.to_json()}
        content = json.dumps(fields).encode()
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.sendall(content[27:])
            taken = custodian.take(theirs, content[:27], len(content) - 27)
        self.assertEqual(
            (self.instance, self.uuid), (taken.instance, taken.secret_uuid)
        )
        custodian.do(jobs.Define(self.uuid, self.instance), jobs.Done)

    def test_secret(self) -> None:
        with self.custodians.begin() as custodian:
            self.define(custodian)
        connection = libvirt.open(self.daemon.uri)
        self.addCleanup(connection.close)
        secret = connection.secretLookupByUUIDString(self.uuid)
        self.assertEqual(self.instance, secret.usageID())
        self.assertIn("ephemeral='yes' private='yes'", secret.XMLDesc())

    def test_libvirt_is_down(self) -> None:
        self.daemon.kill()
        with self.custodians.begin() as custodian:
            error = self.assertRaises(
                errors.Unavailable, self.define, custodian
            )
        self.assertEqual(errors.Reason.LIBVIRT_UNAVAILABLE, error.reason)
        self.assertIn(f'libvirt_uri = {self.daemon.uri}', error.message)


class GuestTest(testtools.TestCase):
    """A guest of QEMU."""

    def test_no_job(self) -> None:
        daemon = Daemon()
        self.addCleanup(daemon.stop)
        connection = libvirt_secret.Libvirt(daemon.uri)
        instance = str(uuid.uuid4())
        with connection._connected() as direct:
            domain = direct.defineXML(_DOMAIN.format(uuid=instance))
            self.assertFalse(connection.has_job(instance))
            domain.create()
            self.assertFalse(connection.has_job(instance))
            self.assertEqual(
                libvirt_secret.RUNNING, connection.domain_state(instance)
            )
            domain.destroy()
        self.assertFalse(connection.has_job(instance))


class DomainTest(testtools.TestCase):
    """Domains of libvirt's own test driver, which lives in the client."""

    def setUp(self) -> None:
        super().setUp()
        self.libvirt = libvirt_secret.Libvirt('test:///default')
        with self.libvirt._connected() as connection:
            self.domain = connection.lookupByName('test')
        self.instance = self.domain.UUIDString()

    def assert_state(self, expected: str) -> None:
        self.assertEqual(expected, self.libvirt.domain_state(self.instance))

    def test_none(self) -> None:
        self.assertEqual(
            libvirt_secret.NONE, self.libvirt.domain_state(str(uuid.uuid4()))
        )

    def test_life(self) -> None:
        self.assert_state(libvirt_secret.RUNNING)
        # paused by its user is a guest that is here
        self.domain.suspend()
        self.assert_state(libvirt_secret.RUNNING)
        self.domain.resume()
        self.domain.destroy()
        self.assert_state(libvirt_secret.NONE)
        self.domain.create()

    def test_incoming(self) -> None:
        domain = mock.Mock()
        connection = mock.Mock()
        connection.lookupByUUIDString.return_value = domain
        with mock.patch.object(
            self.libvirt, '_connect', return_value=connection
        ):
            domain.state.return_value = [
                libvirt.VIR_DOMAIN_PAUSED,
                libvirt.VIR_DOMAIN_PAUSED_MIGRATION,
            ]
            self.assert_state(libvirt_secret.INCOMING)
            domain.state.return_value = [
                libvirt.VIR_DOMAIN_RUNNING,
                libvirt.VIR_DOMAIN_RUNNING_MIGRATED,
            ]
            self.assert_state(libvirt_secret.RUNNING)
            domain.state.return_value = [libvirt.VIR_DOMAIN_SHUTOFF, 0]
            self.assert_state(libvirt_secret.NONE)

    def test_no_job_without_a_domain(self) -> None:
        self.assertFalse(self.libvirt.has_job(str(uuid.uuid4())))

    def test_jobs_that_cannot_be_read(self) -> None:
        """libvirt's test driver has none: that is not "no job"."""
        error = self.assertRaises(
            errors.Unavailable, self.libvirt.has_job, self.instance
        )
        self.assertEqual(errors.Reason.LIBVIRT_UNAVAILABLE, error.reason)

    def test_job(self) -> None:
        domain = mock.Mock()
        connection = mock.Mock()
        connection.lookupByUUIDString.return_value = domain
        for job, expected in (
            ({'type': libvirt.VIR_DOMAIN_JOB_NONE}, False),
            ({'type': libvirt.VIR_DOMAIN_JOB_UNBOUNDED}, True),
            (_job(libvirt.VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT), True),
            (_job(libvirt.VIR_DOMAIN_JOB_OPERATION_MIGRATION_IN), True),
            (_job(libvirt.VIR_DOMAIN_JOB_OPERATION_BACKUP), False),
        ):
            domain.jobStats.return_value = job
            with mock.patch.object(
                self.libvirt, '_connect', return_value=connection
            ):
                self.assertIs(
                    expected, self.libvirt.has_job(self.instance), job
                )

    def test_job_of_a_guest_that_comes_in(self) -> None:
        """libvirt 9.0: "only available on the source host"."""
        domain = mock.Mock()
        connection = mock.Mock()
        connection.lookupByUUIDString.return_value = domain
        refusal = libvirt.libvirtError('')
        refusal.err = (libvirt.VIR_ERR_OPERATION_UNSUPPORTED,)
        domain.jobStats.side_effect = refusal
        for active in (True, False):
            domain.isActive.return_value = int(active)
            with mock.patch.object(
                self.libvirt, '_connect', return_value=connection
            ):
                self.assertIs(active, self.libvirt.has_job(self.instance))

    def test_no_stream_to_end(self) -> None:
        self.assertFalse(self.libvirt.abort(str(uuid.uuid4())))

    def abort(self, domain: mock.Mock) -> bool:
        connection = mock.Mock()
        connection.lookupByUUIDString.return_value = domain
        with mock.patch.object(
            self.libvirt, '_connect', return_value=connection
        ):
            return self.libvirt.abort(self.instance)

    def test_only_a_stream_from_here_is_ended(self) -> None:
        for job, expected in (
            ({'type': libvirt.VIR_DOMAIN_JOB_NONE}, False),
            ({'type': libvirt.VIR_DOMAIN_JOB_UNBOUNDED}, False),
            (_job(libvirt.VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT), True),
            (_job(libvirt.VIR_DOMAIN_JOB_OPERATION_MIGRATION_IN), False),
            (_job(libvirt.VIR_DOMAIN_JOB_OPERATION_BACKUP), False),
            (_job(libvirt.VIR_DOMAIN_JOB_OPERATION_SNAPSHOT), False),
        ):
            domain = mock.Mock()
            domain.jobStats.return_value = job
            self.assertIs(expected, self.abort(domain), job)
            self.assertIs(expected, domain.abortJob.called, job)

    def test_stream_that_is_over_meanwhile(self) -> None:
        """libvirt knows no job, or no domain, any more: nothing to do."""
        for code, refused in (
            (libvirt.VIR_ERR_OPERATION_INVALID, False),
            (libvirt.VIR_ERR_NO_DOMAIN, False),
            (libvirt.VIR_ERR_SYSTEM_ERROR, True),
            (libvirt.VIR_ERR_OPERATION_TIMEOUT, True),
        ):
            error = libvirt.libvirtError('')
            error.err = (code,)
            domain = mock.Mock()
            domain.jobStats.return_value = _job(
                libvirt.VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT
            )
            domain.abortJob.side_effect = error
            if refused:
                self.assertRaises(errors.Unavailable, self.abort, domain)
            else:
                self.assertFalse(self.abort(domain))


def _job(operation: int) -> dict[str, int]:
    return {
        'type': libvirt.VIR_DOMAIN_JOB_UNBOUNDED,
        libvirt.VIR_DOMAIN_JOB_OPERATION: operation,
    }
