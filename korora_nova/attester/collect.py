# SPDX-License-Identifier: Apache-2.0
"""The logs behind the PCRs, as firmware and kernel keep them."""

from __future__ import annotations

import dataclasses

from korora_nova import errors
from korora_nova.rats import evidence


@dataclasses.dataclass(frozen=True)
class Logs:
    """Both logs; empty where the host keeps none."""

    uefi: bytes
    ima: bytes


@dataclasses.dataclass(frozen=True)
class Collector:
    """Where the logs of this host are.

    A log that does not exist is sent as empty: it is the verifier's to
    judge that.  One that cannot be read is this host's fault.
    """

    uefi_path: str
    ima_path: str

    def read(self) -> Logs:
        """Read both logs.

        :raises errors.TooLarge: a log is longer than the service reads.
        :raises errors.Unavailable: TPM_UNAVAILABLE, a log is unreadable.
        """
        return Logs(
            _read(self.uefi_path, evidence.MAX_UEFI_LOG),
            _read(self.ima_path, evidence.MAX_IMA_LOG),
        )


def _read(path: str, limit: int) -> bytes:
    try:
        with open(path, 'rb') as stream:
            content = stream.read(limit + 1)
    except FileNotFoundError:
        return b''
    except OSError as error:
        raise errors.Unavailable(
            errors.Reason.TPM_UNAVAILABLE,
            f'The measurement log {path} cannot be read: {error.strerror}.',
        ) from None
    if len(content) > limit:
        raise errors.TooLarge(
            errors.Reason.TOO_LARGE,
            f'The measurement log {path} is longer than {limit} bytes.',
        )
    return content
