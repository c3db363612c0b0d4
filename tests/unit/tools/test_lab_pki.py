# SPDX-License-Identifier: Apache-2.0
"""How the lab's libvirts know each other, and what QEMU finds at first."""

import os
import pathlib
import shutil
import stat
import subprocess
import unittest
import uuid
from types import SimpleNamespace

import fixtures
import testtools
from cryptography import x509

from korora_nova.attester import tlsfiles
from korora_tools import ui
from korora_tools.lab import hostconfig, paths, pki


@unittest.skipUnless(shutil.which('openssl'), 'needs openssl')
class TestPki(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.root = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        (self.root / 'cache').mkdir()
        self.lab = SimpleNamespace(
            cache=self.root / 'cache', host=lambda host: self.root / host
        )
        pki.make(self.lab)

    def test_each_host_has_its_own(self) -> None:
        for host, address in paths.HOSTS.items():
            pki.prepare(self.lab, host)
            place = self.root / host / 'etc/pki'
            pem = (place / 'libvirt/servercert.pem').read_bytes()
            found = x509.load_pem_x509_certificate(pem)
            names = found.extensions.get_extension_for_class(
                x509.SubjectAlternativeName
            ).value
            self.assertEqual(
                ([host], [address]),
                (
                    names.get_values_for_type(x509.DNSName),
                    [
                        str(a)
                        for a in names.get_values_for_type(x509.IPAddress)
                    ],
                ),
            )
            self.assertIn(f'"{found.subject.rfc4514_string()}"', pki.allowed())
            authority = x509.load_pem_x509_certificate(
                (place / 'CA/cacert.pem').read_bytes()
            )
            found.verify_directly_issued_by(authority)
            key = place / 'libvirt/private/serverkey.pem'
            self.assertEqual(0o600, stat.S_IMODE(key.stat().st_mode))

    def test_again_changes_nothing(self) -> None:
        def content() -> dict[str, bytes]:
            directory = self.root / 'cache/pki'
            return {one.name: one.read_bytes() for one in directory.iterdir()}

        before = content()
        pki.make(self.lab)
        self.assertEqual(before, content())

    def test_openssl_fails(self) -> None:
        shutil.rmtree(self.root / 'cache/pki')
        failed = subprocess.CompletedProcess([], 1, '', 'no randomness\n')
        self.patch(subprocess, 'run', lambda *args, **kwargs: failed)
        error = self.assertRaises(ui.Problem, pki.make, self.lab)
        self.assertIn('no randomness', str(error))

    def test_the_directory_of_streams_is_there(self) -> None:
        """And the agent takes it for its own."""
        pki.prepare(self.lab, 'h1')
        link = self.root / 'h1/etc/pki/qemu/korora'
        self.assertEqual({}, tlsfiles.read(link))
        tlsfiles.install(link, {'ca-cert.pem': b'x'}, os.getuid())
        pki.prepare(self.lab, 'h1')
        self.assertEqual({'ca-cert.pem': b'x'}, tlsfiles.read(link))

    def test_a_sites_own_for_streams(self) -> None:
        """What the agent had there is there again afterwards."""
        pki.prepare(self.lab, 'h1')
        link = self.root / 'h1/etc/pki/qemu/korora'
        files = {'ca-cert.pem': b'x', 'dh-params.pem': b'y'}
        tlsfiles.install(link, files, os.getuid())
        with pki.for_streams(self.lab, 'h1'):
            found = {one.name: one.read_bytes() for one in link.iterdir()}
            x509.load_pem_x509_certificate(
                found['server-cert.pem']
            ).verify_directly_issued_by(
                x509.load_pem_x509_certificate(found['ca-cert.pem'])
            )
            self.assertEqual(b'y', found['dh-params.pem'])
            key = link / 'client-key.pem'
            self.assertEqual(0o600, stat.S_IMODE(key.stat().st_mode))
        self.assertEqual(files, tlsfiles.read(link))
        left = {one.name for one in link.parent.iterdir()}
        self.assertEqual(set(), left & {'site', 'korora.new'})

    def test_stock_nova_has_its_own_default(self) -> None:
        etc = self.root / 'h1/etc/libvirt'
        etc.mkdir(parents=True)
        for stock, tls in ((True, 0), (False, 1)):
            hostconfig.libvirt(self.root / 'h1', 'h1', uuid.UUID(int=1), stock)
            text = (etc / 'libvirtd.conf').read_text()
            self.assertIn(f'listen_tls = {tls}\n', text)
            self.assertIn(f'listen_tcp = {1 - tls}\n', text)
            self.assertEqual(
                not stock,
                hostconfig.STREAMS in (etc / 'qemu.conf').read_text(),
            )
