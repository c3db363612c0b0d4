# SPDX-License-Identifier: Apache-2.0
"""The escrow: the tenant's secret in the key manager.

It is made once, with the server. Stock Nova makes another one when it does
not find in its own record which one it was, and a vTPM's state does not open
with that: a key that comes back into custody is read, never made anew.
"""

from __future__ import annotations

from typing import Any, NoReturn

from castellan.common import exception as castellan_exception
from nova import exception, vtpm
from oslo_log import log as logging

from korora_nova import errors

LOG = logging.getLogger(__name__)

#: Where Nova notes which secret it is.
SECRET_UUID = 'vtpm_secret_uuid'

_FORBIDDEN = (castellan_exception.Forbidden, exception.Forbidden)
# What Barbican answers comes as text only.
_FORBIDDEN_TEXTS = ('Forbidden', 'Unauthorized')


def create(context: Any, instance: Any) -> tuple[str, bytes]:
    """The secret of a server that was never under custody.

    :returns: its UUID and passphrase; made if there is none.
    """
    secret: tuple[str, bytes] = vtpm.get_or_create_secret(context, instance)
    return secret


def read(context: Any, instance: Any) -> tuple[str, bytes]:
    """The secret of a server that was under custody before.

    :returns: its UUID and passphrase.
    :raises CustodyError: ESCROW_MISSING, ESCROW_FORBIDDEN.
    :raises Unavailable: ESCROW_UNAVAILABLE.
    """
    if not instance.system_metadata.get(SECRET_UUID):
        raise errors.CustodyError(errors.Reason.ESCROW_MISSING)
    try:
        # Nova makes no other one as long as it knows which one it was.
        return create(context, instance)
    except Exception as exc:  # noqa: BLE001 boundary: any key manager's
        _refuse(exc, context, instance)


def _refuse(exc: Exception, context: Any, instance: Any) -> NoReturn:
    """Say what a failure of the key manager means.

    :raises KororaError: always; nothing of its text, which may be anything.
    """
    LOG.warning(
        'The key manager does not give the secret of the vTPM: %s',
        type(exc).__name__,
        instance=instance,
    )
    if isinstance(exc, castellan_exception.ManagedObjectNotFoundError):
        raise errors.CustodyError(errors.Reason.ESCROW_MISSING) from None
    if (
        isinstance(exc, _FORBIDDEN)
        or any(text in str(exc) for text in _FORBIDDEN_TEXTS)
        or not getattr(context, 'auth_token', None)
    ):
        raise errors.CustodyError(errors.Reason.ESCROW_FORBIDDEN) from None
    raise errors.Unavailable(errors.Reason.ESCROW_UNAVAILABLE) from None
