# SPDX-License-Identifier: Apache-2.0
"""Starters: for a distribution, a policy for hosts and one to judge them by.

A directory each, package data: ``ima-policy`` for ``/etc/ima/ima-policy`` of
hosts, ``appraisal.yaml``, and ``README``, which says what is given up.
"""

from __future__ import annotations

import pathlib

_ROOT = pathlib.Path(__file__).parent


def names() -> list[str]:
    """Names of the starters, sorted."""
    return sorted(path.parent.name for path in _ROOT.glob('*/appraisal.yaml'))


def find(name: str) -> pathlib.Path:
    """The directory of a starter.

    :raises KeyError: there is none of this name.
    """
    if name not in names():
        raise KeyError(name)
    return _ROOT / name
