# SPDX-License-Identifier: Apache-2.0
"""evmctl of ima-evm-utils, in C: it replays a list and knows no policy."""

from __future__ import annotations

import pathlib
import resource
import subprocess
import sys

from korora_tools.bench import worker, workload
from tests.support import simulator


def main() -> None:
    load = pathlib.Path(sys.argv[1])
    pcrs = {
        **simulator.recorded_pcrs(sys.argv[2]),
        10: bytes.fromhex(workload.read(load).pcr),
    }
    (load / 'pcrs').write_text(
        ''.join(
            f'PCR-{index:02d}: {pcrs.get(index, bytes(32)).hex()}\n'
            for index in range(24)
        )
    )

    def run() -> dict[str, float]:
        before = _cpu()
        done = subprocess.run(
            [
                'evmctl',
                'ima_measurement',
                '--pcrs',
                f'sha256,{load / "pcrs"}',
                str(load / 'list.bin'),
            ],
            capture_output=True,
            text=True,
            check=True,
        )
        # It ends with 0 also if it compared nothing
        assert 'Matched per TPM bank' in done.stdout + done.stderr, done
        return {'cpu': _cpu() - before}

    worker.serve({'binary': run}, version=_version())


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _version() -> str:
    done = subprocess.run(
        ['evmctl', '--version'], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


if __name__ == '__main__':
    main()
