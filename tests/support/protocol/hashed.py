# SPDX-License-Identifier: Apache-2.0
"""Vectors of what is hashed: bindings, policies, names."""

from __future__ import annotations

import hashlib
import struct
from typing import Any

from korora_nova.custody import transcript
from korora_nova.rats import evidence
from korora_nova.rats.signed.transcript import bind
from korora_nova.rats.tpm2 import objects
from korora_nova.rats.tpm2 import policy as tpm2_policy
from korora_nova.rats.x509 import stream
from tests.support.protocol import fixed

Json = dict[str, Any]
EPOCH = 7
LABEL = 'korora example'
EXAMPLES: dict[str, tuple[bytes, ...]] = {
    'two empty fields': (b'', b''),
    'one empty field': (b'',),
    'a boundary': (b'ab', b'c'),
    'another boundary': (b'a', b'bc'),
}


def bindings() -> Json:
    """``fields`` are hex; the digest is over the label and all of them."""
    challenge = fixed.octets('challenge', 32)
    tpm = fixed.a_tpm(fixed.SOURCE)
    identity = (
        tpm.ak_name,
        tpm.srk_name,
        fixed.INSTANCE.encode(),
        struct.pack('>Q', EPOCH),
    )
    body = b'{"known":[],"version":1}'
    one, two, three = (fixed.octets(f'part {n}', 40) for n in range(3))
    parts = one, two, three
    envelope, permit = fixed.octets('envelope', 64), 'eyJ.eyJ.c2ln'
    vectors = [
        _binding(what, LABEL, fields, bind(LABEL, *fields))
        for what, fields in EXAMPLES.items()
    ]
    vectors += [
        _binding(
            'extraData of an attestation',
            'korora attest v1',
            (
                challenge,
                b'attest',
                fixed.SOURCE.encode(),
                hashlib.sha256(body).digest(),
            ),
            evidence.qualify(challenge, 'attest', fixed.SOURCE, body),
        ),
        _binding(
            'outsideInfo of a migration storage key',
            'korora msk v1',
            (
                challenge,
                *(
                    one.encode()
                    for one in (
                        fixed.MIGRATION,
                        fixed.INSTANCE,
                        fixed.SOURCE,
                        fixed.DEST,
                    )
                ),
            ),
            transcript.msk_outside_info(
                challenge,
                fixed.MIGRATION,
                fixed.INSTANCE,
                fixed.SOURCE,
                fixed.DEST,
            ),
        ),
        _binding(
            'extraData of a transfer',
            'korora transfer v1',
            (
                permit.encode(),
                *parts,
                hashlib.sha256(envelope).digest(),
            ),
            transcript.transfer_qualifying(permit, *parts, envelope),
        ),
        _binding(
            'additional data of the envelope of a transfer',
            'korora envelope v1',
            (permit.encode(),),
            transcript.envelope_aad(permit),
        ),
        _binding(
            'policyRef of a key at rest',
            'korora rest v1',
            identity,
            transcript.rest_ref(
                tpm.ak_name, tpm.srk_name, fixed.INSTANCE, EPOCH
            ),
        ),
        _binding(
            'additional data of the envelope at rest',
            'korora vault v1',
            identity,
            transcript.rest_aad(
                tpm.ak_name, tpm.srk_name, fixed.INSTANCE, EPOCH
            ),
        ),
    ]
    return {'vectors': vectors}


def _binding(
    what: str, label: str, fields: tuple[bytes, ...], digest: bytes
) -> Json:
    return {
        'what': what,
        'label': label,
        'fields': [one.hex() for one in fields],
        'digest': digest.hex(),
    }


def policies() -> Json:
    """Policy digests of a state, and of an approval key."""
    tpm = fixed.a_tpm(fixed.DEST)
    key = fixed.signing('approval').public
    name = objects.external_ecc_name(key)
    ref = transcript.rest_ref(tpm.ak_name, tpm.srk_name, fixed.INSTANCE, EPOCH)
    digest = tpm2_policy.pcr_digest(tpm.pcrs, tpm2_policy.PCRS_POLICY)
    boot, deadline = struct.pack('>II', 3, 1), 987654321
    return {
        'pcrs': {
            str(index): tpm.pcrs[index].hex()
            for index in tpm2_policy.PCRS_QUOTED
        },
        'selection': tpm2_policy.selection(tpm2_policy.PCRS_POLICY).hex(),
        'pcr_digest': digest.hex(),
        'reset_restart': boot.hex(),
        'deadline': deadline,
        'transit_policy': tpm2_policy.state_policy(
            digest, boot, deadline, None
        ).hex(),
        'approved_policy': tpm2_policy.state_policy(
            digest, boot, deadline, tpm2_policy.CC_UNSEAL
        ).hex(),
        'approval_key': fixed.pem(key),
        'approval_public': objects.external_ecc_public(key).hex(),
        'approval_name': name.hex(),
        'ref': ref.hex(),
        'rest_policy': tpm2_policy.policy_authorize(name, ref).hex(),
    }


def names() -> Json:
    """Ids of keys, and the names in certificates of streams."""
    keys = {use: fixed.signing(use) for use in ('result', 'custody')}
    return {
        'vectors': [
            {
                'public': fixed.pem(key.public),
                'kid': key.kid,
                'stream_name': stream.name_of(key.public),
            }
            for key in keys.values()
        ]
    }


FILES = {
    'bindings': ('SHA-256 over a label and fields, each with size', bindings),
    'policies': ('TPM policy digests, of transit and at rest', policies),
    'names': ('ids of keys, names in certificates of streams', names),
}
