# SPDX-License-Identifier: Apache-2.0
"""The verified state of a host: what policies look at.

All of it is covered by one quote: PCR values and counters by its signature,
what the event log says by its agreement with the quoted PCRs. Facts from a
PCR that the log does not explain are not in it.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Mapping
from typing import Any

from korora_nova import errors
from korora_nova.rats import eventlog, schemas
from korora_nova.rats.eventlog import userspace
from korora_nova.rats.finding import Finding
from korora_nova.rats.quote.verify import Clock

#: The bank that the product quotes, and that facts rest on.
BANK = 'sha256'
#: PCRs that user space goes on to extend after the boot, with what no word
#: that is known beforehand explains.
USER_SPACE_PCRS = userspace.PCRS
#: Caps of a stored state.
MAX_MEASUREMENTS = 16384
_HEX = re.compile('[0-9a-f]{40,128}')

_INDEX = '^([0-9]|1[0-9]|2[0-3])' + schemas.END
_HEX_VALUE: schemas.Schema = {
    'type': 'string',
    'maxLength': 128,
    'pattern': '^[0-9a-f]*' + schemas.END,
}
_PCR: schemas.Schema = {'type': 'integer', 'minimum': 0, 'maximum': 23}
_FINDING: schemas.Schema = {
    'type': ['object', 'null'],
    'properties': {
        'reason': schemas.text(64),
        'message': {'type': 'string'},
        'details': {
            'type': 'object',
            'additionalProperties': {'type': 'string'},
        },
    },
    'required': ['details', 'message', 'reason'],
    'additionalProperties': False,
}


def by_index(items: schemas.Schema) -> schemas.Schema:
    """Schema of an object with decimal PCR indices as keys."""
    return {
        'type': 'object',
        'patternProperties': {_INDEX: items},
        'additionalProperties': False,
        'maxProperties': 24,
    }


#: Digests by PCR; a schema takes 10 us an item, so a regex checks them.
MEASUREMENTS = by_index({'type': 'array', 'maxItems': MAX_MEASUREMENTS})
SCHEMA = schemas.closed(
    {
        'version': schemas.VERSION,
        'pcrs': {
            'type': 'object',
            'maxProperties': 8,
            'additionalProperties': by_index(_HEX_VALUE),
        },
        'clock': schemas.closed(
            {
                'clock_ms': schemas.COUNTER,
                'reset_count': schemas.COUNTER,
                'restart_count': schemas.COUNTER,
                'safe': {'type': 'boolean'},
            }
        ),
        'firmware_version': schemas.COUNTER,
        'log': {'type': ['object', 'null']},
        'log_fault': _FINDING,
        'ima_fault': _FINDING,
        'boot': {'type': ['object', 'null']},
    }
)
_LOG = schemas.closed(
    {
        'agrees': {'type': 'array', 'items': _PCR, 'maxItems': 24},
        'differs': by_index(
            schemas.closed({'want': _HEX_VALUE, 'got': _HEX_VALUE})
        ),
        'measured': MEASUREMENTS,
    }
)


@dataclasses.dataclass(frozen=True)
class Explained:
    """How the event log and the quoted PCRs go together.

    :param agrees: PCRs that the log explains completely.
    :param differs: the others that were compared, to what was quoted and
        what the log makes of them, hex.
    :param measured: what extended each agreeing PCR, each digest once, hex;
        whatever the log says that it is.
    """

    agrees: tuple[int, ...]
    differs: Mapping[int, tuple[str, str]]
    measured: Mapping[int, tuple[str, ...]]

    def to_json(self) -> dict[str, object]:
        return {
            'agrees': list(self.agrees),
            'differs': {
                str(index): {'want': want, 'got': got}
                for index, (want, got) in self.differs.items()
            },
            'measured': digests_to_json(self.measured),
        }

    @classmethod
    def of(cls, log: eventlog.VerifiedLog) -> Explained:
        """What a log explains."""
        measured: dict[int, dict[str, None]] = {}
        for event in log.events:
            if userspace.silent(event, log.bank):
                continue
            measured.setdefault(event.pcr, {})[
                event.digests[log.bank].hex()
            ] = None
        return cls(
            log.agrees,
            {
                index: (item.want.hex(), item.got.hex())
                for index, item in log.differs.items()
            },
            {
                index: tuple(digests)
                for index, digests in sorted(measured.items())
            },
        )

    @classmethod
    def from_json(cls, document: schemas.Json) -> Explained:
        """Read what :meth:`to_json` made.

        :raises Invalid: INVALID_REQUEST.
        """
        _check(_LOG, document)
        return cls(
            tuple(document['agrees']),
            {
                int(index): (item['want'], item['got'])
                for index, item in document['differs'].items()
            },
            digests_from_json(document['measured']),
        )


@dataclasses.dataclass(frozen=True)
class VerifiedState:
    """What one verified quote and its logs say.

    :param pcrs: bank to index to value.
    :param log: None if there is no log that could be compared;
        ``log_fault`` says why.
    :param boot: what the log says of the boot, of agreeing PCRs only.
    :param ima_fault: why the measurement list was refused, if it was.
    """

    pcrs: Mapping[str, Mapping[int, bytes]]
    clock: Clock
    firmware_version: int
    log: Explained | None = None
    log_fault: Finding | None = None
    boot: eventlog.BootState | None = None
    ima_fault: Finding | None = None

    @functools.cached_property
    def quoted(self) -> Mapping[str, Mapping[int, str]]:
        """PCR values in hex, bank to index to value."""
        return {
            bank: {index: value.hex() for index, value in values.items()}
            for bank, values in self.pcrs.items()
        }

    @property
    def facts(self) -> eventlog.BootState:
        """``boot``, or one that says nothing."""
        return self.boot or eventlog.BootState()

    def measured(self, pcr: int) -> tuple[str, ...]:
        """What extended a PCR that the log explains; see `Explained`."""
        return self.log.measured.get(pcr, ()) if self.log else ()

    def faults(self) -> tuple[Finding, ...]:
        """See :func:`faults`."""
        return faults(self.log_fault, self.ima_fault)

    def to_json(self) -> dict[str, object]:
        """JSON object, to be stored."""
        clock = self.clock
        return {
            'version': 1,
            'pcrs': {
                bank: {
                    str(index): value.hex()
                    for index, value in sorted(values.items())
                }
                for bank, values in self.pcrs.items()
            },
            'clock': {
                'clock_ms': clock.clock_ms,
                'safe': clock.safe,
                'reset_count': clock.reset_count,
                'restart_count': clock.restart_count,
            },
            'firmware_version': self.firmware_version,
            'log': self.log.to_json() if self.log else None,
            'boot': eventlog.boot_to_json(self.boot) if self.boot else None,
            'log_fault': _fault_to_json(self.log_fault),
            'ima_fault': _fault_to_json(self.ima_fault),
        }

    @classmethod
    def from_json(cls, document: schemas.Json) -> VerifiedState:
        """Read what :meth:`to_json` made.

        :raises Invalid: INVALID_REQUEST.
        """
        _check(SCHEMA, document)
        log, boot = document['log'], document['boot']
        try:
            pcrs = {
                bank: {
                    int(index): bytes.fromhex(value)
                    for index, value in values.items()
                }
                for bank, values in document['pcrs'].items()
            }
        except ValueError:
            raise _invalid() from None
        return cls(
            pcrs,
            Clock(**document['clock']),
            document['firmware_version'],
            None if log is None else Explained.from_json(log),
            _fault_from_json(document['log_fault']),
            None if boot is None else eventlog.boot_from_json(boot),
            _fault_from_json(document['ima_fault']),
        )


def faults(log: Finding | None, ima: Finding | None) -> tuple[Finding, ...]:
    """Logs that are refused, whatever policies say.

    An event log that is missing, or of another bank, counts for the rules
    that need one.
    """
    if log and log.reason != errors.Reason.UEFI_LOG_MALFORMED:
        log = None
    return tuple(fault for fault in (log, ima) if fault is not None)


def digests_to_json(
    measured: Mapping[int, tuple[str, ...]],
) -> dict[str, list[str]]:
    """Digests by PCR as JSON; see ``MEASUREMENTS``."""
    return {
        str(index): list(digests)
        for index, digests in sorted(measured.items())
    }


def digests_from_json(
    document: Mapping[str, list[Any]],
) -> dict[int, tuple[str, ...]]:
    """Read what :func:`digests_to_json` made; the schema was checked.

    :raises Invalid: INVALID_REQUEST, an item is not a digest in hex.
    """
    for digests in document.values():
        for item in digests:
            if not isinstance(item, str) or not _HEX.fullmatch(item):
                raise _invalid()
    return {int(index): tuple(digests) for index, digests in document.items()}


def _check(schema: schemas.Schema, document: object) -> None:
    if schemas.fault(schema, document) is not None:
        raise _invalid()


def _invalid() -> errors.Invalid:
    return errors.Invalid(
        errors.Reason.INVALID_REQUEST,
        'The stored state does not follow its schema.',
    )


def _fault_to_json(fault: Finding | None) -> dict[str, object] | None:
    return None if fault is None else fault.to_json()


def _fault_from_json(document: schemas.Json | None) -> Finding | None:
    return None if document is None else Finding(**document)
