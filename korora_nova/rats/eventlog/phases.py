# SPDX-License-Identifier: Apache-2.0
"""What systemd extends after the firmware's log has ended.

On hosts with unified kernel images, systemd-pcrphase extends PCR 11 with the
name of each phase of the boot (systemd-pcrphase.service(8)). The names are
known, so the events of the log before them stay proven.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

PCR = 11
_PHASES = (
    b'enter-initrd',
    b'leave-initrd',
    b'sysinit',
    b'ready',
    b'shutdown',
    b'final',
)
#: Without an initrd the boot begins with the third.
_BEGINNINGS = (0, 2)


def explain(
    logged: bytes, quoted: bytes, digest: Callable[[bytes], hashlib._Hash]
) -> bool:
    """Whether phases of a boot lead from one value of PCR 11 to another.

    :param logged: what the log makes of it.
    :param digest: the algorithm of the bank.
    """
    for begin in _BEGINNINGS:
        value = logged
        for phase in _PHASES[begin:]:
            value = digest(value + digest(phase).digest()).digest()
            if value == quoted:
                return True
    return False
