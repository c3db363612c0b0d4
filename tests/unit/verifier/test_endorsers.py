# SPDX-License-Identifier: Apache-2.0
import os
import pathlib
import tempfile
import unittest
from unittest import mock

from cryptography.hazmat.primitives.serialization import Encoding

from korora_nova import errors
from korora_nova.verifier import service
from tests.support import makers


class EndorsersTest(unittest.TestCase):
    def setUp(self):
        super().setUp()
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.root = pathlib.Path(directory.name)
        self.maker = makers.Authority('maker')

    def read(self, directory=None):
        settings = mock.Mock(ek_roots=str(directory or self.root))
        return service.Service.endorsers(mock.Mock(settings=settings))

    def write(self, name, data):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def refused(self, what, directory=None):
        with self.assertRaises(errors.Unavailable) as caught:
            self.read(directory)
        self.assertEqual('KEYS_INVALID', caught.exception.reason)
        self.assertIn(what, caught.exception.message)

    def test_everything_below_the_directory(self):
        other = makers.Authority('other')
        self.write('maker.PEM', self.maker.pem)
        self.write('vendors/other/root.cer', other.der)
        self.write('vendors/lists/other.crl', other.crl())
        self.write('broken.crl', b'')
        self.write('README', self.maker.pem)
        os.symlink(self.root / 'maker.PEM', self.root / 'link.crt')
        found = self.read()
        self.assertEqual(
            {self.maker.cert, other.cert},
            {cert.x509 for cert in found.certificates},
        )
        self.assertEqual(1, len(found.revocations))
        self.assertEqual(('broken.crl',), found.broken)

    def test_nothing_is_trusted_by_default(self):
        self.assertEqual((), self.read().certificates)

    def test_read_anew_each_time(self):
        self.read()
        self.write('new.pem', self.maker.cert.public_bytes(Encoding.PEM))
        self.assertEqual(
            [self.maker.cert], [cert.x509 for cert in self.read().certificates]
        )

    def test_what_cannot_be_read(self):
        self.refused('missing', self.root / 'missing')
        self.write('a/dir.pem/x', b'')
        os.symlink('nowhere', self.root / 'a' / 'dangling.pem')
        self.refused('dangling.pem')

    def test_caps(self):
        self.write('large.crl', b'')
        os.truncate(self.root / 'large.crl', service.MAX_ENDORSER_FILE + 1)
        self.refused('large.crl')
        os.truncate(self.root / 'large.crl', 0)
        with mock.patch.object(service, 'MAX_ENDORSER_FILES', 1):
            self.write('maker.pem', self.maker.pem)
            self.refused(str(self.root))
