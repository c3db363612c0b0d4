# SPDX-License-Identifier: Apache-2.0
"""How a contender runs: once for each line on its standard input.

A contender is a program with one argument, the directory of the workload.
When it has loaded that it prints ``{"ready": ...}``; then, for each line
with the name of a task, it does the task once and prints a line with what
it measured.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from collections.abc import Callable
from typing import Any

#: A task returns what it measured; None stands for its own wall time.
Task = Callable[[], 'dict[str, Any] | None']


def serve(tasks: dict[str, Task], **ready: Any) -> None:
    """Answer until the input ends."""
    _say({'ready': ready})
    for line in sys.stdin:
        task = tasks[line.strip()]
        gc.collect()
        began = time.perf_counter()
        measured = task()
        took = time.perf_counter() - began
        _say(measured if measured is not None else {'s': took})


def _say(document: dict[str, Any]) -> None:
    print(json.dumps(document), flush=True)
