# SPDX-License-Identifier: Apache-2.0
"""Passwords of the hierarchies of a TPM, from files or from systemd."""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Mapping

from korora_nova import errors
from korora_nova.secret import Secret

#: Longest authorisation value: the largest digest of a TPM, bytes.
MAX_VALUE = 64
_HEX = b'hex:'


@dataclasses.dataclass(frozen=True)
class Authorisation:
    """Values for TPM_RH_OWNER and TPM_RH_ENDORSEMENT; empty: no password."""

    owner: Secret = dataclasses.field(default_factory=lambda: Secret(b''))
    endorsement: Secret = dataclasses.field(
        default_factory=lambda: Secret(b'')
    )


def load(
    owner: str | None,
    endorsement: str | None,
    environ: Mapping[str, str] = os.environ,
) -> Authorisation:
    """Read both values.

    :param owner: name of a file; None: the credential ``korora.owner-auth``
        of the systemd unit, and no password if there is none.
    :param endorsement: likewise, ``korora.endorsement-auth``.
    :raises Unavailable: TPM_UNAVAILABLE, a file cannot be read or is none.
    """
    return Authorisation(
        _read('owner', owner, environ),
        _read('endorsement', endorsement, environ),
    )


def _read(
    hierarchy: str, name: str | None, environ: Mapping[str, str]
) -> Secret:
    directory = environ.get('CREDENTIALS_DIRECTORY', '')
    if name:
        path = pathlib.Path(name)
    else:
        path = pathlib.Path(directory) / f'korora.{hierarchy}-auth'
        if not directory or not path.exists():
            return Secret(b'')
    try:
        return Secret(_value(path.read_bytes()))
    except OSError as exc:
        why = exc.strerror or type(exc).__name__
    except ValueError as exc:
        why = str(exc)
    raise errors.Unavailable(
        errors.Reason.TPM_UNAVAILABLE,
        f'The password of the {hierarchy} hierarchy cannot be read from '
        f'{path}: {why}.',
    )


def _value(content: bytes) -> bytes:
    """Text up to the end of its line, or ``hex:`` and digits.

    :raises ValueError: never with what is in the file.
    """
    value = content.removesuffix(b'\n').removesuffix(b'\r')
    if value.startswith(_HEX):
        try:
            value = bytes.fromhex(value[len(_HEX) :].decode('ascii'))
        except ValueError:
            raise ValueError(
                'after "hex:" there are not only digits'
            ) from None
    if len(value) > MAX_VALUE:
        raise ValueError(f'it has more than {MAX_VALUE} bytes')
    # The TPM takes values without their zeros at the end (Part 1, 19.6.4.3)
    return value.rstrip(b'\0')
