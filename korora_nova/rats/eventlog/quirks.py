# SPDX-License-Identifier: Apache-2.0
"""Where real logs depart from the specification, in one table.

Code that deals with one refers to its name here; a parsed log lists those
it met.
"""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Quirk:
    """One deviation.

    :param what: what the log does.
    :param seen: where.
    :param handling: what this package does about it, and why it is safe.
    """

    what: str
    seen: str
    handling: str


PADDING = 'padding'
VENDOR_BYTES = 'vendor-bytes'
HEADERLESS = 'headerless'
MISSING_BANK = 'missing-bank'
LATE_LOCALITY = 'late-locality'
NO_ACTION_REGISTER = 'no-action-register'
SEPARATOR_VALUE = 'separator-value'
SHIM_LENGTH = 'shim-length'
SHIM_NAME = 'shim-name'
VARIABLE_BOOT = 'variable-boot'
GRUB_TEXT = 'grub-text'
LOAD_OPTIONS = 'load-options'
SECURE_BOOT_EMPTY = 'secure-boot-empty'
TEXT_NUL = 'text-nul'

QUIRKS = {
    PADDING: Quirk(
        'The area after the last event is filled with 00 or ff, up to '
        'megabytes.',
        'ACPI log areas copied whole',
        'A fill that reaches the end ends the log. Nothing is skipped: '
        'an event dropped with it would be missing from the replay.',
    ),
    VENDOR_BYTES: Quirk(
        'The vendor bytes of the Spec ID event are not counted in its '
        'size, or are not there at all.',
        'several firmwares',
        'Events start after the stated size, as the kernel reads it; '
        'after the vendor bytes if the log cannot be read otherwise.',
    ),
    HEADERLESS: Quirk(
        'Crypto-agile events without the Spec ID event in front.',
        'excerpts of logs',
        'Digest sizes are those of the algorithms known here. Accepted '
        'only if the log cannot be read as a SHA-1 log as well.',
    ),
    MISSING_BANK: Quirk(
        'Events lack the digest of a bank that the Spec ID event names.',
        'firmware and boot loaders that measure into some banks only',
        'The bank is incomplete from there on and cannot be compared; '
        'nothing is guessed.',
    ),
    LATE_LOCALITY: Quirk(
        'StartupLocality after the first event of PCR 0, or twice, or '
        'padded with 00.',
        'firmware that logs in the order of its phases; coreboot',
        'Taken from anywhere if all agree: a wrong start value does not '
        'replay.',
    ),
    NO_ACTION_REGISTER: Quirk(
        'EV_NO_ACTION with register 0xffffffff, or with a digest.',
        'several firmwares',
        'Such events never extend.',
    ),
    SEPARATOR_VALUE: Quirk(
        'Separators of ffffffff or "WBCL" instead of 00000000, two of '
        'them in one register, or data longer than what was hashed.',
        'BIOS-era firmware; Windows in PCRs 12-14; coreboot',
        'Known by their digest. The first one ends what firmware says.',
    ),
    SHIM_LENGTH: Quirk(
        'An authority event is 6 bytes longer than its own lengths say, '
        'and the last of them is not hashed.',
        'shim before 15.3, which counted the padding of its structure',
        'Up to 8 surplus bytes are tolerated, hashed or not.',
    ),
    SHIM_NAME: Quirk(
        'The name of a variable of shim, in PCR 14, has a byte of memory '
        'after its NUL.',
        'shim 15',
        'Up to 8 bytes after a NUL are left out of a name, which is for '
        'people and not verified.',
    ),
    VARIABLE_BOOT: Quirk(
        'EV_EFI_VARIABLE_BOOT hashes only the value of the variable, or '
        'the whole structure.',
        'EDK II and others; PFP up to 1.05',
        'Both are accepted in PCR 1; the name is then not covered.',
    ),
    GRUB_TEXT: Quirk(
        "GRUB's EV_IPL hashes the text after a prefix, and the data "
        'carries a NUL more or less than what was hashed.',
        'GRUB',
        'All four readings are tried. The prefix is not covered, so a '
        'text is judged by its content.',
    ),
    LOAD_OPTIONS: Quirk(
        "The event of a kernel's load options has no text. They are what a "
        'boot loader gave, which may not be what it measured: with '
        '"BOOT_IMAGE=" in front, and without a NUL at the end.',
        "Linux' EFI stub, started by GRUB, systemd or firmware",
        'Texts that the log has elsewhere are tried. One that hashes to the '
        'digest is what the kernel was given, wherever it comes from.',
    ),
    SECURE_BOOT_EMPTY: Quirk(
        'The SecureBoot variable has length 0.',
        'firmware without keys, virtual machines',
        'Secure Boot is off.',
    ),
    TEXT_NUL: Quirk(
        'An action carries a NUL that was not hashed.',
        'several firmwares',
        'Text is compared with and without it.',
    ),
}
