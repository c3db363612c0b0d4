# SPDX-License-Identifier: Apache-2.0
"""A file that says which hosts are trusted: for labs and drills, no proof.

::

    {"compute-1": "affirming", "compute-2": "contraindicated"}

It is read each time; a host that is not in it is unknown.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from oslo_config import cfg
from oslo_log import log as logging

from korora_nova import conf as options
from korora_nova import errors
from korora_nova.rats.words import Tier
from korora_nova.verifier.sources import base

LOG = logging.getLogger(__name__)

#: Bytes of the file.
MAX_FILE = 8 << 20
_TIERS = {str(tier): tier for tier in Tier if tier is not Tier.NONE}
_R = errors.Reason
_REASONS: Mapping[Tier, tuple[str, ...]] = {
    Tier.AFFIRMING: (),
    Tier.CONTRAINDICATED: (_R.SOURCE_REFUSES,),
    Tier.NONE: (_R.SOURCE_HOST_UNKNOWN,),
}


class StaticSource:
    """See :class:`base.Source`."""

    PROOF: ClassVar[bool] = False
    ASKED: ClassVar[bool] = True

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        self._path: str = conf[options.SOURCES].static_file
        self._ttl: float = conf[options.SOURCES].max_age
        LOG.warning(
            'The source static is NO PROOF of anything: %s says which hosts '
            'are trusted, and whoever writes that file decides.',
            self._path,
        )

    def ask(
        self,
        hosts: Sequence[base.Enrolled],
        known: Mapping[str, base.Known],
        now: float,
    ) -> base.Asked:
        """See :meth:`base.Source.ask`."""
        tiers = _read(self._path)
        said = {}
        for host, _ in hosts:
            tier = tiers.get(host, Tier.NONE)
            said[host] = base.Said(
                tier,
                _REASONS[tier],
                host if host in tiers else '',
                now,
                now + self._ttl,
            )
        return base.Asked(said)


def _read(path: str) -> Mapping[str, Tier]:
    """:raises Unavailable: SOURCE_UNAVAILABLE, no such file, or another."""
    try:
        with open(path, 'rb') as file:
            data = file.read(MAX_FILE + 1)
        document: Any = json.loads(data) if len(data) <= MAX_FILE else None
    except (OSError, ValueError, RecursionError) as exc:
        raise base.unavailable(
            'static', f'cannot read {path}: {type(exc).__name__}'
        ) from None
    if not isinstance(document, dict) or not all(
        isinstance(tier, str) and tier in _TIERS for tier in document.values()
    ):
        raise base.unavailable(
            'static',
            f'{path} is not an object of hosts, each "affirming" or '
            '"contraindicated"',
        )
    return {host: _TIERS[tier] for host, tier in document.items()}
