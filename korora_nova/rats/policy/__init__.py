# SPDX-License-Identifier: Apache-2.0
"""Policies: what operators demand of hosts, as documents of small rules.

::

    bound = load(document).bind(references)
    findings = bound.check(state)

A policy holds if every rule of it does. Rules see verified states only,
and what a state lacks counts against the host.
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
from korora_nova.rats.policy.document import NOT_APPRAISED, RULES, schema
from korora_nova.rats.policy.node import HOLDS

__all__ = [
    'EXACT',
    'HOLDS',
    'NOT_APPRAISED',
    'RULES',
    'BoundPolicy',
    'Difference',
    'Judgement',
    'Policy',
    'difference',
    'load',
    'names',
    'schema',
]
