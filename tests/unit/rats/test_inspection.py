# SPDX-License-Identifier: Apache-2.0
import unittest

from cryptography import x509

from korora_nova.rats import inspection
from tests.support.makers import DAY, NOW, Authority

UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier('1.2.3.4'), b'\5\0')


class InspectionTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.root = Authority('root')
        cls.middle = Authority('middle', cls.root)

    def one(self, files, name):
        """What is said of the only part of a file."""
        (found,) = (
            item
            for item in inspection.inspect(files, NOW)
            if item.file == name
        )
        return found

    def ok(self, what, files, name):
        found = self.one(files, name)
        self.assertTrue(found.usable, found)
        self.assertIn(what, str(found))

    def bad(self, what, files, name):
        found = self.one(files, name)
        self.assertFalse(found.usable, found)
        self.assertIn(what, str(found))

    def test_usable(self):
        files = {'r.pem': self.root.pem, 'm.der': self.middle.der}
        self.ok('ok  r.pem: CN=root: anchor, until 2026', files, 'r.pem')
        self.ok('CN=middle: intermediate below CN=root', files, 'm.der')
        self.ok(
            'CN=middle: anchor',
            {'m.anchor.der': self.middle.der},
            'm.anchor.der',
        )
        files = {'r.pem': self.root.pem, 'r.crl': self.root.crl()}
        self.ok('revocation list of CN=root: until 2026', files, 'r.crl')

    def test_several_in_a_file(self):
        files = {'all.pem': self.middle.pem + b'\n' + self.root.pem}
        found = list(inspection.inspect(files, NOW))
        self.assertEqual([True, True], [item.usable for item in found])

    def test_no_authorities(self):
        for odd, why in (
            (Authority('m', ca=False), 'it may not issue'),
            (Authority('m', sign=False), 'it may not issue'),
            (Authority('m', critical=[UNKNOWN]), 'extension 1.2.3.4'),
        ):
            self.bad(why, {'m.pem': odd.pem}, 'm.pem')
        leaf = self.root.certify(Authority('x').key.public_key())
        files = {'r.pem': self.root.pem, 'leaf.der': leaf}
        self.bad('it does not say', files, 'leaf.der')

    def test_no_way(self):
        self.bad(
            'of its issuer CN=root there is none',
            {'m.pem': self.middle.pem},
            'm.pem',
        )
        files = {'m.pem': self.middle.pem, 'r.pem': Authority('root').pem}
        self.bad('there is 1 of that name, none of which', files, 'm.pem')

    def test_dates(self):
        old = Authority('old', until=NOW - DAY / 2)
        self.bad('is valid from', {'o.pem': old.pem}, 'o.pem')
        below = Authority('below', old)
        files = {'o.pem': old.pem, 'b.pem': below.pem}
        self.bad('CN=old', files, 'b.pem')

    def test_revoked(self):
        files = {
            'r.pem': self.root.pem,
            'm.pem': self.middle.pem,
            'r.crl': self.root.crl(self.middle.cert),
        }
        self.bad('was revoked', files, 'm.pem')
        self.ok('revocation list', files, 'r.crl')

    def test_lists(self):
        root = {'r.pem': self.root.pem}
        for crl, why in (
            (self.root.crl(until=NOW - DAY / 2), 'not for now'),
            (self.root.crl(signer=self.middle), 'is not signed'),
            (self.middle.crl(), "its issuer's certificate is not here"),
            (self.root.crl(critical=[x509.DeltaCRLIndicator(1)]), 'partial'),
        ):
            self.bad(why, {**root, 'x.crl': crl}, 'x.crl')

    def test_unreadable(self):
        files = {'r.pem': self.root.pem, 'x.crl': b'x', 'y.der': b'y'}
        self.bad('all enrolments fail', files, 'x.crl')
        self.bad('no certificate', files, 'y.der')
        self.ok('anchor', files, 'r.pem')

    def test_nothing(self):
        self.assertEqual([], list(inspection.inspect({}, NOW)))
