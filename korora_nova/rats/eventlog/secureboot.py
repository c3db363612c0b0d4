# SPDX-License-Identifier: Apache-2.0
"""Secure Boot's register: state, databases, authorities (PFP 3.3.4.8).

Firmware measures SecureBoot, PK, KEK, db and dbx, then a separator, then
each authority when it is first used; shim adds its variables. After the
boot the operating system can extend the register as well, so the state and
the databases count only before the separator, and nothing that comes
after an event without an explanation is taken for a fact.
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
DATABASES = {
    'PK': variables.GLOBAL,
    'KEK': variables.GLOBAL,
    'db': variables.IMAGE_SECURITY,
    'dbx': variables.IMAGE_SECURITY,
    'dbt': variables.IMAGE_SECURITY,
    'dbr': variables.IMAGE_SECURITY,
    'devdb': variables.DEVICE_SECURITY,
}
#: Variables of shim that vouch for nothing (its mok.c).
SHIM_STATE = frozenset(
    (
        'SbatLevel',
        'MokSBState',
        'MokDBState',
        'MokListTrusted',
        'MokPolicy',
        'HSIStatus',
    )
)
#: Longest value of another variable that is kept, bytes.
MAX_VALUE = 4096

# Actions the profile has in this register: not authorities.
_ACTIONS = (b'UEFI Debug Mode', b'DMA Protection Disabled')


@dataclasses.dataclass
class Policy:
    """What the register says.

    :param explained: indices of events that are in a field here.
    """

    secure_boot: bool | None = None
    databases: list[SignatureDatabase] = dataclasses.field(
        default_factory=list
    )
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
    off = [
        variables.build(variables.GLOBAL, 'SecureBoot', value)
        for value in (b'\0', b'')
    ]
    off += [variables.build(variables.SHIM, 'MokSBState', b'\1')]
    return frozenset((on,)), frozenset(map(make, off))


@functools.lru_cache(maxsize=16)
def _actions(bank: str) -> frozenset[bytes]:
    return frozenset(map(check.hasher(bank), _ACTIONS))


def read(events: Sequence[Event], bank: str) -> Policy:
    """Read the events of the register, in their order."""
    policy = Policy()
    digests = [event.digests[bank] for event in events]
    failed = check.failures(bank)
    ends = check.separators(bank) | failed
    first = next(
        (number for number, digest in enumerate(digests) if digest in ends), -1
    )
    sound = first >= 0 and digests[first] not in failed
    firmware = first if sound else 0
    policy.secure_boot = _secure_boot(digests, digests[:firmware], bank)
    make, actions = check.hasher(bank), _actions(bank) | check.words(bank)
    whole = sound
    for number, event in enumerate(events):
        if digests[number] in ends or digests[number] in actions:
            continue
        variable = variables.parse(event.data)
        verified = variable is not None and _covers(
            event.data, variable, digests[number], make
        )
        if number < firmware:
            _configured(policy, event, variable, verified)
        else:
            whole = whole and verified
            _used(policy, event, variable, verified, whole)
    _contradictions(policy)
    return policy


def _secure_boot(
    digests: Sequence[bytes], firmware: Sequence[bytes], bank: str
) -> bool | None:
    """On if firmware said so, off if anything did."""
    on, off = _states(bank)
    if not off.isdisjoint(digests):
        return False
    return None if on.isdisjoint(firmware) else True


def _covers(
    data: bytes, variable: Variable, digest: bytes, make: check.Hash
) -> bool:
    """Whether the digest is of the variable, its name included."""
    # See quirks.SHIM_LENGTH.
    return any(
        make(data[: len(data) - cut]) == digest
        for cut in range(variable.surplus + 1)
    )


def _configured(
    policy: Policy, event: Event, variable: Variable | None, verified: bool
) -> None:
    """An event before the separator: firmware's configuration."""
    if variable is None:
        return
    if DATABASES.get(variable.name) == variable.vendor:
        _database(policy, variable, verified)
    elif not verified:
        return
    elif variable[:2] != (variables.GLOBAL, 'SecureBoot'):
        _keep(policy, event, variable)
        return
    elif variable.value != b'\1':
        policy.secure_boot = False
    elif policy.secure_boot is None:
        # With a name or a length that the known digests are not of.
        policy.secure_boot = True
    if verified:
        policy.explained.add(event.index)


def _database(policy: Policy, variable: Variable, verified: bool) -> None:
    entry = variables.authority(variable.value)
    if entry is not None:
        # An option ROM was verified before the separator.
        policy.authorities.append(Authority(variable.name, entry, verified))
        return
    found = variables.signatures(variable.value)
    policy.databases.append(
        SignatureDatabase(
            variable.name, verified and found.complete, found.entries
        )
    )


def _used(
    policy: Policy,
    event: Event,
    variable: Variable | None,
    verified: bool,
    whole: bool,
) -> None:
    """An event after the separator: authorities, and shim's variables.

    :param whole: all events from the separator on are verified.
    """
    if variable is None or not verified:
        policy.authorities.append(
            Authority(variable.name if variable else '', None, False)
        )
        return
    state = variable.vendor == variables.SHIM and (variable.name in SHIM_STATE)
    entry = None if state else variables.authority(variable.value)
    if entry is not None:
        policy.authorities.append(Authority(variable.name, entry, True))
        policy.explained.add(event.index)
    elif DATABASES.get(variable.name) == variable.vendor and (
        variables.is_lists(variable.value)
    ):
        # Changed by an update at boot, or an imitation.
        policy.databases.append(
            SignatureDatabase(
                variable.name,
                False,
                variables.signatures(variable.value).entries,
            )
        )
        policy.explained.add(event.index)
    elif not state:
        policy.authorities.append(Authority(variable.name, None, False))
    elif whole:
        _keep(policy, event, variable)


def _keep(policy: Policy, event: Event, variable: Variable) -> None:
    """Keep the first of a name; others stay components."""
    if len(variable.value) > MAX_VALUE:
        return
    shown = text.utf8(variable.value)
    if not shown or '\\' in shown:
        shown = f'hex:{variable.value.hex()}'
    if policy.variables.setdefault(variable.name, shown) == shown:
        policy.explained.add(event.index)


def _contradictions(policy: Policy) -> None:
    """Two different databases of one name before the separator."""
    seen: dict[str, SignatureDatabase] = {}
    wrong = {
        item.name
        for item in policy.databases
        if item.verified and seen.setdefault(item.name, item) != item
    }
    policy.databases = [
        dataclasses.replace(
            item, verified=item.verified and item.name not in wrong
        )
        for item in policy.databases
    ]
