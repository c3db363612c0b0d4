# SPDX-License-Identifier: Apache-2.0
"""Which servers have an offline window: by flavor, or by aggregate.

Nova says so, and nobody waits for it: what it said a moment ago counts while
it is asked again in the background.
"""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable, Collection, Hashable, Mapping
from concurrent import futures
from typing import Any

from oslo_log import log as logging

from korora_nova import errors
from korora_nova.verifier.nova_record import NovaRecord

LOG = logging.getLogger(__name__)

#: Seconds until Nova is asked again, and for which an old answer counts.
AGAIN = 120.0
LAST = 900.0
#: Questions at once.
_AT_ONCE = 2

_AGGREGATES = ''


class Places:
    """What operators named, held against what Nova has.

    :param flavors: names of flavors; ``aggregates`` of host aggregates.
    :param run: has a function run in the background.
    """

    def __init__(
        self,
        nova: NovaRecord,
        flavors: Collection[str],
        aggregates: Collection[str],
        run: Callable[[Callable[[], None]], object] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._nova = nova
        self._flavors = frozenset(flavors)
        self._wanted = frozenset(aggregates)
        self._run = (
            run or futures.ThreadPoolExecutor(_AT_ONCE, 'places').submit
        )
        self._clock = clock
        self._lock = threading.Lock()
        self._known: dict[Hashable, tuple[float, Any]] = {}
        self._asked: set[Hashable] = set()

    def choose(self, host: str, instances: Collection[str]) -> list[str]:
        """Those servers of a host that have an offline window.

        :raises Unavailable: NOVA_UNAVAILABLE, that is not known now.
        """
        if self._wanted:
            aggregates: Mapping[str, frozenset[str]] = self._look(
                _AGGREGATES, self._nova.aggregates
            )
            if any(host in aggregates.get(one, ()) for one in self._wanted):
                return list(instances)
        if not self._flavors:
            return []
        flavors: Mapping[str, str] = self._look(
            host, functools.partial(self._nova.flavors, host)
        )
        return [one for one in instances if flavors.get(one) in self._flavors]

    def _look(self, key: Hashable, ask: Callable[[], Any]) -> Any:
        with self._lock:
            at, _ = self._known.get(key, (-AGAIN, None))
            due = self._clock() - at >= AGAIN and key not in self._asked
            if due:
                self._asked.add(key)
        if due:
            self._run(functools.partial(self._ask, key, ask))
        with self._lock:
            found = self._known.get(key)
        if found is None or self._clock() - found[0] > LAST:
            raise errors.Unavailable(
                errors.Reason.NOVA_UNAVAILABLE,
                'Nova has not said yet which servers have an offline window.',
            )
        return found[1]

    def _ask(self, key: Hashable, ask: Callable[[], Any]) -> None:
        try:
            said = ask()
            with self._lock:
                self._known[key] = self._clock(), said
        except errors.KororaError as exc:
            LOG.warning('Offline windows: %s %s', exc, exc.details)
        finally:
            with self._lock:
                self._asked.discard(key)
