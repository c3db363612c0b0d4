# SPDX-License-Identifier: Apache-2.0
"""An event's data against its digest.

Only then is data the firmware's word. What was hashed depends on the type
(PFP 10.4.1), which is not authenticated: so a match counts whatever the
type, and a type only says whether a mismatch means anything.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterator

from korora_nova.rats.eventlog import text, types, variables
from korora_nova.rats.eventlog.formats import Event

VERIFIED = 'verified'
MISMATCH = 'mismatch'
NOT_APPLICABLE = 'not applicable'

Hash = Callable[[bytes], bytes]

#: Types whose data is what the profile wants hashed. EV_S_CRTM_VERSION,
#: EV_EFI_GPT_EVENT and the like among them; others name what was hashed.
HASH_DATA = frozenset(
    (
        types.EV_SEPARATOR,
        types.EV_ACTION,
        types.EV_EFI_ACTION,
        types.EV_S_CRTM_VERSION,
        types.EV_OMIT_BOOT_DEVICE_EVENTS,
        types.EV_EFI_VARIABLE_DRIVER_CONFIG,
        types.EV_EFI_VARIABLE_BOOT,
        types.EV_EFI_VARIABLE_BOOT2,
        types.EV_EFI_GPT_EVENT,
        types.EV_EFI_GPT_EVENT2,
        types.EV_EFI_VARIABLE_AUTHORITY,
        types.EV_EFI_SPDM_DEVICE_POLICY,
        types.EV_EFI_SPDM_DEVICE_AUTHORITY,
    )
)

#: Contents of separators, see quirks.SEPARATOR_VALUE.
SEPARATORS = (b'\0\0\0\0', b'\xff\xff\xff\xff', b'WBCL')
#: What systemd extends on every host: phases of the boot into PCR 11, ends of
#: what firmware, boot loader and initrd measured into others
#: (systemd-pcrphase.service(8)).
WORDS = (
    b'enter-initrd',
    b'leave-initrd',
    b'sysinit',
    b'ready',
    b'shutdown',
    b'final',
    b'os-separator',
    b'nvpcr-separator',
)
#: Contents of separators after an error of the firmware (PFP 10.4.1).
FAILED = (b'\1\0\0\0', b'\0\0\0\1')


def hasher(bank: str) -> Hash:
    """The function from bytes to a digest of the bank."""
    name = types.HASHES[bank]
    make: Callable[[bytes], hashlib._Hash] = getattr(
        hashlib, name, functools.partial(hashlib.new, name)
    )
    return lambda data: make(data).digest()


@functools.lru_cache(maxsize=16)
def separators(bank: str) -> frozenset[bytes]:
    """Digests of separators."""
    return frozenset(map(hasher(bank), SEPARATORS))


@functools.lru_cache(maxsize=16)
def failures(bank: str) -> frozenset[bytes]:
    """Digests of separators that report an error."""
    return frozenset(map(hasher(bank), FAILED))


@functools.lru_cache(maxsize=16)
def words(bank: str) -> frozenset[bytes]:
    """Digests of what systemd extends on every host."""
    return frozenset(map(hasher(bank), WORDS))


def status(event: Event, bank: str) -> str:
    """'verified', 'mismatch' or 'not applicable'.

    :raises KeyError: the event has no digest of the bank, or the bank's
        algorithm is not known here.
    """
    if not event.extends:
        return NOT_APPLICABLE
    digest, make = event.digests[bank], hasher(bank)
    if any(make(content) == digest for content in contents(event)):
        return VERIFIED
    return MISMATCH if event.type in HASH_DATA else NOT_APPLICABLE


def contents(event: Event) -> Iterator[bytes]:
    """What may have been hashed, as far as the data shows it."""
    data = event.data
    yield data
    if event.type in (types.EV_ACTION, types.EV_EFI_ACTION) and (
        data.endswith(b'\0')
    ):
        yield data.rstrip(b'\0')  # see quirks.TEXT_NUL
    elif event.type == types.EV_IPL:
        yield from texts(data)
    elif event.type in (
        types.EV_EFI_VARIABLE_BOOT,
        types.EV_EFI_VARIABLE_BOOT2,
        types.EV_EFI_VARIABLE_AUTHORITY,
    ):
        variable = variables.parse(data)
        if variable is None:
            return
        for cut in range(1, variable.surplus + 1):
            yield data[:-cut]  # see quirks.SHIM_LENGTH
        if event.type == types.EV_EFI_VARIABLE_BOOT:
            yield variable.value  # see quirks.VARIABLE_BOOT


def texts(data: bytes) -> Iterator[bytes]:
    """What a boot loader may have hashed, see quirks.GRUB_TEXT."""
    bare = data.rstrip(b'\0')
    if len(data) > text.MAX_TEXT:
        return
    for separator in (b': ', b' '):
        prefix, found, rest = bare.partition(separator)
        if found and prefix.isascii() and prefix.replace(b'_', b'').isalnum():
            yield rest
            yield rest + b'\0'
    yield bare
    yield bare + b'\0'
