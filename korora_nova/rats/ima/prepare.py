# SPDX-License-Identifier: Apache-2.0
"""Entries known before any list: those of files that rules list by path.

A path and its digest are all that template data holds, so what such an
entry extends a PCR with can be computed before a list is there. A list then
finds it in the memo, byte for byte, as if another host had sent it.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Iterator

from korora_nova.rats.ima import records, state
from korora_nova.rats.ima.hashing import Settings
from korora_nova.rats.ima.memo import Memos
from korora_nova.rats.ima.rules import BOOT_AGGREGATES, Rules

#: Kernels' defaults: ima-sig with IMA appraisal, else ima-ng. A file is
#: expected without signature.
TEMPLATES = ('ima-ng', 'ima-sig')

_LABEL = b':\0'
_PACK = struct.Struct('<I').pack


def prepare(
    rules: Rules,
    memos: Memos,
    *,
    form: str = records.BINARY,
    template_hash: str = 'sha1',
    bank: str = 'sha256',
    index: int = records.IMA_PCR,
    templates: Iterable[str] = TEMPLATES,
) -> int:
    """Remember the entries that listed files will make, as memory allows.

    Once for the same rules: what was displaced since then stays so. Only
    lists that are measured with these rules alone profit.

    :param form: 'binary' or 'ascii'.
    :param templates: of :data:`TEMPLATES`, likely ones first.
    :returns: how many are known.
    """
    settings = Settings(form, template_hash, bank, index, state.OWN)
    known = memos.find((settings, (rules.fingerprint,)))
    done = memos.prepared.setdefault(rules, set())
    if settings in done:
        return len(known.entries)
    done.add(settings)
    for name in templates:
        if rules.templates and name not in rules.templates:
            continue
        for raw, extension in _entries(rules, settings, name):
            if known.full:
                break
            if raw not in known.entries:
                known.add(raw, extension)
    return len(known.entries)


def _entries(
    rules: Rules, settings: Settings, name: str
) -> Iterator[tuple[bytes, bytes]]:
    """Entries as they stand in a list, and what they extend with."""
    in_list = getattr(hashlib, settings.template_hash)
    in_bank = getattr(hashlib, settings.bank)
    unsigned = _PACK(0) if name == 'ima-sig' else b''
    pcr, tag = _PACK(settings.pcr), _PACK(len(name)) + name.encode()
    for path, listed in rules.paths.items():
        if path in BOOT_AGGREGATES or b'\0' in path:
            continue
        field = _PACK(len(path) + 1) + path + b'\0' + unsigned
        for key in listed:
            label, _, octets = key[4:].partition(_LABEL)
            if b':' in label:
                continue  # fs-verity: another template
            data = key + field
            stated = in_list(data).digest()
            if settings.form == records.ASCII:
                raw = b'%2d %s %s %s:%s %s' % (
                    settings.pcr,
                    stated.hex().encode(),
                    name.encode(),
                    label,
                    octets.hex().encode(),
                    path,
                )
                raw += b' ' if unsigned else b''
            else:
                raw = pcr + stated + tag + _PACK(len(data)) + data
            yield raw, in_bank(data).digest()
