# SPDX-License-Identifier: Apache-2.0
"""Keylime, as its verifier appraises an IMA list; in its own environment."""

from __future__ import annotations

import importlib.metadata
import json
import logging
import pathlib
import sys
import types

from korora_tools.bench import worker, workload

# Only signed policies need GnuPG's bindings.
sys.modules['gpg'] = types.ModuleType('gpg')
logging.disable(logging.CRITICAL)

from keylime.agentstates import AgentAttestState  # noqa: E402
from keylime.common.algorithms import Hash  # noqa: E402
from keylime.ima import ima  # noqa: E402


def main() -> None:
    load = workload.read(pathlib.Path(sys.argv[1]))
    lines = load.text.splitlines()
    document = ima.empty_policy()
    document['digests'] = {
        path: [digest] for path, digest in load.files.items()
    }
    document['digests']['boot_aggregate'] = [load.aggregate]
    policy = ima.deserialize_runtime_policy(json.dumps(document))

    def run() -> None:
        digest, failure = ima.process_measurement_list(
            AgentAttestState('bench'),
            lines,
            policy,
            load.pcr,
            None,
            None,
            Hash.SHA256,
        )
        assert digest == load.pcr and not failure, failure

    worker.serve({'text': run}, version=importlib.metadata.version('keylime'))


if __name__ == '__main__':
    main()
