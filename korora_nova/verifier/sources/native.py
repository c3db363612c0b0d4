# SPDX-License-Identifier: Apache-2.0
"""The appraisal of this service: it speaks whenever a host attests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from oslo_config import cfg

from korora_nova.verifier.sources import base


class NativeSource:
    """See :class:`base.Source`; it is in results, and never asked."""

    PROOF: ClassVar[bool] = True
    ASKED: ClassVar[bool] = False

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        pass

    def ask(
        self,
        hosts: Sequence[base.Enrolled],
        known: Mapping[str, base.Known],
        now: float,
    ) -> base.Asked:
        """See :meth:`base.Source.ask`."""
        return base.Asked({})
