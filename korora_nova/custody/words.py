# SPDX-License-Identifier: Apache-2.0
"""The words of custody: states, statements, outcomes, challenge classes."""

from __future__ import annotations

from korora_nova.rats.words import Word

#: HTTP header that names the challenge of a request, hex: the service looks
#: at it before it reads the rest.
CHALLENGE_HEADER = 'Korora-Challenge'


class ChallengeClass(Word):
    """What a challenge is for: the periodic attestation, or one purpose."""

    STEADY = 'steady'
    ON_DEMAND = 'on-demand'


class Role(Word):
    """An end of a hand-over."""

    SOURCE = 'source'
    DEST = 'dest'


class Statement(Word):
    """What a host's own Nova said, and the service is to be told."""

    STREAM_COMPLETED = 'stream_completed'
    NEVER_STARTED = 'never_started'
    ACTIVATED = 'activated'
    NO_DOMAIN = 'no_domain'
    DELETE = 'delete'


class MigrationState(Word):
    """Where a hand-over stands in the service's database."""

    RECEIVING = 'receiving'
    PENDING = 'pending'
    COMMITTED = 'committed'
    ABORTED = 'aborted'


class Outcome(Word):
    """What a receipt says became of a key."""

    COMMITTED = 'committed'
    ABORTED = 'aborted'
    DELETED = 'deleted'


class VaultState(Word):
    """Where a key stands on one host; see ``attester.vault``."""

    CLAIMING = 'claiming'
    HELD = 'held'
    OUTGOING = 'outgoing'
    MOVING = 'moving'
    RECEIVING = 'receiving'
    INCOMING = 'incoming'
    RELINQUISHED = 'relinquished'
    FORGOTTEN = 'forgotten'
