# SPDX-License-Identifier: Apache-2.0
"""libvirt's own connection to the destination, and whether it is one.

Over it the source's libvirt says what the guest is, and whoever may connect
to libvirt can dump the memory of every guest. Nova's default is plain TCP.
"""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

from korora_nova import errors

#: Transports whose peer proves who it is; without a transport it is TLS.
_AUTHENTICATED = ('', 'tls', 'ssh', 'libssh', 'libssh2')


def check(uri: str) -> None:
    """Insist on a connection both of whose ends are authenticated.

    :param uri: of the destination's libvirt, as Nova gives it to libvirt.
    :raises CustodyError: CHANNEL_UNAUTHENTICATED.
    """
    try:
        parts = urlsplit(uri)
        query = parse_qs(parts.query, keep_blank_values=True)
    except ValueError:
        raise _refused(uri) from None
    transport = parts.scheme.partition('+')[2]
    unverified = query.get('no_verify', ['0']) != ['0'] or 'ignore' in (
        query.get('known_hosts_verify', [])
    )
    if transport not in _AUTHENTICATED or not parts.netloc or unverified:
        raise _refused(uri)


def _refused(uri: str) -> errors.CustodyError:
    return errors.CustodyError(
        errors.Reason.CHANNEL_UNAUTHENTICATED,
        details={'uri': uri.partition('?')[0][:255]},
    )
