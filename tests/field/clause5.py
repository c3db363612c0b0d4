# SPDX-License-Identifier: Apache-2.0
"""Boot aggregates of the SHA-1 bank; IMA rules with ``pcr=``."""

from __future__ import annotations

import dataclasses
import hashlib
import struct
from typing import Any

from korora_nova import errors
from korora_nova.rats import appraise, ima, policy, reference
from korora_nova.rats.evidence import Evidence
from korora_nova.rats.policy import advice
from tests.field import Case
from tests.support import simulator, vectors
from tests.support.busy import CHALLENGE, judge

SHA1 = 'ima/hash-sha1'
A = 'sha256:' + 'a' * 64
ABI = 'https://docs.kernel.org/next/ABI/testing/ima_policy'
TOOLS = 'https://github.com/tpm2-software/tpm2-tools/issues/2009'
KEYLIME = 'https://github.com/keylime/keylime/'


def same(want: object, got: object) -> None:
    assert want == got, f'want {want}, got {got}'


class Sha1Host(simulator.SimHost):
    """It was recorded with ``ima_hash=sha1`` and its SHA-1 bank on."""

    def _boot(self) -> None:
        vector = vectors.load(SHA1)
        self.uefi_log = vector.files.get(vectors.UEFI, b'')
        self.ima_log = vector.files[vectors.IMA]
        self.tpm.pcrs.update(vector.pcrs['sha256'])
        self.bank = {index: vector.pcrs['sha1'][index] for index in range(8)}
        self.tpm.sha1 = dict(self.bank)


def appraised(host: simulator.SimHost, proof: Evidence) -> list[str]:
    sent = Evidence.from_json(proof.to_json())
    found = judge(host, sent, policies=[lists(host)])
    assert 'sha1' not in found.state.pcrs
    return [
        reason for reason in found.reason_ids if reason.startswith('IMA_BOOT')
    ]


def lists(host: simulator.SimHost) -> policy.BoundPolicy:
    generation = {'name': 'one', 'values': {'4': host.tpm.pcrs[4].hex()}}
    rule = {'pcrs': {'registers': [4], 'generations': [generation]}}
    document = {
        'version': 1,
        'name': 'x',
        'rules': [rule, {'ima': {'digests': [A]}}],
    }
    return policy.load(document).bind(())


def _quoted_too() -> None:
    host = Sha1Host()
    assert ima.aggregate_hash(host.ima_log) == 'sha1'
    same([], appraised(host, host.attest(CHALLENGE)))


def _another_bit() -> None:
    for index in range(8):
        host = Sha1Host()
        value = host.bank[index]
        host.tpm.sha1[index] = bytes([value[0] ^ 1]) + value[1:]
        same(['IMA_BOOT_AGGREGATE'], appraised(host, host.attest(CHALLENGE)))


def _not_what_was_quoted() -> None:
    """The values are as good as the quote over them."""
    host = Sha1Host()
    proof = host.attest(CHALLENGE)
    for sha1 in (
        {**host.bank, 4: bytes(20)},
        {index: host.bank[index] for index in range(7)},
        {},
    ):
        other = dataclasses.replace(
            proof, quote=dataclasses.replace(proof.quote, sha1=sha1)
        )
        try:
            appraised(host, other)
        except errors.EvidenceError as exc:
            assert exc.reason in ('QUOTE_DIGEST', 'QUOTE_SELECTION'), exc
        else:
            raise AssertionError('accepted')


def _older_agent() -> None:
    """It cannot, and so the advice is for the host."""
    host = Sha1Host()
    host.tpm.sha1 = {}
    found = judge(host, host.attest(CHALLENGE), policies=[lists(host)])
    (finding,) = (
        one for one in found.reasons if one.reason == 'IMA_BOOT_AGGREGATE'
    )
    bound = policy.EXACT
    told = advice.advise(bound, finding, found.state, 'h1')
    assert 'ima_hash=sha256' in told and 'agent' in told, told


class KexecHost(simulator.SimHost):
    """``measure func=KEXEC_KERNEL_CHECK pcr=4``, as the ABI's example."""

    def measure_in(self, pcr: int, path: str) -> None:
        entry, extension = simulator.ima_entry(path)
        self.ima_log += struct.pack('<I', pcr) + entry[4:]
        self.tpm.extend(pcr, extension)


EXAMPLE = ((4, '/boot/vmlinuz'), (5, '/boot/initrd'))


def kexec() -> KexecHost:
    host = KexecHost()
    for pcr, path in EXAMPLE:
        host.measure_in(pcr, path)
        host.measure('/usr/bin/swtpm')
    return host


