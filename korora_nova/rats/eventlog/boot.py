# SPDX-License-Identifier: Apache-2.0
"""What a verified event log says about a boot.

Every item comes from events of registers that agree with the quote.
``verified`` says more: the item's content hashes to the digest that was
extended, at a place where only firmware can have extended it. What has no
such field describes a digest and is the log's own word: a name or a path
is for people; a decision rests on the digest next to it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import NamedTuple


class SignatureEntry(NamedTuple):
    """One entry of a Secure Boot database.

    :param kind: 'x509', or what the digest is of: 'sha256' (an image),
        'x509-sha256' (a certificate's TBS part), 'rsa2048' (a public key).
    :param digest: 'sha256:HEX' of the image, or of the entry's own data.
    :param owner: the GUID that enrolled it.
    :param subject: a certificate's, RFC 4514; '' otherwise.
    """

    kind: str
    digest: str
    owner: str
    subject: str


@dataclasses.dataclass(frozen=True)
class SignatureDatabase:
    """One measured PK, KEK, db, dbx, dbt or dbr.

    :param verified: False also if a part could not be decoded; entries are
        then those before it.
    """

    name: str
    verified: bool
    entries: tuple[SignatureEntry, ...]


@dataclasses.dataclass(frozen=True)
class Authority:
    """What vouched for an image (EV_EFI_VARIABLE_AUTHORITY).

    Firmware and boot loaders measure these after the separator as well, so
    an operating system can add to them, but it cannot take one away.

    :param variable: db, or shim's Shim, MokList, vendor_db...
    :param entry: None if the data could not be decoded.
    """

    variable: str
    entry: SignatureEntry | None
    verified: bool


@dataclasses.dataclass(frozen=True)
class Component:
    """One thing that was measured, known by its digest.

    :param kind: 'firmware', 'driver', 'application', 'kernel', 'initrd',
        'module', 'configuration', 'section' or 'user space'; the log's word.
    :param digest: 'ALG:HEX', verified: it extended the register.
    :param name: e.g. a file name; the log's word.
    :param path: e.g. a device path; the log's word.
    :param version: e.g. '6.1.0-42-amd64'; '' if the log has none.
    :param pcr: register, verified.
    """

    kind: str
    digest: str
    name: str
    path: str
    version: str
    pcr: int


@dataclasses.dataclass(frozen=True)
class CommandLine:
    """A command of a boot loader, or a command line of a kernel.

    An event in a register of command lines whose text does not match its
    digest is still listed, unverified: otherwise one could be hidden. A
    verified one says that somebody measured it; that it was the kernel's
    follows from the boot loader, so judge the images of PCR 4 as well.

    :param source: 'grub', 'stub' (systemd's) or 'kernel' (its EFI stub).
    """

    text: str
    source: str
    verified: bool
    pcr: int


@dataclasses.dataclass(frozen=True)
class BootOption:
    """A measured Boot#### variable.

    :param number: the log's word where firmware hashes the value only.
    :param path: device path as text.
    """

    number: int
    description: str
    path: str
    active: bool
    verified: bool


@dataclasses.dataclass(frozen=True)
class BootState:
    """Facts about a boot.

    :param secure_boot: None: no verified event says so. False also if shim
        was told not to validate (MokSBState).
    :param commands: of GRUB.
    :param variables: other verified variables in the register of Secure
        Boot, name to text or 'hex:...'; e.g. SbatLevel.
    """

    secure_boot: bool | None = None
    databases: tuple[SignatureDatabase, ...] = ()
    authorities: tuple[Authority, ...] = ()
    boot_order: tuple[int, ...] = ()
    boot_order_verified: bool = False
    boot_options: tuple[BootOption, ...] = ()
    components: tuple[Component, ...] = ()
    commands: tuple[CommandLine, ...] = ()
    command_lines: tuple[CommandLine, ...] = ()
    variables: Mapping[str, str] = dataclasses.field(default_factory=dict)
