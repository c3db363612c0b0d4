# SPDX-License-Identifier: Apache-2.0
"""How a refusal is told to Nova.

Exactly Nova's own classes: a subclass of ours would cross Nova's RPC as a
``RemoteError`` and put the server in ERROR. The text is the reason id and
its sentence, and nothing that varies: users read it, and host names and
PCRs are not for them. Details go to the log.
"""

from __future__ import annotations

import contextlib
import dataclasses
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
    (
        errors.Reason.SERVICE_UNAVAILABLE,
        errors.Reason.DATABASE_UNAVAILABLE,
        errors.Reason.ESCROW_MISSING,
        errors.Reason.ESCROW_FORBIDDEN,
        errors.Reason.ESCROW_UNAVAILABLE,
    )
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


@dataclasses.dataclass(frozen=True)
class Operation:
    """What can be refused.

    :param what: for the log.
    :param refuse: makes the exception with which Nova ends it as it should.
    """

    what: str
    refuse: Refuse


@contextlib.contextmanager
def told(operation: Operation, instance: Any) -> Iterator[None]:
    """Tell the operator of a refusal, and Nova in its own terms."""
    try:
        yield
    except errors.KororaError as exc:
        log(exc, operation.what, instance)
        raise operation.refuse(exc, instance) from exc


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


# The next host is tried; the server ends in ERROR if there is none.
CREATE = Operation('create the server', spawn)
# The server keeps its state.
REBUILD = Operation('rebuild the server', rebuild)
START = Operation('start the server', plain)
REBOOT = Operation('reboot the server', plain)
RESCUE = Operation('rescue the server', plain)
UNRESCUE = Operation('unrescue the server', plain)
RESUME = Operation('resume the server', rollback)
SNAPSHOT = Operation('take a cold snapshot', plain)
AFTER_SNAPSHOT = Operation('resume after the snapshot', plain)
MIGRATE = Operation('migrate the server', resize)
# The guest runs on; Nova sets ERROR after a rescue, all the same.
POWER_OFF = Operation('stop the server for a rescue or a move', rollback)
# The server ends in ERROR.
HOST_BOOT = Operation('start the server at host boot', plain)
FINISH_MIGRATION = Operation('start the migrated server', plain)
REVERT_MIGRATION = Operation('start the server after the revert', plain)
# The server stays where it is, ACTIVE: Nova cannot try again.
REVERT = Operation('revert the migration', rollback)
# As what it is a part of.
GUEST = Operation('start the guest', plain)
# The server stays ACTIVE where it is.
RECEIVE = Operation('receive the server', precheck)
SEND = Operation('send the server', precheck)
PREPARE = Operation('prepare the live migration', precheck)
