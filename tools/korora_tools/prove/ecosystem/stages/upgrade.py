# SPDX-License-Identifier: Apache-2.0
"""The last release and this tree get on with each other, in any order.

Services, agents and relying parties of both, as processes of their own, live
a server's whole life together, over HTTP on the loopback address.
"""

from __future__ import annotations

import contextlib
import pathlib
import tempfile

from korora_tools import checkout, ui
from korora_tools.prove.ecosystem import stage

ABOUT = 'the last release and this tree serve each other in any order'
#: Pairs that are wanted at least.
PAIRS = 4


def run() -> stage.Outcome:
    from korora_tools.upgrade import ends, pairs, release

    with contextlib.ExitStack() as cleanup:
        scratch = cleanup.enter_context(
            tempfile.TemporaryDirectory(
                prefix='korora-upgrade-', dir='/var/tmp'
            )
        )
        with ui.step(f'release {release.VERSION}, out of git'):
            old = release.unpack(pathlib.Path(scratch))
        trees = {
            'old': ends.Tree('old', old),
            'new': ends.Tree('new', checkout.ROOT),
        }
        results = pairs.tried(ends.Services(cleanup), trees)
    report = pairs.report(results, release.VERSION)
    wrong = [f'{one.pair}: {one.why}' for one in results if one.why]
    return stage.Outcome(report, [*wrong, *stage.too_few(report, pairs=PAIRS)])
