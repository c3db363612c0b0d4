# SPDX-License-Identifier: Apache-2.0
"""Bring the lab up, and kill its processes during migrations."""

from __future__ import annotations

from typing import Any

from korora_tools.demo import cli as demo


def run(rounds: int, seed: int) -> dict[str, Any]:
    """The report's part: rounds, and how many of them came out right.

    :raises Problem: the lab did not come up.
    """
    with demo.lab():
        return demo.inside(
            'korora_tools.prove.faults.inside', str(rounds), str(seed)
        )
