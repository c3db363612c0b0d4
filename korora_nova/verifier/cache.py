# SPDX-License-Identifier: Apache-2.0
"""Compiled policies: made once per process, dropped when out of date."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

from korora_nova.rats import policy, reference

#: uuid and revision of a policy.
Key: TypeAlias = tuple[str, int]
References: TypeAlias = Mapping[str, reference.ReferenceValues]


class Rules(NamedTuple):
    """What judged hosts at one moment, whatever is in it.

    :param key: changes with anything of it; see ``records.Record``.
    :param policies: by name, with the hosts that each names.
    :param references: uuids, newest last.
    """

    key: frozenset[str]
    policies: tuple[tuple[Key, tuple[str, ...]], ...]
    references: tuple[str, ...]


class BoundPolicies:
    """Policies bound to the reference values of this moment.

    It holds at most one binding of each policy that counts: whatever is
    made for newer references or a newer revision replaces the older.

    :ivar rules: which there were when they were read last.
    """

    def __init__(self) -> None:
        self.rules: Rules | None = None
        self._lock = threading.Lock()
        self._policies: dict[Key, policy.Policy] = {}
        self._bound: dict[Key, tuple[frozenset[str], policy.BoundPolicy]] = {}

    def get(
        self,
        wanted: Sequence[Key],
        references: References,
        load: Callable[[Key], policy.Policy],
    ) -> tuple[policy.BoundPolicy, ...]:
        """The wanted ones in their order.

        :param references: by uuid, newest last.
        :param load: reads a policy; called once for each.
        """
        uuids = frozenset(references)
        found = [self._get(key, uuids) for key in wanted]
        known = tuple(one for one in found if one is not None)
        if len(known) == len(wanted):
            return known
        # One thread at a time: a large policy takes seconds and memory.
        with self._lock:
            return tuple(
                self._make(key, uuids, references, load) for key in wanted
            )

    def keep(self, current: Sequence[Key]) -> None:
        """Forget all policies but these."""
        for stale in set(self._policies) - set(current):
            with self._lock:
                self._policies.pop(stale, None)
                self._bound.pop(stale, None)

    def loaded(
        self, key: Key, load: Callable[[Key], policy.Policy]
    ) -> policy.Policy:
        """One policy, not bound."""
        with self._lock:
            return self._load(key, load)

    def _get(
        self, key: Key, uuids: frozenset[str]
    ) -> policy.BoundPolicy | None:
        found = self._bound.get(key)
        return found[1] if found and found[0] == uuids else None

    def _make(
        self,
        key: Key,
        uuids: frozenset[str],
        references: References,
        load: Callable[[Key], policy.Policy],
    ) -> policy.BoundPolicy:
        bound = self._get(key, uuids)
        if bound is None:
            self._bound.pop(key, None)
            bound = self._load(key, load).bind(tuple(references.values()))
            self._bound[key] = (uuids, bound)
        return bound

    def _load(
        self, key: Key, load: Callable[[Key], policy.Policy]
    ) -> policy.Policy:
        found = self._policies.get(key)
        if found is None:
            found = self._policies[key] = load(key)
        return found
