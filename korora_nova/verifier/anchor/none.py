# SPDX-License-Identifier: Apache-2.0
"""No anchor: the service waits for its hosts each time it starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from oslo_config import cfg

from korora_nova.verifier.anchor import base


class NoAnchor:
    """Knows nothing, and never refuses; see :class:`base.Anchor`."""

    GUARANTEES: ClassVar[bool] = False

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        pass

    def create(self, incarnation: str) -> None:
        """There is nothing to make."""

    def get(
        self, incarnation: str, instances: Sequence[str]
    ) -> Mapping[str, base.Mark]:
        """No mark of any server."""
        return {}

    def servers(
        self, incarnation: str, after: str, limit: int
    ) -> Sequence[str]:
        """No server has a mark."""
        return ()

    def rise(self, incarnation: str, instance: str, mark: base.Mark) -> None:
        """There is nothing to raise."""
