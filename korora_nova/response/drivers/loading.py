# SPDX-License-Identifier: Apache-2.0
"""The drivers that ``[response] drivers`` names, and others to undo."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from oslo_config import cfg
from oslo_log import log as logging
from stevedore import driver as stevedore_driver
from stevedore import exception as stevedore_exc

from korora_nova import errors
from korora_nova.response.drivers import base

LOG = logging.getLogger(__name__)

NAMESPACE = 'korora.response'


class Drivers:
    """Drivers by name.

    :param made: in the place of entry points.
    :raises Unavailable: RESPONSE_DRIVER, one that is on is of no use.
    """

    def __init__(
        self,
        conf: cfg.ConfigOpts,
        names: list[str],
        made: Mapping[str, base.Driver] | None = None,
    ) -> None:
        self._conf = conf
        self._found: dict[str, base.Driver] = dict(made or {})
        self.on: dict[str, base.Driver] = {}
        for name in names:
            self.on[name] = self.get(name)

    def get(self, name: str) -> base.Driver:
        """One of them, whether it is on or not: it may have to undo.

        :raises Unavailable: RESPONSE_DRIVER.
        """
        if name not in self._found:
            self._found[name] = _make(self._conf, name)
        return self._found[name]


def _make(conf: cfg.ConfigOpts, name: str) -> base.Driver:
    try:
        made: Any = stevedore_driver.DriverManager(NAMESPACE, name).driver(
            conf
        )
    except errors.KororaError:
        raise
    except stevedore_exc.MultipleMatches:
        raise _useless(name, 'several installed packages have one') from None
    except stevedore_exc.NoMatches:
        raise _useless(
            name, f'there is no such entry point in {NAMESPACE}'
        ) from None
    except Exception as exc:  # noqa: BLE001 - a driver may fail in any way
        # Without its text and cause, which may hold a secret of the driver's.
        raise _useless(name, type(exc).__name__) from None
    if not isinstance(made, base.Driver):
        raise _useless(name, 'it is no Driver')
    return made


def _useless(name: str, why: str) -> errors.Unavailable:
    return errors.Unavailable(
        errors.Reason.RESPONSE_DRIVER,
        f'The response driver {name} is of no use: {why}.',
    )
