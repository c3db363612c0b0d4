# SPDX-License-Identifier: Apache-2.0
"""Appraisal of a list against quoted PCRs and rules, in one pass."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from korora_nova import errors
from korora_nova.rats.finding import Finding
from korora_nova.rats.ima import (
    aggregate,
    digests,
    records,
    registers,
    state,
)
from korora_nova.rats.ima.binary import BinaryPass
from korora_nova.rats.ima.buffer import Buffer, Parts
from korora_nova.rats.ima.hashing import Settings
from korora_nova.rats.ima.memo import Memos
from korora_nova.rats.ima.records import HASHES, IMA_PCR
from korora_nova.rats.ima.registers import First
from korora_nova.rats.ima.replay import Pass, entry_of
from korora_nova.rats.ima.rules import BOOT_AGGREGATE, Rules
from korora_nova.rats.ima.state import State
from korora_nova.rats.ima.templates import Entry, Malformed
from korora_nova.rats.ima.text import AsciiPass

#: How a list is replayed, by its form.
_PASSES: Mapping[str, type[Pass]] = {
    records.BINARY: BinaryPass,
    records.ASCII: AsciiPass,
    records.BIG_ENDIAN: Pass,
}
#: Entries that may be new since PCR 10 was read, before it was quoted: a
#: slow TPM needs a second, and a busy host measures hundreds in it.
MAX_MOVED = 4096
_R = errors.Reason


@dataclasses.dataclass(frozen=True)
class Measured:
    """A list that explains the quoted PCR, and what rules say of it.

    :param state: to go on from next time.
    :param findings: for each of the rules, why they do not admit what was
        measured since the boot; empty if they do.
    :param entries: newly covered entries.
    """

    state: State
    findings: tuple[tuple[Finding, ...], ...]
    entries: int
    _parts: Parts = dataclasses.field(repr=False, compare=False)

    def files(self) -> Iterator[Entry]:
        """The newly covered entries, one at a time."""
        state = self.state
        return entries(
            self._parts, state.form, state.template_hash, self.entries
        )


class _Target(NamedTuple):
    """The quoted PCR, and ``all`` of them."""

    bank: str
    pcr: int
    value: bytes
    all: Mapping[int, bytes]


@dataclasses.dataclass(frozen=True)
class _Judging:
    """What lists are judged with.

    :param first: values of registers before IMA extends them; None: zero.
    """

    rules: Sequence[Rules]
    memos: Memos
    first: First | None

    def start(
        self, parts: Parts, settings: Settings, pcr: bytes, last: State | None
    ) -> Pass:
        make, zeros = _PASSES[settings.form], bytes(len(pcr))
        first = self.first or (lambda index: zeros)
        return make(
            parts(), settings, self.rules, pcr, last, self.memos, first
        )


def measure(
    log: bytes,
    pcrs: Mapping[int, bytes],
    rules: Sequence[Rules],
    *,
    state: State | None = None,
    bank: str = 'sha256',
    banks: Mapping[str, Mapping[int, bytes]] | None = None,
    index: int = IMA_PCR,
    form: str | None = None,
    template_hash: str | None = None,
    memos: Memos | None = None,
    earlier: Parts = tuple,
    first: First | None = None,
) -> Measured:
    """Appraise a list, or what follows the part that ``state`` covers.

    1. Each entry is read and matches its hash; 2. extending the PCR with
    the entries gives the quoted value (IMA measures on between the quote
    and the reading of the list: what follows is left out), and so do other
    registers that entries are for; 3. the list
    begins with a boot aggregate, and all of them match the quoted PCRs;
    4. findings: whatever the rules do not admit.

    :param pcrs: quoted values of ``bank``: 0-9 and ``index``.
    :param banks: other quoted banks; a SHA-1 boot aggregate needs theirs,
        or all rules must list it among ``files``.
    :param form: as in :class:`State`, None: detected; so is
        ``template_hash``, the hash in the list.
    :param memos: entries seen before, None: nothing is remembered.
    :param earlier: what precedes ``log`` and was sent before it.
    :param first: values of other registers before IMA extends them, as the
        event log says them; None: their reset value.
    :raises EvidenceError: IMA_LOG_MISSING, IMA_LOG_MALFORMED, IMA_TEMPLATE,
        IMA_TEMPLATE_HASH, IMA_LOG_REPLAY, IMA_BOOT_AGGREGATE.
    :raises Conflict: IMA_CONTINUITY; the list does not follow the state, or
        the state is not for these rules: take the whole list.
    """
    target = _target(pcrs, index, bank)
    judging = _Judging(rules, Memos() if memos is None else memos, first)
    parts = _parts(earlier, log)
    if state is None:
        covered = _whole(parts, target, judging, form, template_hash)
    else:
        covered = _suffix(parts, target, judging, state)
    measured = _measured(covered, rules, state, parts)
    _tail(covered, state, pcrs)
    others = covered.others.values
    before = {other: start for other, (start, _) in others.items()}
    aggregate.check(
        covered.judge.aggregates,
        {**(banks or {}), bank: {**pcrs, **before}},
        lambda digest: _listed(rules, digest),
    )
    return measured


def locate(
    log: bytes,
    read: Mapping[int, bytes],
    quoted: Callable[[Mapping[int, bytes]], object],
    *,
    state: State | None = None,
    bank: str = 'sha256',
    index: int = IMA_PCR,
    earlier: Parts = tuple,
    first: First | None = None,
) -> Mapping[int, bytes]:
    """Find the values of PCRs that were quoted, a moment after they were read.

    IMA adds to its list before it extends the PCR, so a list that was read
    after the quote has it. Nothing is judged here.

    :param read: what was read before the quote.
    :param quoted: raises EvidenceError unless values are the quoted ones.
    :returns: of the registers that the list extends.
    :raises EvidenceError: the list is refused, or QUOTE_DIGEST: the quote is
        over no value that follows ``read`` in it.
    :raises Conflict: IMA_CONTINUITY, it does not follow the state.
    """
    target = _target(read, index, bank)
    judging, parts = _Judging((), Memos(), first), _parts(earlier, log)
    if state is None:
        covered = _whole(parts, target, judging, None, None)
    else:
        covered = _suffix(parts, target, judging, state)
    for _ in range(MAX_MOVED):
        if covered.exhausted:
            break
        covered.step()
        others = covered.others.values
        values = {other: now for other, (_, now) in others.items()}
        values[index] = covered.pcr
        try:
            quoted(values)
            return values
        except errors.EvidenceError:
            continue
    raise errors.EvidenceError(
        _R.QUOTE_DIGEST,
        f'The quote is over no value of PCR {index} that the IMA measurement '
        'list leads to after the one that was read.',
        place=f'{bank}:{index}',
    )


def leads(
    log: bytes,
    pcrs: Mapping[int, bytes],
    *,
    state: State | None,
    bank: str = 'sha256',
    index: int = IMA_PCR,
    earlier: Parts = tuple,
    first: First | None = None,
) -> bool:
    """Whether a list leads to the quoted PCR; nothing is judged here."""
    target = _target(pcrs, index, bank)
    judging, parts = _Judging((), Memos(), first), _parts(earlier, log)
    try:
        if state is None:
            _whole(parts, target, judging, None, None)
        else:
            _suffix(parts, target, judging, state)
    except (errors.EvidenceError, errors.Conflict):
        return False
    return True


def entries(
    parts: Parts, form: str, template_hash: str, count: int
) -> Iterator[Entry]:
    """The first entries of a list that was appraised, one at a time.

    :raises EvidenceError: it is not such a list.
    """
    buffer = Buffer(parts())
    for _ in range(count):
        record = buffer.record(form, template_hash, check=False)
        yield entry_of(record, buffer.at)
        buffer.at = record.end


def _parts(earlier: Parts, log: bytes) -> Parts:
    return lambda: itertools.chain(earlier(), (log,))


def _listed(rules: Sequence[Rules], digest: str) -> bool:
    """Whether all rules list a boot aggregate, as such."""
    try:
        key = digests.key(digest)
    except Malformed:
        return False
    return bool(rules) and all(
        key in item.paths.get(BOOT_AGGREGATE, ()) for item in rules
    )


def _target(pcrs: Mapping[int, bytes], index: int, bank: str) -> _Target:
    value = pcrs.get(index, b'')
    if bank not in HASHES or len(value) != HASHES[bank]:
        raise errors.EvidenceError(
            _R.IMA_LOG_REPLAY,
            f'No value of PCR {index} in a {bank} bank was quoted.',
            place=f'pcrs: {index}',
        )
    return _Target(bank, index, value, pcrs)


def _whole(
    parts: Parts,
    target: _Target,
    judging: _Judging,
    form: str | None,
    template_hash: str | None,
) -> Pass:
    log = Buffer(parts()).log
    if not log:
        raise errors.EvidenceError(_R.IMA_LOG_MISSING)
    form = form or records.detect_form(log)
    template_hash = template_hash or records.detect_hash(log, form)
    bank, index, want, quoted = target
    zeros = bytes(len(want))
    if want == zeros:
        raise errors.EvidenceError(
            _R.IMA_BOOT_AGGREGATE,
            f'PCR {index} was never extended: the '
            'kernel found no TPM when it began to measure.',
        )
    got = ''
    for extension in state.extensions(bank):
        settings = Settings(form, template_hash, bank, index, extension)
        attempt = judging.start(parts, settings, zeros, None)
        if attempt.run(want, quoted):
            return attempt
        other = attempt.others.differ(quoted)
        if attempt.pcr == want and other is not None:
            now = attempt.others.values[other][-1]
            raise registers.mismatch(other, quoted, now)
        got = got or attempt.pcr.hex()
        if extension == state.PADDED and not attempt.violations:
            break
    raise errors.EvidenceError(
        _R.IMA_LOG_REPLAY,
        f'The IMA measurement list does not replay to '
        f'the quoted PCR {index}: want {want.hex()}, its {attempt.count} '
        f'entries give {got}.',
        place=f'pcr {index}',
        details={'want': want.hex(), 'got': got},
    )


def _suffix(
    parts: Parts, target: _Target, judging: _Judging, last: State
) -> Pass:
    bank, index, want, quoted = target
    if (last.bank, last.index) != (bank, index) or any(
        item.fingerprint not in last.results for item in judging.rules
    ):
        raise _discontinued('the earlier part was appraised with other rules')
    settings = Settings(
        last.form, last.template_hash, bank, index, last.extension
    )
    covered = judging.start(parts, settings, bytes.fromhex(last.pcr), last)
    try:
        reached = covered.run(want, quoted)
    except errors.EvidenceError:
        # The offset is no boundary of entries: another list, another boot.
        if not covered.reading:
            raise _discontinued('it does not begin with an entry') from None
        raise
    if not reached:
        raise _discontinued(f'it does not lead to the quoted PCR {index}')
    return covered


def _discontinued(why: str) -> errors.Conflict:
    return errors.Conflict(
        _R.IMA_CONTINUITY,
        'The IMA measurement list does not continue what '
        f'was appraised before ({why}); send all of it.',
    )


def _tail(
    covered: Pass, last: State | None, quoted: Mapping[int, bytes]
) -> None:
    """What follows the quoted state counts for nothing, but is a list.

    A register that it alone extends was quoted as it was before.
    """
    form, template_hash = covered.settings.form, covered.settings.template_hash
    try:
        while not covered.exhausted:
            record = covered.record(form, template_hash, check=False)
            covered.at = record.end
            if record.pcr != covered.settings.pcr:
                covered.others.require(record.pcr, quoted)
    except errors.EvidenceError:
        if last is not None and not covered.offset:
            raise _discontinued('it does not begin with an entry') from None
        raise


def _measured(
    covered: Pass, rules: Sequence[Rules], last: State | None, parts: Parts
) -> Measured:
    settings, results = covered.settings, covered.judge.results()
    reached = State(
        entries=covered.count + (last.entries if last else 0),
        bytes=covered.offset + (last.bytes if last else 0),
        pcr=covered.pcr.hex(),
        index=settings.pcr,
        bank=settings.bank,
        form=settings.form,
        template_hash=settings.template_hash,
        extension=settings.extension,
        aggregates=tuple(covered.judge.aggregates),
        results=results,
        others={
            index: (start.hex(), now.hex())
            for index, (start, now) in covered.others.values.items()
        },
    )
    return Measured(
        reached,
        tuple(results[item.fingerprint].findings() for item in rules),
        covered.count,
        parts,
    )
