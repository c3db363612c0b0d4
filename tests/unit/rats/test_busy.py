# SPDX-License-Identifier: Apache-2.0
"""Hosts that measure files while they attest: PCR 10 moves."""

from __future__ import annotations

import dataclasses
from typing import Any

import testtools

from korora_nova import errors
from korora_nova.rats import appraise, ima, reference
from korora_nova.rats.evidence import Evidence
from tests.support import simulator as sim
from tests.support.busy import CHALLENGE, BusyHost, judge


class BusyTest(testtools.TestCase):
    def appraise(
        self, host: sim.SimHost, proof: Evidence, **more: Any
    ) -> appraise.Appraisal:
        return judge(host, proof, **more)

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
