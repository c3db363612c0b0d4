# SPDX-License-Identifier: Apache-2.0
"""Evidence as hosts send it: one quote and its logs."""

from __future__ import annotations

import base64
import binascii
import dataclasses
import functools
import hashlib
from collections.abc import Mapping

from korora_nova import errors
from korora_nova.rats import schemas
from korora_nova.rats.eventlog import userspace
from korora_nova.rats.quote.verify import Quote
from korora_nova.rats.signed.transcript import bind
from korora_nova.rats.tpm2 import objects

#: Largest logs read, bytes.
MAX_UEFI_LOG = 4 << 20
#: What of an IMA list is sent at once; a longer one comes in such parts.
MAX_IMA_LOG = 8 << 20
#: What is read at once: agents of earlier releases know no parts.
MAX_IMA_READ = 32 << 20
MAX_SYSTEMD_LOG = userspace.MAX_BYTES

_FIELDS = frozenset(('attest', 'signature', 'pcrs', 'uefi_log', 'ima_log'))
_OPTIONAL = frozenset(
    ('ima_offset', 'pcrs_sha1', 'systemd_log', 'uefi_digest')
)
#: What a host may have sent before, bytes: all of it is kept, so that it can
#: be judged again. A list of a million entries has some 110 MB.
MAX_IMA_OFFSET = 1 << 30


def qualify(challenge: bytes, purpose: str, host: str, body: bytes) -> bytes:
    """What an attestation quotes over, 32 bytes: it serves nothing else.

    :param body: the request's text exactly as sent.
    """
    return bind(
        'korora attest v1',
        challenge,
        purpose.encode(),
        host.encode(),
        hashlib.sha256(body).digest(),
    )


@dataclasses.dataclass(frozen=True)
class Evidence:
    """Unverified evidence of one host.

    :param uefi_log: the firmware's event log, TCG crypto-agile format.
    :param uefi_digest: SHA-256, hex, of a log that was sent before, in its
        place; '' if it is here.
    :param ima_log: IMA's binary runtime measurement list; may be empty.
    :param ima_offset: bytes of that list that precede ``ima_log`` and were
        sent with earlier evidence; 0: it is the whole list.
    :param systemd_log: of what systemd extended; may be empty.
    """

    quote: Quote
    uefi_log: bytes
    ima_log: bytes
    ima_offset: int = 0
    systemd_log: bytes = b''
    uefi_digest: str = ''

    @functools.cached_property
    def log_digest(self) -> str:
        """SHA-256 of the firmware's log, hex, wherever that is."""
        return self.uefi_digest or hashlib.sha256(self.uefi_log).hexdigest()

    def to_json(self) -> dict[str, object]:
        """JSON object: base64, PCRs as hex by decimal index."""
        quote = self.quote
        return {
            'attest': _b64(quote.attest),
            'signature': _b64(quote.signature),
            'pcrs': {
                str(index): value.hex()
                for index, value in sorted(quote.pcrs.items())
            },
            'uefi_log': _b64(self.uefi_log),
            'ima_log': _b64(self.ima_log),
            **(
                {
                    'pcrs_sha1': {
                        str(index): value.hex()
                        for index, value in sorted(quote.sha1.items())
                    }
                }
                if quote.sha1
                else {}
            ),
            **({'ima_offset': self.ima_offset} if self.ima_offset else {}),
            **({'uefi_digest': self.uefi_digest} if self.uefi_digest else {}),
            **(
                {'systemd_log': _b64(self.systemd_log)}
                if self.systemd_log
                else {}
            ),
        }

    @classmethod
    def from_json(cls, document: schemas.Json) -> Evidence:
        """Read what :meth:`to_json` made; nothing is verified.

        :raises Invalid: INVALID_REQUEST, naming the field.
        :raises TooLarge: a log is larger than its cap.
        """
        if not isinstance(document, Mapping) or (
            set(document) - _OPTIONAL != _FIELDS
        ):
            raise _invalid('fields')
        quote = Quote(
            _bytes(document, 'attest', objects.MAX_STRUCTURE),
            _bytes(document, 'signature', objects.MAX_STRUCTURE),
            pcrs_from_json(document['pcrs']),
            pcrs_from_json(document.get('pcrs_sha1', {}), 'pcrs_sha1', 20),
        )
        return cls(
            quote,
            _bytes(document, 'uefi_log', MAX_UEFI_LOG),
            _bytes(document, 'ima_log', MAX_IMA_READ),
            _offset(document.get('ima_offset', 0)),
            _bytes(document, 'systemd_log', MAX_SYSTEMD_LOG)
            if 'systemd_log' in document
            else b'',
            _digest(document),
        )


def _digest(document: schemas.Json) -> str:
    """Of a log that is not there; else there would be two."""
    value = document.get('uefi_digest', '')
    if value != '' and (
        document['uefi_log'] or schemas.fault(schemas.DIGEST, value)
    ):
        raise _invalid('uefi_digest')
    return str(value)


def pcrs_from_json(
    document: object, field: str = 'pcrs', size: int = 32
) -> dict[int, bytes]:
    """Read PCR values: an object of decimal index to hex digits.

    :param size: of a value, bytes.
    :raises Invalid: INVALID_REQUEST, naming the field.
    """
    if not isinstance(document, Mapping) or len(document) > 24:
        raise _invalid(field)
    values: dict[int, bytes] = {}
    for index, value in document.items():
        if (
            index not in _INDICES
            or not isinstance(value, str)
            or (len(value) != 2 * size)
        ):
            raise _invalid(field)
        try:
            values[_INDICES[index]] = binascii.unhexlify(value)
        except ValueError:
            raise _invalid(field) from None
    return values


def _offset(value: object) -> int:
    # True is an int in Python, and 1.0 would be an offset of its own.
    if type(value) is not int or not 0 <= value <= MAX_IMA_OFFSET:
        raise _invalid('ima_offset')
    return value


_INDICES = {str(index): index for index in range(24)}


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _bytes(document: schemas.Json, field: str, limit: int) -> bytes:
    text = document[field]
    if not isinstance(text, str):
        raise _invalid(field)
    if len(text) > 4 * ((limit + 2) // 3):
        raise errors.TooLarge(
            errors.Reason.TOO_LARGE,
            f'The evidence field {field} is too large.',
            details={'field': field},
        )
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise _invalid(field) from None


def _invalid(field: str) -> errors.Invalid:
    return errors.Invalid(
        errors.Reason.INVALID_REQUEST,
        f'The evidence is malformed in {field}.',
        details={'field': field},
    )
