# SPDX-License-Identifier: Apache-2.0
"""Signed attestation results (in the manner of EAR).

Staleness is computed by the reader: a result says when its challenge was
issued and when it expires, so a dead verifier never leaves a stale pass.
"""

from __future__ import annotations

import dataclasses

from korora_nova import errors
from korora_nova.rats import schemas, verdict
from korora_nova.rats.signed import keys
from korora_nova.rats.signed import token as tokens
from korora_nova.rats.words import Tier

#: Clocks of the service and of readers may differ by this much, seconds.
MAX_SKEW = 30.0

KIND = tokens.Kind(
    'korora-result+jwt',
    'korora-relying-party',
    'result',
    tokens.schema(
        {
            'sub': schemas.HOST,
            'ak_name': schemas.NAME,
            'tier': {'enum': [str(tier) for tier in Tier]},
            'reasons': {
                'type': 'array',
                'maxItems': 64,
                'items': {'type': 'string', 'maxLength': 64},
            },
            'exp': schemas.TIME,
            'enforcing': {'type': 'boolean'},
            'enforcer': {
                'enum': [
                    '',
                    errors.Reason.ENFORCER_ABSENT,
                    errors.Reason.ENFORCER_DRIFT,
                ]
            },
            'sources': verdict.SCHEMA,
        },
        # Readers of earlier releases know no result with it.
        optional=('sources',),
    ),
)


@dataclasses.dataclass(frozen=True)
class Result:
    """An attestation result of one host; times in seconds since 1970.

    :param ak_name: TPM name of the host's attestation key, hex.
    :param reasons: reason ids, empty if affirming.
    :param enforcer: why nothing on the host enforces what the service says,
        a reason id; empty if its compute driver does.
    :param issued: when the answered challenge was issued.
    :param issuer: filled from the cloud when signed.
    :param sources: which source said what; empty if only this service did.
    """

    host: str
    ak_name: str
    tier: Tier
    reasons: tuple[str, ...]
    enforcer: str
    issued: float
    expires: float
    cloud: str
    issuer: str = ''
    sources: tuple[verdict.Verdict, ...] = ()


@dataclasses.dataclass(frozen=True)
class VerifiedResult:
    """A result whose signature, issuer, host and age were checked."""

    result: Result
    token: str
    kid: str

    @property
    def tier(self) -> Tier:
        return self.result.tier

    @property
    def reasons(self) -> tuple[str, ...]:
        return self.result.reasons

    @property
    def expires(self) -> float:
        return self.result.expires

    def require_affirming(
        self, now: float, max_age: float | None = None
    ) -> None:
        """Insist that the host is trusted at this moment.

        :param now: seconds since 1970.
        :param max_age: seconds since the challenge's issue, if limited.
        :raises Untrusted: RESULT_EXPIRED or HOST_UNTRUSTED.
        """
        _check_age(self.result, now)
        if max_age is not None and now - self.result.issued > max_age:
            raise errors.Untrusted(
                errors.Reason.RESULT_EXPIRED,
                'The attestation result is older than the server admits.',
            )
        if self.result.tier != Tier.AFFIRMING:
            raise errors.Untrusted(
                errors.Reason.HOST_UNTRUSTED,
                details={'reasons': ' '.join(self.result.reasons)},
            )

    def require_enforcing(self) -> None:
        """Insist that the host's compute driver refuses what it has to.

        :raises Untrusted: ENFORCER_ABSENT or ENFORCER_DRIFT.
        """
        if self.result.enforcer:
            raise errors.Untrusted(self.result.enforcer)


def sign_result(result: Result, key: keys.SigningKey) -> str:
    """Sign a result with the result key; returns a JWT."""
    more = (
        {'sources': [one.to_json() for one in result.sources]}
        if result.sources
        else {}
    )
    return tokens.sign(
        {
            'cloud': result.cloud,
            'sub': result.host,
            'ak_name': result.ak_name,
            'tier': result.tier,
            'reasons': list(result.reasons),
            'enforcing': not result.enforcer,
            'enforcer': result.enforcer,
            'iat': result.issued,
            'exp': result.expires,
            **more,
        },
        key,
        KIND,
        result.cloud,
    )


def verify_result(
    token: str, ring: keys.KeyRing, *, host: str, cloud: str, now: float
) -> VerifiedResult:
    """Verify a result about ``host``.

    :raises Untrusted: RESULT_FORGED or RESULT_EXPIRED.
    """
    forged = errors.Reason.RESULT_FORGED
    try:
        claims = tokens.verify(token, ring, KIND)
    except tokens.TokenError as exc:
        raise errors.Untrusted(forged, details={'why': str(exc)}) from None
    if claims['sub'] != host or claims['cloud'] != cloud:
        raise errors.Untrusted(
            forged, 'The attestation result is about another host or cloud.'
        )
    result = Result(
        host=claims['sub'],
        ak_name=claims['ak_name'],
        tier=Tier(claims['tier']),
        reasons=tuple(claims['reasons']),
        enforcer=claims['enforcer'],
        issued=float(claims['iat']),
        expires=float(claims['exp']),
        cloud=claims['cloud'],
        issuer=claims['iss'],
        sources=tuple(
            verdict.Verdict.from_json(one) for one in claims.get('sources', ())
        ),
    )
    if _contradicts_itself(result) or claims['enforcing'] == bool(
        result.enforcer
    ):
        raise errors.Untrusted(
            forged, 'The attestation result contradicts itself.'
        )
    _check_age(result, now)
    return VerifiedResult(result, token, claims['kid'])


def _contradicts_itself(result: Result) -> bool:
    return result.tier is Tier.AFFIRMING and (
        bool(result.reasons)
        or any(
            one.required and one.tier is not Tier.AFFIRMING
            for one in result.sources
        )
    )


def _check_age(result: Result, now: float) -> None:
    expired = errors.Reason.RESULT_EXPIRED
    if now >= result.expires:
        raise errors.Untrusted(expired)
    if result.issued > now + MAX_SKEW:
        raise errors.Untrusted(
            expired,
            'The attestation result comes from the future; check the clocks.',
        )
