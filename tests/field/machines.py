# SPDX-License-Identifier: Apache-2.0
"""Situations of clauses 4 and 7 that need a TPM: one of software each."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from tpm2_pytss import ESAPI
from tpm2_pytss.constants import ESYS_TR, TPMA_NV

from korora_nova import errors
from korora_nova.rats import endorsement as rats
from korora_nova.rats.tpm2 import objects
from korora_nova.rats.tpm2 import templates as kinds
from korora_nova.secret import Secret
from korora_nova.tpm import device, keys, templates
from korora_nova.tpm.authorisation import Authorisation
from tests.field import Case, clause4, clause7
from tests.support import makers, swtpm

RSA_CERT, ECC_CERT, TEMPLATE, NONCE = (
    0x01C00002,
    0x01C00016,
    0x01C00004,
    0x01C00003,
)
SECRET = b's' * 32


@contextlib.contextmanager
def tpm() -> Iterator[swtpm.SwTpm]:
    """A TPM whose maker has certified an RSA and a P-384 key."""
    with swtpm.SwTpm('A') as hardware:
        yield hardware


def enrolled(hardware: swtpm.SwTpm, **values: Secret) -> keys.Identity:
    """The agent finds or makes its keys, and opens a credential."""
    opened = device.Tpm(hardware.tcti, Authorisation(**values))
    with opened.operation() as operation:
        identity = keys.provision(operation)
        made = objects.make_credential(
            objects.parse_public(identity.ek_public),
            identity.ak_name,
            SECRET,
        )
        proof = keys.activate_credential(operation, identity, *made)
    clause4.same(SECRET, proof)
    return identity


def refused(hardware: swtpm.SwTpm, *words: str, **values: Secret) -> None:
    try:
        enrolled(hardware, **values)
    except errors.Unavailable as exc:
        for word in words:
            assert word in exc.message, exc.message
    else:
        raise AssertionError('it is not refused')


def certified(hardware: swtpm.SwTpm, unique: bytes) -> None:
    """A maker certifies the L-1 key with this unique field."""
    template = templates.ek()
    template.publicArea.unique = templates.ek_unique(kinds.L_1, unique)
    with ESAPI(hardware.tcti) as esapi:
        made, public, *_ = esapi.create_primary(
            in_sensitive=None,
            in_public=template,
            primary_handle=ESYS_TR.ENDORSEMENT,
        )
        esapi.flush_context(made)
    key = objects.parse_public(bytes(public.marshal())).key
    hardware.nv_write(RSA_CERT, makers.Authority('root').certify(key))


def _p384() -> None:
    with tpm() as hardware:
        hardware.nv_remove(RSA_CERT)
        identity = enrolled(hardware)
        assert identity.ek_fits
        clause4.same(4, objects.parse_public(identity.ek_public).curve)


def _nonce() -> None:
    with tpm() as hardware:
        hardware.nv_remove(ECC_CERT)
        certified(hardware, b'nonce')
        assert not enrolled(hardware).ek_fits
        hardware.evict(keys.AK_HANDLE)
        hardware.nv_write(NONCE, b'nonce')
        assert enrolled(hardware).ek_fits


def _template() -> None:
    with tpm() as hardware:
        certified(hardware, b'maker')
        template = templates.ek()
        template.publicArea.unique = templates.ek_unique(kinds.L_1, b'maker')
        hardware.nv_write(TEMPLATE, bytes(template.publicArea.marshal()))
        assert enrolled(hardware).ek_fits


def _chain() -> None:
    with tpm() as hardware:
        middle = makers.Authority('middle', makers.Authority('root'))
        hardware.nv_write(0x01C00100, middle.der[:99])
        hardware.nv_write(0x01C00101, middle.der[99:] + bytes(9))
        clause4.same((middle.der,), enrolled(hardware).ek_chain)


def _none() -> None:
    with tpm() as hardware:
        hardware.nv_remove(RSA_CERT)
        hardware.nv_remove(ECC_CERT)
        identity = enrolled(hardware)
        clause4.same(b'', identity.ek_cert)
        assert rats.uncertified_hash(objects.parse_public(identity.ek_public))


def _passwords() -> None:
    with tpm() as hardware:
        for name in ('owner', 'endorsement', 'lockout'):
            hardware.password(name, name.encode())
        endorsement = Secret(b'endorsement')
        refused(hardware, 'endorsement hierarchy has a password')
        refused(
            hardware, 'owner hierarchy has a password', endorsement=endorsement
        )
        enrolled(hardware, owner=Secret(b'owner'), endorsement=endorsement)


def _disabled() -> None:
    with tpm() as hardware:
        with ESAPI(hardware.tcti) as esapi:
            esapi.hierarchy_control(
                auth_handle=ESYS_TR.PLATFORM,
                enable=ESYS_TR.ENDORSEMENT,
                state=False,
            )
        refused(hardware, 'endorsement hierarchy is disabled')
        hardware.reboot()
        enrolled(hardware)


def _unwritten() -> None:
    with tpm() as hardware:
        hardware.nv_remove(ECC_CERT)
        hardware.nv_write(RSA_CERT, None)
        clause4.same(b'', enrolled(hardware).ek_cert)


def _owner_read() -> None:
    with tpm() as hardware:
        cert = enrolled(hardware).ek_cert
        hardware.nv_remove(ECC_CERT)
        hardware.nv_write(RSA_CERT, cert, TPMA_NV.OWNERREAD)
        clause4.same(cert, enrolled(hardware).ek_cert)


def _upgrade() -> None:
    with tpm() as hardware:
        first = enrolled(hardware)
        with ESAPI(hardware.tcti) as esapi:
            esapi.change_eps(ESYS_TR.PLATFORM)
        second = enrolled(hardware)
        assert first.ek_name != second.ek_name and not second.ek_fits


def _others() -> None:
    """Keys of others at all three handles stay where they are."""
    with tpm() as hardware:
        hardware.evict(keys.EK_HANDLE)
        hardware.occupy(keys.EK_HANDLE, keys.AK_HANDLE, keys.SRK_HANDLE)
        assert enrolled(hardware).ek_fits


def _case(
    clause: int,
    number: int,
    source: str,
    what: str,
    check: Callable[[], None],
) -> Case:
    return Case(f'{clause}-{number}', clause, source, what, check)


CASES = (
    _case(
        4, 20, 'swtpm_setup(8)', 'only the P-384 key has a certificate', _p384
    ),
    _case(
        4,
        21,
        'https://github.com/google/go-attestation/issues/236',
        'a nonce in NV memory makes another key',
        _nonce,
    ),
    _case(
        4,
        22,
        'https://github.com/tpm2-software/tpm2-tools/pull/3279',
        'a template in NV memory, and no nonce',
        _template,
    ),
    _case(
        4,
        23,
        f'{clause4.RUST}issues/859',
        'intermediates in NV memory',
        _chain,
    ),
    _case(4, 24, f'{clause4.KEYLIME}issues/1027', 'no certificate', _none),
    _case(
        7,
        20,
        f'{clause7.RUST}issues/175; {clause7.RUST}issues/433',
        'owner, endorsement and lockout have passwords',
        _passwords,
    ),
    _case(
        7,
        21,
        f'{clause7.TOOLS}3365',
        'the endorsement hierarchy is disabled',
        _disabled,
    ),
    _case(
        7,
        22,
        'TPM 2.0 Part 3, 31.1 (TPM_RC_NV_UNINITIALIZED)',
        'the index of the certificate was never written',
        _unwritten,
    ),
    _case(
        7,
        23,
        f'{clause4.KEYLIME}issues/217 (ownerread|authread)',
        'only the owner reads the index of the certificate',
        _owner_read,
    ),
    _case(
        7,
        24,
        'TPM 2.0 Part 3, 24.5 (TPM2_ChangeEPS)',
        'an upgrade changes the EK',
        _upgrade,
    ),
    _case(
        7,
        25,
        'https://github.com/systemd/systemd/issues/28655',
        'keys of others are at the handles of the agent',
        _others,
    ),
)
