# SPDX-License-Identifier: Apache-2.0
"""What a protected server's stream may do, enforced at libvirt's door.

Nova builds flags and parameters of ``migrateToURI3`` itself; a domain in
between is the one place that sees them all without patching Nova.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from concurrent import futures
from typing import Any

from korora_nova import errors

#: Seconds for which Nova's first look at a stream waits for its end. Nova
#: looks every half second, which is much of what a short stream takes. All
#: that it does between looks has time: ``migration abort`` asks libvirt.
FIRST_LOOK = 3.0


class StreamDomain:
    """A libvirt domain that adds to ``migrateToURI3``, and only there.

    :param domain: the ``virDomain``.
    :param libvirt: the module, for its constants.
    :param tls_name: the name in the destination's certificate; None for a
        stream without TLS.
    :param uri: where the memory goes. Without one the destination's libvirt
        chooses, and Nova gives one only if its address is configured.
    :param converge: slow a guest down that writes too fast, as Nova does
        only where there is no post-copy.
    """

    def __init__(
        self,
        domain: Any,
        libvirt: Any,
        tls_name: str | None,
        uri: str | None = None,
        *,
        converge: bool = False,
    ) -> None:
        self._domain = domain
        self._libvirt = libvirt
        self._tls_name = tls_name
        self._uri = uri
        self._converge = converge

    def __getattr__(self, name: str) -> Any:
        return getattr(self._domain, name)

    def migrateToURI3(
        self,
        dconnuri: str,  # noqa: N802 libvirt's name
        params: Any = None,
        flags: int = 0,
    ) -> Any:
        """Never post-copy: it cannot be aborted. Where the permit says.

        :raises CustodyError: STREAM_TUNNELLED, it goes where libvirt is.
        """
        if flags & self._libvirt.VIR_MIGRATE_TUNNELLED:
            raise errors.CustodyError(errors.Reason.STREAM_TUNNELLED)
        if flags & self._libvirt.VIR_MIGRATE_POSTCOPY:
            flags &= ~self._libvirt.VIR_MIGRATE_POSTCOPY
            if self._converge:
                flags |= self._libvirt.VIR_MIGRATE_AUTO_CONVERGE
        params = dict(params or {})
        if self._uri:
            params['migrate_uri'] = self._uri
        if self._tls_name is not None:
            flags |= self._libvirt.VIR_MIGRATE_TLS
            params[self._libvirt.VIR_MIGRATE_PARAM_TLS_DESTINATION] = (
                self._tls_name
            )
        return self._domain.migrateToURI3(dconnuri, params=params, flags=flags)


class WatchedGuest:
    """Nova's ``Guest``, first looked at when its stream is over, or soon.

    :param guest: of Nova.
    :param future: of the thread that calls libvirt.
    """

    def __init__(self, guest: Any, future: futures.Future[Any]) -> None:
        self._guest = guest
        self._future: futures.Future[Any] | None = future

    def __getattr__(self, name: str) -> Any:
        return getattr(self._guest, name)

    def get_job_info(self) -> Any:
        """As Nova's; the first call waits."""
        future, self._future = self._future, None
        if future is not None:
            # What the thread raised is Nova's to see.
            with contextlib.suppress(
                futures.TimeoutError, futures.CancelledError
            ):
                future.exception(FIRST_LOOK)
        return self._guest.get_job_info()


class Recovery:
    """Nova's recover method, and whether it came back.

    :param before: called with the same arguments; must not raise.
    """

    def __init__(self, recover: Any, before: Callable[..., None]) -> None:
        self._recover = recover
        self._before = before
        self.returned = False

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self._before(*args, **kwargs)
        answer = self._recover(*args, **kwargs)
        self.returned = True
        return answer
