# SPDX-License-Identifier: Apache-2.0
"""What hosts showed last: verified state, files, and where lists go on.

- The state is what references are learned from and policies compared
  with.  It is written when it changes; PCR 10 and the clock, which change
  all the time and which neither looks at, may be older than the rest.
- The list is kept in segments, as sent: incremental evidence adds one.
- The last few states of the measurement list are kept: evidence that was
  under way while newer evidence was stored may still continue its own.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import importlib.metadata
import itertools
import json
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import orm

from korora_nova import errors
from korora_nova.rats import appraise, ima, reference
from korora_nova.rats.evidence import Evidence
from korora_nova.rats.state import VerifiedState
from korora_nova.verifier import service
from korora_nova.verifier.db import api, models

#: States of a list that are remembered.
MAX_STATES = 4
#: Bytes of a compressed segment in one row.
PART = 4 << 20
#: Rows of segments of one host; of more, all but the first are made one.
MAX_ROWS = 64

_R = errors.Reason


@dataclasses.dataclass(frozen=True)
class Last:
    """What is stored of a host: where its list may go on.

    :param states: as JSON, newest first.
    """

    fingerprint: str
    states: Sequence[dict[str, Any]]

    def state(self, offset: int) -> ima.State | None:
        """The state that evidence with this offset continues.

        :returns: None for the whole list.
        :raises Conflict: IMA_CONTINUITY, there is no such state.
        """
        if not offset:
            return None
        for document in self.states:
            if document['bytes'] == offset:
                try:
                    return ima.State.from_json(document)
                except errors.Invalid:
                    break  # another release wrote it
        raise errors.Conflict(_R.IMA_CONTINUITY)


@dataclasses.dataclass(frozen=True)
class Fresh:
    """What an attestation leaves to be stored.

    :param base: where its list went on; 0: it was the whole list.
    :param fingerprint: stands for the state without PCR 10 and clock.
    :param document: the state, None if it is stored already.
    :param ima_state: of the list, None if it was refused.
    :param segment: compressed, new in the list; None if it is stored
        already; empty if the list was refused.
    """

    base: int
    fingerprint: str
    reset_count: int
    document: bytes | None
    ima_state: dict[str, Any] | None
    segment: bytes | None

    @property
    def offset(self) -> int:
        """Where the next evidence may go on; 0: send the whole list."""
        return int(self.ima_state['bytes']) if self.ima_state else 0


def last(verifier: service.Service, host: str) -> Last:
    """What is stored of a host."""
    with verifier.db.read() as session:
        row = session.get(models.Measurement, host)
        return Last(row.fingerprint if row else '', _states(row))


def fresh(
    stored: Last, submitted: Evidence, appraisal: appraise.Appraisal
) -> Fresh:
    """What of an appraisal is not stored yet; no transaction is open."""
    fingerprint = _fingerprint(submitted, appraisal)
    known = fingerprint == stored.fingerprint
    measured = appraisal.measured
    state = measured.state.to_json() if measured else None
    same = known and _end(stored.states) == (state['bytes'] if state else 0)
    return Fresh(
        submitted.ima_offset,
        fingerprint,
        appraisal.quote.clock.reset_count,
        None if known else _pack(appraisal.state.to_json()),
        state,
        None if same else _covered(submitted, appraisal),
    )


def _covered(submitted: Evidence, appraisal: appraise.Appraisal) -> bytes:
    """What of a list was covered by the quote, compressed."""
    if appraisal.measured is None:
        return b''
    size = appraisal.measured.state.bytes - submitted.ima_offset
    return zlib.compress(submitted.ima_log[:size], 1)


def store(
    verifier: service.Service, session: orm.Session, host: str, new: Fresh
) -> None:
    """Write what changed, in the transaction of the result.

    :raises Conflict: IMA_CONTINUITY, the list went on from something that
        is not stored any more, or from another boot.
    :raises Retry: what was stored is not what it was compared with.
    """
    row = session.get(models.Measurement, host)
    stored = _states(row)
    known = stored if row and row.reset_count == new.reset_count else []
    if new.base and not any(one['bytes'] == new.base for one in known):
        raise errors.Conflict(_R.IMA_CONTINUITY)
    if (
        new.document is None
        and (row is None or row.fingerprint != new.fingerprint)
        or (new.segment is None and _end(known) != new.offset)
    ):
        raise errors.Retry()
    states = (
        []
        if new.ima_state is None
        else [
            new.ima_state,
            *(one for one in known if one['bytes'] != new.offset),
        ][:MAX_STATES]
    )
    values: dict[str, Any] = {}
    if row is None or states != stored:
        values['ima_states'] = _pack(states)
    if new.document is not None:
        values.update(
            fingerprint=new.fingerprint,
            document=new.document,
            reset_count=new.reset_count,
        )
    if new.segment is not None:
        _store_segment(session, host, new.base, new.segment)
    if values:
        _write(session, row, host, {**values, 'measured_at': verifier.clock()})


def _write(
    session: orm.Session,
    row: models.Measurement | None,
    host: str,
    values: dict[str, Any],
) -> None:
    if row is None:
        session.add(models.Measurement(host=host, **values))
        return
    for name, value in values.items():
        setattr(row, name, value)


def compact(verifier: service.Service, host: str) -> None:
    """Make one of many small segments."""
    table = models.MeasurementSegment
    with verifier.db.read() as session:
        count = (
            session.scalar(
                sa.select(sa.func.count())
                .select_from(table)
                .where(table.host == host)
            )
            or 0
        )
    if count > MAX_ROWS:
        _compact(verifier, host)


@api.retried
def _compact(verifier: service.Service, host: str) -> None:
    with verifier.db.write() as session:
        # An attestation that is being stored has to look again.
        session.execute(
            sa.update(models.Host)
            .where(models.Host.name == host)
            .values(version=models.Host.version + 1)
        )
        later = dict(_segments(session, host, after=0))
        if later:
            _store_segment(
                session,
                host,
                min(later),
                zlib.compress(b''.join(later.values()), 1),
            )


def load(
    session: orm.Session, host: str
) -> tuple[VerifiedState, list[ima.Entry], float]:
    """A host's state, what it measured, and when that changed last.

    :raises NotFound: RESULT_MISSING.
    """
    row = session.get(models.Measurement, host)
    if row is None:
        raise errors.NotFound(
            _R.RESULT_MISSING,
            'The host has not attested since it was enrolled, or since the '
            'service was upgraded.',
        )
    state, entries = _states(row), []
    if state:
        entries = [
            entry
            for _, segment in _segments(session, host)
            for entry in ima.parse(
                segment,
                form=state[0]['form'],
                template_hash=state[0]['template_hash'],
            ).entries
        ]
    return (
        VerifiedState.from_json(_unpack(row.document)),
        entries,
        row.measured_at,
    )


def learn(
    session: orm.Session, name: str, host: str
) -> reference.ReferenceValues:
    """Reference values out of what a host showed last.

    :raises NotFound: RESULT_MISSING.
    :raises Untrusted: NO_REFERENCE, there is nothing to learn from it.
    """
    state, entries, _ = load(session, host)
    return reference.learn(name, state, entries)


def delete(session: orm.Session, host: str) -> None:
    """Forget a host."""
    for table in (models.Measurement, models.MeasurementSegment):
        session.execute(sa.delete(table).where(table.host == host))


def _fingerprint(submitted: Evidence, appraisal: appraise.Appraisal) -> str:
    quote = appraisal.quote
    clock = quote.clock
    fault = appraisal.state.ima_fault
    content = json.dumps(
        [
            # Another release may read more in the same log.
            _release(),
            sorted(
                (index, value.hex())
                for index, value in quote.pcrs.items()
                if index != ima.IMA_PCR
            ),
            clock.reset_count,
            clock.restart_count,
            clock.safe,
            quote.firmware_version,
            hashlib.sha256(submitted.uefi_log).hexdigest(),
            fault.to_json() if fault else None,
        ]
    )
    return hashlib.sha256(content.encode()).hexdigest()


@functools.cache
def _release() -> str:
    try:
        return importlib.metadata.version('korora-nova')
    except importlib.metadata.PackageNotFoundError:
        return ''


def _states(row: models.Measurement | None) -> list[dict[str, Any]]:
    if row is None:
        return []
    states: list[dict[str, Any]] = _unpack(row.ima_states)
    return states


def _store_segment(
    session: orm.Session, host: str, start: int, content: bytes
) -> None:
    """Add a segment; it replaces whatever begins there or behind."""
    table = models.MeasurementSegment
    session.execute(
        sa.delete(table).where(table.host == host, table.start >= start)
    )
    for part in range(0, len(content), PART):
        session.add(
            table(
                host=host,
                start=start,
                part=part // PART,
                content=content[part : part + PART],
            )
        )
        # One by one: together they are more than one statement may hold.
        session.flush()


def _segments(
    session: orm.Session, host: str, after: int = -1
) -> Iterator[tuple[int, bytes]]:
    """Segments and their places, those after a place only.

    Each ends where the next begins, even if it reached further: evidence
    may go on from any state that is remembered.
    """
    table = models.MeasurementSegment
    rows = session.execute(
        sa.select(table.start, table.content)
        .where(table.host == host, table.start > after)
        .order_by(table.start, table.part)
    )
    last: tuple[int, bytes] | None = None
    for place, parts in itertools.groupby(rows, lambda row: row.start):
        start = int(place)
        if last is not None:
            yield last[0], last[1][: start - last[0]]
        last = start, zlib.decompress(b''.join(row.content for row in parts))
    if last is not None:
        yield last


def _end(states: Sequence[dict[str, Any]]) -> int:
    """How far the list is known, bytes."""
    return int(states[0]['bytes']) if states else 0


def _pack(document: Any) -> bytes:
    return zlib.compress(json.dumps(document).encode(), 1)


def _unpack(content: bytes) -> Any:
    return json.loads(zlib.decompress(content))
