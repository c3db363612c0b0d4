# SPDX-License-Identifier: Apache-2.0
"""Secure Boot's register: state, databases, authorities (PFP 3.3.4.8).

Firmware measures SecureBoot, PK, KEK, db and dbx, then a separator, then
each authority when it is first used; shim adds its variables. After the
boot the operating system can extend the register as well, so the state and
the databases count only in front of the separator, and nothing that comes
behind an event without an explanation is taken for a fact.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence

from korora_nova.rats.eventlog import check, text, variables
from korora_nova.rats.eventlog.boot import Authority, SignatureDatabase
from korora_nova.rats.eventlog.formats import Event
from korora_nova.rats.eventlog.variables import Variable

#: The databases of Secure Boot and who owns the variables.
DATABASES = {'PK': variables.GLOBAL, 'KEK': variables.GLOBAL,
             'db': variables.IMAGE_SECURITY, 'dbx': variables.IMAGE_SECURITY,
             'dbt': variables.IMAGE_SECURITY,
             'dbr': variables.IMAGE_SECURITY}
#: Longest value of another variable that is kept, bytes.
MAX_VALUE = 4096

# Actions the profile has in this register.
_ACTIONS = (b'UEFI Debug Mode', b'DMA Protection Disabled')


@dataclasses.dataclass
class Policy:
    """What the register says.

    :param explained: indices of events that are in a field here, or say
        nothing that is not known.
    """

    secure_boot: bool | None = None
    databases: list[SignatureDatabase] = dataclasses.field(
        default_factory=list)
    authorities: list[Authority] = dataclasses.field(default_factory=list)
    variables: dict[str, str] = dataclasses.field(default_factory=dict)
    explained: set[int] = dataclasses.field(default_factory=set)


@functools.lru_cache(maxsize=16)
def _states(bank: str) -> tuple[frozenset[bytes], frozenset[bytes]]:
    """Digests that say Secure Boot is on, and that it is off.

    Off also covers shim's MokSBState: it then validates nothing. They are
    known beforehand, so that a log cannot hide them by leaving out data.
    """
    make = check.hasher(bank)
    on = make(variables.build(variables.GLOBAL, 'SecureBoot', b'\1'))
    # See quirks.SECURE_BOOT_EMPTY.
    off = [variables.build(variables.GLOBAL, 'SecureBoot', value)
           for value in (b'\0', b'')]
    off += [variables.build(variables.SHIM, 'MokSBState', b'\1')]
    return frozenset((on,)), frozenset(map(make, off))


@functools.lru_cache(maxsize=16)
def _actions(bank: str) -> frozenset[bytes]:
    return frozenset(map(check.hasher(bank), _ACTIONS))


def read(events: Sequence[Event], bank: str) -> Policy:
    """Read the events of the register, in their order."""
    policy = Policy()
    digests = [event.digests[bank] for event in events]
    ends = check.separators(bank)
    first = next((number for number, digest in enumerate(digests)
                  if digest in ends), None)
    policy.secure_boot = _secure_boot(digests, first, bank)
    make = check.hasher(bank)
    known = ends | _actions(bank)
    whole = True
    for number, event in enumerate(events):
        if digests[number] in known:
            policy.explained.add(event.index)
            continue
        variable = variables.parse(event.data)
        verified = variable is not None and _covers(
            event.data, variable, digests[number], make)
        if first is not None and number < first:
            _configured(policy, event, variable, verified)
        else:
            whole = whole and verified
            _used(policy, event, variable, verified, whole)
    _contradictions(policy)
    return policy


def _secure_boot(digests: Sequence[bytes], first: int | None,
                 bank: str) -> bool | None:
    on, off = _states(bank)
    if not off.isdisjoint(digests):
        return False
    if first is not None and not on.isdisjoint(digests[:first]):
        return True
    return None


def _covers(data: bytes, variable: Variable, digest: bytes,
            make: check.Hash) -> bool:
    """Whether the digest is of the variable, its name included."""
    return make(data) == digest or bool(variable.surplus) and make(
        data[:-variable.surplus]) == digest


def _configured(policy: Policy, event: Event, variable: Variable | None,
                verified: bool) -> None:
    """An event in front of the separator: firmware's configuration."""
    if variable is None:
        return
    if DATABASES.get(variable.name) == variable.vendor:
        found = variables.signatures(variable.value)
        policy.databases.append(SignatureDatabase(
            variable.name, verified and found.complete, found.entries))
    elif verified and variable[:2] == (variables.GLOBAL, 'SecureBoot'):
        # 1 is among the known digests.
        if variable.value != b'\1':
            policy.secure_boot = False
    elif verified:
        _keep(policy, variable)
    if verified:
        policy.explained.add(event.index)


def _used(policy: Policy, event: Event, variable: Variable | None,
          verified: bool, whole: bool) -> None:
    """An event behind the separator: authorities, and shim's variables.

    :param whole: all events from the separator on are verified.
    """
    if variable is None or not verified:
        policy.authorities.append(
            Authority(variable.name if variable else '', None, False))
        return
    policy.explained.add(event.index)
    if DATABASES.get(variable.name) == variable.vendor and (
            variables.is_lists(variable.value)):
        # Changed by an update at boot, or an imitation.
        policy.databases.append(SignatureDatabase(
            variable.name, False,
            variables.signatures(variable.value).entries))
        return
    entry = variables.authority(variable.value)
    if entry is not None:
        policy.authorities.append(Authority(variable.name, entry, True))
    elif variable.name in DATABASES:
        policy.authorities.append(Authority(variable.name, None, False))
    elif whole:
        _keep(policy, variable)


def _keep(policy: Policy, variable: Variable) -> None:
    value = variable.value[:MAX_VALUE]
    shown = text.utf8(value)
    if not value or '\\' in shown or not shown:
        shown = f'hex:{value.hex()}'
    policy.variables.setdefault(variable.name, shown)


def _contradictions(policy: Policy) -> None:
    """Two different databases of one name in front of the separator."""
    seen: dict[str, SignatureDatabase] = {}
    wrong = {item.name for item in policy.databases if item.verified
             and seen.setdefault(item.name, item) != item}
    policy.databases = [
        dataclasses.replace(item, verified=item.verified
                            and item.name not in wrong)
        for item in policy.databases]
