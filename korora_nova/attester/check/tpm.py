# SPDX-License-Identifier: Apache-2.0
"""Checks of the TPM, its endorsement key and the clocks."""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence

from korora_nova import errors
from korora_nova.checks import (
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
from korora_nova.tpm.inspection import (
    FOREIGN,
    FREE,
    Endorsed,
    Place,
    Properties,
)
from korora_nova.tpm.persistent import whose

_R = errors.Reason
#: About the certificates above the EK's, not about it.
_OF_CHAIN = (_R.EK_CHAIN, _R.EK_VALIDITY, _R.EK_REVOKED, _R.EK_CRL)
#: Difference of two clocks that is still called the same, seconds.
_SMALL = 5.0
_FIRMWARE = "the host's firmware setup"
#: Seconds by which firmware may be slower than the kernel's clock says.
_STARTED = 120.0


def tpm(found: Properties) -> Result:
    """Whether a TPM 2.0 answers, and which one."""
    return result(
        'tpm',
        f'{found.manufacturer or "unknown maker"}, firmware '
        f'{found.firmware:#x}, TPM 2.0 revision '
        f'{found.revision / 100:.2f}',
    )


def tpm_state(
    found: Properties,
    places: Mapping[str, Place],
    given: Collection[str] = (),
) -> Result:
    """Passwords, hierarchies and lock-out that keep the agent from work.

    :param given: hierarchies of which the agent has the password.
    """
    used = [name for name in found.passwords if name in given]
    makes_keys = any(place.what == FREE for place in places.values())
    return result(
        'tpm-state',
        (
            f'passwords of {", ".join(used)} configured'
            if used
            else 'no passwords'
        )
        + ', hierarchies enabled, no lock-out',
        _states(found, makes_keys, given),
    )


def _states(
    found: Properties, makes_keys: bool, given: Collection[str]
) -> Iterator[Problem]:
    needed = ['endorsement', *(['owner'] if makes_keys else [])]
    for name in found.disabled:
        yield bad(
            f'the {name} hierarchy is disabled', f'enable it in {_FIRMWARE}'
        )
    for name in needed:
        if name in found.passwords and name not in given:
            yield bad(
                f'the {name} hierarchy has a password, which the agent needs',
                f'put it into the file of [attester] {name}_auth or into the '
                f'systemd credential korora.{name}-auth, or take it away: '
                f'tpm2_changeauth -c {name[0]} -p PASSWORD',
            )
    if found.in_lockout:
        yield warn(
            'the TPM is in lock-out after wrong passwords; the keys of the '
            'agent are exempt from it',
            'tpm2_dictionarylockout --clear-lockout',
        )


def tpm_keys(places: Mapping[str, Place], room: int) -> Result:
    """Whether the handles of the agent's keys are free, or have them.

    :param room: persistent objects that still fit.
    """
    free = [name for name, place in places.items() if place.what == FREE]
    problems = [
        bad(
            f'{name}: {_shown(place.handles)} are taken by other keys',
            whose(place.handles),
        )
        for name, place in places.items()
        if place.what == FOREIGN
    ]
    if len(free) > room:
        problems.append(
            bad(
                f'the TPM has room for {room} more persistent keys, '
                f'{len(free)} are needed',
                'list what is there with tpm2_getcap handles-persistent; '
                'evict what your own applications need no more, and nothing '
                'at 0x81010000 to 0x8101ffff or 0x81800000 to 0x81ffffff, '
                'which may be of the maker',
            )
        )
    good = f'{", ".join(free)} to be made' if free else 'EK, SRK and AK there'
    return result('tpm-keys', good, problems)


def _shown(handles: Sequence[int]) -> str:
    return ' and '.join(f'{one:#x}' for one in handles)


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


def tpm_clock(clock: Clock, since: float = 0.0, uptime: float = 0.0) -> Result:
    """Whether the TPM vouches for its clock and counters.

    :param since: seconds since the TPM was started.
    :param uptime: seconds since this kernel was started.
    """
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
    if uptime - since > _STARTED:
        problems.append(
            warn(
                f'the TPM was started {uptime - since:.0f} s after this '
                'kernel: the host was suspended',
                'after a suspend to memory nothing is lost; after '
                'hibernation the registers have begun anew, and logs explain '
                'them no more (ima-list is bad): reboot, and let hypervisors '
                'not hibernate: systemctl mask hibernate.target',
            )
        )
    return result('tpm-clock', counters, problems)


def ek_certificate(found: Endorsed, now: datetime.datetime) -> Result:
    """Whether there is a certificate, of this key, of the right kind."""
    check = 'ek-certificate'
    ek = objects.parse_public(found.public)
    if not found.certificate:
        return result(
            check,
            '',
            [
                warn(
                    f'no EK certificate: there is none in {found.place}; '
                    f'ek_hash {endorsement.uncertified_hash(ek)}, of the '
                    "EK's name",
                    "get the certificate from the TPM's maker, or update the "
                    'firmware of the TPM, and name its file in [attester] '
                    'ek_certificate. Without it the host is approved only '
                    'with --uncertified: then only you vouch that the key is '
                    'in a TPM',
                )
            ],
        )
    try:
        endorsement.verify_ek(
            found.certificate, ek, endorsement.Endorsers(), now
        )
    except errors.EvidenceError as exc:
        # Without anchors there is no path; that is for ek-chain to say.
        if exc.reason not in _OF_CHAIN:
            return result(
                check,
                '',
                [
                    bad(
                        f'[{exc.reason}] {exc.message}',
                        'was the TPM replaced, or its firmware updated? Get '
                        'the right certificate from its maker, and name its '
                        'file in [attester] ek_certificate',
                    )
                ],
            )
    loaded = certificate.load(found.certificate)
    return result(
        check,
        f'of this EK ({found.kind}), from {found.place}, issued by '
        f'{path.shown(loaded.x509.issuer)}; ek_hash '
        f'{hashlib.sha256(loaded.der).hexdigest()}',
    )


def ek_chain(
    found: Endorsed,
    files: Mapping[str, bytes] | None,
    now: datetime.datetime,
) -> Result:
    """Whether the certificate leads to an anchor that the operator trusts.

    :param files: certificates and revocation lists of TPM makers, as the
        service has them; None: there are none on this host.
    """
    check = 'ek-chain'
    if not found.certificate:
        return result(check, '', [warn('there is no certificate to verify')])
    issuer = path.shown(certificate.load(found.certificate).x509.issuer)
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
        endorsement.verify_ek(
            found.certificate,
            objects.parse_public(found.public),
            endorsement.Endorsers.read(files),
            now,
            found.chain,
        )
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
    own = f', over {len(found.chain)} of its own' if found.chain else ''
    return result(check, f'leads from {issuer} to an anchor{own}')


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
