# SPDX-License-Identifier: Apache-2.0
"""Certificates that are not DER, as makers of TPMs issue them.

OpenSSL reads them, ``cryptography`` does not. It gets a copy that says the
same in DER, and only for its fields: signatures are verified over the bytes
as they are. What deviates, and whose it is:

===============================================  ==========================
X.690 11.5: FALSE, a default, is written out:    Intel PTT, AMD fTPM
``critical`` of an extension, ``cA``
X.690 11.6: a SET of a name is not in order      Nuvoton
RFC 5758 3.2: ECDSA has NULL as parameters       Intel's on-die root
===============================================  ==========================

Revocation lists of such makers may deviate in the same ways. Anything else
is left for ``cryptography`` to refuse.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from korora_nova.rats.x509 import der
from korora_nova.rats.x509.der import Element

_OID = 0x06
_NULL = Element(0x05, b'')
_CRITICAL_FALSE = Element(0x01, b'\0')
#: ansi-X9-62 signatures, of which ECDSA is one with any hash.
_ECDSA = bytes.fromhex('2a8648ce3d04')

# Fields whose default is FALSE, by extension: cA; onlyContainsUserCerts,
# onlyContainsCACerts, indirectCRL, onlyContainsAttributeCerts (RFC 5280
# sections 4.2.1.9 and 5.2.5).
_DEFAULTS: Mapping[bytes, frozenset[int]] = {
    bytes.fromhex('551d13'): frozenset((0x01,)),
    bytes.fromhex('551d1c'): frozenset((0x81, 0x82, 0x84, 0x85)),
}

_Fields = Mapping[int, Callable[[Element], Element]]


def certificate(cert: Element) -> Element:
    """A certificate in DER (RFC 5280 section 4.1).

    :raises ValueError: it is not a certificate.
    """
    return _signed(
        cert, 0xA0, {1: _algorithm, 2: _name, 4: _name}, extensions=0xA3
    )


def revocation_list(crl: Element) -> Element:
    """A revocation list in DER (RFC 5280 section 5.1).

    Entries for single certificates stay as they are.

    :raises ValueError: it is not a revocation list.
    """
    return _signed(crl, 0x02, {0: _algorithm, 1: _name}, extensions=0xA0)


def _signed(
    whole: Element, version: int, fields: _Fields, *, extensions: int
) -> Element:
    """SEQUENCE of what is signed, algorithm, signature.

    :param version: tag of the optional first field; ``fields`` have their
        places without it.
    :param extensions: tag of the extensions.
    """
    content, algorithm, signature = whole.parts()
    parts = content.parts()
    first = 1 if parts and parts[0].tag == version else 0
    if len(parts) <= first + max(fields):
        raise ValueError('not a certificate or revocation list')
    for place, change in fields.items():
        parts[first + place] = change(parts[first + place])
    parts[first:] = [
        _extensions(part) if part.tag == extensions else part
        for part in parts[first:]
    ]
    return whole.of((content.of(parts), _algorithm(algorithm), signature))


def _algorithm(algorithm: Element) -> Element:
    parts = algorithm.parts()
    if (
        len(parts) == 2
        and parts[0].tag == _OID
        and parts[0].content.startswith(_ECDSA)
        and parts[1] == _NULL
    ):
        return algorithm.of(parts[:1])
    return algorithm


def _name(name: Element) -> Element:
    return name.of(
        relative.of(sorted(relative.parts(), key=lambda part: part.der))
        if relative.tag == der.SET
        else relative
        for relative in name.parts()
    )


def _extensions(tagged: Element) -> Element:
    (extensions,) = tagged.parts()
    return tagged.of((extensions.of(map(_extension, extensions.parts())),))


def _extension(extension: Element) -> Element:
    parts = extension.parts()
    if len(parts) == 3 and parts[1] == _CRITICAL_FALSE:
        del parts[1]
    if len(parts) >= 2 and parts[0].content in _DEFAULTS:
        value = der.element(parts[-1].content)
        short = _without(value, _DEFAULTS[parts[0].content])
        parts[-1] = Element(parts[-1].tag, short.der)
    return extension.of(parts)


def _without(value: Element, defaults: frozenset[int]) -> Element:
    """A SEQUENCE without the fields that say FALSE, if all are in order."""
    parts = value.parts()
    numbers = [part.tag & 0x1F for part in parts]
    if numbers != sorted(set(numbers)):
        return value
    return value.of(
        part
        for part in parts
        if part.tag not in defaults or part.content != b'\0'
    )
