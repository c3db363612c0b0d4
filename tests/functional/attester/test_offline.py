# SPDX-License-Identifier: Apache-2.0
"""The offline window: starts without the service, and attacks on them.

With real TPMs (swtpm). Nothing of an attack may start the server.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import time
from typing import Any
from unittest import mock

from tpm2_pytss import ESAPI, TSS2_Exception
from tpm2_pytss.constants import ESYS_TR

from korora_nova import errors
from korora_nova.attester import sealing
from korora_nova.attester.custodian import custodians, jobs
from korora_nova.custody import transcript
from korora_nova.custody.approval import Approval
from korora_nova.custody.transfer import WrapRequest
from korora_nova.rats.tpm2 import objects
from tests.support import hosts, simulator
from tests.support.hosts import Machine

_R = errors.Reason
WINDOW = 3600


class OfflineCase(hosts.HostsTestCase):
    """A server on h1, which has an approval in advance."""

    HOSTS = ('h1',)
    SETTINGS = {
        'offline_window': WINDOW,
        'offline_starts': 2,
        'offline_aggregates': ['edge'],
    }

    def setUp(self) -> None:
        super().setUp()
        self.korora.nova.in_aggregates = {'edge': frozenset(self.HOSTS)}
        self.korora.service.places._run = lambda job: job()
        self.create(self.h1)
        self.h1.agent.attestation.step()
        self.stop_guest(self.h1)

    def stop_guest(self, host: Machine) -> None:
        host.client.call('close', instance=self.instance)
        host.libvirt.domains.pop(self.instance, None)
        self.assertEqual({}, host.libvirt.secrets)

    def gone(self) -> None:
        """The service is; in each test this comes once."""
        self.korora.transport.down = True

    def back(self) -> None:
        self.korora.transport.down = False

    def not_started(self, reason: str, host: Machine | None = None) -> None:
        """The start is refused, and nothing gets to libvirt."""
        host = host or self.h1
        self.refused(reason, host.client.call, 'open', instance=self.instance)
        self.assertEqual({}, host.libvirt.secrets)

    def path(self, host: Machine) -> Any:
        return host.state_dir / 'offline'

    def advance(self, seconds: float) -> None:
        """The clock of h1's TPM goes on."""
        with ESAPI(self.h1.hardware.tcti) as esapi:
            now = esapi.read_clock().clockInfo.clock
            esapi.clock_set(
                new_time=now + int(seconds * 1000), auth=ESYS_TR.OWNER
            )

    def kept(self, host: Machine) -> Approval:
        """The approval that lies in a host's state directory."""
        (window,) = json.loads(self.path(host).read_text())['windows']
        return Approval.from_json(window['approval'])

    def unseal(self, host: Machine, approval: Approval) -> None:
        """What root does, past the agent: give the TPM an approval."""
        record = host.agent.vault.current(self.instance)
        assert record is not None
        parts = host.agent._parts
        binding = sealing._binding(parts, record.instance, record.epoch)
        key = parts.ring().approval[approval.key_kid]
        with parts.custodians.begin() as custodian:
            custodian.open(
                jobs.Unseal(
                    srk=parts.identity.srk_tr,
                    public=record.public,
                    private=record.private,
                    signer=objects.external_ecc_public(key),
                    envelope=record.envelope,
                    aad=transcript.rest_aad(*binding),
                    approval=approval,
                )
            )


