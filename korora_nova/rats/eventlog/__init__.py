# SPDX-License-Identifier: Apache-2.0
"""The firmware's event log: parse, compare with quoted PCRs, read facts.

::

    verified = parse(log).verify(quote.pcrs)
    verified.boot.secure_boot

A log is a file that the host's administrator can rewrite. Agreement of a
register with the quote authenticates the sequence of digests of that
register in the bank that was compared, and nothing else:

- not an event's type, nor its place among events of other registers;
- not an event's data, unless it hashes to the event's digest;
- not an EV_NO_ACTION event, whatever it says or imitates;
- not who extended: after boot the operating system can extend any
  register. Only what precedes a register's first separator, known by its
  digest, is firmware's word.

So a fact here never follows from a type, and whatever is in an agreeing
register is listed somewhere: a label cannot hide a digest.

Where to look: formats (bytes to events), types, log (replay, comparison),
check (data against digests), facts (events to :class:`BootState`, through
secureboot, options, ipl and components), document (BootState as JSON),
quirks (what real logs do), userspace (what systemd extends, and its log).
"""

from __future__ import annotations

from korora_nova.rats.eventlog.boot import (
    Authority,
    BootOption,
    BootState,
    CommandLine,
    Component,
    SignatureDatabase,
    SignatureEntry,
)
from korora_nova.rats.eventlog.booted import Booted
from korora_nova.rats.eventlog.check import status
from korora_nova.rats.eventlog.document import (
    boot_from_json,
    boot_to_json,
)
from korora_nova.rats.eventlog.formats import (
    MAX_ALGORITHMS,
    MAX_EVENT_BYTES,
    MAX_EVENTS,
    MAX_LOG_BYTES,
    Event,
)
from korora_nova.rats.eventlog.log import (
    DEFAULT_PCRS,
    Difference,
    EventLog,
    VerifiedLog,
    parse,
)
from korora_nova.rats.eventlog.quirks import QUIRKS, Quirk
from korora_nova.rats.eventlog.types import EV_NO_ACTION
from korora_nova.rats.eventlog.userspace import Record
from korora_nova.rats.eventlog.userspace import parse as parse_user_space

__all__ = [
    'DEFAULT_PCRS',
    'EV_NO_ACTION',
    'MAX_ALGORITHMS',
    'MAX_EVENTS',
    'MAX_EVENT_BYTES',
    'MAX_LOG_BYTES',
    'QUIRKS',
    'Authority',
    'BootOption',
    'BootState',
    'Booted',
    'CommandLine',
    'Component',
    'Difference',
    'Event',
    'EventLog',
    'Quirk',
    'Record',
    'SignatureDatabase',
    'SignatureEntry',
    'VerifiedLog',
    'boot_from_json',
    'boot_to_json',
    'parse',
    'parse_user_space',
    'status',
]
