# SPDX-License-Identifier: Apache-2.0
"""Checks of the TPM, its endorsement key and the clocks."""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Iterator, Mapping

from korora_nova import errors
from korora_nova.attester.check.outcome import (
    Problem,
    Result,
    bad,
    result,
    warn,
)
from korora_nova.rats import endorsement
from korora_nova.rats.quote.verify import Clock
from korora_nova.rats.signed.result import MAX_SKEW
from korora_nova.rats.tpm2 import objects
from korora_nova.rats.tpm2 import policy as tpm2_policy
from korora_nova.rats.x509 import certificate, path
from korora_nova.tpm.inspection import FOREIGN, FREE, HANDLES, Properties

_R = errors.Reason
#: About the certificates above the EK's, not about it.
_OF_CHAIN = (_R.EK_CHAIN, _R.EK_VALIDITY, _R.EK_REVOKED, _R.EK_CRL)
#: Difference of two clocks that is still called the same, seconds.
_SMALL = 5.0
_FIRMWARE = "the host's firmware setup"


def tpm(found: Properties) -> Result:
    """Whether a TPM 2.0 answers, and which one."""
    return result(
        'tpm',
        f'{found.manufacturer or "unknown maker"}, firmware '
        f'{found.firmware:#x}, TPM 2.0 revision '
        f'{found.revision / 100:.2f}',
    )


def tpm_state(found: Properties, handles: Mapping[str, str]) -> Result:
    """Passwords, hierarchies and lock-out that keep the agent from work."""
    return result(
        'tpm-state',
        'no passwords, hierarchies enabled, no lock-out',
        _states(found, FREE in handles.values()),
    )


def _states(found: Properties, makes_keys: bool) -> Iterator[Problem]:
    for name in found.disabled:
        yield bad(
            f'the {name} hierarchy is disabled', f'enable it in {_FIRMWARE}'
        )
    if 'endorsement' in found.passwords:
        yield bad(
            'the endorsement hierarchy has a password',
            'take it away: tpm2_changeauth -c e -p PASSWORD',
        )
    if 'owner' in found.passwords and makes_keys:
        yield bad(
            'the owner hierarchy has a password, and keys are still to be '
            'made persistent',
            'take it away until the agent has enrolled: tpm2_changeauth '
            '-c o -p PASSWORD',
        )
    if found.in_lockout:
        yield warn(
            'the TPM is in lock-out after wrong passwords; the keys of the '
            'agent are exempt from it',
            'tpm2_dictionarylockout --clear-lockout',
        )


def tpm_keys(handles: Mapping[str, str], room: int) -> Result:
    """Whether the handles of the agent's keys are free, or have them.

    :param room: persistent objects that still fit.
    """
    taken = [name for name, what in handles.items() if what == FOREIGN]
    free = [name for name, what in handles.items() if what == FREE]
    problems = [
        bad(
            f'{name}: {HANDLES[name]:#x} is taken by another key',
            'find out whose key it is; evict it only if nothing needs it, '
            'and never one of the vendor',
        )
        for name in taken
    ]
    if len(free) > room:
        problems.append(
            bad(
                f'the TPM has room for {room} more persistent keys, '
                f'{len(free)} are needed',
                'list what is there with tpm2_getcap handles-persistent, and '
                'evict what nothing needs',
            )
        )
    good = f'{", ".join(free)} to be made' if free else 'EK, SRK and AK there'
    return result('tpm-keys', good, problems)


def pcr_banks(banks: Mapping[str, tuple[int, ...]]) -> Result:
    """Whether the SHA-256 bank has all registers that are quoted."""
    names = ', '.join(banks) or 'none'
    missing = sorted(
        set(tpm2_policy.PCRS_QUOTED).difference(banks.get('sha256', ()))
    )
    problems = []
    if missing:
        problems.append(
            bad(
                f'the SHA-256 bank lacks registers; banks that are on: '
                f'{names}',
                f'enable the SHA-256 bank in {_FIRMWARE}, and reboot',
            )
        )
    return result('pcr-banks', f'sha256 complete; on: {names}', problems)


