# SPDX-License-Identifier: Apache-2.0
"""Results for other relying parties: EAT attestation results (EAR).

A JWT as draft-ietf-rats-ear-04 says, an EAT (RFC 9711) of the media type that
RFC 9782 has for it. Its ``typ`` is none of those of our tokens, and it has
neither ``aud`` nor ``version``: none of their readers takes it, nor is one of
theirs such an EAT.

AR4SI's trustworthiness claims, only as far as something was appraised:

=================  =====================================================
instance-identity  2: the quote is by the key that the host enrolled with;
                   96: an operator gave the host up
hardware           2: a TPM maker vouches for that; 96: its TPM firmware
executables        2: a policy that judges files that ran holds; 96: reasons
configuration      96: reasons
=================  =====================================================
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import jwt
from jwt.algorithms import ECAlgorithm

from korora_nova import errors
from korora_nova.rats.signed import keys
from korora_nova.rats.signed import token as tokens
from korora_nova.rats.verdict import Verdict
from korora_nova.rats.words import Tier

TYP = 'eat+jwt'
PROFILE = 'tag:ietf.org,2026:rats/ear#04'
MEDIA_TYPE = f'application/{TYP}'
CONTENT_TYPE = f'{MEDIA_TYPE}; eat_profile="{PROFILE}"'
DEVELOPER = 'Korora developers'
#: The only submodule: the attester on the host.
SUBMODULE = 'host'
#: Our claims in it.
EXTENSION = 'korora_nova'

#: Values of AR4SI's claims, section 2.3.4.
NO_CLAIM, APPROVED, CONTRAINDICATED = 0, 2, 96

#: What a reason, or those that begin so, speak against.
_AGAINST: Mapping[str, str] = {
    'COMMAND_LINE': 'configuration',
    'SECURE_BOOT_OFF': 'configuration',
    'TPM_FIRMWARE': 'hardware',
    'EVICTED': 'instance-identity',
    'AUTHORITY_UNKNOWN': 'executables',
    'COMPONENT_': 'executables',
    'EVENT_UNVERIFIED': 'executables',
    'IMA_': 'executables',
    'PCR_NOT_GOLDEN': 'executables',
    'SIGNATURE_': 'executables',
    'UEFI_LOG_': 'executables',
}


@dataclasses.dataclass(frozen=True)
class Appraised:
    """What there is to say of a host; times in seconds since 1970.

    :param evidence_at: when the challenge was issued that the host answered.
    :param certified: whether a TPM maker vouches for its endorsement key.
    :param policies: identifiers of those that judged it.
    :param files: whether one of them judges files that ran.
    """

    host: str
    tier: Tier
    reasons: tuple[str, ...]
    enforcer: str
    evidence_at: float
    expires: float
    certified: bool
    policies: Sequence[str] = ()
    files: bool = False
    sources: Sequence[Verdict] = ()


def sign(
    appraised: Appraised,
    key: keys.SigningKey,
    *,
    cloud: str,
    build: str,
    now: float,
    nonce: str = '',
) -> str:
    """Sign with the result key; returns a JWT.

    :param build: of this service.
    :param nonce: of the relying party; '' for none.
    """
    return jwt.encode(
        claims(appraised, cloud=cloud, build=build, now=now, nonce=nonce),
        key.private,
        algorithm=tokens.ALGORITHM,
        headers={'typ': TYP, 'kid': key.kid},
    )


def claims(
    appraised: Appraised, *, cloud: str, build: str, now: float, nonce: str
) -> dict[str, object]:
    """The claims; times are whole seconds, and none is too late."""
    status = str(appraised.tier)
    appraisal: dict[str, object] = {
        'ear_status': status,
        'ear_trustworthiness_vector': vector(appraised),
        EXTENSION: {
            'reasons': list(appraised.reasons),
            'enforcer': appraised.enforcer,
            'evidence_at': int(appraised.evidence_at),
            'sources': [one.to_json() for one in appraised.sources],
        },
    }
    if appraised.policies:
        appraisal['ear_appraisal_policy_ids'] = list(appraised.policies)
    return {
        'eat_profile': PROFILE,
        'iss': tokens.issuer(cloud),
        'sub': appraised.host,
        'iat': int(now),
        'exp': int(appraised.expires),
        'ear_verifier_id': {'developer': DEVELOPER, 'build': build},
        'ear_status': status,
        'submods': {SUBMODULE: appraisal},
        **({'eat_nonce': nonce} if nonce else {}),
    }


def vector(appraised: Appraised) -> dict[str, int]:
    """AR4SI's trustworthiness vector; never better than the tier."""
    if appraised.tier is Tier.NONE:
        return {'instance-identity': NO_CLAIM}
    found = {'instance-identity': APPROVED}
    if appraised.certified:
        found['hardware'] = APPROVED
    if appraised.tier is Tier.AFFIRMING:
        if appraised.files:
            found['executables'] = APPROVED
        return found
    for reason in appraised.reasons:
        for begin, facet in _AGAINST.items():
            if reason.startswith(begin):
                found[facet] = CONTRAINDICATED
    return found


def jwks(ring: keys.KeyRing) -> dict[str, object]:
    """What verifies it, as a JWK set (RFC 7517)."""
    return {
        'keys': [
            {
                **ECAlgorithm.to_jwk(key, as_dict=True),
                'kid': kid,
                'use': 'sig',
                'alg': tokens.ALGORITHM,
            }
            for kid, key in ring.result.items()
        ]
    }


def unknown(host: str, reason: str, now: float, life: float) -> Appraised:
    """Nothing is known of a host now.

    :param life: seconds for which that may be said again.
    """
    assert reason in errors.REASONS
    return Appraised(
        host, Tier.NONE, (reason,), '', 0.0, now + life, certified=False
    )
