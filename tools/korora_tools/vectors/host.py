# SPDX-License-Identifier: Apache-2.0
"""Recipes: all evidence of a measured host, with a quote of its own TPM."""

from __future__ import annotations

import functools
import hashlib
import pathlib
import sys
from dataclasses import dataclass
from typing import Any

from korora_tools import checkout, ui
from korora_tools.vectors import guest, ima, machine, store, uefi
from korora_tools.vectors.packages import Workshop
from korora_tools.vectors.quote import RESTRICTED

CHALLENGE = hashlib.sha256(b'a challenge').digest()
HOST = 'h1'
BODY = b'{}'
FILES = {'attest', 'signature', 'ak.tpm2b'}

WORK = """
cd /tmp
tpm2 createprimary -Q -C e -G ecc -c ek.ctx
tpm2 create -Q -C ek.ctx -G ecc256:ecdsa-sha256:null -g sha256 \\
  -a '{attributes}' -u out/ak.tpm2b -r ak.priv
tpm2 load -Q -C ek.ctx -u out/ak.tpm2b -r ak.priv -c ak.ctx
quote() {{
  tpm2 quote -Q -c ak.ctx -q {nonce} -g sha256 -m out/attest \\
    -s out/signature -l sha256:0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
}}
quote
{more}
"""
#: After the lists: PCR 10 must not move between this and them.
QUOTE = 'ima\ncd /tmp\nquote\n'


@dataclass(frozen=True)
class Recipe:
    about: str
    secure: bool = True
    kernel: str = 'generic'
    options: str = ''
    work: str = ''
    uki: bool = False


RECIPES = {
    'debian-12': Recipe(
        'a Debian host as it should be: Secure Boot, '
        "Debian's kernel, IMA with ima_policy=tcb"
    ),
    'debian-12-previous-kernel': Recipe(
        'the same host with an older kernel', kernel='previous'
    ),
    'debian-12-insecure': Recipe(
        'the same host with Secure Boot switched off', secure=False
    ),
    'debian-12-option': Recipe(
        'the same host with another kernel command line',
        options='module.sig_enforce=0 init=/bin/sh',
    ),
    'debian-12-program': Recipe(
        'the same host, and a program ran that is not of its image',
        work='printf "#!/bin/sh\\nexit 0\\n" >/work/miner.sh\n'
        'chmod 755 /work/miner.sh; /work/miner.sh',
    ),
    'uki': Recipe(
        'a host with systemd-boot and a unified kernel image, '
        "Secure Boot with its owner's keys",
        uki=True,
    ),
    'newer-kernel': Recipe(
        'the same host as debian-12 with a kernel of the next release',
        kernel='next',
    ),
    'debian-12-violation': Recipe(
        'the same host, and a file changed while it was read',
        work='cd /work' + ima.VIOLATIONS + 'cd /tmp',
    ),
}


def record(shop: Workshop, name: str) -> None:
    """Boot and write the vector.

    :raises Problem: the quote does not cover the registers recorded.
    """
    recipe = RECIPES[name]
    nonce = qualify()
    job = guest.job(
        shop.root / 'job.img',
        WORK.format(nonce=nonce.hex(), attributes=RESTRICTED, more=recipe.work)
        + QUOTE,
    )
    boot = _boot(shop, recipe, job)
    got = machine.run(shop, boot)
    files, about = uefi.vector(shop, recipe.about, boot, got)
    files |= {
        name: data
        for name, data in got.items()
        if name in FILES or '_runtime_measurements' in name
    }
    about |= asked()
    values = b''.join(
        bytes.fromhex(about['pcrs']['sha256'][str(index)])
        for index in store.KEPT
    )
    if hashlib.sha256(values).digest() not in got['attest']:
        raise ui.Problem('PCR 10 moved between the list and the quote')
    store.write(shop.out, 'host/' + name, files, about)


def asked(name: str = HOST) -> dict[str, Any]:
    """What a host's evidence is an answer to."""
    return {
        'challenge': CHALLENGE.hex(),
        'purpose': 'attest',
        'host': name,
        'body': BODY.decode(),
        'nonce': qualify(name).hex(),
    }


def qualify(name: str = HOST) -> bytes:
    """What is quoted over."""
    sys.path.insert(0, str(checkout.ROOT))
    from korora_nova.rats import evidence

    nonce: bytes = evidence.qualify(CHALLENGE, 'attest', name, BODY)
    return nonce


def _boot(shop: Workshop, recipe: Recipe, job: pathlib.Path) -> machine.Boot:
    more = f'ima_policy=tcb {recipe.options} {uefi.CONSOLE}'.replace('  ', ' ')
    if recipe.uki:
        return uefi.secure_uki(shop, more, (ima.disk(shop), job))
    menu = uefi.menu(shop, recipe.kernel, '' if recipe.secure else 'efi', more)
    disks = (*uefi.shim_disk(shop, menu, recipe.kernel), ima.disk(shop), job)
    if not recipe.secure:
        return machine.Boot(disks=disks)
    return machine.Boot(
        firmware='OVMF_CODE_4M.ms.fd',
        variables='OVMF_VARS_4M.ms.fd',
        disks=disks,
    )


def recipes() -> dict[str, tuple[str, Any]]:
    return {
        f'host/{name}': (recipe.about, functools.partial(record, name=name))
        for name, recipe in RECIPES.items()
    }
