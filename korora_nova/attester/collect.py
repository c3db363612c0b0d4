# SPDX-License-Identifier: Apache-2.0
"""The logs that explain the PCRs, as firmware and kernel keep them."""

from __future__ import annotations

import dataclasses
from typing import BinaryIO

from korora_nova import errors
from korora_nova.rats import evidence, ima

_CHUNK = 1 << 20
# What holds the first entry of a list
_FIRST = 4096


@dataclasses.dataclass(frozen=True)
class Logs:
    """The logs; empty where the host keeps none.

    :param ima_offset: bytes of the IMA list that precede ``ima``.
    """

    uefi: bytes
    ima: bytes
    ima_offset: int = 0
    systemd: bytes = b''


@dataclasses.dataclass(frozen=True)
class Collector:
    """Where the logs of this host are.

    A log that does not exist is sent as empty: the verifier judges that.
    One that cannot be read is this host's fault.
    """

    uefi_path: str
    ima_path: str
    systemd_path: str = ''

    def read(self, ima_offset: int = 0, dropped: int = 0) -> Logs:
        """Read the logs, the IMA list from an offset on.

        A list that is shorter than the offset is another one, and read
        from its beginning.

        :param dropped: bytes of the list that the kernel has no more.
        :raises TooLarge: a log is longer than the service reads.
        :raises Unavailable: TPM_UNAVAILABLE, a log is unreadable.
        """
        uefi = _read(self.uefi_path, evidence.MAX_UEFI_LOG)
        systemd = _beginning(self.systemd_path, evidence.MAX_SYSTEMD_LOG)
        limit = evidence.MAX_IMA_LOG
        place = ima_offset - dropped
        if place:
            # The byte before the offset tells that the list reaches it.
            ima = _read(self.ima_path, limit + 1, place - 1)
            if ima:
                return Logs(uefi, ima[1:], ima_offset, systemd)
            ima_offset = 0
        return Logs(uefi, _read(self.ima_path, limit), ima_offset, systemd)

    def sha1(self) -> bool:
        """Whether IMA's boot aggregate may be one of the SHA-1 bank.

        So it is with ``ima_hash=sha1``; a list that was trimmed does not say.

        :raises Unavailable: TPM_UNAVAILABLE, it is unreadable.
        """
        first = _most(self.ima_path, _FIRST, 0)
        return ima.aggregate_hash(first) == 'sha1' or not ima.begins(first)

    def part(self, offset: int, dropped: int = 0) -> bytes:
        """A part of the IMA list, if it goes on for longer than evidence.

        :returns: empty if evidence can hold what follows the offset.
        :raises Unavailable: TPM_UNAVAILABLE, it is unreadable.
        """
        limit = evidence.MAX_IMA_LOG
        content = _most(self.ima_path, limit + 1, offset - dropped)
        return content[:limit] if len(content) > limit else b''


def _beginning(path: str, limit: int) -> bytes:
    """What there is of systemd's log; without it less is explained."""
    try:
        with open(path, 'rb') as stream:
            return stream.read(limit)
    except OSError:
        return b''


def _read(path: str, limit: int, offset: int = 0) -> bytes:
    content = _most(path, limit + 1, offset)
    if len(content) > limit:
        raise errors.TooLarge(
            errors.Reason.TOO_LARGE,
            f'The measurement log {path} is longer than {limit} bytes.',
        )
    return content


def _most(path: str, size: int, offset: int) -> bytes:
    try:
        with open(path, 'rb') as stream:
            if offset:
                _skip(stream, offset)
            return stream.read(size)
    except FileNotFoundError:
        return b''
    except OSError as exc:
        raise errors.Unavailable(
            errors.Reason.TPM_UNAVAILABLE,
            f'The measurement log {path} cannot be read: {exc.strerror}.',
        ) from None


def _skip(stream: BinaryIO, offset: int) -> None:
    """Go to an offset; what cannot seek is read and dropped."""
    try:
        stream.seek(offset)
        return
    except OSError:
        pass
    while offset:
        dropped = len(stream.read(min(offset, _CHUNK)))
        if not dropped:
            return
        offset -= dropped
