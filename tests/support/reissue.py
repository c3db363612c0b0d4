# SPDX-License-Identifier: Apache-2.0
"""Certificates and lists with any bytes, properly signed."""

from collections.abc import Callable, Sequence

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from korora_nova.rats.x509 import der
from korora_nova.rats.x509.der import Element

NULL = Element(0x05, b'')
FALSE = Element(0x01, b'\0')
TRUE = Element(0x01, b'\xff')
ECDSA_SHA256 = der.element(bytes.fromhex('300a06082a8648ce3d040302'))

Fields = list[Element]


def reissued(
    signed: bytes,
    key: ec.EllipticCurvePrivateKey,
    change: Callable[[Fields], None] | None = None,
    *,
    inner: Element = ECDSA_SHA256,
    outer: Element | None = None,
) -> bytes:
    """Sign it anew after a change of the fields of what is signed.

    :param inner: the algorithm in what is signed.
    :param outer: the one beside the signature, if it is another.
    """
    whole = der.element(signed)
    tbs, _, bits = whole.parts()
    fields = [
        inner if field == ECDSA_SHA256 else field for field in tbs.parts()
    ]
    if change is not None:
        change(fields)
    tbs = tbs.of(fields)
    signature = key.sign(tbs.der, ec.ECDSA(hashes.SHA256()))
    return whole.of(
        (tbs, outer or inner, Element(bits.tag, b'\0' + signature))
    ).der


def extensions(
    change: Callable[[Fields], Sequence[Element]],
) -> Callable[[Fields], None]:
    """A change of each extension, given its id, critical (or not), value."""

    def apply(fields: Fields) -> None:
        (items,) = fields[-1].parts()
        fields[-1] = fields[-1].of(
            (
                items.of(
                    item.of(change(item.parts())) for item in items.parts()
                ),
            )
        )

    return apply


def with_critical_false(parts: Fields) -> Fields:
    """An extension with its default written out."""
    return parts if len(parts) == 3 else [parts[0], FALSE, parts[1]]


def value(oid: str, *content: Element) -> Callable[[Fields], Fields]:
    """What gives the extension of this id (hex) a SEQUENCE as its value."""

    def apply(parts: Fields) -> Fields:
        if parts[0].content.hex() != oid:
            return parts
        sequence = Element(der.SEQUENCE, b'').of(content)
        return [*parts[:-1], Element(0x04, sequence.der)]

    return apply
