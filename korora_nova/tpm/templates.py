# SPDX-License-Identifier: Apache-2.0
"""Key templates and sessions (SHA-256, P-256, AES-128-CFB but for EKs).

Sources: TPM 2.0 Library Part 2; TCG EK Credential Profile 2.5; TCG TPM v2.0
Provisioning Guidance 7.5.1 for the storage root key.
"""

from __future__ import annotations

from tpm2_pytss.constants import (
    ESYS_TR,
    TPM2_ALG,
    TPM2_ECC,
    TPM2_SE,
    TPMA_OBJECT,
    TPMA_SESSION,
)
from tpm2_pytss.types import (
    TPM2B_PUBLIC,
    TPML_PCR_SELECTION,
    TPMS_ECC_PARMS,
    TPMS_ECC_POINT,
    TPMS_KEYEDHASH_PARMS,
    TPMS_RSA_PARMS,
    TPMS_SCHEME_HASH,
    TPMT_ECC_SCHEME,
    TPMT_KDF_SCHEME,
    TPMT_KEYEDHASH_SCHEME,
    TPMT_PUBLIC,
    TPMT_RSA_SCHEME,
    TPMT_SIG_SCHEME,
    TPMT_SYM_DEF,
    TPMT_SYM_DEF_OBJECT,
    TPMU_ASYM_SCHEME,
    TPMU_PUBLIC_ID,
    TPMU_PUBLIC_PARMS,
    TPMU_SYM_KEY_BITS,
    TPMU_SYM_MODE,
)

from korora_nova.rats.tpm2 import templates
from korora_nova.rats.tpm2.templates import Kind
from korora_nova.tpm.device import Operation

P256_BYTES = 32

_FIXED = (
    TPMA_OBJECT.FIXEDTPM
    | TPMA_OBJECT.FIXEDPARENT
    | TPMA_OBJECT.SENSITIVEDATAORIGIN
)
_STORAGE = (
    _FIXED
    | TPMA_OBJECT.USERWITHAUTH
    | TPMA_OBJECT.NODA
    | TPMA_OBJECT.RESTRICTED
    | TPMA_OBJECT.DECRYPT
)
_SIGNING = (
    _FIXED
    | TPMA_OBJECT.USERWITHAUTH
    | TPMA_OBJECT.NODA
    | TPMA_OBJECT.RESTRICTED
    | TPMA_OBJECT.SIGN_ENCRYPT
)
SEALED_AT_REST = (
    TPMA_OBJECT.FIXEDTPM
    | TPMA_OBJECT.FIXEDPARENT
    | TPMA_OBJECT.ADMINWITHPOLICY
    | TPMA_OBJECT.NODA
)
SEALED_IN_TRANSIT = TPMA_OBJECT.ADMINWITHPOLICY | TPMA_OBJECT.NODA

_NO_KDF = TPMT_KDF_SCHEME(scheme=TPM2_ALG.NULL)
_NO_ECC_SCHEME = TPMT_ECC_SCHEME(scheme=TPM2_ALG.NULL)
NO_SYMMETRIC = TPMT_SYM_DEF_OBJECT(algorithm=TPM2_ALG.NULL)
NO_SIG_SCHEME = TPMT_SIG_SCHEME(scheme=TPM2_ALG.NULL)
NO_PCRS = TPML_PCR_SELECTION()


def _aes_cfb(bits: int = 128) -> TPMT_SYM_DEF_OBJECT:
    return TPMT_SYM_DEF_OBJECT(
        algorithm=TPM2_ALG.AES,
        keyBits=TPMU_SYM_KEY_BITS(aes=bits),
        mode=TPMU_SYM_MODE(aes=TPM2_ALG.CFB),
    )


def _ecdsa() -> TPMT_ECC_SCHEME:
    return TPMT_ECC_SCHEME(
        scheme=TPM2_ALG.ECDSA,
        details=TPMU_ASYM_SCHEME(
            ecdsa=TPMS_SCHEME_HASH(hashAlg=TPM2_ALG.SHA256)
        ),
    )


def _p256(
    attributes: TPMA_OBJECT,
    symmetric: TPMT_SYM_DEF_OBJECT,
    scheme: TPMT_ECC_SCHEME,
    unique: bytes = b'',
) -> TPM2B_PUBLIC:
    return TPM2B_PUBLIC(
        publicArea=TPMT_PUBLIC(
            type=TPM2_ALG.ECC,
            nameAlg=TPM2_ALG.SHA256,
            objectAttributes=attributes,
            parameters=TPMU_PUBLIC_PARMS(
                eccDetail=TPMS_ECC_PARMS(
                    symmetric=symmetric,
                    scheme=scheme,
                    curveID=TPM2_ECC.NIST_P256,
                    kdf=_NO_KDF,
                )
            ),
            unique=TPMU_PUBLIC_ID(ecc=TPMS_ECC_POINT(x=unique, y=unique)),
        )
    )


def srk() -> TPM2B_PUBLIC:
    """Storage root key: a primary of the owner hierarchy."""
    return _p256(_STORAGE, _aes_cfb(), _NO_ECC_SCHEME, bytes(P256_BYTES))


def ak() -> TPM2B_PUBLIC:
    """Attestation key: a child of the EK, so TPM2_Clear ends it."""
    return _p256(_SIGNING, NO_SYMMETRIC, _ecdsa())