def learned(*hosts: simulator.SimHost) -> policy.BoundPolicy:
    """The built-in policy, after ``reference create``."""
    golden = []
    for host in hosts:
        found = judge(host, host.attest(CHALLENGE), policies=())
        assert found.measured is not None, found.reasons
        golden.append(
            reference.learn('g', found.state, found.measured.files())
        )
    return policy.EXACT.bind(golden)


def reasons(
    host: simulator.SimHost, bound: policy.BoundPolicy, **more: Any
) -> tuple[str, ...]:
    proof = more.pop('proof', None) or host.attest(CHALLENGE)
    return judge(host, proof, policies=[bound], **more).reason_ids


def _per_register() -> None:
    host = kexec()
    same((), reasons(host, learned(host)))
    # A reference has what firmware left there, whatever IMA adds.
    plain = KexecHost()
    known = learned(host)
    same((), reasons(plain, known))
    host.measure_in(4, '/boot/vmlinuz')
    same((), reasons(host, known))


def _two_kinds() -> None:
    """Its register says which kind of host it is, and so which files."""
    one, two = KexecHost(), KexecHost(vector='secure-boot')
    two.measure('/usr/bin/two')
    for host in (one, two):
        host.measure_in(4, '/boot/vmlinuz')
    for known in (learned(one, two), learned(two, one)):
        same((), reasons(one, known))
        same((), reasons(two, known))
    one.measure('/usr/bin/two')
    same(('IMA_UNKNOWN_FILE',), reasons(one, learned(KexecHost(), two)))


def _another_kernel() -> None:
    host = kexec()
    known = learned(host)
    host.measure_in(4, '/tmp/vmlinuz')
    same(('IMA_UNKNOWN_FILE',), reasons(host, known))


def _firmware_changed() -> None:
    host = kexec()
    known = learned(host)
    other = KexecHost()
    other.tpm.extend(4, hashlib.sha256(b'loader').digest())
    for pcr, path in EXAMPLE:
        other.measure_in(pcr, path)
    found = reasons(other, known)
    assert 'IMA_LOG_REPLAY' in found, found


def _hidden() -> None:
    host = kexec()
    known = learned(host)
    kept = host.ima_log
    host.measure_in(5, '/tmp/initrd')
    proof = dataclasses.replace(host.attest(CHALLENGE), ima_log=kept)
    found = reasons(host, known, proof=proof)
    assert 'IMA_LOG_REPLAY' in found, found


def _goes_on() -> None:
    """Only what is new comes; one register moves, then the other."""
    host = kexec()
    known = learned(host)
    first = judge(host, host.attest(CHALLENGE), policies=[known])
    state = first.measured.state if first.measured else None
    for pcr in (4, 10, 5, 4):
        assert state is not None
        host.measure_in(pcr, '/boot/vmlinuz')
        proof = dataclasses.replace(
            host.attest(CHALLENGE),
            ima_log=host.ima_log[state.bytes :],
            ima_offset=state.bytes,
        )
        stored = ima.State.from_json(state.to_json())
        found = judge(
            host,
            proof,
            policies=[known],
            known=appraise.Known(stored),
        )
        same((), found.reason_ids)
        state = found.measured.state if found.measured else None


def _busy() -> None:
    """Registers move between reading and quoting."""
    host = kexec()
    known = learned(host)
    read = dict(host.tpm.pcrs)
    host.measure_in(4, '/boot/vmlinuz')
    host.measure('/usr/bin/swtpm')
    proof = host.attest(CHALLENGE)
    pcrs = {index: read[index] for index in proof.quote.pcrs}
    proof = dataclasses.replace(
        proof, quote=dataclasses.replace(proof.quote, pcrs=pcrs)
    )
    same((), reasons(host, known, proof=proof))


def _case(number: int, source: str, what: str, check: Any) -> Case:
    return Case(f'5-{number}', 5, source, what, check)


CASES = (
    _case(
        1,
        f'{TOOLS}; {KEYLIME}issues/803',
        'ima_hash=sha1, and the SHA-1 bank is on',
        _quoted_too,
    ),
    _case(2, TOOLS, 'and one bit of that bank is another', _another_bit),
    _case(
        3,
        f'{KEYLIME}issues/851',
        'and its values are not those that were quoted',
        _not_what_was_quoted,
    ),
    _case(4, TOOLS, 'and the agent is an older one', _older_agent),
    _case(5, ABI, 'kernels of kexec are measured in PCR 4', _per_register),
    _case(6, ABI, 'and one is not known', _another_kernel),
    _case(7, ABI, 'and the boot loader is another', _firmware_changed),
    _case(8, ABI, 'and an entry is left out', _hidden),
    _case(9, ABI, 'and the host goes on with what is new', _goes_on),
    _case(10, ABI, 'and they move while the TPM quotes', _busy),
    _case(11, ABI, 'on hosts of two kinds', _two_kinds),
)
