# SPDX-License-Identifier: Apache-2.0
"""Verified states of recorded hosts, for tests of policies."""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from typing import Any

import yaml

from korora_nova.rats import eventlog, ima, policy, reference
from korora_nova.rats.quote.verify import Clock
from korora_nova.rats.state import Explained, VerifiedState
from tests.support import simulator as sim
from tests.support import vectors

STARTERS = pathlib.Path(__file__).parents[2] / 'etc' / 'korora' / 'policies'


def of(log: bytes, pcrs: dict[int, bytes], **changes: Any) -> VerifiedState:
    """The state that a log and PCR values amount to."""
    pcrs = {index: pcrs[index] for index in range(16)}
    verified = eventlog.parse(log).compare(
        {index: value for index, value in pcrs.items() if index != 10}
    )
    return dataclasses.replace(
        VerifiedState(
            {'sha256': pcrs},
            Clock(1000, 1, 0, True),
            0x20191023,
            Explained.of(verified),
            None,
            verified.boot,
        ),
        **changes,
    )


@functools.cache
def recorded(name: str) -> VerifiedState:
    """The state of a boot in ``tests/vectors``, e.g. 'uefi/uki'."""
    if name in ('uefi/direct-kernel', 'uefi/secure-boot'):
        vector = name.removeprefix('uefi/')
        return of(sim.recorded_log(vector), sim.recorded_pcrs(vector))
    whole = vectors.load(name)
    return of(whole.files[vectors.UEFI], whole.pcrs['sha256'])


@functools.cache
def files(name: str) -> tuple[ima.Entry, ...]:
    """What IMA measured on a recorded host."""
    vector = vectors.load(name)
    return ima.parse(vector.files[vectors.IMA]).verify(vector.pcrs['sha256'])


@functools.cache
def learned(name: str) -> reference.ReferenceValues:
    """A reference of that name, learned from a recorded host or boot."""
    return reference.learn(
        name, recorded(name), files(name) if name.startswith('host/') else ()
    )


def starter(name: str) -> dict[str, Any]:
    """A document of ``etc/korora/policies``."""
    return yaml.safe_load((STARTERS / f'{name}.yaml').read_text())


#: A rule that pins the boot of any state, for policies about another one.
PIN = {'any-of': [{'pcrs': {'registers': [4], 'references': True}}]}


def load(*rules: dict[str, Any], **more: Any) -> policy.Policy:
    """A policy of these rules."""
    return policy.load(
        {'version': 1, 'name': 'test', 'rules': list(rules), **more}
    )


def only(rule: dict[str, Any], *references: reference.ReferenceValues) -> Any:
    """One rule, bound; to be checked alone."""
    loaded = load(rule, PIN, {'ima': policy.NOT_APPRAISED})
    return loaded.rules.rules[0].bind(references)


def reasons(found: Any) -> list[str]:
    """Reason ids of findings, each once."""
    return list(dict.fromkeys(item.reason for item in found))
