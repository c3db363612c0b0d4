# SPDX-License-Identifier: Apache-2.0
"""Becoming known to the attestation service: prove EK, AK and SRK."""

from __future__ import annotations

import base64

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
    return _enrol(attester)


def _enrol(attester: Attester) -> str:
    identity = attester.identity
    offer = attester.client.enrol(
        attester.host,
        ek_cert=b64(identity.ek_cert),
        ek_public=b64(identity.ek_public),
        ak_public=b64(identity.ak_public),
        srk_public=b64(identity.srk_public),
    )
    credential, secret = _blob(offer, 'credential'), _blob(offer, 'secret')
    with attester.tpm.operation() as operation:
        proof = keys.activate_credential(
            operation, identity, credential, secret
        )
    answer = attester.client.prove(attester.host, b64(proof))
    status = str(answer.get('status', ''))
    LOG.info('Enrolled as %s: %s', attester.host, status)
    return status


def _blob(offer: Json, field: str) -> bytes:
    text = offer.get(field)
    if not isinstance(text, str):
        raise malformed_answer(field)
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise malformed_answer(field) from None
