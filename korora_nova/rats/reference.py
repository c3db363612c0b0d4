# SPDX-License-Identifier: Apache-2.0
"""Reference values: the state of a host that is as it should be.

They are learned from a host and never change; several are several
generations, or several kinds, of hosts. Policies compare with them.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping
from typing import Protocol

from korora_nova import errors
from korora_nova.rats import eventlog, ima, schemas
from korora_nova.rats.state import (
    BANK,
    MEASUREMENTS,
    USER_SPACE_PCRS,
    VerifiedState,
    by_index,
    digests_from_json,
    digests_to_json,
)
from korora_nova.rats.tpm2 import policy as tpm2_policy

_VALUES: schemas.Schema = {
    'type': 'array',
    'minItems': 1,
    'maxItems': 64,
    'items': schemas.DIGEST,
}
_DIGESTS: schemas.Schema = {'type': 'array', 'maxItems': ima.MAX_ENTRIES}
#: Version 1 knows PCRs and IMA digests only.
SCHEMA_1 = schemas.closed(
    {
        'version': schemas.VERSION,
        'name': schemas.text(255),
        'pcrs': schemas.closed(
            {str(index): _VALUES for index in tpm2_policy.PCRS_POLICY}
        ),
        'ima_digests': _DIGESTS,
    }
)
SCHEMA = schemas.closed(
    {
        'version': {'const': 2},
        'name': schemas.text(255),
        'pcrs': {**by_index(_VALUES), 'minProperties': 1},
        'ima_digests': _DIGESTS,
        'measured': MEASUREMENTS,
        'boot': {'type': ['object', 'null']},
        'firmware_version': {**schemas.COUNTER, 'type': ['integer', 'null']},
    }
)
# A list can be long, and a schema takes 10 us for each of its items.
_DIGEST = re.compile('(?:verity:)?[a-z0-9-]{1,16}:[0-9a-f]{32,128}')


class File(Protocol):
    """A measured file, as :class:`korora_nova.rats.ima.Entry` is."""

    @property
    def digest(self) -> str: ...
    @property
    def path(self) -> bytes: ...
    @property
    def violation(self) -> bool: ...


@dataclasses.dataclass(frozen=True)
class ReferenceValues:
    """Golden values of a kind of host.

    :param pcrs: admitted values by PCR, hex, of the SHA-256 bank. A PCR
        that is not here never matches; see :func:`learn`.
    :param ima_digests: digests of the files that may run, "ALG:HEX".
    :param measured: what extended those PCRs, hex; empty in version 1.
    :param boot: what the event log said of the boot; None in version 1.
    :param firmware_version: the TPM's; None in version 1.
    """

    name: str
    pcrs: Mapping[int, tuple[str, ...]]
    ima_digests: frozenset[str]
    measured: Mapping[int, tuple[str, ...]] = dataclasses.field(
        default_factory=dict
    )
    boot: eventlog.BootState | None = None
    firmware_version: int | None = None

    def __post_init__(self) -> None:
        if not self.pcrs or not all(self.pcrs.values()):
            raise errors.Invalid(
                errors.Reason.INVALID_REQUEST,
                'Reference values must have values for '
                'the PCRs that they name.',
            )

    def to_json(self) -> dict[str, object]:
        """JSON object, always of version 2."""
        return {
            'version': 2,
            'name': self.name,
            'pcrs': {
                str(index): list(values)
                for index, values in sorted(self.pcrs.items())
            },
            'ima_digests': sorted(self.ima_digests),
            'measured': digests_to_json(self.measured),
            'boot': eventlog.boot_to_json(self.boot) if self.boot else None,
            'firmware_version': self.firmware_version,
        }

    @classmethod
    def from_json(cls, document: schemas.Json) -> ReferenceValues:
        """Read what :meth:`to_json` made, or a document of version 1.

        :raises Invalid: INVALID_REQUEST.
        """
        first = isinstance(document, Mapping) and document.get('version') == 1
        schema = SCHEMA_1 if first else SCHEMA
        if schemas.fault(schema, document) is not None or (
            not all(map(_is_digest, document['ima_digests']))
        ):
            raise errors.Invalid(
                errors.Reason.INVALID_REQUEST,
                'The reference values do not follow their schema.',
            )
        boot = document.get('boot')
        return cls(
            document['name'],
            {
                int(index): tuple(values)
                for index, values in document['pcrs'].items()
            },
            frozenset(document['ima_digests']),
            digests_from_json(document.get('measured', {})),
            None if boot is None else eventlog.boot_from_json(boot),
            document.get('firmware_version'),
        )


def _is_digest(item: object) -> bool:
    return isinstance(item, str) and _DIGEST.fullmatch(item) is not None


def learn(
    name: str, state: VerifiedState, files: Iterable[File]
) -> ReferenceValues:
    """Take the state of a host as a wanted one.

    Of the PCRs, those are learned that the event log explains, and those
    that user space is known to extend, as they are: what is in the latter
    cannot be told apart, but another value is another state.

    :param files: what IMA measured, of the whole list. A violation has no
        digest, so nothing is learned of it.
    :raises Untrusted: NO_REFERENCE; a log was refused, explains nothing or
        is missing: there is no state to learn.
    """
    if (
        state.log is None
        or not state.log.agrees
        or (state.ima_fault is not None)
    ):
        raise errors.Untrusted(
            errors.Reason.NO_REFERENCE,
            'Nothing can be learned from a host whose logs do not verify.',
        )
    quoted = state.pcrs[BANK]
    return ReferenceValues(
        name,
        {
            index: (quoted[index].hex(),)
            for index in sorted(USER_SPACE_PCRS.union(state.log.agrees))
            if index in quoted and index != ima.IMA_PCR
        },
        frozenset(
            entry.digest
            for entry in files
            if entry.digest
            and not entry.violation
            and entry.path not in ima.BOOT_AGGREGATES
        ),
        state.log.measured,
        state.boot,
        state.firmware_version,
    )