def msk() -> TPM2B_PUBLIC:
    """Migration storage key: an SRK child that dies at a TPM reset."""
    return _p256(_STORAGE | TPMA_OBJECT.STCLEAR, _aes_cfb(), _NO_ECC_SCHEME)


def ek(kind: Kind = templates.L_1) -> TPM2B_PUBLIC:
    """Endorsement key of a default template.

    Its unique field is of zeros in the low range, and empty in the high one.
    """
    return TPM2B_PUBLIC(
        publicArea=TPMT_PUBLIC(
            type=kind.type,
            nameAlg=kind.name_alg,
            objectAttributes=kind.attributes,
            authPolicy=kind.policy,
            parameters=_ek_rsa(kind) if kind.bits else _ek_ecc(kind),
            unique=TPMU_PUBLIC_ID() if kind.high else ek_unique(kind, b''),
        )
    )


def ek_unique(kind: Kind, nonce: bytes) -> TPMU_PUBLIC_ID:
    """The unique field that begins with a nonce (2.2.1.6 of the profile)."""
    if kind.bits:
        return TPMU_PUBLIC_ID(rsa=nonce.ljust(kind.bits // 8, b'\0'))
    return TPMU_PUBLIC_ID(
        ecc=TPMS_ECC_POINT(
            x=nonce.ljust(P256_BYTES, b'\0'), y=bytes(P256_BYTES)
        )
    )


def _ek_rsa(kind: Kind) -> TPMU_PUBLIC_PARMS:
    return TPMU_PUBLIC_PARMS(
        rsaDetail=TPMS_RSA_PARMS(
            symmetric=_aes_cfb(kind.symmetric_bits),
            scheme=TPMT_RSA_SCHEME(scheme=TPM2_ALG.NULL),
            keyBits=kind.bits,
            exponent=0,
        )
    )


def _ek_ecc(kind: Kind) -> TPMU_PUBLIC_PARMS:
    return TPMU_PUBLIC_PARMS(
        eccDetail=TPMS_ECC_PARMS(
            symmetric=_aes_cfb(kind.symmetric_bits),
            scheme=_NO_ECC_SCHEME,
            curveID=kind.curve,
            kdf=_NO_KDF,
        )
    )


def sealed(policy: bytes) -> TPM2B_PUBLIC:
    """Data at rest: this TPM, this parent, opened by ``policy`` only."""
    return TPM2B_PUBLIC(
        publicArea=TPMT_PUBLIC(
            type=TPM2_ALG.KEYEDHASH,
            nameAlg=TPM2_ALG.SHA256,
            objectAttributes=SEALED_AT_REST,
            authPolicy=policy,
            parameters=TPMU_PUBLIC_PARMS(
                keyedHashDetail=TPMS_KEYEDHASH_PARMS(
                    scheme=TPMT_KEYEDHASH_SCHEME(scheme=TPM2_ALG.NULL)
                )
            ),
        )
    )


def same_template(public: TPM2B_PUBLIC, template: TPM2B_PUBLIC) -> bool:
    """Whether a key was made from ``template``: all but its unique part."""
    if public.publicArea.type != template.publicArea.type:
        return False
    blank = TPM2B_PUBLIC.unmarshal(public.marshal())[0]
    blank.publicArea.unique = template.publicArea.unique
    return bytes(blank.marshal()) == bytes(template.marshal())


def _session(
    operation: Operation,
    kind: TPM2_SE,
    salt_key: ESYS_TR,
    symmetric: TPMT_SYM_DEF,
    attributes: TPMA_SESSION,
    auth_hash: int = TPM2_ALG.SHA256,
) -> ESYS_TR:
    session = operation.own(
        operation.esys.start_auth_session(
            tpm_key=salt_key,
            bind=ESYS_TR.NONE,
            session_type=kind,
            symmetric=symmetric,
            auth_hash=auth_hash,
        )
    )
    operation.esys.trsess_set_attributes(
        session=session, attributes=attributes
    )
    return session


def _aes_session() -> TPMT_SYM_DEF:
    return TPMT_SYM_DEF(
        algorithm=TPM2_ALG.AES,
        keyBits=TPMU_SYM_KEY_BITS(aes=128),
        mode=TPMU_SYM_MODE(aes=TPM2_ALG.CFB),
    )


def plain_policy_session(
    operation: Operation, auth_hash: int = TPM2_ALG.SHA256
) -> ESYS_TR:
    """Policy session for a command that carries no secret.

    It ends with the command that it authorises, if that succeeds.

    :param auth_hash: nameAlg of what it authorises.
    """
    return _session(
        operation,
        TPM2_SE.POLICY,
        ESYS_TR.NONE,
        TPMT_SYM_DEF(algorithm=TPM2_ALG.NULL),
        TPMA_SESSION(0),
        auth_hash,
    )


def secret_policy_session(operation: Operation, salt_key: ESYS_TR) -> ESYS_TR:
    """Salted policy session that encrypts the first response parameter.

    It ends with the command that it authorises, if that succeeds.
    """
    return _session(
        operation,
        TPM2_SE.POLICY,
        salt_key,
        _aes_session(),
        TPMA_SESSION.ENCRYPT,
    )


def secret_session(operation: Operation, salt_key: ESYS_TR) -> ESYS_TR:
    """Salted session that encrypts the first parameter both ways.

    It ends with the first command that succeeds with it.
    """
    return _session(
        operation,
        TPM2_SE.HMAC,
        salt_key,
        _aes_session(),
        TPMA_SESSION.ENCRYPT | TPMA_SESSION.DECRYPT,
    )
