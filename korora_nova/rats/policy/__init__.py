# SPDX-License-Identifier: Apache-2.0
"""Policies: what operators demand of hosts, as documents of small rules.

::

    bound = load(document).bind(references)
    findings = bound.check(state)

A policy holds if every rule of it does. Rules see verified states only,
and what a state lacks counts against the host. A site's own rules are
subclasses of :class:`Rule`, given to :func:`load` in a :class:`Registry`.
"""

from __future__ import annotations

from korora_nova.rats.policy.bound import (
    EXACT,
    BoundPolicy,
    Judgement,
    Policy,
    load,
    names,
)
from korora_nova.rats.policy.difference import Difference, difference
from korora_nova.rats.policy.document import NOT_APPRAISED, schema
from korora_nova.rats.policy.node import HOLDS, Params, Rule
from korora_nova.rats.policy.registry import BUILT_IN, NESTED, Registry

__all__ = [
    'BUILT_IN',
    'EXACT',
    'HOLDS',
    'NESTED',
    'NOT_APPRAISED',
    'BoundPolicy',
    'Difference',
    'Judgement',
    'Params',
    'Policy',
    'Registry',
    'Rule',
    'difference',
    'load',
    'names',
    'schema',
]
