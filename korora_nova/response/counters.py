# SPDX-License-Identifier: Apache-2.0
"""What this process has counted since its start; nobody reads it here."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass
class Counters:
    """One per process; written by its one thread.

    :param leading: it leads now.
    :param looks: at all hosts.
    :param hosts: that were seen trusted once; ``silent`` those of them that
        have no result now.
    :param refused: results in the database that the service did not sign.
    :param lost: trust, since the start; ``regained`` likewise.
    :param holds: times that responses were held.
    :param done: by driver; ``undone`` and ``failed`` (attempts) likewise.
    """

    leading: bool = False
    looks: int = 0
    hosts: int = 0
    silent: int = 0
    refused: int = 0
    lost: int = 0
    regained: int = 0
    holds: int = 0
    done: dict[str, int] = dataclasses.field(default_factory=dict)
    undone: dict[str, int] = dataclasses.field(default_factory=dict)
    failed: dict[str, int] = dataclasses.field(default_factory=dict)


def add(counts: dict[str, int], driver: str) -> None:
    counts[driver] = counts.get(driver, 0) + 1
