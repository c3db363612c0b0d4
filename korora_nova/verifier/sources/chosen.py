# SPDX-License-Identifier: Apache-2.0
"""Which sources ``[sources]`` names, and which of them count."""

from __future__ import annotations

import dataclasses
from typing import Any

from oslo_config import cfg
from stevedore import driver
from stevedore import exception as stevedore_exc

from korora_nova import conf as options
from korora_nova import errors
from korora_nova.rats import verdict
from korora_nova.verifier.sources import base


@dataclasses.dataclass(frozen=True)
class Chosen:
    """A source as configured; see :class:`base.Source`."""

    name: str
    required: bool
    proof: bool
    asked: bool


#: All that counts is the appraisal of this service.
NATIVE_ONLY = (Chosen(verdict.NATIVE, True, True, False),)


def load(conf: cfg.ConfigOpts) -> tuple[Chosen, ...]:
    """The sources of a configuration, native first; none is asked yet.

    :raises Unavailable: SOURCE_INVALID.
    """
    group = conf[options.SOURCES]
    names = [*group.required, *group.advisory]
    if len(set(names)) != len(names) or len(names) > verdict.MAX_SOURCES:
        base.misconfigured(
            'A source is listed twice in [sources] required and advisory, or '
            f'there are more than {verdict.MAX_SOURCES}.'
        )
    if verdict.NATIVE not in names:
        base.misconfigured(
            'List native in [sources] required, or in advisory if nothing of '
            'what this service finds may count.'
        )
    found = sorted(
        (_chosen(name, name in group.required) for name in names),
        key=lambda one: one.name != verdict.NATIVE,
    )
    if not any(one.required and one.proof for one in found):
        base.misconfigured(
            'No source in [sources] required proves anything; add native.'
        )
    return tuple(found)


def make(conf: cfg.ConfigOpts, name: str) -> base.Source:
    """The driver of a source.

    :raises Unavailable: SOURCE_INVALID.
    """
    try:
        made: base.Source = _find(name)(conf)
    except errors.KororaError:
        raise
    except Exception as exc:  # noqa: BLE001 - a driver may fail in any way
        # Without its text and cause, which may hold a secret of the driver's.
        base.misconfigured(
            f'The source {name} failed with {type(exc).__name__}.'
        )
    return made


def _chosen(name: str, required: bool) -> Chosen:
    found = _find(name)
    return Chosen(name, required, bool(found.PROOF), bool(found.ASKED))


def _find(name: str) -> Any:
    """The driver's class."""
    try:
        return driver.DriverManager(base.NAMESPACE, name).driver
    except stevedore_exc.MultipleMatches:
        base.misconfigured(f'Several installed packages have a source {name}.')
    except stevedore_exc.NoMatches:
        base.misconfigured(
            f'No installed package has a source {name}: there is no such '
            f'entry point in {base.NAMESPACE}.'
        )
    except Exception as exc:  # noqa: BLE001 - an import may fail in any way
        base.misconfigured(
            f'The source {name} cannot be loaded: {type(exc).__name__}: {exc}.'
        )