def tpm_clock(clock: Clock) -> Result:
    """Whether the TPM vouches for its clock and counters."""
    counters = (
        f'{clock.reset_count} resets, {clock.restart_count} restarts, '
        f'{clock.clock_ms // 3_600_000} hours of power'
    )
    problems = []
    if not clock.safe:
        problems.append(
            warn(
                'the TPM was not shut down cleanly: its clock may have gone '
                'back (TPM_CLOCK_UNSAFE)',
                'shut the host down cleanly and start it again; if it stays '
                'so, look for losses of power',
            )
        )
    return result('tpm-clock', counters, problems)


def ek_certificate(
    cert: bytes | None, ek: objects.Public, now: datetime.datetime
) -> Result:
    """Whether there is a certificate, of this key, of the right kind.

    :param cert: None: there is no NV index; empty: it was never written.
    """
    check = 'ek-certificate'
    if not cert:
        why = 'has no EK certificate' if cert is None else 'was never written'
        return result(
            check,
            '',
            [
                bad(
                    f'the NV index 0x01c00002 {why}',
                    "get the certificate from the TPM's maker, or update the "
                    'firmware of the TPM; without it the host cannot enrol',
                )
            ],
        )
    try:
        endorsement.verify_ek(cert, ek, endorsement.Endorsers(), now)
    except errors.EvidenceError as exc:
        # Without anchors there is no path; that is for ek-chain to say.
        if exc.reason not in _OF_CHAIN:
            return result(
                check,
                '',
                [
                    bad(
                        f'[{exc.reason}] {exc.message}',
                        'was the TPM replaced, or its firmware updated? Ask '
                        'its maker for the right certificate',
                    )
                ],
            )
    loaded = certificate.load(cert)
    return result(
        check,
        f'of this EK, issued by {path.shown(loaded.x509.issuer)}; ek_hash '
        f'{hashlib.sha256(loaded.der).hexdigest()}',
    )


def ek_chain(
    cert: bytes | None,
    ek: objects.Public,
    files: Mapping[str, bytes] | None,
    now: datetime.datetime,
) -> Result:
    """Whether the certificate leads to an anchor that the operator trusts.

    :param files: certificates and revocation lists of TPM makers, as the
        service has them; None: there are none on this host.
    """
    check = 'ek-chain'
    if not cert:
        return result(check, '', [warn('there is no certificate to verify')])
    issuer = path.shown(certificate.load(cert).x509.issuer)
    if files is None:
        return result(
            check,
            '',
            [
                warn(
                    f'not verified: the CA certificates are not here; this '
                    f'one was issued by {issuer}',
                    'copy [verifier] ek_roots of the service here, and '
                    'repeat with --ek-roots DIRECTORY',
                )
            ],
        )
    try:
        endorsement.verify_ek(cert, ek, endorsement.Endorsers.read(files), now)
    except errors.EvidenceError as exc:
        return result(
            check,
            '',
            [
                bad(
                    f'[{exc.reason}] {exc.message}',
                    'get the certificates of its maker into [verifier] '
                    'ek_roots of the service, and look at them with '
                    '"korora-manage endorsers check"',
                )
            ],
        )
    return result(check, f'leads from {issuer} to an anchor')


def clock(offset: float | None, whose: str) -> Result:
    """Whether this host's clock is right.

    :param offset: seconds by which it is ahead of another one; None: that
        is not known.
    :param whose: the other clock.
    """
    advice = 'synchronise the clocks of all hosts and of the service (NTP)'
    problems = []
    if offset is None:
        problems.append(warn('not compared: no other clock was heard', advice))
    elif abs(offset) > MAX_SKEW:
        problems.append(
            bad(
                f'{offset:+.0f} s from {whose}: results of the service do '
                'not count here',
                advice,
            )
        )
    elif abs(offset) > _SMALL:
        problems.append(warn(f'{offset:+.0f} s from {whose}', advice))
    return result('clock', f'as that of {whose}', problems)
