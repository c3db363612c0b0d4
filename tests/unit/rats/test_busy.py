# SPDX-License-Identifier: Apache-2.0
"""Hosts that measure files while they attest: PCR 10 moves."""

from __future__ import annotations

import dataclasses
import random
import types
from typing import Any

import testtools

from korora_nova import errors
from korora_nova.rats import appraise, ima, policy, reference
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


class BusyTest(testtools.TestCase):
    def appraise(
        self, host: sim.SimHost, proof: Evidence, **more: Any
    ) -> appraise.Appraisal:
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

    def rounds(self, rate: float) -> int:
        """Attest 40 times; how often PCR 10 moved under the quote."""
        host, state, offset, moved = BusyHost(rate), None, 0, 0
        for _ in range(40):
            proof = host.busy()
            proof = dataclasses.replace(
                proof, ima_log=proof.ima_log[offset:], ima_offset=offset
            )
            found = self.appraise(host, proof, known=appraise.Known(state))
            self.assertEqual('affirming', found.tier, found.reasons)
            assert found.measured is not None
            state = found.measured.state
            moved += found.quote.pcrs[10] != proof.quote.pcrs[10]
            # All of what was quoted, and nothing that came later.
            self.assertEqual(found.quote.pcrs[10].hex(), state.pcr)
            offset = state.bytes
            host.passes(0.5)
        return moved

    def test_thirty_new_files_a_second(self) -> None:
        self.assertGreater(self.rounds(30), 5)

    def test_a_hundred_new_files_a_second(self) -> None:
        self.assertGreater(self.rounds(100), 20)

    def test_values_of_a_moment_ago(self) -> None:
        """They may be older than the state that the service goes on from."""
        host = BusyHost(0)
        first = host.busy()
        found = self.appraise(host, first)
        assert found.measured is not None
        host.rate = 1000
        host.passes(0.1)
        proof = host.busy(first.quote.pcrs)
        offset = found.measured.state.bytes
        proof = dataclasses.replace(
            proof, ima_log=proof.ima_log[offset:], ima_offset=offset
        )
        known = appraise.Known(found.measured.state)
        found = self.appraise(host, proof, known=known)
        self.assertEqual('affirming', found.tier)

    def between(self, proof: Evidence, **changes: Any) -> Evidence:
        """Evidence whose PCR 10 was read before its last file."""
        return dataclasses.replace(
            proof,
            quote=dataclasses.replace(
                proof.quote, pcrs={**proof.quote.pcrs, **changes.pop('pcrs')}
            ),
            **changes,
        )

    def test_what_ran_in_between_is_judged(self) -> None:
        host = sim.SimHost()
        before = host.tpm.pcrs[10]
        host.measure('/root/evil')
        proof = self.between(host.attest(CHALLENGE), pcrs={10: before})
        found = self.appraise(host, proof)
        self.assertEqual(('IMA_UNKNOWN_FILE',), found.reason_ids)

    def test_what_ran_later_is_not(self) -> None:
        host = sim.SimHost()
        before = host.tpm.pcrs[10]
        host.measure('/usr/bin/good')
        proof = self.between(host.attest(CHALLENGE), pcrs={10: before})
        host.measure('/root/evil')
        proof = dataclasses.replace(proof, ima_log=host.ima_log)
        found = self.appraise(host, proof)
        self.assertEqual((), found.reason_ids)

    def test_nothing_is_recorded_unless_the_list_leads_to_the_quote(
        self,
    ) -> None:
        host = sim.SimHost()
        before, kept = host.tpm.pcrs[10], host.ima_log
        host.measure('/root/evil')
        whole = host.attest(CHALLENGE)
        for proof in (
            # hidden from the list
            self.between(whole, pcrs={10: before}, ima_log=kept),
            self.between(whole, pcrs={10: before}, ima_log=b''),
            self.between(whole, pcrs={10: b'?' * 32}),
            self.between(whole, pcrs={10: bytes(32)}),
            # another register
            self.between(whole, pcrs={10: before, 11: b'?' * 32}),
            self.between(whole, pcrs={0: bytes(32)}),
        ):
            error = self.assertRaises(
                errors.EvidenceError, self.appraise, host, proof
            )
            self.assertEqual('QUOTE_DIGEST', error.reason)

    def test_how_far_it_is_looked_for(self) -> None:
        host = sim.SimHost()
        before = host.tpm.pcrs[10]
        for number in range(ima.MAX_MOVED + 1):
            host.measure(f'/tmp/{number}')
        proof = self.between(host.attest(CHALLENGE), pcrs={10: before})
        error = self.assertRaises(
            errors.EvidenceError, self.appraise, host, proof
        )
        self.assertEqual('QUOTE_DIGEST', error.reason)

    def test_what_is_learned(self) -> None:
        """Files up to the quoted value, whatever was read."""
        host = sim.SimHost()
        before = host.tpm.pcrs[10]
        host.measure('/usr/bin/good')
        proof = self.between(host.attest(CHALLENGE), pcrs={10: before})
        found = self.appraise(host, proof)
        assert found.measured is not None
        learned = reference.learn('r', found.state, found.measured.files())
        self.assertEqual(4 - 1, len(learned.ima_digests))
