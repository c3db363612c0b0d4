# SPDX-License-Identifier: Apache-2.0
"""How a request to migrate ended, and what Nova said about it."""

import dataclasses
import pathlib
import re

REASON = re.compile(r'\[([A-Z][A-Z0-9_]{3,})\]')


@dataclasses.dataclass(frozen=True)
class Migration:
    """How one request to migrate ended.

    :param status: status of Nova's migration record, or ``none`` when the
        request ended before there was one.
    :param total_s: from the request to ACTIVE on the destination.
    """

    accepted: bool
    source: str
    host: str
    server_status: str
    status: str
    total_s: float
    reason: str
    uuid: str = ''

    @property
    def observed(self) -> str:
        if self.server_status != 'ACTIVE':
            return 'server ' + self.server_status
        if self.host != self.source:
            return 'migrated'
        return 'refused'


def answer(printed: str) -> str:
    """What Nova says, of what the client has printed.

    Without the reason's id, which the scenario's own line gives.
    """
    said = printed.rsplit('/action, ', 1)[-1]
    return ' '.join(REASON.sub('', said).split())


def logged_reason(uuid: str, marks: dict[pathlib.Path, int]) -> str:
    """Why the last host was refused, from what Nova logged since.

    Nova's API only says that no valid host was found.
    """
    found: list[str] = []
    for path, mark in marks.items():
        with path.open('rb') as log:
            log.seek(mark)
            found += [
                line
                for line in log.read().decode(errors='replace').splitlines()
                if uuid in line
                and 'korora_nova.relying_party' in line
                and REASON.search(line)
            ]
    # Every line begins with its time; options are in brackets, too.
    return REASON.findall(max(found))[0] if found else ''