class WindowTest(OfflineCase):
    """What it is for."""

    def test_start_without_the_service(self) -> None:
        self.gone()
        self.open(self.h1)

    def test_agent_was_started_again(self) -> None:
        self.gone()
        self.h1.restart_agent()
        self.open(self.h1)

    def test_service_is_back(self) -> None:
        """Each attestation renews all of it."""
        self.gone()
        self.open(self.h1)
        self.open(self.h1)
        self.back()
        first = self.kept(self.h1)
        self.h1.agent.attestation.step()
        self.assertGreater(self.kept(self.h1).deadline, first.deadline)
        self.gone()
        self.open(self.h1)

    def test_fresh_approval_while_the_service_is_there(self) -> None:
        with mock.patch.object(
            self.h1.agent._parts.offline, 'take', side_effect=AssertionError
        ):
            self.open(self.h1)

    def test_operator_ends_it(self) -> None:
        self.korora.conf.set_override('offline_window', 0, 'verifier')
        self.korora.restart()
        self.h1.agent.attestation.step()
        self.assertFalse(self.path(self.h1).exists())
        self.gone()
        self.not_started(_R.SERVICE_UNAVAILABLE)

    def test_service_cannot_tell(self) -> None:
        """The anchor fails first, the service after it."""
        before = self.kept(self.h1)
        with mock.patch.object(
            type(self.korora.service.anchor),
            'get',
            side_effect=errors.Unavailable(_R.ANCHOR_UNAVAILABLE),
        ):
            self.h1.agent.attestation.step()
        self.assertEqual(before, self.kept(self.h1))
        self.gone()
        self.open(self.h1)


class TimeTest(OfflineCase):
    """O1, O2, O3: the window ends, whatever clocks say."""

    def test_it_has_ended(self) -> None:
        """O2."""
        self.gone()
        self.advance(WINDOW)
        self.not_started(_R.OFFLINE_REFUSED)
        self.not_started(_R.SERVICE_UNAVAILABLE)

    def test_clock_of_the_host_is_set_back(self) -> None:
        """O1: it is the TPM's that counts, and that does not go back."""
        self.gone()
        self.advance(WINDOW)
        with ESAPI(self.h1.hardware.tcti) as esapi:
            now = esapi.read_clock().clockInfo.clock
            self.assertRaises(
                TSS2_Exception,
                esapi.clock_set,
                now - WINDOW * 1000,
                ESYS_TR.OWNER,
            )
        long_ago = time.time() - 2 * WINDOW
        with mock.patch('time.time', return_value=long_ago):
            self.not_started(_R.OFFLINE_REFUSED)

    def test_later_deadline(self) -> None:
        """O2: root writes another deadline."""
        self.gone()
        approval = self.kept(self.h1)
        later = dataclasses.replace(approval, deadline=2**63)
        self.advance(WINDOW)
        error = self.assertRaises(
            errors.CustodyError, self.unseal, self.h1, later
        )
        self.assertEqual(_R.APPROVAL_INVALID, error.reason)
        self.write(later)
        self.h1.restart_agent()
        self.not_started(_R.OFFLINE_REFUSED)

    def write(self, approval: Approval) -> None:
        content = json.loads(self.path(self.h1).read_text())
        content['windows'][0]['approval'] = approval.to_json()
        self.path(self.h1).write_text(json.dumps(content))

    def test_file_of_another_boot(self) -> None:
        """O3: the agent does not even ask the TPM."""
        self.gone()
        with mock.patch(
            'korora_nova.attester.boot.boot_id', return_value='another'
        ):
            self.h1.restart_agent()
            self.not_started(_R.SERVICE_UNAVAILABLE)

    def test_host_is_rebooted(self) -> None:
        """O3: with the file, and the clock of its TPM far from the end."""
        self.gone()
        self.h1.reboot()
        self.not_started(_R.OFFLINE_REFUSED)

    def test_host_was_suspended(self) -> None:
        """O3."""
        self.gone()
        self.h1.hardware.suspend_and_resume()
        self.not_started(_R.OFFLINE_REFUSED)


