# SPDX-License-Identifier: Apache-2.0
"""Becoming known to the attestation service: prove EK, AK and SRK."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence

from oslo_log import log as logging

from korora_nova import errors
from korora_nova.attester.attest import Attester, Json
from korora_nova.custody.exchange import malformed_answer
from korora_nova.custody.messages import b64
from korora_nova.tpm import keys

LOG = logging.getLogger(__name__)

APPROVED = 'approved'


def ensure(attester: Attester) -> str:
    """Enrol unless the service knows these very keys; return the status.

    :raises Conflict: IDENTITY_CONFLICT, the name or the TPM is
        enrolled with another partner.
    """
    identity = attester.identity
    try:
        known: Json = attester.client.get_host(attester.host)
    except errors.NotFound:
        known = {}
    status = str(known.get('status', ''))
    if known.get('ak_name') == identity.ak_name.hex() and status in (
        'pending',
        'evicted',
        APPROVED,
    ):
        return status
    try:
        return _enrol(attester)
    except errors.Conflict as exc:
        if exc.reason != errors.Reason.IDENTITY_CONFLICT or not known:
            raise
        raise errors.Conflict(
            exc.reason, _changed(identity, str(known.get('ek_hash', '')))
        ) from None


def _changed(identity: keys.Identity, known: str) -> str:
    """What may have happened to a TPM that the service knows otherwise.

    :param known: the EK hash that the service has.
    """
    mine = hashlib.sha256(identity.ek_cert).hexdigest()
    if identity.ek_cert and mine == known:
        return (
            'The TPM has the EK that the service knows, but not its other '
            'keys: it was cleared, and what was sealed in it is lost. Empty '
            'or evict the host, delete it in the service, remove its '
            'state_dir, and let it enrol again.'
        )
    return (
        f'The service knows this host with another EK (ek_hash {known}). TPM '
        "or main board were replaced, or an upgrade of the TPM's firmware "
        'has changed its EK and with it all keys; or the EK has its '
        'certificate only now. If that is right, empty or evict the host, '
        'delete it in the service, remove its state_dir, and let it enrol '
        'again.'
    )


def _enrol(attester: Attester) -> str:
    identity = attester.identity
    offer = _offer(attester, identity.ek_chain)
    credential, secret = _blob(offer, 'credential'), _blob(offer, 'secret')
    with attester.tpm.operation() as operation:
        proof = keys.activate_credential(
            operation, identity, credential, secret
        )
    answer = attester.client.prove(attester.host, b64(proof))
    status = str(answer.get('status', ''))
    LOG.info('Enrolled as %s: %s', attester.host, status)
    return status


def _offer(attester: Attester, chain: Sequence[bytes]) -> Json:
    identity = attester.identity
    try:
        return attester.client.enrol(
            attester.host,
            ek_cert=b64(identity.ek_cert),
            ek_public=b64(identity.ek_public),
            ak_public=b64(identity.ak_public),
            srk_public=b64(identity.srk_public),
            ek_chain=[b64(one) for one in chain],
        )
    except errors.Invalid:
        if not chain:
            raise
        # A service of an earlier release knows no chain.
        return _offer(attester, ())


def _blob(offer: Json, field: str) -> bytes:
    text = offer.get(field)
    if not isinstance(text, str):
        raise malformed_answer(field)
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise malformed_answer(field) from None
