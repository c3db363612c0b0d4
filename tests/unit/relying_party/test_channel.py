# SPDX-License-Identifier: Apache-2.0
"""Which connections to a destination's libvirt are one."""

import testtools

from korora_nova import errors
from korora_nova.relying_party import channel


class TestChannel(testtools.TestCase):
    def test_authenticated(self):
        for uri in (
            'qemu+tls://h2/system',
            'qemu://h2/system',
            'qemu+tls://[2001:db8::2]/system?pkipath=/etc/pki/korora',
            'qemu+ssh://nova@h2/system',
            'qemu+ssh://h2/system?no_verify=0&no_tty=1',
            'qemu+libssh2://h2/system?known_hosts_verify=normal',
        ):
            channel.check(uri)

    def test_unauthenticated(self):
        for uri in (
            'qemu+tcp://h2/system',
            'qemu+tcp://h2/system?pkipath=/x',
            'qemu+tls://h2/system?no_verify=1',
            'qemu+tls://h2/system?no_verify',
            'qemu+ssh://h2/system?no_verify=1',
            'qemu+libssh://h2/system?known_hosts_verify=ignore',
            'qemu+ext://h2/system?command=nc',
            'qemu+unix:///system',
            'qemu:///system',
            'qemu+TLS',
            'qemu+tls://[h2/system',
            '',
        ):
            error = self.assertRaises(errors.CustodyError, channel.check, uri)
            self.assertEqual('CHANNEL_UNAUTHENTICATED', error.reason, uri)

    def test_what_is_told(self):
        """Not the query: it may hold a command or the name of a key."""
        error = self.assertRaises(
            errors.CustodyError,
            channel.check,
            'qemu+tcp://h2/system?keyfile=/secret',
        )
        self.assertEqual({'uri': 'qemu+tcp://h2/system'}, error.details)
