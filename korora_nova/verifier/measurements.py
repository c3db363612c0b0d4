# SPDX-License-Identifier: Apache-2.0
"""What hosts showed last: verified state, files, and where lists go on.

- The state is what references are learned from and policies compared
  with.  It is written when it changes; PCR 10 and the clock, which change
  all the time and which neither looks at, may be older than the rest.
- The files are segments: an incremental attestation adds what is new.
- The last few states of the measurement list are kept: evidence that was
  under way while newer evidence was stored may still continue its own.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

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
#: Bytes of JSON in one segment, before compression: one row, one statement.
SEGMENT = 4 << 20
#: This many segments below SMALL bytes are put together.
MAX_SMALL = 64
SMALL = 256 << 10


_R = errors.Reason


class File(NamedTuple):
    """A measured file, as references are learned from."""

    digest: str
    path: bytes
    violation: bool


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
    :param segments: new files; None if they are stored already.
    """

    base: int
    fingerprint: str
    reset_count: int
    document: bytes | None
    ima_state: dict[str, Any] | None
    segments: Sequence[bytes] | None

    @property
    def offset(self) -> int:
        """Where the next evidence may go on; 0: send the whole list."""
        return int(self.ima_state['bytes']) if self.ima_state else 0


def last(verifier: service.Service, host: str) -> Last:
    """What is stored of a host."""
    with verifier.db.read() as session:
        row = session.get(models.Measurement, host)
        return Last(row.fingerprint if row else '', _states(row))


def fresh(stored: Last, submitted: Evidence,
          appraisal: appraise.Appraisal) -> Fresh:
    """What of an appraisal is not stored yet; no transaction is open."""
    fingerprint = _fingerprint(submitted, appraisal)
    known = fingerprint == stored.fingerprint
    measured = appraisal.measured
    state = measured.state.to_json() if measured else None
    same = known and bool(stored.states) and (
        state is not None and state['bytes'] == stored.states[0]['bytes'])
    files = measured.files() if measured and not same else ()
    return Fresh(
        submitted.ima_offset, fingerprint,
        appraisal.quote.clock.reset_count,
        None if known else _pack(appraisal.state.to_json()),
        state, None if same else list(_segments(files)))


def store(verifier: service.Service, session: orm.Session, host: str,
          new: Fresh) -> None:
    """Write what changed, in the transaction of the result.

    :raises Conflict: IMA_CONTINUITY, the list went on from something that
        is not stored any more, or from another boot.
    :raises Lost: what was stored is not what it was compared with.
    """
    row = session.get(models.Measurement, host)
    stored = _states(row)
    known = stored if row and row.reset_count == new.reset_count else []
    if new.base and not any(one['bytes'] == new.base for one in known):
        raise errors.Conflict(_R.IMA_CONTINUITY)
    if new.document is None and (
            row is None or row.fingerprint != new.fingerprint) or (
            new.segments is None and (
                not known or known[0]['bytes'] != new.offset)):
        raise api.Lost()
    states = [] if new.ima_state is None else [new.ima_state, *(
        one for one in known if one['bytes'] != new.offset)][:MAX_STATES]
    values: dict[str, Any] = {}
    if row is None or states != stored:
        values['ima_states'] = _pack(states)
    if new.document is not None:
        values.update(fingerprint=new.fingerprint, document=new.document,
                      reset_count=new.reset_count)
    if new.segments is not None:
        _store_segments(session, host, new)
    if values:
        _write(session, row, host, {
            **values, 'measured_at': verifier.clock()})


def _write(session: orm.Session, row: models.Measurement | None, host: str,
           values: dict[str, Any]) -> None:
    if row is None:
        session.add(models.Measurement(host=host, **values))
        return
    for name, value in values.items():
        setattr(row, name, value)


def compact(verifier: service.Service, host: str) -> None:
    """Put small segments together when there are many."""
    table = models.MeasurementSegment
    small = sa.func.length(table.document) < SMALL
    with verifier.db.read() as session:
        count = session.scalar(sa.select(sa.func.count()).select_from(
            table).where(table.host == host, small)) or 0
    if count > MAX_SMALL:
        _compact(verifier, host, small)


