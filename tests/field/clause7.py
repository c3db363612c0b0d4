# SPDX-License-Identifier: Apache-2.0
"""States of TPMs: what is said about them, and what is not.

What needs a TPM is in machines.py.
"""

from __future__ import annotations

import pathlib
import tempfile

from korora_nova.attester.check import tpm as checks
from korora_nova.checks import Level
from korora_nova.rats.quote.verify import Clock
from korora_nova.tpm import authorisation, causes
from korora_nova.tpm.causes import Command
from korora_nova.tpm.inspection import Place, Properties
from tests.field import Case

RUST = 'https://github.com/keylime/rust-keylime/'
TOOLS = 'https://github.com/tpm2-software/tpm2-tools/issues/'
OWNER, ENDORSEMENT = 0x40000001, 0x4000000B
GOOD = Properties('IFX', 0x10, 159, (), (), False, 7)
USED = {'AK': Place('ours', (0x81010020, 0x81010022))}


def says(code: int, command: Command, *words: str) -> None:
    said = causes.explain(code, command) or ''
    for word in words:
        assert word in said, f'{word!r} is not in {said!r}'


def _owner() -> None:
    says(0x9A2, Command(0x120, OWNER), 'the owner hierarchy', 'owner_auth')
    says(
        0x9A2,
        Command(0x131, ENDORSEMENT),
        'the endorsement hierarchy',
        'endorsement_auth',
    )


def _one_value_each() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        owner = pathlib.Path(scratch, 'korora.owner-auth')
        owner.write_text('secret\n')
        found = authorisation.load(
            None, None, {'CREDENTIALS_DIRECTORY': scratch}
        )
    assert found.owner.reveal() == b'secret'
    assert found.endorsement.reveal() == b''
    assert 'secret' not in repr(found)


def _lockout() -> None:
    says(0x921, Command(0x147), 'too many wrong', '--clear-lockout')


def _lockout_password() -> None:
    """It is of no interest; nor are those that the agent has."""
    found = Properties('IFX', 0x10, 159, ('owner', 'lockout'), (), False, 7)
    assert checks.tpm_state(found, USED).level is Level.OK
    assert checks.tpm_state(GOOD, USED).level is Level.OK


def _disabled() -> None:
    says(0x285, Command(0x131, ENDORSEMENT), 'disabled', 'firmware setup')


def _full() -> None:
    command = Command(0x120, OWNER)
    says(0x14B, command, 'memory is full', '0x01c00000', 'leave it')
    assert 'evict' not in str(causes.explain(0x14B, command))


def _vendor() -> None:
    """Keys at handles of endorsement keys are never to be evicted."""
    taken = {'EK': Place('foreign', (0x81010001, 0x81010021))}
    found = checks.tpm_keys(taken, 3)
    assert found.level is Level.BAD
    assert 'evict' not in found.advice and 'leave it' in found.advice


def _hibernated() -> None:
    found = checks.tpm_clock(Clock(1, 2, 0, True), 60, 86_400)
    assert found.level is Level.WARN
    assert 'hibernation' in found.advice and 'reboot' in found.advice


def _upgrade() -> None:
    says(0x12D, Command(0x131, ENDORSEMENT), 'upgrade', 'maker')


def _case(number: int, source: str, what: str, check: object) -> Case:
    return Case(f'7-{number}', 7, source, what, check)  # type: ignore[arg-type]


CASES = (
    _case(
        1,
        f'{RUST}issues/175; {TOOLS}1137',
        '0x9a2: which hierarchy has a password',
        _owner,
    ),
    _case(
        2,
        f'{RUST}issues/433; {RUST}pull/448',
        'one value for each hierarchy, from a credential',
        _one_value_each,
    ),
    _case(3, f'{RUST}issues/170', '0x921: lock-out', _lockout),
    _case(
        4,
        f'{TOOLS}3348; {TOOLS}1183',
        "a password of lockout is in nobody's way",
        _lockout_password,
    ),
    _case(
        5, f'{TOOLS}3365', '0x285: firmware disabled a hierarchy', _disabled
    ),
    _case(6, f'{TOOLS}2362', 'the NV memory is full', _full),
    _case(
        7,
        'https://github.com/systemd/systemd/issues/28655; TCG Registry of '
        'Reserved TPM 2.0 Handles and Localities',
        'another key is at a handle that makers use',
        _vendor,
    ),
    _case(
        8,
        'https://github.com/systemd/systemd/issues/34488; '
        'https://github.com/nix-community/lanzaboote/issues/628',
        'the host was hibernated: the registers have begun anew',
        _hibernated,
    ),
    _case(
        9,
        'https://github.com/fwupd/firmware-lenovo/issues/353',
        'an upgrade of the firmware was interrupted',
        _upgrade,
    ),
)
