# SPDX-License-Identifier: Apache-2.0
"""The endorsement key of a TPM that its maker's certificate is for.

TCG EK Credential Profile 2.5, 2.2.1: certificates of several kinds of keys
may be in NV memory, and for the low range a template or a nonce that the key
is made with in the place of the default.
"""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
from collections.abc import Iterator, Sequence

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from tpm2_pytss import TSS2_Exception
from tpm2_pytss.constants import ESYS_TR
from tpm2_pytss.types import (
    TPM2B_PUBLIC,
    TPM2B_SENSITIVE_CREATE,
    TPML_DIGEST,
    TPMT_PUBLIC,
)

from korora_nova import errors
from korora_nova.rats import endorsement
from korora_nova.rats.tpm2 import objects, structure
from korora_nova.rats.tpm2 import templates as kinds
from korora_nova.rats.tpm2.templates import Kind
from korora_nova.rats.x509 import certificate
from korora_nova.rats.x509.certificate import BROKEN, Certificate
from korora_nova.tpm import causes, nv, persistent, templates
from korora_nova.tpm.device import Operation
from korora_nova.tpm.persistent import Key

#: Where an EK is put if something else is at the handle of its kind.
SPARE = 0x81010021

# Part 2, 6.6.3: the TPM does not make keys of this kind
_UNSUPPORTED = (0x081, 0x082, 0x083, 0x084, 0x087, 0x095, 0x096, 0x0A6)


@dataclasses.dataclass(frozen=True)
class Endorsement:
    """An endorsement key and who vouches for it; nothing is verified.

    :param certificate: DER, empty if there is none.
    :param chain: DER of certificates above it that the host has.
    :param fits: whether the certificate is of this key.
    """

    key: Key
    kind: Kind
    certificate: bytes
    chain: tuple[bytes, ...]
    fits: bool


def places(kind: Kind) -> tuple[int, int]:
    """Persistent handles of such a key."""
    return kind.handle, SPARE


def find(
    operation: Operation,
    supplied: Sequence[bytes] = (),
    children: Sequence[Key] = (),
) -> Endorsement:
    """The EK to use; made as a transient key if it is not persistent.

    The parent of one of ``children`` comes first, so that a host stays the
    one that was enrolled, unless the file is of another key; then the key
    that a certificate fits; then template L-1.

    :param supplied: DER of the certificate and those above it, from a file.
    :param children: what may be the attestation key.
    :raises Unavailable: TPM_UNAVAILABLE, also if a file is of another TPM.
    """
    parent = _parent(operation, children)
    if parent is not None:
        found = _endorsed(operation, parent, _kind(parent.public), supplied)
        if found.fits or not supplied:
            return found
    certificates = _of_file(supplied) if supplied else _of_memory(operation)
    first: Endorsement | None = None
    for kind, cert in certificates:
        for key in _keys(operation, kind, cert):
            found = _endorsed(operation, key, kind, supplied, cert)
            if found.fits or not cert:
                _flush(operation, first)
                return found
            if first is None:
                first = found
            else:
                _flush(operation, found)
    if first is None:
        raise _unavailable('The TPM makes no endorsement key of any kind.')
    if supplied:
        raise _unavailable(
            'The certificate in [attester] ek_certificate is of no '
            'endorsement key of this TPM.'
        )
    return first


def read(name: str) -> list[bytes]:
    """The certificates in a file, DER: the EK's, then those above it.

    :param name: of a file with one DER certificate, or PEM.
    :raises Unavailable: TPM_UNAVAILABLE, it cannot be read or has none.
    """
    try:
        data = pathlib.Path(name).read_bytes()
        found = [der for _, der in certificate.pem_blocks(data)] or [data]
        return [certificate.load(der).der for der in found]
    except OSError as exc:
        why = exc.strerror or type(exc).__name__
    except BROKEN:
        why = 'it is not one of X.509, DER or PEM'
    raise _unavailable(
        f'[attester] ek_certificate = {name} cannot be read: {why}.'
    )


def chain(operation: Operation) -> list[bytes]:
    """Intermediate certificates in NV memory, DER; what is readable."""
    found = []
    for index in nv.handles(operation, kinds.CHAIN_FIRST, kinds.CHAIN_LAST):
        with contextlib.suppress(errors.Unavailable, TSS2_Exception):
            found.append(nv.read(operation, index) or b'')
    return endorsement.chain(found)


@contextlib.contextmanager
def authorised(operation: Operation, ek: bytes) -> Iterator[ESYS_TR]:
    """A session for one command that uses the EK.

    :param ek: TPM2B_PUBLIC.
    :raises Unavailable: TPM_UNAVAILABLE, it has a policy of its own.
    """
    public = objects.parse_public(ek)
    policy, hash_id = public.auth_policy, public.name_alg
    simple = kinds.POLICY_A.get(hash_id)
    both = kinds.policy_b(hash_id) if simple else None
    if policy not in (simple, both):
        if not public.attributes & structure.USER_WITH_AUTH:
            raise _unavailable(
                'The endorsement key that the template in the TPM makes is '
                'used under a policy of its maker that is not known here.'
            )
        yield ESYS_TR.PASSWORD
        return
    session = templates.plain_policy_session(operation, hash_id)
    operation.esys.policy_secret(
        auth_handle=ESYS_TR.ENDORSEMENT,
        policy_session=session,
        nonce_tpm=b'',
        cp_hash_a=b'',
        policy_ref=b'',
        expiration=0,
    )
    if policy == both:
        operation.esys.policy_or(
            policy_session=session,
            p_hash_list=TPML_DIGEST([simple, kinds.POLICY_C[hash_id]]),
        )
    yield session
    operation.disown(session)


