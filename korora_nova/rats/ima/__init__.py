# SPDX-License-Identifier: Apache-2.0
"""IMA measurement lists: what ran on a host, proved by PCR 10.

::

    measured = ima.measure(log, quote.pcrs, [ima.Rules(digests)])
    measured.findings[0]    # () if the rules admit all that was measured
    ima.measure(new, later.pcrs, rules, state=measured.state)  # what is new

What hosts share is read once if calls share ``memos=ima.Memos()``.

The module to look in, by question: what an entry may hold, ``templates``;
how it stands in a list, ``records``; how a list is replayed, ``replay``, and
fast, ``binary`` and ``text`` (by form), ``shape``, ``hashing``, ``memo`` and
``prepare``, in parts, ``buffer``, without its beginning, ``trimmed``,
and for several registers, ``registers``;
what is appraised, ``measure``,
``judge``, ``aggregate`` and ``state``; what is admitted, ``rules``,
``patterns``, ``digests``, ``table`` and ``signature``; a list as objects,
``log``.
"""

from korora_nova.rats.ima.buffer import Parts
from korora_nova.rats.ima.log import ImaLog, parse
from korora_nova.rats.ima.measure import (
    MAX_MOVED,
    Measured,
    entries,
    leads,
    locate,
    measure,
)
from korora_nova.rats.ima.memo import Memos
from korora_nova.rats.ima.prepare import prepare
from korora_nova.rats.ima.records import IMA_PCR
from korora_nova.rats.ima.registers import First
from korora_nova.rats.ima.replay import MAX_ENTRIES
from korora_nova.rats.ima.rules import (
    BOOT_AGGREGATE,
    BOOT_AGGREGATES,
    MAX_DIGESTS,
    Rules,
)
from korora_nova.rats.ima.state import State, Tally
from korora_nova.rats.ima.templates import MAX_TEMPLATE_DATA, Entry
from korora_nova.rats.ima.trimmed import TAIL, aggregate_hash, begins, places

__all__ = [
    'BOOT_AGGREGATE',
    'BOOT_AGGREGATES',
    'Entry',
    'First',
    'IMA_PCR',
    'ImaLog',
    'MAX_DIGESTS',
    'MAX_ENTRIES',
    'MAX_MOVED',
    'MAX_TEMPLATE_DATA',
    'Measured',
    'Memos',
    'Parts',
    'Rules',
    'State',
    'TAIL',
    'Tally',
    'aggregate_hash',
    'begins',
    'entries',
    'leads',
    'locate',
    'measure',
    'parse',
    'places',
    'prepare',
]
