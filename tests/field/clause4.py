# SPDX-License-Identifier: Apache-2.0
"""Certificates of endorsement keys as makers and TPMs have them.

What needs a TPM is in machines.py.
"""

from __future__ import annotations

import datetime
import functools
from collections.abc import Mapping, Sequence

from cryptography.hazmat.primitives.asymmetric import ec, rsa

from korora_nova import errors
from korora_nova.rats import endorsement
from korora_nova.rats.tpm2 import objects, templates
from tests.field import Case
from tests.support import makers
from tests.support import simulator as sim

KEYLIME = 'https://github.com/keylime/keylime/'
RUST = 'https://github.com/keylime/rust-keylime/'
TSS = 'https://github.com/tpm2-software/tpm2-tss/'
PROFILE = 'TCG EK Credential Profile 2.5, '
NAME = b'\0\x0b' + bytes(32)


@functools.cache
def rsa_ek() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def same(want: object, got: object) -> None:
    assert want == got, f'want {want}, got {got}'


def verify(
    cert: bytes,
    public: bytes,
    files: Mapping[str, bytes],
    chain: Sequence[bytes] = (),
    now: datetime.datetime = makers.NOW,
) -> str:
    """The reason why a certificate is refused, '' if it is not."""
    try:
        endorsement.verify_ek(
            cert,
            objects.parse_public(public),
            endorsement.Endorsers.read(files),
            now,
            chain,
        )
    except errors.EvidenceError as exc:
        return exc.reason
    return ''


def _on_die() -> None:
    """Eight certificates; all but the root are in the TPM."""
    root = makers.Authority('OnDie CA RootCA')
    chain, above = [], root
    for name in ('CA2', 'CSME P', 'CSME', 'ROM', 'Kernel', 'PTT'):
        above = makers.Authority(name, above)
        chain.append(above.der)
    key = rsa_ek().public_key()
    cert, public = above.certify(key), sim.rsa_public(key)
    files = {'root.crt': root.pem}
    same('EK_CHAIN', verify(cert, public, files))
    offered = endorsement.chain([b''.join(reversed(chain)) + bytes(50)])
    same(6, len(offered))
    same('', verify(cert, public, files, offered))


def _root_in_the_tpm() -> None:
    mine = makers.Authority('mine')
    key = rsa_ek().public_key()
    trusted = {'other.crt': makers.Authority('other').pem}
    found = verify(mine.certify(key), sim.rsa_public(key), trusted, [mine.der])
    same('EK_CHAIN', found)


def _split() -> None:
    one, two = makers.Authority('one').der, makers.Authority('two').der
    same(
        [one, two],
        endorsement.chain([one[:300], one[300:] + two[:9], two[9:]]),
    )


def _ecc() -> None:
    """A credential for a P-256 and a P-384 key opens with it alone."""
    root = makers.Authority('root')
    for curve, name in (
        (ec.SECP256R1(), 'sha256'),
        (ec.SECP384R1(), 'sha384'),
    ):
        key = ec.generate_private_key(curve)
        public = sim.ecc_ek(key.public_key())
        same(
            '',
            verify(
                root.certify(key.public_key()), public, {'r.pem': root.pem}
            ),
        )
        made = objects.make_credential(
            objects.parse_public(public), NAME, b's' * 32
        )
        same(b's' * 32, sim.activate_ecc(key, NAME, *made, name))


def _high_range() -> None:
    """The policies of H-1 and H-3, as other software has them."""
    same(
        'ca3d0a99a2b93906f7a3342414efcfb3a385d44cd1fd459089d19b5071c0b7a0',
        templates.policy_b(0x0B).hex(),
    )
    kinds = {kind.id: kind for kind in templates.KINDS}
    same(0x01C00012, kinds['H-1'].certificate)
    same(0x01C00016, kinds['H-3'].certificate)
    same(0x000300F2, kinds['H-3'].attributes)


def _template() -> None:
    """A key of a maker's own template is one, if it stays in its TPM."""
    key = rsa_ek().public_key()
    for attributes, reason in (
        (sim.EK_ATTRIBUTES, ''),
        (sim.EK_ATTRIBUTES & ~0x2, 'EK_MISMATCH'),
        (sim.EK_ATTRIBUTES | 1 << 18, 'EK_MISMATCH'),
    ):
        public = sim.rsa_public(key, attributes, policy=b'p' * 32)
        root = makers.Authority('root')
        same(reason, verify(root.certify(key), public, {'root.pem': root.pem}))


def _no_certificate() -> None:
    """Its hash is that of tpm2_readpublic -n | sha256sum, of no other."""
    public = objects.parse_public(sim.rsa_public(rsa_ek().public_key()))
    found = endorsement.uncertified_hash(public)
    same(64, len(found))
    other = objects.parse_public(
        sim.rsa_public(rsa_ek().public_key(), policy=bytes(32))
    )
    assert found != endorsement.uncertified_hash(other)


def _case(number: int, source: str, what: str, check: object) -> Case:
    return Case(f'4-{number}', 4, source, what, check)  # type: ignore[arg-type]


CASES = (
    _case(
        1,
        f'{RUST}issues/859; {TSS}issues/2934; {KEYLIME}issues/1552',
        'Intel: six intermediates are in NV memory, the root is published',
        _on_die,
    ),
    _case(
        2,
        f'{PROFILE}2.2.1.5.2',
        'a root in NV memory ends no path',
        _root_in_the_tpm,
    ),
    _case(
        3,
        f'{TSS}pull/2943; {PROFILE}2.2.1.5.2',
        'a certificate goes on in the next NV index',
        _split,
    ),
    _case(
        4,
        f'{RUST}issues/597; {TSS}issues/2738',
        'only the ECC key has a certificate',
        _ecc,
    ),
    _case(
        5,
        'https://github.com/tpm2-software/tpm2-pytss/pull/279; '
        f'{PROFILE}B.4, B.6',
        'keys of the high range have another policy',
        _high_range,
    ),
    _case(
        6,
        'https://github.com/google/go-attestation/issues/236; '
        'https://github.com/tpm2-software/tpm2-tools/pull/3279',
        'the maker has a template of its own',
        _template,
    ),
    _case(
        7,
        f'{KEYLIME}issues/1027',
        'there is no certificate in NV memory',
        _no_certificate,
    ),
)
