# SPDX-License-Identifier: Apache-2.0
"""Kororā again, for its memory: policy, evidence and one appraisal."""

from __future__ import annotations

import resource
import sys

from korora_tools.bench import korora, worker


def main() -> None:
    load, host, bound = korora.prepare(sys.argv[1], sys.argv[2])
    proof = host.evidence(load.binary)

    def full() -> dict[str, float]:
        host.appraise(proof, bound)
        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return {'peak_rss_mb': used / 1024}

    worker.serve({'full': full})


if __name__ == '__main__':
    main()
