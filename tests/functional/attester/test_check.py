# SPDX-License-Identifier: Apache-2.0
"""``korora-agent check`` on a host with a TPM: all good, and unchanged."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import tempfile

import testtools
from tpm2_pytss import ESAPI
from tpm2_pytss.constants import ESYS_TR, TPM2_CAP

from korora_nova.rats import eventlog
from korora_nova.tpm import device, inspection, keys, templates
from tests.support import hosts, simulator, swtpm

ROOT = pathlib.Path(__file__).resolve().parents[3]
_COMMAND = 'from korora_nova.cmd.agent import main; main()'
_CONFIG = """
[attester]
host = h1
tcti = {tcti}
state_dir = {directory}/state
uefi_log = {directory}/uefi
ima_log = {directory}/ima
trusted_keys = {directory}/keys.json
libvirt_uri = test:///default
[service_auth]
auth_type = none
endpoint_override = http://127.0.0.1:1
"""
#: What only asks; FlushContext and CreatePrimary are of a transient EK.
HARMLESS = {
    'createprimary',
    'flushcontext',
    'getcapability',
    'nv_read',
    'nv_readpublic',
    'pcr_read',
    'readclock',
    'readpublic',
}


#: NV indices, persistent and transient objects.
_RANGES = (0x01000000, 0x81000000, 0x80000000)


def _handles(esapi: ESAPI, first: int) -> list[int]:
    _more, data = esapi.get_capability(
        capability=TPM2_CAP.HANDLES, prop=first, property_count=64
    )
    # data owns the memory that its handles point into
    return [int(one) for one in data.data.handles]


class CheckTest(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.hardware = swtpm.SwTpm('A')
        self.hardware.start()
        self.addCleanup(self.hardware.stop)
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.directory = pathlib.Path(scratch.name)
        self.measure()
        roots = self.directory / 'ek-roots'
        roots.mkdir()
        for number, pem in enumerate(swtpm.factory().roots()):
            (roots / f'{number}.pem').write_bytes(pem)
        self.config = self.directory / 'agent.conf'
        self.config.touch(0o600)
        self.config.write_text(
            _CONFIG.format(directory=self.directory, tcti=self.hardware.tcti)
        )

    def measure(self) -> None:
        log = simulator.recorded_log(hosts.VECTOR)
        (self.directory / 'uefi').write_bytes(log)
        with ESAPI(self.hardware.tcti) as esapi:
            for event in eventlog.parse(log).events:
                if event.extends:
                    hosts.extend(esapi, event.pcr, event.digests['sha256'])

    def check(self, *args: str) -> tuple[int, dict[str, dict[str, str]]]:
        done = subprocess.run(
            [
                sys.executable,
                '-c',
                _COMMAND,
                'check',
                '--config-file',
                str(self.config),
                '-f',
                'json',
                *args,
            ],
            env={**os.environ, 'PYTHONPATH': str(ROOT)},
            capture_output=True,
            timeout=120,
            check=False,
        )
        self.assertEqual(b'', done.stderr)
        self.said = json.loads(done.stdout)
        return done.returncode, {one['id']: one for one in self.said['checks']}

    def content(self) -> list[object]:
        """What of the TPM and the directory could have changed."""
        with ESAPI(self.hardware.tcti) as esapi:
            held = [_handles(esapi, first) for first in _RANGES]
            clock = esapi.read_clock().clockInfo
        files = sorted(
            (str(path), path.stat().st_mtime_ns, path.stat().st_mode)
            for path in self.directory.rglob('*')
        )
        return [held, int(clock.resetCount), files]

    def test_a_good_tpm_stays_as_it_is(self) -> None:
        before = self.content()
        code, found = self.check(
            '--ek-roots', str(self.directory / 'ek-roots')
        )
        self.assertEqual(before, self.content())
        self.assertEqual(2, code)  # there is no service
        for name in (
            'tpm',
            'tpm-state',
            'tpm-keys',
            'tpm-clock',
            'pcr-banks',
            'ek-certificate',
            'ek-chain',
            'uefi-log',
            'state-dir',
        ):
            self.assertEqual('ok', found[name]['level'], found[name])
        self.assertIn('IMA_LOG_MISSING', found['ima-list']['text'])
        sent = self.said['tpm_commands']
        self.assertEqual(set(), set(sent) - HARMLESS)
        self.assertLess(sum(sent.values()), 40)

    def test_faults_of_a_tpm(self) -> None:
        with ESAPI(self.hardware.tcti) as esapi:
            esapi.hierarchy_change_auth(
                auth_handle=ESYS_TR.ENDORSEMENT, new_auth=b'secret'
            )
        hosts_log = self.directory / 'uefi'
        hosts_log.write_bytes(hosts_log.read_bytes()[:-1])
        code, found = self.check()
        self.assertEqual(2, code)
        for name, level, word in (
            ('tpm-state', 'bad', 'endorsement'),
            ('ek-chain', 'warn', 'not here'),
            ('uefi-log', 'bad', 'UEFI_LOG'),
        ):
            self.assertEqual(level, found[name]['level'], found[name])
            self.assertIn(word, found[name]['text'])

    def test_an_ek_that_is_not_persistent_is_made_and_flushed(self) -> None:
        with ESAPI(self.hardware.tcti) as esapi:
            handle = esapi.tr_from_tpmpublic(keys.EK_HANDLE)
            esapi.evict_control(
                auth=ESYS_TR.OWNER,
                object_handle=handle,
                persistent_handle=keys.EK_HANDLE,
            )
        before = self.content()
        tpm = device.Tpm(self.hardware.tcti)
        self.assertEqual('free', inspection.found_keys(tpm).places['EK'].what)
        made = inspection.found_keys(tpm).endorsed.public
        self.assertEqual(before, self.content())
        self.assertEqual(2, tpm.count['flushcontext'])
        with tpm.operation() as operation:
            self.assertEqual(made, keys.provision(operation).ek_public)
        self.assertEqual(
            dict.fromkeys(('EK', 'SRK', 'AK'), 'ours'),
            {
                name: place.what
                for name, place in inspection.found_keys(tpm).places.items()
            },
        )
        self.assertEqual(made, inspection.found_keys(tpm).endorsed.public)

    def taken(self, *places: int) -> dict[str, str]:
        """What is said if keys of others are there."""
        with ESAPI(self.hardware.tcti) as esapi:
            made = esapi.create_primary(
                in_sensitive=None,
                in_public=templates.srk(),
                primary_handle=ESYS_TR.OWNER,
            )[0]
            for place in places:
                esapi.evict_control(
                    auth=ESYS_TR.OWNER,
                    object_handle=made,
                    persistent_handle=place,
                )
            esapi.flush_context(made)
        return self.check()[1]['tpm-keys']

    def test_a_handle_that_is_taken(self) -> None:
        """The spare one is used."""
        found = self.taken(keys.AK_HANDLE)
        self.assertEqual('ok', found['level'], found)

    def test_both_handles_are_taken(self) -> None:
        found = self.taken(*keys.AK_PLACES)
        self.assertEqual('bad', found['level'])
        self.assertIn('AK: 0x81010020 and 0x81010022', found['text'])
        self.assertNotIn('evict', found['advice'])

    def test_a_password_from_a_credential(self) -> None:
        with ESAPI(self.hardware.tcti) as esapi:
            esapi.hierarchy_change_auth(
                auth_handle=ESYS_TR.OWNER, new_auth=b'secret'
            )
        _, found = self.check()
        self.assertEqual('bad', found['tpm-state']['level'])
        secret = self.directory / 'auth'
        secret.write_text('secret\n')
        text = self.config.read_text()
        for name, level, word in (
            (secret, 'ok', 'configured'),
            (self.directory / 'none', 'bad', 'No such file'),
        ):
            self.config.write_text(
                text.replace(
                    '[service_auth]', f'owner_auth = {name}\n[service_auth]'
                )
            )
            _, found = self.check()
            self.assertEqual(level, found['tpm-state']['level'], found)
            self.assertIn(word, found['tpm-state']['text'])
            self.assertNotIn('secret', json.dumps(self.said))
