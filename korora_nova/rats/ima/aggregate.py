# SPDX-License-Identifier: Apache-2.0
"""The boot aggregate: the digest of the boot's PCRs, first in the list.

Linux, security/integrity/ima/ima_crypto.c, ``ima_calc_boot_aggregate``:
over PCRs 0-9 of the bank of its own hash, over 0-7 with SHA-1 and with
kernels before 5.8. After kexec another kernel adds another.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping

from korora_nova import errors
from korora_nova.rats.ima.records import HASHES

_RANGES = (range(10), range(8))
# Banks a kernel uses for it, besides that of its own hash.
_USED = {'sha1', 'sha256'}
_R = errors.Reason


def check(
    aggregates: Collection[str],
    banks: Mapping[str, Mapping[int, bytes]],
    listed: Callable[[str], bool] = lambda digest: False,
) -> None:
    """Compare boot aggregates with quoted PCRs.

    :param banks: quoted values by bank.
    :param listed: whether an operator lists one, which counts for those of
        a bank that was not quoted.
    :raises EvidenceError: IMA_BOOT_AGGREGATE.
    """
    if not aggregates:
        raise errors.EvidenceError(
            _R.IMA_BOOT_AGGREGATE,
            'The IMA measurement list holds no boot aggregate.',
            place='boot_aggregate',
        )
    for got in aggregates:
        name = got.partition(':')[0]
        pcrs = banks.get(name)
        if _none(got) and not set(banks) & _USED:
            continue
        if name not in HASHES or pcrs is None:
            if listed(got):
                continue
            raise errors.EvidenceError(
                _R.IMA_BOOT_AGGREGATE,
                f'The boot aggregate {got} is of '
                f'{name} PCRs, which were not quoted; boot with '
                'ima_hash=sha256, or list it for the path boot_aggregate.',
                place='boot_aggregate',
                details={'got': got, 'bank': name},
            )
        want = [expected(name, pcrs, indices) for indices in _RANGES]
        if got not in want:
            raise errors.EvidenceError(
                _R.IMA_BOOT_AGGREGATE,
                f'The boot aggregate is {got}; the '
                f'quoted PCRs 0-9 give {want[0]}, 0-7 give {want[1]}.',
                place='boot_aggregate',
                details={'want': ' '.join(filter(None, want)), 'got': got},
            )


def _none(got: str) -> bool:
    """What kernels state that find no bank they could use."""
    return not got.rpartition(':')[2].strip('0')


def expected(
    bank: str, pcrs: Mapping[int, bytes], indices: range = _RANGES[0]
) -> str:
    """The boot aggregate of PCRs, "ALG:HEX"; '' if one is missing."""
    values = [pcrs.get(index, b'') for index in indices]
    if any(len(value) != HASHES[bank] for value in values):
        return ''
    digest = hashlib.new(bank, b''.join(values)).hexdigest()
    return f'{bank}:{digest}'
