# SPDX-License-Identifier: Apache-2.0
"""What a policy admits among the measurements of a host.

A file is admitted if its digest is in ``digests``, or in ``files`` for its
path, or if one of ``keys`` signed it. ``exclude`` admits any other file
whose path matches, but none that ``files`` names. Buffers: a key that was
loaded into a keyring must be in ``keyrings`` (or ``digests``); any other is
like a file. The boot aggregate is compared with the PCRs instead; if those
of its bank were not quoted, ``files`` must list it.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Collection, Iterable, Mapping

from korora_nova import errors
from korora_nova.rats.finding import MAX_LISTED, Finding, printable
from korora_nova.rats.ima import digests as digests_
from korora_nova.rats.ima import patterns, table, templates
from korora_nova.rats.ima.signature import Keys
from korora_nova.rats.ima.templates import Entry

#: Most digests, and most paths, of one policy.
MAX_DIGESTS = 4_000_000
MAX_FILES = 1_000_000

BOOT_AGGREGATE = b'boot_aggregate'
#: Kernels that find their TPM late add the second (Linux, ima_init.c).
BOOT_AGGREGATES = frozenset((BOOT_AGGREGATE, b'boot_aggregate_late'))

_COUNT = struct.Struct('<Q')
_R = errors.Reason


class Rules:
    """Compiled rules; immutable, to be shared by threads and calls.

    :param digests: "ALG:HEX" of files that may be anywhere.
    :param files: path or pattern (:mod:`patterns`) to digests.
    :param exclude: patterns of paths that do not matter.
    :param keys: PEM or DER of keys whose signature admits a file.
    :param keyrings: name, e.g. '.ima', to digests of what is loaded there.
    :param templates: names of the only templates that may occur; empty:
        any.
    :param violations: admit all violations, or those of paths that match a
        pattern: to how many of them in one list, None: any number. A
        violation has no digest, so any file of such a path passes.
    :param kexec: admit kernels that were started with kexec: a further boot
        aggregate. No event log records them.
    :raises Invalid: POLICY_INVALID.
    """

    def __init__(
        self,
        digests: Iterable[str] = (),
        *,
        files: Mapping[str, Iterable[str]] | None = None,
        exclude: Iterable[str] = (),
        keys: Iterable[str | bytes] = (),
        keyrings: Mapping[str, Iterable[str]] | None = None,
        templates: Iterable[str] = (),
        violations: bool | Mapping[str, int | None] = False,
        kexec: bool = True,
    ) -> None:
        listed = table.collect(
            digests_.wanted(item, 'digests') for item in digests
        )
        _cap(len(listed), MAX_DIGESTS, 'digests')
        _cap(len(files or ()), MAX_FILES, 'files')
        #: The lookups of the hot loop, by the field d-ng with its size.
        self.digests = listed
        self.paths: dict[bytes, tuple[bytes, ...] | frozenset[bytes]] = {}
        self._globs: dict[str, frozenset[bytes]] = {}
        self._add_files(files or {})
        self._patterns = patterns.Patterns(self._globs, 'files')
        self._exclude = patterns.Patterns(exclude, 'exclude')
        self._keys = Keys(keys)
        self._keyrings = {
            patterns.octets(name, 'keyrings'): frozenset(
                digests_.wanted(item, f'keyrings/{name}') for item in items
            )
            for name, items in (keyrings or {}).items()
        }
        self.templates = frozenset(templates)
        self._check_templates()
        self._kexec = kexec
        self._violations = violations is True
        self._limits: dict[str, int | None] = (
            {} if isinstance(violations, bool) else dict(violations)
        )
        self._violable = patterns.Patterns(self._limits, 'violations')
        self.fingerprint = self._fingerprint()

    def _add_files(self, files: Mapping[str, Iterable[str]]) -> None:
        for name, items in files.items():
            listed = frozenset(
                digests_.wanted(item, f'files/{name}') for item in items
            )
            if patterns.is_pattern(name):
                self._globs[name] = listed
            path = patterns.octets(name, 'files')
            # Old kernels write '_' for a space.
            for spelling in {path, path.replace(b' ', b'_')}:
                both = listed.union(self.paths.get(spelling, ()))
                self.paths[spelling] = tuple(both) if len(both) < 8 else both

    def _check_templates(self) -> None:
        for name in self.templates:
            if templates.lookup(name.encode(errors='replace')) is None:
                raise errors.Invalid(
                    _R.POLICY_INVALID,
                    'templates names the unknown template '
                    f'{ascii(name)[:96]}.',
                    details={'place': 'templates'},
                )

    def _fingerprint(self) -> str:
        """SHA-256 over all of it, the same in every process."""
        digest = hashlib.sha256(b'IMA rules 1')

        def add(items: Collection[bytes]) -> None:
            digest.update(_COUNT.pack(len(items)))
            for item in items:
                digest.update(_COUNT.pack(len(item)) + item)

        def add_map(items: Mapping[bytes, Iterable[bytes]]) -> None:
            add(sorted(items))
            for name in sorted(items):
                add(sorted(items[name]))

        # Keys say how long they are.
        digest.update(_COUNT.pack(len(self.digests)))
        for item in table.ordered(self.digests):
            digest.update(item)
        add_map(self.paths)
        add_map(
            {
                patterns.octets(name, 'files'): items
                for name, items in self._globs.items()
            }
        )
        add([patterns.octets(text, 'exclude') for text in self._exclude.texts])
        add(self._keys.identity)
        add_map(self._keyrings)
        add(sorted(name.encode() for name in self.templates))
        add([b'violations'] if self._violations else [])
        if self._limits:
            add(
                [
                    patterns.octets(f'{most}:{text}', 'violations')
                    for text, most in sorted(self._limits.items())
                ]
            )
        if not self._kexec:
            add([b'no kexec'])
        return digest.hexdigest()

    def lists(self, digest: bytes, path: bytes) -> bool:
        """Whether a digest, as :func:`digests.key`, is listed for a path."""
        return digest in self.digests or digest in self.paths.get(path, ())

    def excuses(self, path: bytes) -> bool:
        """Whether a file may have any digest, by its path."""
        return (
            self._exclude.match(path)
            and path not in self.paths
            and (not self._patterns.match(path))
        )

    def limits(self, path: bytes) -> Mapping[str, int | None]:
        """Patterns that admit violations of a path, to how many."""
        return {
            text: self._limits[text] for text in self._violable.matching(path)
        }

    def check(self, entry: Entry, first: bool = True) -> Finding | None:
        """Why these rules do not admit a measurement; None if they do.

        How many violations there are is not counted here: ask
        :func:`.judge.refusal`.

        :param first: whether it is the first of its list.
        """
        if self.templates and entry.template not in self.templates:
            return _finding(
                _R.IMA_TEMPLATE,
                entry,
                f'was measured with the template {entry.template}',
            )
        if entry.violation:
            return (
                None
                if self._violations or self.limits(entry.path)
                else _finding(
                    _R.IMA_VIOLATION, entry, 'changed while it was measured'
                )
            )
        if entry.path in BOOT_AGGREGATES:
            again = not first and entry.path == BOOT_AGGREGATE
            return (
                None
                if self._kexec or not again
                else _finding(
                    _R.IMA_KEXEC,
                    entry,
                    'was measured again: another kernel '
                    'was started with kexec',
                )
            )
        key = digests_.key(entry.digest) if entry.digest else b''
        if self.lists(key, entry.path):
            return None
        if entry.buffer:
            return self._buffer(entry, key)
        return self._file(entry, key)

    def _file(self, entry: Entry, key: bytes) -> Finding | None:
        matching = self._patterns.matching(entry.path)
        if any(key in self._globs[name] for name in matching):
            return None
        why = ''
        if self._keys and not entry.buffer:
            why = self._keys.refusal(entry) or ''
            if not why:
                return None
        if entry.path in self.paths or matching:
            return self._wrong(entry, matching)
        if self.excuses(entry.path):
            return None
        if why:
            return _finding(_R.IMA_SIGNATURE, entry, f'is not known: {why}')
        return _finding(_R.IMA_UNKNOWN_FILE, entry, 'is not known')

    def _wrong(self, entry: Entry, matching: list[str]) -> Finding:
        listed = set(self.paths.get(entry.path, ()))
        for name in matching:
            listed |= self._globs[name]
        want = [digests_.text(item) for item in sorted(listed)[:MAX_LISTED]]
        return _finding(
            _R.IMA_WRONG_DIGEST,
            entry,
            f'is {entry.digest}, not {want[0]}'
            if len(want) == 1
            else f'is {entry.digest}, which is not listed for it',
            want=' '.join(want),
        )

    def _buffer(self, entry: Entry, key: bytes) -> Finding | None:
        """Keys of keyrings, kexec command lines, critical data."""
        name = entry.path
        if key in self._keyrings.get(name, ()):
            return None
        if name in self._keyrings or name[:1] in (b'.', b'_'):
            return _finding(
                _R.IMA_KEYRING,
                entry,
                f'holds the key {entry.digest}, which is not allowed',
            )
        return self._file(entry, key)


def excess(entry: Entry, limits: Mapping[str, int | None]) -> Finding:
    """One violation more than ``limits`` admit."""
    bounds = ', '.join(f'{most} of {text}' for text, most in limits.items())
    return _finding(
        _R.IMA_VIOLATION,
        entry,
        f'changed while it was measured, once too often: {bounds} are allowed',
    )


def _cap(count: int, cap: int, place: str) -> None:
    if count > cap:
        raise errors.Invalid(
            _R.POLICY_INVALID,
            f'{place} holds more than {cap} items.',
            details={'place': place},
        )


def _finding(
    reason: str, entry: Entry, what: str, want: str | None = None
) -> Finding:
    path = printable(entry.path) or '(no path)'
    details = {'path': path, 'got': entry.digest, 'template': entry.template}
    if want is not None:
        details['want'] = want
    return Finding(reason, f'{path} {what}', details)
