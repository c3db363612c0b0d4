# SPDX-License-Identifier: Apache-2.0
"""Whose doing something is, in every line of every log.

Nova gives each request an id, which both nova-compute of a migration have.
Agents and service are told it, and log it as their ``global_request_id``,
beside a request id of their own; so is the server, and the migration, as soon
as one is known. What an agent does by itself has an id of the agent's.

Between processes the id travels as W3C's ``traceparent``, the same as spans
use, and to HTTP APIs as ``X-OpenStack-Request-ID``, too.
"""

from __future__ import annotations

import contextlib
import re
import uuid
from collections.abc import Iterator
from typing import Any, Final

from oslo_context import context

#: Name of the header, and of the field of a message.
TRACEPARENT: Final = 'traceparent'
# W3C Trace Context, 3.2.2: version, trace-id, parent-id, flags
TRACE: Final = re.compile(r'00-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}')
#: As ``oslo_middleware.request_id`` reads it.
HEADER: Final = 'X-OpenStack-Request-ID'
_PREFIX = 'req-'
# Of RFC 9562, as Nova writes it, and no other text.
_ID = re.compile(
    _PREFIX + r'[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}', re.ASCII
)

#: oslo.log's own, and the migration.
FORMAT: Final = (
    '%(asctime)s.%(msecs)03d %(process)d %(levelname)s %(name)s '
    '[%(global_request_id)s %(request_id)s %(migration)s %(user_identity)s] '
    '%(instance)s%(message)s'
)


class Context(context.RequestContext):
    """What oslo.log adds to each record of this thread.

    :ivar instance_uuid: of a server; '' if none is known.
    :ivar migration: uuid; '-' likewise.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.instance_uuid = ''
        self.migration = '-'
        super().__init__(*args, **kwargs)

    def get_logging_values(self) -> Any:
        return {
            **super().get_logging_values(),
            'instance_uuid': self.instance_uuid,
            'migration': self.migration,
        }


@contextlib.contextmanager
def scope() -> Iterator[None]:
    """What is entered inside ends with it."""
    before = context.get_current()
    try:
        yield
    finally:
        if before is not None:
            before.update_store()
        else:
            # oslo.context has no public way to leave a thread without one.
            vars(context._request_store).pop('context', None)  # noqa: SLF001


def enter(traceparent: str = '', **ids: str) -> None:
    """This thread works for somebody from now on.

    :param traceparent: the caller's, which may be anything; '': nobody's.
    :param ids: see :func:`note`.
    """
    found = TRACE.fullmatch(traceparent)
    Context(
        global_request_id=_PREFIX + str(uuid.UUID(found[1]))
        if found is not None
        else None
    )
    note(**ids)


@contextlib.contextmanager
def following(traceparent: str = '', **ids: str) -> Iterator[None]:
    """:func:`enter`, in a :func:`scope`."""
    with scope():
        enter(traceparent, **ids)
        yield


def note(*, instance: str = '', migration: str = '') -> None:
    """What this thread works for is this server, or migration.

    :param instance: uuid; '' says nothing. Nova's own contexts stay as they
        are.
    """
    current = context.get_current()
    if isinstance(current, Context):
        current.instance_uuid = instance or current.instance_uuid
        current.migration = migration or current.migration


def request_id() -> str:
    """The id of what this thread works for; '' if there is none.

    Of Nova's contexts it is the one that Nova logs and shows.
    """
    current: Any = context.get_current()
    if current is None:
        return ''
    found = (
        current.global_id
        if isinstance(current, Context)
        else current.request_id
    )
    return found if _ID.fullmatch(str(found)) else ''


def carrier() -> dict[str, str]:
    """What another process must be told to follow."""
    found = request_id()
    if not found:
        return {}
    trace = found.removeprefix(_PREFIX).replace('-', '')
    # Nobody measures: "not sampled", and the parent is Nova's request.
    return {TRACEPARENT: f'00-{trace}-{trace[16:]}-00'}


def headers() -> dict[str, str]:
    """The same for an API of OpenStack."""
    found = request_id()
    return {HEADER: found} if found else {}
