# SPDX-License-Identifier: Apache-2.0
"""Whether a key's holder may still run the server, as far as is known."""

from __future__ import annotations

from korora_nova import errors
from korora_nova.rats.words import Tier
from korora_nova.verifier.custody.ends import End
from korora_nova.verifier.custody.standing import Standing
from korora_nova.verifier.nova_record import NovaServer


def check(
    found: Standing,
    holder: End | None,
    nova: NovaServer | None,
    sentence: str,
) -> str:
    """Insist that nobody runs the server with the key that is given up.

    :param holder: of the row; None: nobody.
    :param nova: what Nova has; None: it has none, or does not answer.
    :param sentence: how the operator knows, '' for not at all.
    :returns: why it is so, a sentence.
    :raises Conflict: NOT_FENCED.
    """
    if not found.is_sound:
        if sentence:
            return f'The operator says: {sentence}'
        raise _not_fenced(
            'The newest document is lost, so it is not known who holds the '
            'key: make sure that no host runs the server, and say how with '
            '--fenced.'
        )
    if holder is None:
        return 'Nobody holds the key.'
    known = _by_itself(holder)
    if known:
        return known
    if not sentence:
        raise _not_fenced(
            f'Host {holder.host} may still run the server: it was not '
            'evicted, or has an offline window, has not booted since, and '
            'reports no loss of its copy. Evict the host, or say with '
            '--fenced how it is kept from it.'
        )
    if holder.tier == Tier.AFFIRMING and (
        nova is None or nova.host == holder.host
    ):
        raise _not_fenced(
            f'Host {holder.host} is trusted, holds the key, and Nova has the '
            'server there: start it there, or migrate it.'
        )
    return f'The operator says: {sentence}'


def _by_itself(holder: End) -> str:
    """What fences the holder without anybody's word; '' for nothing."""
    if holder.evicted_at is not None and holder.offline_until is None:
        return f'Host {holder.host} was evicted.'
    if holder.rebooted:
        return (
            f'Host {holder.host} has booted since it was last let open the '
            'key.'
        )
    if holder.copy == 'no':
        return f'Host {holder.host} reports that it has no copy.'
    return ''


def _not_fenced(message: str) -> errors.Conflict:
    return errors.Conflict(errors.Reason.NOT_FENCED, message)
