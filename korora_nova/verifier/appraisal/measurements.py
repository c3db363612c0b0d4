# SPDX-License-Identifier: Apache-2.0
"""What hosts showed last: verified state, files, and where lists go on.

- The state is what references are learned from and policies compared
  with.  It is written when it changes; PCR 10 and the clock, which change
  all the time and which neither looks at, may be older than the rest.
- :mod:`.segments` keeps the list itself.
- What is stored is judged again when rules change, without asking the host.
- The last few states of the measurement list are kept: evidence that was
  under way while newer evidence was stored may still continue its own.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import zlib
from collections.abc import (
    Callable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from typing import Any

import sqlalchemy as sa
from sqlalchemy import orm

from korora_nova import conf as options
from korora_nova import errors
from korora_nova.rats import appraise, ima, reference
from korora_nova.rats.evidence import Evidence
from korora_nova.rats.listed import Listed
from korora_nova.rats.state import VerifiedState
from korora_nova.verifier import records
from korora_nova.verifier.appraisal import packed, segments, uploads
from korora_nova.verifier.db import models
from korora_nova.verifier.service import Service

#: States of a list that are remembered.
MAX_STATES = 4

_R = errors.Reason

_release = functools.cache(options.release)


@dataclasses.dataclass(frozen=True)
class ListState:
    """A state of a measurement list as stored.

    Another release may have written it: it is read only where evidence goes
    on from it.
    """

    document: Mapping[str, Any]

    @property
    def offset(self) -> int:
        """How much of the list it covers, bytes."""
        return int(self.document['bytes'])

    def read(self) -> ima.State:
        """Parse it.

        :raises Invalid: INVALID_REQUEST, it is of another release.
        """
        return ima.State.from_json(self.document)

    def readable(self) -> ima.State | None:
        """Parse it; None if it is of another release."""
        try:
            return self.read()
        except errors.Invalid:
            return None

    def entries(self, parts: ima.Parts) -> Iterator[ima.Entry]:
        """Read parts of this list."""
        return ima.entries(
            parts,
            self.document['form'],
            self.document['template_hash'],
            self.document['entries'],
        )


@dataclasses.dataclass(frozen=True)
class Stored:
    """Of a host: what stands for its state, and where its list may go on.

    :param states: newest first.
    :param uefi_digest: of the firmware's log that is kept.
    :param upload: what it sent of a list, still to be judged.
    """

    host: str
    fingerprint: str
    states: Sequence[ListState]
    upload: uploads.Upload | None
    reset_count: int | None = None
    uefi_digest: str | None = None

    def upload_to(self, offset: int) -> uploads.Upload | None:
        """The upload that evidence with this offset continues."""
        upload = self.upload
        return upload if upload and offset and upload.upto == offset else None

    def known(self, service: Service, offset: int) -> appraise.Known:
        """What there is of a list before evidence with this offset.

        :raises Conflict: IMA_CONTINUITY, it is not known.
        """
        upload = self.upload_to(offset)
        if not offset or (upload and not upload.base):
            state = None
        else:
            state = self._state(upload.base if upload else offset)

        def parts(start: int) -> Iterator[bytes]:
            end = upload.base if upload else offset
            yield from segments.between(service, self.host, start, end)
            if upload:
                yield from segments.between(
                    service,
                    self.host,
                    max(start, end),
                    offset,
                    models.ListUploadPart,
                )

        return appraise.Known(
            state, parts, lambda boot: self._seen(service, boot)
        )

    def _seen(self, service: Service, boot: int) -> appraise.Seen | None:
        """What a list may go on from whose beginning was dropped."""
        if not self.states or self.reset_count != boot:
            return None
        newest = self.states[0]
        end = newest.offset
        try:
            tail = segments.tail(service, self.host, end, ima.TAIL)
        except errors.Conflict:
            return None
        return appraise.Seen(
            end,
            newest.readable(),
            tail,
            lambda start: segments.between(service, self.host, start, end),
        )

    def _state(self, offset: int) -> ima.State:
        for one in self.states:
            if one.offset == offset:
                state = one.readable()
                if state is None:
                    break
                return state
        raise errors.Conflict(_R.IMA_CONTINUITY)


@dataclasses.dataclass(frozen=True)
class Fresh:
    """What an attestation leaves to be stored.

    :param base: where its list went on; 0: it was the whole list.
    :param start: where the evidence went on; after ``base`` if there is an
        ``upload``.
    :param dropped: bytes of the list before what the kernel still shows, if
        all of that came; ``lost``: they were not seen.
    :param fingerprint: stands for the state without PCR 10 and clock.
    :param document: the state, None if it is stored already.
    :param uefi_digest: of the firmware's log; '' if there is none.
    :param uefi_log: compressed; None if it is stored already.
    :param list_state: None if the list was refused.
    :param segment: compressed, new in the list; None if it is stored
        already; empty if the list was refused.
    """

    base: int
    start: int
    upload: uploads.Upload | None
    dropped: int
    lost: bool
    fingerprint: str
    reset_count: int
    document: bytes | None
    uefi_digest: str
    uefi_log: bytes | None
    list_state: ListState | None
    segment: bytes | None

    @property
    def offset(self) -> int:
        """Where the next evidence may go on; 0: send the whole list."""
        return self.list_state.offset if self.list_state else 0


@dataclasses.dataclass(frozen=True)
class Measured:
    """What a host showed last.

    :param files: of the whole list, in its order.
    :param at: when that changed last, seconds since 1970.
    """

    state: VerifiedState
    files: Iterable[ima.Entry]
    at: float


def of(service: Service, record: records.Record) -> Stored:
    """What new evidence of a host is compared with."""
    row = record.measurement
    return Stored(
        record.host.name,
        row.fingerprint if row else '',
        _states(row),
        uploads.find(service, record.host.name) if record.upload else None,
        row.reset_count if row else None,
        row.uefi_digest if row else None,
    )


def log(
    service: Service, stored: Stored, submitted: Evidence
) -> Callable[[], bytes] | None:
    """What gives the firmware's log if it is not in the evidence.

    Whatever digest a host says: its registers must replay from the log.

    :raises Conflict: EVENT_LOG_UNKNOWN, also when the log is to be given.
    """
    digest = submitted.uefi_digest
    if not digest:
        return None
    if digest != stored.uefi_digest:
        raise errors.Conflict(_R.EVENT_LOG_UNKNOWN)

    def read() -> bytes:
        table = models.Measurement
        with service.db.read() as session:
            kept = session.scalar(
                sa.select(table.uefi_log).where(table.host == stored.host)
            )
        try:
            content = zlib.decompress(kept or b'')
        except zlib.error:
            content = b''
        # Another may have come meanwhile, or somebody wrote to the database.
        if hashlib.sha256(content).hexdigest() != digest:
            raise errors.Conflict(_R.EVENT_LOG_UNKNOWN)
        return content

    return read


def fresh(
    stored: Stored, submitted: Evidence, appraisal: appraise.Appraisal
) -> Fresh:
    """What of an appraisal is not stored yet; no transaction is open."""
    fingerprint = _fingerprint(submitted, appraisal)
    sent = submitted.uefi_log or submitted.uefi_digest
    digest = submitted.log_digest if sent else ''
    known = fingerprint == stored.fingerprint
    measured = appraisal.measured
    state = ListState(measured.state.to_json()) if measured else None
    listed = appraisal.listed
    start, upload = listed.offset, stored.upload_to(submitted.ima_offset)
    base = upload.base if upload else start
    if listed.dropped:
        base = stored.states[0].offset
    same = (
        known
        and upload is None
        and _end(stored.states) == (state.offset if state else 0)
    )
    return Fresh(
        base,
        start,
        upload,
        listed.dropped,
        listed.lost,
        fingerprint,
        appraisal.quote.clock.reset_count,
        None if known else packed.pack(appraisal.state.to_json()),
        digest,
        None
        if digest in ('', stored.uefi_digest)
        else packed.compress(submitted.uefi_log),
        state,
        None if same else _covered(listed, state),
    )


def _covered(listed: Listed, state: ListState | None) -> bytes:
    """What of a list was covered by the quote, compressed."""
    if state is None:
        return b''
    size = max(0, state.offset - listed.offset)
    return packed.compress(listed.log[:size])


def store(
    service: Service,
    connection: sa.Connection,
    record: records.Record,
    new: Fresh,
) -> None:
    """Write what changed, in the transaction of the result.

    It has seen that the host's version is that of the record: then what is
    stored is what is in the record.

    :raises Conflict: IMA_CONTINUITY, the list went on from something that
        is not stored any more, or from another boot.
    :raises Retry: what was stored is not what it was compared with.
    """
    row, host = record.measurement, record.host.name
    kept = _states(row)
    of_this_boot = row is not None and row.reset_count == new.reset_count
    known = kept if of_this_boot else []
    if new.base and not any(one.offset == new.base for one in known):
        raise errors.Conflict(_R.IMA_CONTINUITY)
    if new.document is None and (
        row is None or row.fingerprint != new.fingerprint
    ):
        raise errors.Retry()
    if new.segment is None and _end(known) != new.offset:
        raise errors.Retry()
    if new.upload is not None or new.segment is not None:
        with orm.Session(connection) as session:
            _store_list(session, host, new)
            session.flush()
    states = _continued(known, new)
    if (new.document, new.uefi_log, states) == (None, None, kept):
        return
    values: dict[str, object] = {
        'ima_states': packed.pack([one.document for one in states]),
        'measured_at': service.clock(),
    }
    if new.document is not None:
        values |= {
            'fingerprint': new.fingerprint,
            'document': new.document,
            'reset_count': new.reset_count,
        }
    if new.uefi_log is not None:
        values |= {'uefi_digest': new.uefi_digest, 'uefi_log': new.uefi_log}
    table = models.table(models.Measurement)
    if row is None:
        connection.execute(sa.insert(table), {'host': host, **values})
    else:
        connection.execute(
            sa.update(table)
            .where(models.Measurement.host == host)
            .values(**values)
        )


def _store_list(session: orm.Session, host: str, new: Fresh) -> None:
    if new.upload is not None and new.list_state is not None:
        uploads.accept(session, host, new.upload, new.base, new.dropped)
    if new.segment is not None and not new.lost:
        refused = new.list_state is None
        start = new.base if refused else new.start
        segments.store(session, host, start, new.segment)


def _continued(known: Sequence[ListState], new: Fresh) -> list[ListState]:
    """The states to remember, newest first."""
    if new.list_state is None:
        # No other list can follow one that was trimmed.
        return list(known) if new.lost else []
    others = (one for one in known if one.offset != new.offset)
    return [new.list_state, *others][:MAX_STATES]


def load(session: orm.Session, host: str) -> Measured:
    """Read what a host showed last; files while the session is there.

    :raises NotFound: RESULT_MISSING.
    """
    row = session.get(models.Measurement, host)
    if row is None:
        raise errors.NotFound(
            _R.RESULT_MISSING,
            'The host has not attested since it was enrolled, or since the '
            'service was upgraded.',
        )
    states = _states(row)

    files: Iterable[ima.Entry] = ()
    # Without a state the list was refused, and nothing of it counts.
    if states:
        end = states[0].offset
        files = states[0].entries(lambda: segments.read(session, host, end))
    state = VerifiedState.from_json(packed.unpack(row.document))
    return Measured(state, files, row.measured_at)


def learn(
    session: orm.Session, name: str, host: str
) -> reference.ReferenceValues:
    """Reference values out of what a host showed last.

    :raises NotFound: RESULT_MISSING.
    :raises Untrusted: NO_REFERENCE, there is nothing to learn from it.
    """
    measured = load(session, host)
    return reference.learn(name, measured.state, measured.files)


def delete(session: orm.Session, host: str) -> None:
    """Forget a host."""
    table = models.Measurement
    session.execute(sa.delete(table).where(table.host == host))
    segments.delete(session, host)
    uploads.delete(session, host)


def _fingerprint(submitted: Evidence, appraisal: appraise.Appraisal) -> str:
    quote = appraisal.quote
    clock = quote.clock
    fault = appraisal.ima_fault
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
            submitted.log_digest,
            hashlib.sha256(submitted.systemd_log).hexdigest(),
            fault.to_json() if fault else None,
        ]
    )
    return hashlib.sha256(content.encode()).hexdigest()


def _states(
    row: models.Measurement | records.Measurement | None,
) -> list[ListState]:
    if row is None:
        return []
    return [ListState(one) for one in packed.unpack(row.ima_states)]


def _end(states: Sequence[ListState]) -> int:
    """How far the list is known, bytes."""
    return states[0].offset if states else 0
