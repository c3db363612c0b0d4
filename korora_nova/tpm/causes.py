# SPDX-License-Identifier: Apache-2.0
"""What a TPM's response code means on a real host, and what to do.

TPM 2.0 Part 2, 6.6: codes of format one have bit 7; which parameter, handle
or session they are about is cut off.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

_FORMAT_ONE = 0x080
_CODE = 0x0BF
_LAYER = 0x00FF0000
# Resource managers hand on what the TPM said
_TPM_LAYERS = (0, 0x000B0000, 0x000C0000)

#: Permanent handles of hierarchies (Part 2, 7.4).
HIERARCHIES = {
    0x40000001: 'owner',
    0x4000000A: 'lockout',
    0x4000000B: 'endorsement',
    0x4000000C: 'platform',
}
_EVICT_CONTROL = 0x120
_NV_DEFINE = 0x12A

BAD_AUTH, AUTH_FAIL, AUTH_MISSING = 0x0A2, 0x08E, 0x125
HIERARCHY, NV_SPACE, LOCKOUT = 0x085, 0x14B, 0x921
#: A wrong password, with and without consequences.
PASSWORDS = (BAD_AUTH, AUTH_FAIL, AUTH_MISSING)


@dataclasses.dataclass(frozen=True)
class Command:
    """A command as it was sent: its code, and the first handle."""

    code: int = 0
    handle: int = 0

    @classmethod
    def of(cls, data: bytes) -> Command:
        """Read TPMS_COMMAND_HEADER: u16 tag | u32 size | u32 code."""
        return cls(
            int.from_bytes(data[6:10], 'big'),
            int.from_bytes(data[10:14], 'big'),
        )

    @property
    def hierarchy(self) -> str:
        """The hierarchy that it is for, '' if none."""
        return HIERARCHIES.get(self.handle, '')


def reduced(code: int) -> int | None:
    """A response code without its details; None if it is not the TPM's."""
    if code & _LAYER not in _TPM_LAYERS:
        return None
    code &= 0xFFFF
    return code & _CODE if code & _FORMAT_ONE else code


def explain(code: int, command: Command) -> str | None:
    """A sentence for people, without its full stop.

    :param code: TSS2_RC.
    :returns: None if the text of the stack says as much.
    """
    plain = reduced(code)
    if plain in PASSWORDS:
        return _password(command)
    if plain == HIERARCHY:
        return off(command.hierarchy or 'needed')
    if plain == NV_SPACE:
        return _full(command)
    return _TEXTS.get(plain) if plain is not None else None


def off(hierarchy: str) -> str:
    """What to do about a hierarchy that is switched off."""
    return (
        f'the {hierarchy} hierarchy is disabled; enable the TPM and its '
        "hierarchies in the host's firmware setup, and reboot"
    )


def _password(command: Command) -> str:
    which = command.hierarchy
    if which in ('owner', 'endorsement'):
        return (
            f'the {which} hierarchy has a password, and what the agent has '
            f'is not it: put it into the file of [attester] {which}_auth, or '
            f'into the systemd credential korora.{which}-auth, or take it '
            f'away with tpm2_changeauth -c {which} -p PASSWORD'
        )
    return (
        'it wants a password that the agent does not have, for the handle '
        f'0x{command.handle:08x}'
    )


def _full(command: Command) -> str:
    what = (
        'make another key persistent'
        if command.code == _EVICT_CONTROL
        else 'hold anything else'
    )
    return (
        f'its memory is full: it cannot {what}. "tpm2_getcap '
        'handles-persistent" and "tpm2_getcap handles-nv-index" list what is '
        'there; remove what you know to be unused. What is at 0x01c00000 to '
        '0x01c07fff and 0x81010000 to 0x8101ffff may be of the TPM maker, at '
        '0x81800000 to 0x81ffffff of the platform: leave it'
    )


_TEXTS: Mapping[int, str] = {
    LOCKOUT: 'it is locked after too many wrong passwords; it unlocks by '
    'itself with time (tpm2_getcap properties-variable, '
    'TPM2_PT_LOCKOUT_INTERVAL), or with tpm2_dictionarylockout '
    '--clear-lockout',
    0x101: 'it is in failure mode (TPM_RC_FAILURE) and answers nothing but '
    'tests; switch the host off and on, and if it stays so, replace it',
    0x100: 'it was not started (TPM_RC_INITIALIZE): firmware did not send '
    'TPM2_Startup; reboot the host',
    0x12D: 'an upgrade of its firmware is under way or was interrupted '
    '(TPM_RC_UPGRADE); finish it with the tool of its maker',
    0x120: 'the command is disabled; enable the TPM in the firmware setup',
    0x148: 'the NV index is locked for reading until the next reboot '
    '(TPM_RC_NV_LOCKED)',
    0x149: 'the NV index may not be read this way (TPM_RC_NV_AUTHORIZATION)',
    0x14A: 'the NV index was never written (TPM_RC_NV_UNINITIALIZED)',
    0x902: 'it has no room for another object: something else holds it '
    'without a resource manager; use device:/dev/tpmrm0',
    0x903: 'it has no room for another session: something else holds it '
    'without a resource manager; use device:/dev/tpmrm0',
    0x920: 'it limits how often its NV memory is written; it goes on later',
    0x923: 'its NV memory does not answer now; it goes on later',
}
