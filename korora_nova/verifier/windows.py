# SPDX-License-Identifier: Apache-2.0
"""Offline windows of hosts, as far as operators can know them.

A host may have dropped its approvals, which nothing proves. They are gone for
sure when they have ended, or when its TPM was reset or restarted since.
"""

from __future__ import annotations

import datetime
import struct
from collections.abc import Mapping

from korora_nova.verifier.db import models


def until(row: models.Host | None, now: float) -> float | None:
    """When a host's offline window ends; None: it has none."""
    if row is None or row.offline_until is None or row.offline_until <= now:
        return None
    counters = row.reset_count or 0, row.restart_count or 0
    same = row.offline_boot == struct.pack('>II', *counters).hex()
    return row.offline_until if same else None


def shown(row: models.Host, now: float) -> Mapping[str, object] | None:
    """The same as operators see it, with the number of its servers."""
    end = until(row, now)
    if end is None:
        return None
    return {'until': end, 'servers': row.offline_servers}


def warning(row: models.Host | None, now: float) -> str:
    """What a host can do that is cut off, a sentence; '' for nothing."""
    end = until(row, now)
    if row is None or end is None:
        return ''
    moment = datetime.datetime.fromtimestamp(end, datetime.timezone.utc)
    return (
        f'Until {moment:%Y-%m-%dT%H:%M:%SZ} host {row.name} may start it '
        'without asking, if it cannot reach this service: cut its power, '
        'which ends that at once.'
    )
