# SPDX-License-Identifier: Apache-2.0
"""Endorsement: an EK certificate of a TPM vendor the operator trusts.

EK certificates fail the usual profile for TLS (their EKU, their critical
names), so the path is built here: RFC 5280 section 6 without policies and
name constraints, which are refused where critical.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
)

from korora_nova import errors
from korora_nova.rats import tpm2

#: tcg-kp-EKCertificate, TCG EK credential profile 3.5.2.
EKU_EK = x509.ObjectIdentifier('2.23.133.8.1')
#: Longest path: EK certificate, intermediates, root.
MAX_PATH = 5
MAX_CERTIFICATE = 8192

# Critical extensions that this module understands.
_UNDERSTOOD = frozenset((
    x509.BasicConstraints.oid, x509.KeyUsage.oid,
    x509.ExtendedKeyUsage.oid, x509.SubjectAlternativeName.oid,
    x509.CertificatePolicies.oid))
_BROKEN = (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm,
           x509.DuplicateExtension, x509.InvalidVersion,
           x509.UnsupportedGeneralNameType)

_R = errors.Reason


def verify_ek(cert_der: bytes, ek: tpm2.Public, roots: Sequence[bytes],
              now: datetime.datetime) -> None:
    """Verify that a trusted vendor certified this endorsement key.

    1. the key is of the supported kind; 2. the certificate parses and is
    for this key; 3. its EKU is tcg-kp-EKCertificate and it is no CA; 4. a
    path leads to a self-signed certificate of ``roots``, each one valid
    ``now``, a CA, and having signed the one before.

    :param roots: PEM files of roots and intermediates.
    :param now: aware datetime.
    :raises EvidenceError: EK_MISMATCH, EK_EKU, EK_CHAIN.
    """
    tpm2.check_ek(ek)
    try:
        if len(cert_der) > MAX_CERTIFICATE:
            raise ValueError('too large')
        leaf = x509.load_der_x509_certificate(cert_der)
        same = _spki(leaf.public_key()) == _spki(ek.key)
        extensions = leaf.extensions
    except _BROKEN:
        raise errors.EvidenceError(
            _R.EK_MISMATCH, 'The EK certificate is malformed.') from None
    if not same:
        raise errors.EvidenceError(_R.EK_MISMATCH)
    _check_leaf(extensions)
    authorities = [authority for pem in roots
                   for authority in _load(pem)]
    try:
        trusted = _understood(leaf) and _reaches_root(
            leaf, authorities, now, 1)
    except _BROKEN:
        trusted = False
    if not trusted:
        raise errors.EvidenceError(_R.EK_CHAIN)


def _spki(key: object) -> bytes:
    encoded: bytes = key.public_bytes(  # type: ignore[attr-defined]
        Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return encoded


def _check_leaf(extensions: x509.Extensions) -> None:
    try:
        usages = extensions.get_extension_for_class(
            x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        raise errors.EvidenceError(_R.EK_EKU) from None
    if EKU_EK not in usages:
        raise errors.EvidenceError(_R.EK_EKU)
    try:
        basic = extensions.get_extension_for_class(x509.BasicConstraints)
    except x509.ExtensionNotFound:
        return
    if basic.value.ca:
        raise errors.EvidenceError(_R.EK_EKU, 'The EK certificate is one '
                                   'of a certification authority.')


def _load(pem: bytes) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem)
    except _BROKEN:
        # One broken file of the operator must not disable the others.
        return []


def _reaches_root(cert: x509.Certificate,
                  authorities: Sequence[x509.Certificate],
                  now: datetime.datetime, length: int) -> bool:
    if not _current(cert, now) or length >= MAX_PATH:
        return False
    for issuer in authorities:
        if issuer == cert or not _issued(cert, issuer, length - 1):
            continue
        if issuer.issuer == issuer.subject:
            if _current(issuer, now) and _issued(issuer, issuer, 0):
                return True
        elif _reaches_root(issuer, authorities, now, length + 1):
            return True
    return False


def _current(cert: x509.Certificate, now: datetime.datetime) -> bool:
    return cert.not_valid_before_utc <= now <= cert.not_valid_after_utc


def _issued(cert: x509.Certificate, issuer: x509.Certificate,
            below: int) -> bool:
    """Whether an authority with ``below`` CAs under it signed ``cert``."""
    try:
        basic = issuer.extensions.get_extension_for_class(
            x509.BasicConstraints).value
        if not basic.ca or (basic.path_length is not None
                            and basic.path_length < below):
            return False
        if not _understood(issuer) or not _may_sign(issuer):
            return False
        cert.verify_directly_issued_by(issuer)
    except (*_BROKEN, x509.ExtensionNotFound):
        return False
    return True


def _may_sign(issuer: x509.Certificate) -> bool:
    try:
        usage = issuer.extensions.get_extension_for_class(x509.KeyUsage)
    except x509.ExtensionNotFound:
        return True
    return usage.value.key_cert_sign


def _understood(cert: x509.Certificate) -> bool:
    try:
        return all(extension.oid in _UNDERSTOOD
                   for extension in cert.extensions if extension.critical)
    except _BROKEN:
        return False