class TrustTest(OfflineCase):
    """O4, O5, O6: the host is not what it was."""

    def test_told_in_the_window(self) -> None:
        """O4: the service says it once, then it is gone."""
        self.h1.run_file('/usr/bin/unknown', b'\x17' * 32)
        self.h1.agent.attestation.step()
        self.assertFalse(self.path(self.h1).exists())
        self.gone()
        self.not_started(_R.SERVICE_UNAVAILABLE)
        self.h1.restart_agent()
        self.not_started(_R.SERVICE_UNAVAILABLE)

    def test_told_at_a_start(self) -> None:
        """O4: by whatever answer."""
        self.h1.run_file('/usr/bin/unknown', b'\x17' * 32)
        self.not_started(_R.HOST_UNTRUSTED)
        self.assertFalse(self.path(self.h1).exists())

    def test_evicted(self) -> None:
        """O4."""
        self.admin.evict_host('h1', 'It was stolen.')
        self.h1.agent.attestation.step()
        self.assertFalse(self.path(self.h1).exists())
        self.gone()
        self.not_started(_R.SERVICE_UNAVAILABLE)

    def test_evicted_while_the_agent_was_off(self) -> None:
        """O4."""
        self.admin.evict_host('h1', 'It was stolen.')
        self.h1.restart_agent()
        self.assertTrue(self.path(self.h1).exists())
        self.h1.agent.attestation.step()
        self.gone()
        self.not_started(_R.SERVICE_UNAVAILABLE)

    def test_deleted(self) -> None:
        """O4: the service does not know the host any more."""
        self.admin.delete_host('h1', force=True)
        self.not_started(_R.HOST_UNKNOWN)
        self.assertFalse(self.path(self.h1).exists())

    def test_pcr_changed(self) -> None:
        """O5: what the TPM measures has changed since."""
        self.gone()
        self.h1.hardware.extend(11, b'another kernel')
        self.not_started(_R.OFFLINE_REFUSED)

    def test_service_says_no(self) -> None:
        """O6: an answer is an answer; only silence counts."""
        for why in (
            errors.CustodyError(_R.NOT_HOLDER),
            errors.Conflict(_R.CUSTODY_DISPUTED),
            errors.Unavailable(_R.DATABASE_UNAVAILABLE),
            errors.Unavailable(_R.SERVICE_UNAVAILABLE),
        ):
            with (
                self.subTest(why.reason),
                mock.patch.object(
                    self.h1.agent.attester.client, 'evidence', side_effect=why
                ),
            ):
                self.h1.agent.attestation.step()
                self.not_started(why.reason)

    def test_no_outlasts_the_service(self) -> None:
        """O6: after its no, the service is cut off."""
        with mock.patch.object(
            self.h1.agent.attester.client,
            'evidence',
            side_effect=errors.Conflict(_R.CUSTODY_DISPUTED),
        ):
            self.not_started(_R.CUSTODY_DISPUTED)
        self.gone()
        self.not_started(_R.SERVICE_UNAVAILABLE)


class CountTest(OfflineCase):
    """O7: more starts than there are."""

    def test_used_up(self) -> None:
        """O7: nor does it help to start the agent again."""
        self.gone()
        for _ in range(2):
            self.open(self.h1)
            self.stop_guest(self.h1)
        for _ in range(2):
            self.not_started(_R.OFFLINE_SPENT)
        self.h1.restart_agent()
        self.not_started(_R.OFFLINE_SPENT)

    def test_disk_is_full(self) -> None:
        """O7: what cannot be counted is not used."""
        self.gone()
        with mock.patch(
            'korora_nova.attester.offline.files.write', side_effect=OSError(28)
        ):
            self.not_started(_R.SERVICE_UNAVAILABLE)


