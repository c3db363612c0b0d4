# SPDX-License-Identifier: Apache-2.0
"""Vectors of what TPMs make, and of what is made for them."""

from __future__ import annotations

import dataclasses
import uuid
from typing import Any
from unittest import mock

from cryptography.hazmat.primitives.asymmetric import ec

from korora_nova.custody import bodies, envelope, transcript
from korora_nova.rats import evidence
from korora_nova.rats.quote.verify import Quote
from korora_nova.rats.tpm2 import objects
from korora_nova.secret import Secret
from tests.support import simulator
from tests.support.protocol import fixed

Json = dict[str, Any]
CHALLENGE = fixed.octets('challenge', 32)
BODY = b'{"known":[],"version":1}'


def quotes() -> Json:
    """Quotes over ``qualifying``; refused ones have a reason id."""
    tpm = fixed.a_tpm(fixed.SOURCE)
    qualifying = evidence.qualify(CHALLENGE, 'attest', fixed.SOURCE, BODY)
    good = tpm.quote(qualifying)
    clock = tpm.clock_ms
    vectors = [_quote('good', good)]
    for what, quote, refused in (
        (
            'a PCR of another value',
            dataclasses.replace(good, pcrs={**good.pcrs, 4: bytes(32)}),
            'QUOTE_DIGEST',
        ),
        (
            'over another challenge',
            tpm.quote(
                evidence.qualify(bytes(32), 'attest', fixed.SOURCE, BODY)
            ),
            'QUOTE_NONCE',
        ),
        (
            'for another purpose',
            tpm.quote(
                evidence.qualify(CHALLENGE, 'approve', fixed.SOURCE, BODY)
            ),
            'QUOTE_NONCE',
        ),
        (
            'of another host',
            fixed.a_tpm(fixed.DEST).quote(qualifying),
            'QUOTE_SIGNATURE',
        ),
        (
            'without PCR 10',
            tpm.quote(qualifying, tuple(i for i in range(16) if i != 10)),
            'QUOTE_SELECTION',
        ),
        (
            'cut off',
            dataclasses.replace(good, attest=good.attest[:-1]),
            'QUOTE_MALFORMED',
        ),
        (
            'not by a TPM',
            dataclasses.replace(good, attest=bytes(4) + good.attest[4:]),
            'QUOTE_MAGIC',
        ),
    ):
        vectors.append(_quote(what, quote, refused))
    return {
        'ak_public': tpm.ak_public.hex(),
        'ak_name': tpm.ak_name.hex(),
        'challenge': CHALLENGE.hex(),
        'purpose': 'attest',
        'host': fixed.SOURCE,
        'body': BODY.decode(),
        'qualifying': qualifying.hex(),
        'clock_ms': clock,
        'reset_count': tpm.reset_count,
        'restart_count': tpm.restart_count,
        'vectors': vectors,
    }


def _quote(what: str, quote: Quote, refused: str = '') -> Json:
    return {
        'what': what,
        'attest': quote.attest.hex(),
        'signature': quote.signature.hex(),
        'pcrs': {
            str(index): value.hex() for index, value in quote.pcrs.items()
        },
        'refused': refused,
    }


def creations() -> Json:
    """A certified migration storage key."""
    tpm = fixed.a_tpm(fixed.DEST)
    outside = transcript.msk_outside_info(
        CHALLENGE, fixed.MIGRATION, fixed.INSTANCE, fixed.SOURCE, fixed.DEST
    )
    key = fixed.Key('msk')
    with mock.patch.object(ec, 'generate_private_key', lambda _: key):
        public, creation, _, _ = tpm.create_msk(outside, b'')
        tpm.clock_ms -= 1
        body = bodies.receive_key_body(
            fixed.MIGRATION, fixed.INSTANCE, fixed.SOURCE, public
        )
        qualifying = evidence.qualify(
            CHALLENGE, 'receive-key', fixed.DEST, body
        )
        _, _, attest, signature = tpm.create_msk(outside, qualifying)
    return {
        'ak_public': tpm.ak_public.hex(),
        'challenge': CHALLENGE.hex(),
        'migration': fixed.MIGRATION,
        'instance': fixed.INSTANCE,
        'source': fixed.SOURCE,
        'dest': fixed.DEST,
        'msk_public': public.hex(),
        'msk_name': simulator.name_of(public).hex(),
        'creation_data': creation.hex(),
        'outside_info': outside.hex(),
        'body': body.decode(),
        'qualifying': qualifying.hex(),
        'attest': attest.hex(),
        'signature': signature.hex(),
    }


def credentials() -> Json:
    """TPM2_MakeCredential for an EK on P-256."""
    ek = fixed.Key('ek')
    public = simulator.ecc_ek(ek.public_key())
    tpm = fixed.a_tpm(fixed.SOURCE)
    secret = fixed.octets('credential', 32)
    own = fixed.Key('ephemeral')
    with mock.patch.object(ec, 'generate_private_key', lambda _: own):
        blob, seed = objects.make_credential(
            objects.parse_public(public), tpm.ak_name, secret
        )
    return {
        'ek_private': f'{fixed.scalar("ek"):064x}',
        'ek_public': public.hex(),
        'ephemeral_private': f'{fixed.scalar("ephemeral"):064x}',
        'ak_name': tpm.ak_name.hex(),
        'secret': secret.hex(),
        'credential': blob.hex(),
        'encrypted_secret': seed.hex(),
    }


def envelopes() -> Json:
    """What carries a passphrase, and the payload that carries its key."""
    key = fixed.octets('envelope key', 32)
    nonce = fixed.octets('envelope nonce', 12)
    plaintext = fixed.octets('passphrase', 512)
    aad = transcript.envelope_aad('eyJ.eyJ.c2ln')
    sealed = envelope.seal_envelope(
        Secret(key), Secret(plaintext), aad, lambda _: nonce
    )
    payload = envelope.TransitPayload(
        fixed.MIGRATION, fixed.INSTANCE, 2, Secret(key)
    )
    return {
        'key': key.hex(),
        'nonce': nonce.hex(),
        'plaintext': plaintext.hex(),
        'aad': aad.hex(),
        'envelope': sealed.hex(),
        'migration': str(uuid.UUID(fixed.MIGRATION)),
        'instance': fixed.INSTANCE,
        'epoch': 2,
        'payload': payload.pack().reveal().hex(),
    }


FILES = {
    'quotes': ('TPM2_Quote of 16 PCRs', quotes),
    'creations': (
        'TPM2_CertifyCreation of a migration storage key',
        creations,
    ),
    'credentials': ('TPM2_MakeCredential at enrolment', credentials),
    'envelopes': (
        'AES-256-GCM, and the payload of a transit object',
        envelopes,
    ),
}