@api.retried
def _compact(verifier: service.Service, host: str, small: Any) -> None:
    table = models.MeasurementSegment
    with verifier.db.write() as session:
        # An attestation that is being stored has to look again.
        session.execute(sa.update(models.Host).where(
            models.Host.name == host).values(
                version=models.Host.version + 1))
        rows = session.scalars(sa.select(table).where(
            table.host == host, small)).all()
        merged = dict.fromkeys(
            file for row in rows for file in _files(row.document))
        first = _next_seq(session, host)
        for row in rows:
            session.delete(row)
        session.flush()
        _add_segments(session, host, first, list(_segments(merged)))


def load(session: orm.Session, host: str
         ) -> tuple[VerifiedState, list[File], float]:
    """A host's state, its files, and when they changed last.

    :raises NotFound: RESULT_MISSING.
    """
    row = session.get(models.Measurement, host)
    if row is None:
        raise errors.NotFound(
            _R.RESULT_MISSING,
            'The host has not attested since it was enrolled, or since the '
            'service was upgraded.')
    table = models.MeasurementSegment
    documents = session.scalars(sa.select(table.document).where(
        table.host == host).order_by(table.seq))
    files = [file for document in documents for file in _files(document)]
    return (VerifiedState.from_json(_unpack(row.document)), files,
            row.measured_at)


def learn(session: orm.Session, name: str,
          host: str) -> reference.ReferenceValues:
    """Reference values out of what a host showed last.

    :raises NotFound: RESULT_MISSING.
    :raises Untrusted: NO_REFERENCE, there is nothing to learn from it.
    """
    state, files, _ = load(session, host)
    return reference.learn(name, state, files)


def delete(session: orm.Session, host: str) -> None:
    """Forget a host."""
    for table in (models.Measurement, models.MeasurementSegment):
        session.execute(sa.delete(table).where(table.host == host))


def _fingerprint(submitted: Evidence, appraisal: appraise.Appraisal) -> str:
    quote = appraisal.quote
    clock = quote.clock
    fault = appraisal.state.ima_fault
    content = json.dumps([
        sorted((index, value.hex()) for index, value in quote.pcrs.items()
               if index != ima.IMA_PCR),
        clock.reset_count, clock.restart_count, clock.safe,
        quote.firmware_version,
        hashlib.sha256(submitted.uefi_log).hexdigest(),
        fault.to_json() if fault else None])
    return hashlib.sha256(content.encode()).hexdigest()


def _states(row: models.Measurement | None) -> list[dict[str, Any]]:
    if row is None:
        return []
    states: list[dict[str, Any]] = _unpack(row.ima_states)
    return states


def _store_segments(session: orm.Session, host: str, new: Fresh) -> None:
    first = 0
    if not new.base:
        table = models.MeasurementSegment
        session.execute(sa.delete(table).where(table.host == host))
    else:
        first = _next_seq(session, host)
    _add_segments(session, host, first, new.segments or ())


def _next_seq(session: orm.Session, host: str) -> int:
    table = models.MeasurementSegment
    last = session.scalar(sa.select(sa.func.max(table.seq)).where(
        table.host == host))
    return 0 if last is None else last + 1


def _add_segments(session: orm.Session, host: str, first: int,
                  segments: Sequence[bytes]) -> None:
    for seq, document in enumerate(segments, first):
        session.add(models.MeasurementSegment(
            host=host, seq=seq, document=document))
        # One by one: together they are more than one statement may hold.
        session.flush()


def _segments(files: Iterable[reference.File]) -> Iterator[bytes]:
    """Files as compressed JSON, each once."""
    lines: list[str] = []
    size = 0
    seen: set[File] = set()
    for entry in files:
        file = File(entry.digest, entry.path, entry.violation)
        if file in seen:
            continue
        seen.add(file)
        lines.append(json.dumps([
            file.digest, file.path.decode(errors='surrogateescape'),
            int(file.violation)]))
        size += len(lines[-1])
        if size > SEGMENT:
            yield zlib.compress(f'[{",".join(lines)}]'.encode(), 1)
            lines, size = [], 0
    if lines:
        yield zlib.compress(f'[{",".join(lines)}]'.encode(), 1)


def _files(document: bytes) -> Iterator[File]:
    for digest, path, violation in _unpack(document):
        yield File(digest, path.encode(errors='surrogateescape'),
                   bool(violation))


def _pack(document: Any) -> bytes:
    return zlib.compress(json.dumps(document).encode(), 1)


def _unpack(content: bytes) -> Any:
    return json.loads(zlib.decompress(content))