class ElsewhereTest(OfflineCase):
    """O8, O9, O10: another host, another epoch, another purpose."""

    HOSTS = ('h1', 'h2')

    def files(self, host: Machine) -> tuple[Any, Any]:
        return host.record_path(self.instance), self.path(host)

    def test_copied_to_another_host(self) -> None:
        """O8: vault and approval; and past the agent's own checks."""
        approval = self.kept(self.h1)
        for path in self.files(self.h1):
            target = self.h2.state_dir / path.relative_to(self.h1.state_dir)
            shutil.copy(path, target)
        self.h2.restart_agent()
        self.gone()
        with mock.patch.object(custodians.Custodian, 'open') as opened:
            self.not_started(_R.OFFLINE_REFUSED, self.h2)
        opened.assert_not_called()
        self.assertRaises(
            (errors.CustodyError, errors.Unavailable),
            self.unseal,
            self.h2,
            approval,
        )

    def test_after_it_left_and_came_back(self) -> None:
        """O9: root has kept what there was at first."""
        self.open(self.h1)
        kept = self.path(self.h1).read_bytes()
        old = self.kept(self.h1)
        for pair in ((self.h1, self.h2), (self.h2, self.h1)):
            self.migrate(*pair)
        self.stop_guest(self.h1)
        self.path(self.h1).write_bytes(kept)
        self.h1.restart_agent()
        self.gone()
        self.not_started(_R.SERVICE_UNAVAILABLE)
        record = self.h1.agent.vault.current(self.instance)
        assert record is not None
        self.assertNotEqual(old.epoch, record.epoch)
        error = self.assertRaises(
            errors.CustodyError, self.unseal, self.h1, old
        )
        self.assertEqual(_R.UNSEAL_REFUSED, error.reason)

    def test_after_it_left(self) -> None:
        """O9: its approvals go before the key does."""
        self.open(self.h1)
        self.migrate(self.h1, self.h2)
        self.assertFalse(self.path(self.h1).exists())
        self.h1.agent.attestation.step()
        self.assertFalse(self.path(self.h1).exists())
        self.gone()
        self.not_started(_R.VAULT_MISSING)

    def test_for_a_hand_over(self) -> None:
        """O10: neither end, and no message straight to the source."""
        migration = self.nova_migrates(self.h1, self.h2)
        self.gone()
        with mock.patch.object(sealing, 'unseal') as opened:
            self.refused(
                _R.SERVICE_UNAVAILABLE,
                self.receive,
                self.h1,
                self.h2,
                migration,
            )
            self.refused(
                _R.SERVICE_UNAVAILABLE,
                self.h1.agent.source.wrap,
                WrapRequest(
                    migration,
                    self.instance,
                    simulator.SimTpm().create_msk(bytes(32), b'')[0],
                    'h2',
                ),
            )
        opened.assert_not_called()

    def test_while_a_hand_over_is_undecided(self) -> None:
        """O10: the source's copy, which the permit has closed."""
        self.open(self.h1)
        kept = self.path(self.h1).read_bytes()
        migration = self.nova_migrates(self.h1, self.h2)
        self.receive(self.h1, self.h2, migration)
        self.path(self.h1).write_bytes(kept)
        self.h1.restart_agent()
        self.gone()
        self.h1.libvirt.secrets.clear()
        with mock.patch.object(self.h1.agent._parts.offline, 'take') as taken:
            self.not_started(_R.SERVICE_UNAVAILABLE)
        taken.assert_not_called()


class CostTest(hosts.HostsTestCase):
    """With the option off nothing is more than it was."""

    HOSTS = ('h1',)

    def commands(self) -> int:
        with self.h1.agent.attester.tpm.tally() as count:
            self.h1.agent.attestation.step()
        return count.total()

    def test_off(self) -> None:
        self.create(self.h1)
        self.h1.agent.attestation.step()
        asked: list[dict[str, Any]] = []
        client = self.h1.agent.attester.client
        genuine = client.evidence

        def evidence(*args: Any) -> Any:
            answer = genuine(*args)
            asked.append(answer)
            return answer

        with (
            mock.patch.object(client, 'evidence', evidence),
            mock.patch(
                'korora_nova.attester.offline.files.write',
                side_effect=AssertionError,
            ),
            mock.patch(
                'korora_nova.attester.offline.files.remove',
                side_effect=AssertionError,
            ),
        ):
            off = self.commands()
        (answer,) = asked
        self.assertNotIn('offline', answer)
        self.assertFalse((self.h1.state_dir / 'offline').exists())
        self.assertEqual(self.on(), off)

    def on(self) -> int:
        """TPM commands of an attestation with the option on."""
        conf = self.korora.conf
        conf.set_override('offline_window', WINDOW, 'verifier')
        conf.set_override('offline_aggregates', ['edge'], 'verifier')
        self.korora.nova.in_aggregates = {'edge': frozenset(('h1',))}
        self.korora.restart()
        self.korora.service.places._run = lambda job: job()
        self.h1.agent.attestation.step()
        self.assertTrue((self.h1.state_dir / 'offline').exists())
        return self.commands()
