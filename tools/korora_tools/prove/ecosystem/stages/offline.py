# SPDX-License-Identifier: Apache-2.0
"""Approvals in advance, and who tries to use them: all rows O1, O2...

Each row's tests are run on software TPMs, and the first again without the
check that it is about, where it has to fail.
"""

from __future__ import annotations

from korora_tools.prove.attack import offline, teeth
from korora_tools.prove.ecosystem import stage

ABOUT = 'no attack on the offline window starts a server'
#: Attacks that are tried at least.
LEAST = 6


def run() -> stage.Outcome:
    return outcome(teeth.run(offline.ATTACKS, whole=True))


def outcome(rows: list[dict[str, object]]) -> stage.Outcome:
    """What the rows come to."""
    open_ = [row for row in rows if not row['held']]
    report = {'attacks': len(rows), 'held': len(rows) - len(open_)}
    return stage.Outcome(
        report,
        [f'{row["id"]}: {row["why"]}' for row in open_]
        + stage.too_few(report, attacks=LEAST),
    )
