# SPDX-License-Identifier: Apache-2.0
"""Every state of custody, and the ways out of it that an operator has.

doc/source/admin/exits.rst shows the table, ``server show`` the part of it
that counts, and tests/functional/api/test_exits.py takes every way.
"""

from __future__ import annotations

import dataclasses
import enum
from typing import Final

from korora_nova.custody.words import MigrationState, VaultState
from korora_nova.rats.words import Word


class Exit(enum.Enum):
    """What an operator may do, and what comes of it.

    ``command`` may have fields: server, migration, host.
    """

    START = (
        'start',
        'openstack server reboot --hard {server}',
        'The host where Nova has the server asks for its key: a held one is '
        'opened, after a release a new one is granted.',
    )
    PRESENT = (
        'present',
        'openstack attestation document present FILE',
        'Documents that a host or a backup of one kept bring the ledger up to '
        'date. What this service did not sign changes nothing.',
    )
    REISSUE = (
        'reissue',
        'openstack attestation server reissue {server} --reason TEXT',
        'No copy of the key that exists today opens any more. The next start '
        'gets a new one, with the passphrase that the key manager has.',
    )
    RELEASE = (
        'release',
        'openstack attestation server release {server} --reason TEXT',
        'The ledger forgets the server, which is gone from Nova. Hosts erase '
        'what they have of its key.',
    )
    KEEP_SOURCE = (
        'keep-source',
        'openstack attestation migration resolve {migration} '
        '--keep source --reason TEXT',
        "The key stays with the source, and the destination's copy never "
        'opens. A guest that runs at the destination must be stopped.',
    )
    KEEP_DESTINATION = (
        'keep-destination',
        'openstack attestation migration resolve {migration} '
        '--keep destination --reason TEXT',
        "The key is the destination's, and the source's copy never opens. A "
        'guest that runs at the source must be stopped.',
    )
    EVICT = (
        'evict',
        'openstack attestation host evict {host} --reason TEXT',
        'All keys of the host are taken from it, and it cannot attest. The '
        'next start of each of its servers elsewhere gets a new key.',
    )

    def __init__(self, id: str, command: str, consequence: str) -> None:
        self.id = id
        self.command = command
        self.consequence = consequence

    def to_json(self, **names: str) -> dict[str, object]:
        """What is shown: id, command, consequence.

        :param names: server, migration and host.
        """
        return {
            'id': self.id,
            'command': self.command.format_map(_Names(names)),
            'consequence': self.consequence,
        }


class _Names(dict[str, str]):
    def __missing__(self, name: str) -> str:
        return name.upper()


class Part(Word):
    """What has the state."""

    LEDGER = 'ledger'
    MIGRATION = 'migration'
    VAULT = 'vault'


class LedgerState(Word):
    """How a server stands in the ledger; computed, never stored."""

    UNKNOWN = 'unknown'
    HELD = 'held'
    PENDING = 'pending'
    DISPUTED = 'disputed'
    RELEASED = 'released'
    DELETED = 'deleted'
    BEHIND = 'behind'
    FORKED = 'forked'


class RecordState(Word):
    """A vault record that is none of :class:`.words.VaultState`."""

    MISSING = 'missing'
    DAMAGED = 'damaged'


@dataclasses.dataclass(frozen=True)
class State:
    """One state, what it means, and its exits: the usual one first."""

    part: Part
    name: Word
    meaning: str
    exits: tuple[Exit, ...]


_L, _M, _V = Part.LEDGER, Part.MIGRATION, Part.VAULT
_EITHER = (Exit.KEEP_SOURCE, Exit.KEEP_DESTINATION)

STATES: Final = (
    State(
        _L,
        LedgerState.UNKNOWN,
        'no document is about the server',
        (Exit.START,),
    ),
    State(
        _L,
        LedgerState.HELD,
        'a host holds the key',
        (Exit.START, Exit.REISSUE, Exit.EVICT, Exit.RELEASE),
    ),
    State(
        _L,
        LedgerState.PENDING,
        'a hand-over is permitted, and not decided',
        (*_EITHER, Exit.EVICT),
    ),
    State(
        _L,
        LedgerState.DISPUTED,
        'both ends of a hand-over contradict each other',
        (*_EITHER, Exit.EVICT),
    ),
    State(
        _L,
        LedgerState.RELEASED,
        'an operator took the key from its holder',
        (Exit.START, Exit.RELEASE),
    ),
    State(
        _L,
        LedgerState.DELETED,
        'the server was deleted',
        (Exit.REISSUE, Exit.START),
    ),
    State(
        _L,
        LedgerState.BEHIND,
        'the database lacks the newest document',
        (Exit.PRESENT, Exit.REISSUE, Exit.RELEASE),
    ),
    State(
        _L,
        LedgerState.FORKED,
        'the anchor knows another newest document',
        (Exit.REISSUE, Exit.RELEASE),
    ),
    State(
        _M,
        MigrationState.RECEIVING,
        'the destination has asked; nothing is permitted',
        (Exit.KEEP_SOURCE, Exit.EVICT),
    ),
    State(
        _M,
        MigrationState.PERMITTED,
        'the destination has not said that its copy is sealed',
        (Exit.KEEP_SOURCE, Exit.EVICT),
    ),
    State(
        _M,
        MigrationState.SEALED,
        'both have a copy; the stream may not start yet',
        (Exit.KEEP_SOURCE, Exit.EVICT),
    ),
    State(
        _M,
        MigrationState.MOVING,
        'the stream may have started, and its end is not known',
        (*_EITHER, Exit.EVICT),
    ),
    State(
        _M,
        MigrationState.DISPUTED,
        'both ends contradict each other',
        (*_EITHER, Exit.EVICT),
    ),
    State(
        _M,
        MigrationState.COMMITTED,
        'decided; one end has not confirmed it',
        (Exit.KEEP_DESTINATION, Exit.EVICT),
    ),
    State(
        _M,
        MigrationState.ABORTED,
        'decided; one end has not confirmed it',
        (Exit.KEEP_SOURCE, Exit.EVICT),
    ),
    State(
        _V,
        VaultState.CLAIMING,
        'a new key, not yet granted',
        (Exit.START, Exit.REISSUE),
    ),
    State(
        _V,
        VaultState.HELD,
        'the key can be opened',
        (Exit.START, Exit.REISSUE, Exit.RELEASE),
    ),
    State(_V, VaultState.OUTGOING, 'permitted away', (Exit.KEEP_SOURCE,)),
    State(_V, VaultState.STARTING, 'asks for its start', (Exit.KEEP_SOURCE,)),
    State(_V, VaultState.MOVING, 'libvirt may have been called', _EITHER),
    State(_V, VaultState.RECEIVING, 'waits for the key', (Exit.KEEP_SOURCE,)),
    State(_V, VaultState.INCOMING, 'has a copy, not yet held', _EITHER),
    State(
        _V,
        VaultState.RELINQUISHED,
        'no domain came, and none will',
        (Exit.KEEP_SOURCE,),
    ),
    State(
        _V,
        VaultState.FORGOTTEN,
        'the server was deleted; the ledger was not told yet',
        (Exit.RELEASE,),
    ),
    State(
        _V,
        RecordState.MISSING,
        'the ledger names this host, which has no copy',
        (Exit.REISSUE,),
    ),
    State(
        _V,
        RecordState.DAMAGED,
        'the record cannot be read',
        (Exit.REISSUE,),
    ),
)


def of(part: Part, name: Word) -> State:
    """:raises KeyError: there is no such state."""
    return _BY_NAME[part, str(name)]


_BY_NAME: Final = {(one.part, str(one.name)): one for one in STATES}
