# SPDX-License-Identifier: Apache-2.0
"""A list of a million entries through the whole service, in parts.

The host runs a hundred containers of one image: the same contents under ever
other paths. One process is both ends, so its memory is that of both.
"""

from __future__ import annotations

import hashlib
import json
import pathlib
import resource
import sys
import time
from collections.abc import Iterator
from typing import Any

from korora_nova.rats import evidence
from korora_tools.bench import worker, workload
from tests.support import agent, service

FILES = 10_000


def entries(count: int, aggregate: str) -> Iterator[tuple[bytes, bytes]]:
    """Entries of a list, and what each extends PCR 10 with."""
    for number in range(count):
        path = f'/var/lib/containers/{number // FILES}/usr/lib/{number}.so'
        digest = content(number)
        if not number:
            path, digest = 'boot_aggregate', bytes.fromhex(aggregate)
        data = workload.template_data(path.encode(), digest)
        yield workload.entry(data), hashlib.sha256(data).digest()


def content(number: int) -> bytes:
    """Digest of a file."""
    return hashlib.sha256(b'%d' % (number % FILES)).digest()


def write(directory: pathlib.Path, count: int, aggregate: str) -> None:
    """Write the list, and PCR 10 behind it."""
    pcr = bytes(32)
    with (directory / 'million.bin').open('wb') as log:
        for entry, extension in entries(count, aggregate):
            log.write(entry)
            pcr = hashlib.sha256(pcr + extension).digest()
    (directory / 'million.json').write_text(json.dumps([count, pcr.hex()]))


def policy(host: agent.SimAgent) -> dict[str, Any]:
    """It lists the contents; paths do not matter."""
    return {
        'version': 1,
        'name': 'million',
        'rules': [
            {'event-log': {'pcrs': [0, 4, 7]}},
            {
                'pcrs': {
                    'registers': [4],
                    'generations': [
                        {
                            'name': 'golden',
                            'values': {'4': host.tpm.pcrs[4].hex()},
                        }
                    ],
                }
            },
            {
                'ima': {
                    'digests': [
                        f'sha256:{content(number).hex()}'
                        for number in range(FILES)
                    ]
                }
            },
        ],
    }


def send(host: agent.SimAgent, path: pathlib.Path) -> None:
    """Send a list as agents do."""
    offset, size = 0, path.stat().st_size
    with path.open('rb') as log:
        while size - offset > evidence.MAX_IMA_LOG:
            log.seek(offset)
            part = log.read(evidence.MAX_IMA_LOG)
            digest = hashlib.sha256(part).hexdigest()
            body = {'version': 1, 'start': offset, 'digest': digest}
            offset = _say(host, 'list', body, part, 0)['upto']
        log.seek(offset)
        body = {'version': 1, 'known': []}
        _say(host, 'attest', body, log.read(), offset)


def _say(
    host: agent.SimAgent,
    purpose: str,
    body: dict[str, Any],
    log: bytes,
    offset: int,
) -> dict[str, Any]:
    message = host.message(purpose, json.dumps(body), host.challenge())
    message['evidence']['ima_log'] = agent.b64(log)
    message['evidence']['ima_offset'] = offset
    return host.api.evidence(host.name, message)


def main() -> None:
    directory, vector = pathlib.Path(sys.argv[1]), sys.argv[2]
    count, pcr = json.loads((directory / 'million.json').read_text())
    with service.KororaFixture(None) as korora:
        admin = korora.client_as('admin')
        host = agent.SimAgent(
            'h1', korora.client_as('attester'), korora.vendor, vector=vector
        )
        host.join(admin)
        host.tpm.pcrs[10] = bytes.fromhex(pcr)
        admin.create_policy(policy(host))

        def million() -> dict[str, Any]:
            began = time.perf_counter()
            send(host, directory / 'million.bin')
            took = time.perf_counter() - began
            result = admin.get_result('h1')
            assert result['tier'] == 'affirming', result
            used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            return {
                'entries': count,
                'peak_rss_mb': round(used / 1024, 1),
                's': round(took, 2),
            }

        worker.serve({'million': million})


if __name__ == '__main__':
    main()
