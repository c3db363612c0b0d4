# SPDX-License-Identifier: Apache-2.0
"""The parts of an agent that custody works with."""

from __future__ import annotations

import dataclasses

from oslo_log import log as logging

from korora_nova import errors, faultpoints
from korora_nova.attester.attest import Attester, Client, Json
from korora_nova.attester.custodian import jobs
from korora_nova.attester.custodian.custodians import Custodian, Custodians
from korora_nova.attester.journal import Journal
from korora_nova.attester.libvirt_secret import Hypervisor
from korora_nova.attester.offline import Offline
from korora_nova.attester.vault import Record, Vault
from korora_nova.custody import answers, chain
from korora_nova.custody.chain import AnyVerified
from korora_nova.custody.exchange import malformed_answer
from korora_nova.custody.ledger import LedgerRow
from korora_nova.custody.words import VaultState
from korora_nova.rats.signed.keys import KeyRing
from korora_nova.tpm.device import Tpm
from korora_nova.tpm.keys import Identity

LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Host:
    """One host: its voice, TPM, vault, journal, hypervisor, custodians.

    :param offline: what it may start without asking.
    """

    attester: Attester
    vault: Vault
    journal: Journal
    hypervisor: Hypervisor
    custodians: Custodians
    offline: Offline

    @property
    def name(self) -> str:
        return self.attester.host

    @property
    def tpm(self) -> Tpm:
        return self.attester.tpm

    @property
    def client(self) -> Client:
        return self.attester.client

    @property
    def identity(self) -> Identity:
        return self.attester.identity

    def ring(self) -> KeyRing:
        """The pinned keys."""
        return self.attester.trusted.ring()

    def ledger_row(self, instance: str) -> LedgerRow:
        """Who holds a server's key, as the service says.

        :raises NotFound: NOT_FOUND, nobody ever did.
        """
        answer = faultpoints.call(
            'ask.look', lambda: self.client.get_server(instance)
        )
        try:
            return LedgerRow.from_json(answer)
        except ValueError:
            raise malformed_answer('ledger') from None

    def migration(self, migration: str) -> Json:
        """A hand-over, as the service says.

        :raises NotFound: MIGRATION_UNKNOWN.
        """
        return faultpoints.call(
            'ask.look', lambda: self.client.get_migration(migration)
        )

    def approval_kid(self) -> str:
        """Id of the key whose approvals open what is sealed from now on.

        :raises Unavailable: KEYS_INVALID.
        """
        return self.ring().active('approval').kid

    def read(self, token: str) -> AnyVerified:
        """Verify a document that came from anywhere.

        :raises CustodyError: DOCUMENT_INVALID, or as its kind says.
        """
        return chain.read(token, self.ring())

    def blank(
        self, instance: str, state: VaultState, **fields: object
    ) -> Record:
        """A new record of this host, without a key."""
        empty = Record(
            instance,
            state,
            self.identity.ak_name.hex(),
            self.identity.srk_name.hex(),
        )
        return empty.moved(state, **fields)

    def define(self, record: Record, custodian: Custodian) -> None:
        """Give libvirt the passphrase that a custodian has.

        :raises Unavailable: LIBVIRT_UNAVAILABLE, CUSTODIAN_FAILED.
        """
        with faultpoints.step('host.define'):
            custodian.do(
                jobs.Define(record.secret_uuid, record.instance), jobs.Done
            )

    def shut(self, record: Record) -> None:
        """Take the passphrase from libvirt, as far as libvirt is there.

        Without libvirt no guest runs either, and the secret is ephemeral.
        """
        try:
            with faultpoints.step('host.undefine'):
                self.hypervisor.undefine(record.secret_uuid, record.instance)
        except errors.Unavailable as exc:
            LOG.warning('%s: %s', record.instance, exc)


class LastHandover:
    """Holds the last hand-over for ``status``."""

    def __init__(self) -> None:
        self.value: answers.Handover | None = None
        self._of = ''

    def note(
        self, role: str, migration: str, seconds: float, commands: int
    ) -> answers.Handover:
        """Note a part of a hand-over; parts of the same one add up."""
        before = self.value if self._of == migration else None
        value = answers.Handover(
            role,
            seconds * 1000 + (before.ms if before else 0.0),
            commands + (before.tpm_commands if before else 0),
        )
        self.value, self._of = value, migration
        return value
