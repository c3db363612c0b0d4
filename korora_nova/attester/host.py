# SPDX-License-Identifier: Apache-2.0
"""The parts of an agent that custody works with."""

from __future__ import annotations

import dataclasses

from oslo_log import log as logging

from korora_nova import errors
from korora_nova.attester.attest import Attester, Client
from korora_nova.attester.journal import Journal
from korora_nova.attester.libvirt_secret import Hypervisor
from korora_nova.attester.vault import Record, Vault
from korora_nova.custody import answers
from korora_nova.custody.exchange import malformed_answer
from korora_nova.custody.ledger import LedgerRow
from korora_nova.custody.words import VaultState
from korora_nova.rats.signed.keys import KeyRing
from korora_nova.tpm.device import Tpm
from korora_nova.tpm.keys import Identity

LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Host:
    """One host: its voice, TPM, vault, journal and hypervisor."""

    attester: Attester
    vault: Vault
    journal: Journal
    hypervisor: Hypervisor

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
        try:
            return LedgerRow.from_json(self.client.get_server(instance))
        except ValueError:
            raise malformed_answer('ledger') from None

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

    def shut(self, record: Record) -> None:
        """Take the passphrase from libvirt, as far as libvirt is there.

        Without libvirt no guest runs either, and the secret is ephemeral.
        """
        try:
            self.hypervisor.undefine(record.secret_uuid, record.instance)
        except errors.Unavailable as exc:
            LOG.warning('%s: %s', record.instance, exc)


class LastHandover:
    """Holds the last hand-over for ``status``."""

    def __init__(self) -> None:
        self.value: answers.Handover | None = None
