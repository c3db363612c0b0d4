# SPDX-License-Identifier: Apache-2.0
"""The words of custody: states, statements, outcomes, challenge classes."""

from __future__ import annotations

from korora_nova.rats.words import Word

#: HTTP header that names the challenge of a request, hex: the service looks
#: at it before it reads the rest.
CHALLENGE_HEADER = 'Korora-Challenge'
#: HTTP header that says ``steady`` of a periodic attestation, which the
#: service may put off before it looks at anything.
CLASS_HEADER = 'Korora-Class'


class ChallengeClass(Word):
    """What a challenge is for: the periodic attestation, or one purpose."""

    STEADY = 'steady'
    ON_DEMAND = 'on-demand'


class Role(Word):
    """An end of a hand-over."""

    SOURCE = 'source'
    DEST = 'dest'


class Statement(Word):
    """A word of one end on a hand-over; DELETE is what a vault is to say.

    See doc/source/contributor/custody.rst, Decisions.
    """

    NEVER_STARTED = 'never_started'
    KEPT = 'kept'
    ENDED_HERE = 'ended_here'
    STREAM_COMPLETED = 'stream_completed'
    NO_DOMAIN = 'no_domain'
    ACTIVATED = 'activated'
    DELETE = 'delete'


class MigrationState(Word):
    """Where a hand-over stands in the service's database.

    DISPUTED is computed: see :func:`.decision.is_disputed`.
    """

    RECEIVING = 'receiving'
    PERMITTED = 'permitted'
    SEALED = 'sealed'
    MOVING = 'moving'
    COMMITTED = 'committed'
    ABORTED = 'aborted'
    DISPUTED = 'disputed'


#: States in which a permit was signed and nothing is decided.
OPEN = (
    MigrationState.PERMITTED,
    MigrationState.SEALED,
    MigrationState.MOVING,
)


class Outcome(Word):
    """What a receipt says became of a key."""

    COMMITTED = 'committed'
    ABORTED = 'aborted'
    DELETED = 'deleted'
    RELEASED = 'released'


class VaultState(Word):
    """Where a key stands on one host; see ``attester.vault``."""

    CLAIMING = 'claiming'
    HELD = 'held'
    OUTGOING = 'outgoing'
    STARTING = 'starting'
    MOVING = 'moving'
    RECEIVING = 'receiving'
    INCOMING = 'incoming'
    RELINQUISHED = 'relinquished'
    FORGOTTEN = 'forgotten'


class StreamTls(Word):
    """How streams of protected servers are encrypted: for whom."""

    #: For the key that the destination attested, by our certificate.
    ATTESTED = 'attested'
    #: For the name that the destination attested, by the site's.
    SITE = 'site'
    #: As attested between hosts that can, else as Nova is configured.
    TRANSITION = 'transition'
