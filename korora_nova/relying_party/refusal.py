# SPDX-License-Identifier: Apache-2.0
"""How a refusal is told to Nova.

Exactly Nova's own classes: a subclass of ours would cross Nova's RPC as a
``RemoteError`` and put the server in ERROR. The text is the reason id and
its sentence, and nothing that varies: users read it, and host names and
PCRs are not for them. Details go to the log.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from nova import exception
from oslo_log import log as logging

from korora_nova import errors

LOG = logging.getLogger(__name__)

#: Makes Nova's exception of a refusal.
Refuse = Callable[[errors.KororaError, Any], exception.NovaException]

# Other hosts would refuse for the same reason.
_EVERYWHERE = frozenset(
    (errors.Reason.SERVICE_UNAVAILABLE, errors.Reason.DATABASE_UNAVAILABLE)
)


def text(exc: errors.KororaError) -> str:
    """What a user may read."""
    return f'[{exc.reason}] ' + errors.REASONS.get(
        exc.reason, 'Refused by the attestation of hosts.'
    )


def log(exc: errors.KororaError, what: str, instance: Any) -> None:
    """Say the whole story to the operator."""
    LOG.error(
        'Refused to %(what)s: %(error)s %(details)s',
        {'what': what, 'error': exc, 'details': exc.details or ''},
        instance=instance,
    )


@contextlib.contextmanager
def told(what: str, instance: Any, refuse: Refuse) -> Iterator[None]:
    """Tell the operator of a refusal, and Nova in its own terms.

    :param what: was to be done with the server.
    """
    try:
        yield
    except errors.KororaError as exc:
        log(exc, what, instance)
        raise refuse(exc, instance) from exc


def plain(exc: errors.KororaError, instance: Any) -> exception.NovaException:
    """The operation fails; the server stays as it is."""
    return exception.NovaException(text(exc))


def rollback(
    exc: errors.KororaError, instance: Any
) -> exception.InstanceFaultRollback:
    """The operation fails, and Nova restores the state before it."""
    return exception.InstanceFaultRollback(plain(exc, instance))


def precheck(
    exc: errors.KororaError, instance: Any
) -> exception.MigrationPreCheckError:
    """The conductor tries the next host; the server stays ACTIVE."""
    return exception.MigrationPreCheckError(reason=text(exc))


def spawn(exc: errors.KororaError, instance: Any) -> exception.NovaException:
    """Another host is tried, unless it could not do better."""
    if exc.reason in _EVERYWHERE:
        return exception.BuildAbortException(
            instance_uuid=instance.uuid, reason=text(exc)
        )
    return plain(exc, instance)


def rebuild(
    exc: errors.KororaError, instance: Any
) -> exception.InstanceFaultRollback:
    """The server keeps its image and state."""
    return exception.InstanceFaultRollback(
        exception.BuildAbortException(
            instance_uuid=instance.uuid, reason=text(exc)
        )
    )


def resize(
    exc: errors.KororaError, instance: Any
) -> exception.InstanceFaultRollback:
    """Nothing was moved."""
    return exception.InstanceFaultRollback(
        exception.ResizeError(reason=text(exc))
    )
