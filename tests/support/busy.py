# SPDX-License-Identifier: Apache-2.0
"""Hosts that measure files while they attest: PCR 10 moves."""

from __future__ import annotations

import random
import types
from typing import Any

from korora_nova.rats import appraise, policy
from korora_nova.rats.evidence import Evidence, qualify
from korora_nova.rats.tpm2 import objects
from korora_nova.tpm import keys
from tests.support import simulator as sim

CHALLENGE = b'c' * 32
#: Seconds that a TPM takes for reading and quoting, three commands.
TOOK = 0.06
KNOWN = 'sha256:' + '17' * 32


def busy(pcr: str) -> policy.Policy:
    """Programs below /usr and /tmp, and a kernel."""
    return policy.load(
        {
            'version': 1,
            'name': 'busy',
            'rules': [
                {
                    'pcrs': {
                        'registers': [4],
                        'generations': [{'name': 'one', 'values': {'4': pcr}}],
                    }
                },
                {
                    'ima': {
                        'files': {'/sbin/init': [KNOWN]},
                        'exclude': ['/usr/**', '/tmp/**'],
                    }
                },
            ],
        }
    )


class BusyHost(sim.SimHost):
    """New files come as they come, while the TPM works.

    :ivar rate: new files per second.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = 0.0
        self.dice = random.Random(7)
        self.number = 0
        self.owed = 0.0
        self.rate = rate

    def passes(self, seconds: float) -> None:
        """Time passes, and what runs is measured."""
        if not self.rate:
            return
        self.owed += seconds
        while True:
            wait = self.dice.expovariate(self.rate)
            if wait > self.owed:
                self.owed = 0.0
                return
            self.owed -= wait
            self.number += 1
            self.measure(f'/tmp/new-{self.number}')

    # What keys.quote uses of an operation

    @property
    def esys(self) -> BusyHost:
        return self

    def pcr_read(self, selection: Any) -> tuple[int, None, list[bytes]]:
        wanted = bytes(selection.marshal())[-3:]
        bits = int.from_bytes(wanted, 'little')
        values = [self.tpm.pcrs[n] for n in range(24) if bits >> n & 1]
        self.passes(TOOK / 3)
        return 0, None, values

    def quote(self, qualifying_data: bytes, **_: Any) -> tuple[Any, Any]:
        self.passes(TOOK / 6)
        quoted = self.tpm.quote(qualifying_data)
        self.passes(TOOK / 6)
        return (
            types.SimpleNamespace(attestationData=quoted.attest),
            types.SimpleNamespace(marshal=lambda: quoted.signature),
        )

    def busy(self, known: Any = None) -> Evidence:
        """Evidence as the agent makes it; the list is read last."""
        identity: Any = types.SimpleNamespace(ak=lambda operation: None)
        operation: Any = self
        qualifying = qualify(CHALLENGE, 'attest', self.name, b'{}')
        quote = keys.quote(operation, identity, qualifying, known)
        self.passes(TOOK / 3)
        return Evidence(quote, self.uefi_log, self.ima_log)


def judge(
    host: sim.SimHost, proof: Evidence, **more: Any
) -> appraise.Appraisal:
    """What a service makes of it."""
    return appraise.appraise(
        proof,
        **{
            'ak': objects.parse_public(host.tpm.ak_public),
            'challenge': CHALLENGE,
            'purpose': 'attest',
            'host': host.name,
            'body': b'{}',
            'policies': [busy(host.tpm.pcrs[4].hex()).bind(())],
            'last_clock': None,
            **more,
        },
    )