def _parent(operation: Operation, children: Sequence[Key]) -> Key | None:
    if not children:
        return None
    for at in nv.handles(
        operation, persistent.ENDORSEMENT[0], persistent.ENDORSEMENT[-1]
    ):
        key = persistent.read(operation, at)
        if any(map(key.is_parent_of, children)):
            return key
    return None


def _kind(public: TPM2B_PUBLIC) -> Kind:
    """The kind of a key that is an EK; of a maker's template, the nearest."""
    found = objects.parse_public(bytes(public.marshal()))
    same = [
        kind
        for kind in kinds.KINDS
        if (kind.bits, kind.curve) == (found.key_bits, found.curve)
    ]
    exact = [one for one in same if one.attributes == found.attributes]
    return (exact or same or [kinds.L_1])[0]


def _of_file(supplied: Sequence[bytes]) -> Iterator[tuple[Kind, bytes]]:
    """The kinds of keys that a certificate may be for."""
    leaf = certificate.load(supplied[0])
    for kind in kinds.KINDS:
        if _may_be(leaf, kind):
            yield kind, leaf.der


def _may_be(leaf: Certificate, kind: Kind) -> bool:
    try:
        key = leaf.x509.public_key()
    except BROKEN:
        return bool(kind.bits)  # RSAES-OAEP, which is not read
    if isinstance(key, rsa.RSAPublicKey):
        return kind.bits == key.key_size
    return isinstance(key, ec.EllipticCurvePublicKey) and (
        structure.CURVES.get(kind.curve) is type(key.curve)
    )


def _of_memory(operation: Operation) -> Iterator[tuple[Kind, bytes]]:
    """Certificates in NV memory; without any, L-1 and nothing.

    What cannot be read matters only if there is no other.
    """
    there = nv.handles(
        operation, kinds.CERTIFICATES[0], kinds.CERTIFICATES[-1]
    )
    unread: list[Kind] = []
    empty = True
    for kind in kinds.KINDS:
        if kind.certificate not in there:
            continue
        try:
            cert = nv.content(operation, kind.certificate)
        except (errors.Unavailable, TSS2_Exception):
            unread.append(kind)
            continue
        if cert:
            empty = False
            yield kind, cert[: certificate.size(cert) or len(cert)]
    if empty and unread:
        # Once more, so that it is the last command that failed.
        nv.content(operation, unread[0].certificate)
    if empty:
        yield kinds.L_1, b''


def _keys(operation: Operation, kind: Kind, cert: bytes) -> Iterator[Key]:
    """Keys that this may be, each of them loaded: persistent ones first."""
    for template in _templates(operation, kind):
        persisted = list(
            persistent.of_template(operation, places(kind), template)
        )
        yield from persisted
        if persisted and not cert:
            return
        try:
            made = operation.esys.create_primary(
                in_sensitive=TPM2B_SENSITIVE_CREATE(),
                in_public=template,
                primary_handle=ESYS_TR.ENDORSEMENT,
            )[0]
        except TSS2_Exception as exc:
            if causes.reduced(exc.rc) not in _UNSUPPORTED:
                raise
            continue
        yield persistent.loaded(operation, operation.own(made))


def _templates(operation: Operation, kind: Kind) -> Iterator[TPM2B_PUBLIC]:
    """That of the maker, if it is in NV memory, and the default one."""
    nonce = _read(operation, kind.nonce)
    area = _read(operation, kind.template)
    if area:
        with contextlib.suppress(TSS2_Exception, ValueError, RuntimeError):
            public = TPMT_PUBLIC.unmarshal(area)[0]
            if nonce:
                public.unique = templates.ek_unique(kind, nonce)
            yield TPM2B_PUBLIC(publicArea=public)
    template = templates.ek(kind)
    if nonce and not area:
        template.publicArea.unique = templates.ek_unique(kind, nonce)
        yield template
        template = templates.ek(kind)
    yield template


def _read(operation: Operation, index: int) -> bytes:
    if not index:
        return b''
    try:
        return nv.read(operation, index) or b''
    except (errors.Unavailable, TSS2_Exception):
        return b''


def _endorsed(
    operation: Operation,
    key: Key,
    kind: Kind,
    supplied: Sequence[bytes],
    cert: bytes | None = None,
) -> Endorsement:
    if cert is None:
        cert = supplied[0] if supplied else _read(operation, kind.certificate)
        cert = cert[: certificate.size(cert) or len(cert)]
    above = supplied[1:] if supplied else ()
    return Endorsement(
        key,
        kind,
        cert,
        (*above, *(chain(operation) if cert else ()))[: endorsement.MAX_CHAIN],
        bool(cert) and _fits(cert, key),
    )


def _fits(cert: bytes, key: Key) -> bool:
    try:
        public = objects.parse_public(bytes(key.public.marshal()))
        return endorsement.same_key(certificate.load(cert), public)
    except (errors.EvidenceError, *BROKEN):
        return False


def _flush(operation: Operation, unused: Endorsement | None) -> None:
    if unused is not None and not unused.key.at:
        operation.flush(unused.key.handle)


def _unavailable(message: str) -> errors.Unavailable:
    return errors.Unavailable(errors.Reason.TPM_UNAVAILABLE, message)
