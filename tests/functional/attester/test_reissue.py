# SPDX-License-Identifier: Apache-2.0
"""An operator takes a key from its host, and lets it have a new one."""

from __future__ import annotations

import os
import shutil
from unittest import mock

from korora_nova import errors
from tests.support import hosts


class ReissueTest(hosts.HostsTestCase):
    HOSTS = ('h1',)

    def setUp(self) -> None:
        super().setUp()
        self.create(self.h1)
        self.h1.libvirt.domains.clear()
        os.unlink(self.h1.record_path(self.instance))
        self.admin.reissue_server(
            self.instance, 'a new disk', fenced='its guest was stopped'
        )

    def holder(self) -> object:
        """As the gate of a start is told."""
        answer = self.h1.client.call(
            'protection', instance=self.instance, ledger=True
        )
        return answer['ledger']['holder']

    def test_next_start(self) -> None:
        self.assertIsNone(self.holder())
        self.create(self.h1)
        self.assertEqual('h1', self.holder())

    def test_crash_after_the_grant(self) -> None:
        """The key is not sealed under it: the next start goes on."""
        with mock.patch.object(
            self.h1.agent.vault, 'replace', side_effect=OSError(28, 'full')
        ):
            self.refused(errors.Reason.INTERNAL, self.create, self.h1)
        self.h1.restart_agent()
        self.assertEqual('h1', self.ledger()['holder'])
        self.assertEqual('claiming', self.h1.state(self.instance))
        self.assertIsNone(self.holder())
        self.create(self.h1)
        self.assertEqual(3, self.ledger()['epoch'])


class ReleaseTest(hosts.HostsTestCase):
    HOSTS = ('h1',)

    def test_before_nova_says_so(self) -> None:
        """The host is told of the deletion when the key was released."""
        self.create(self.h1)
        self.h1.libvirt.domains.clear()
        self.korora.nova.gone.add(self.instance)
        path = os.path.join(self.korora.directory, 'korora.db')
        shutil.copy(path, path + '.backup')
        self.admin.release_server(self.instance, 'it is gone')
        # That receipt is lost, and nobody has seen it
        shutil.copy(path + '.backup', path)
        self.admin.release_server(self.instance, 'it is gone')
        self.h1.client.call('forget', instance=self.instance)
        self.h1.settle()
        self.assertEqual('none', self.h1.state(self.instance))
        self.assertNotIn(self.instance, self.h1.libvirt.secrets)
