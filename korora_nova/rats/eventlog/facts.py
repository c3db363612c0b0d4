# SPDX-License-Identifier: Apache-2.0
"""Events of agreeing registers to a BootState."""

from __future__ import annotations

from typing import TYPE_CHECKING

from korora_nova.rats.eventlog import boot

if TYPE_CHECKING:
    from korora_nova.rats.eventlog.log import VerifiedLog


def decode(log: VerifiedLog) -> boot.BootState:
    """Decode the events of a verified log."""
    return boot.BootState()
