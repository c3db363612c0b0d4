# SPDX-License-Identifier: Apache-2.0
"""What sets of rules say of the entries of a list."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence

from korora_nova import errors
from korora_nova.rats.finding import Finding
from korora_nova.rats.ima import digests, state
from korora_nova.rats.ima.rules import (
    BOOT_AGGREGATE,
    BOOT_AGGREGATES,
    Rules,
    excess,
)
from korora_nova.rats.ima.state import Counter, State, Tally
from korora_nova.rats.ima.templates import Entry

_R = errors.Reason


def refusal(
    rules: Rules, entry: Entry, counter: Counter, first: bool
) -> Finding | None:
    """Why rules do not admit an entry of a list; None if they do.

    :param counter: counts the violations that they admit.
    """
    found = rules.check(entry, first)
    if found is None and entry.violation:
        limits = rules.limits(entry.path)
        if limits and not counter.tolerates(limits):
            return excess(entry, limits)
    return found


class Judge:
    """Judges entries in their order, and counts what is not admitted.

    :ivar digests: what the rules list, if there is one set of them;
        ``paths``: finds what they list for a path.
    :ivar aggregates: boot aggregates met.
    :ivar first: whether the first entry of the list is still to come.
    """

    def __init__(self, rules: Sequence[Rules], last: State | None) -> None:
        self._rules = rules
        self.aggregates = list(last.aggregates) if last else []
        self.first = not self.aggregates
        results = last.results if last else {}
        self._counters = [
            state.Counter(results.get(item.fingerprint, Tally()))
            for item in rules
        ]
        self._each = [(item.digests, item.paths.get, item) for item in rules]
        # An empty tuple does not even hash what it is asked for.
        self.digests: Container[bytes] = ()
        self.paths: Callable[..., Container[bytes]] = {}.get
        if len(rules) == 1:
            self.digests = rules[0].digests or ()
            self.paths = rules[0].paths.get

    def admitted(self, digest: bytes, path: bytes) -> bool:
        """Whether all rules list a digest, as a key, or excuse the path."""
        for listed, paths, item in self._each:
            if (
                digest not in listed
                and digest not in paths(path, ())
                and not item.excuses(path)
            ):
                return False
        return digests.is_key(digest)

    def admits(self, entry: Entry) -> bool:
        """Whether all rules admit an entry; count why not.

        :raises EvidenceError: IMA_BOOT_AGGREGATE.
        """
        first = self.first
        if entry.path in BOOT_AGGREGATES or first:
            self._aggregate(entry)
            entry = entry._replace(path=entry.path or BOOT_AGGREGATE)
        clean = True
        for rules, counter in zip(self._rules, self._counters, strict=True):
            finding = refusal(rules, entry, counter, first)
            if finding is not None:
                counter.add(finding)
                clean = False
        return clean

    def _aggregate(self, entry: Entry) -> None:
        named = entry.path in BOOT_AGGREGATES or (
            not entry.path and self.first
        )
        self.first = False
        if not named or entry.violation:
            raise errors.EvidenceError(
                _R.IMA_BOOT_AGGREGATE,
                'The IMA measurement list does not '
                'begin with a boot aggregate.',
                place='offset 0',
            )
        if entry.digest not in self.aggregates:
            self.aggregates.append(entry.digest)
        if len(self.aggregates) > state.MAX_AGGREGATES:
            raise errors.EvidenceError(
                _R.IMA_BOOT_AGGREGATE,
                'The IMA measurement list holds more '
                f'than {state.MAX_AGGREGATES} different boot aggregates.',
            )

    def results(self) -> Mapping[str, Tally]:
        """Tallies by the fingerprints of rules."""
        return {
            item.fingerprint: counter.tally()
            for item, counter in zip(self._rules, self._counters, strict=True)
        }
