# SPDX-License-Identifier: Apache-2.0
"""The anchor that ``[anchor] backend`` names."""

from __future__ import annotations

from typing import Any

from oslo_config import cfg
from stevedore import driver
from stevedore import exception as stevedore_exc

from korora_nova import conf as options
from korora_nova import errors
from korora_nova.verifier.anchor import base

NAMESPACE = 'korora.anchor'


def load(conf: cfg.ConfigOpts) -> base.Anchor:
    """Make the configured anchor's driver; it is not asked anything yet.

    :raises Unavailable: ANCHOR_UNAVAILABLE: the driver is missing or broken,
        or its options are.
    """
    name = conf[options.ANCHOR].backend
    driver_class = _find(name)
    try:
        anchor: base.Anchor = driver_class(conf)
    except errors.KororaError:
        raise
    except Exception as exc:  # noqa: BLE001 - a driver may fail in any way
        # Without its text and cause, which may hold a secret of the driver's.
        raise base.misconfigured(
            f'The anchor {name} failed with {type(exc).__name__}.'
        ) from None
    return anchor


def _find(name: str) -> Any:
    """The driver's class."""
    try:
        return driver.DriverManager(NAMESPACE, name).driver
    except stevedore_exc.MultipleMatches:
        raise base.misconfigured(
            f'Several installed packages have an anchor {name}.'
        ) from None
    except stevedore_exc.NoMatches:
        raise base.misconfigured(
            f'No installed package has an anchor {name}: there is no such '
            f'entry point in {NAMESPACE}.'
        ) from None
    except Exception as exc:  # noqa: BLE001 - an import may fail in any way
        raise base.misconfigured(
            f'The anchor {name} cannot be loaded: {type(exc).__name__}: {exc}.'
        ) from None
