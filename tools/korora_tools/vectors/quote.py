# SPDX-License-Identifier: Apache-2.0
"""Recipes: attestation keys and what they sign, by a software TPM."""

from __future__ import annotations

import contextlib
import functools
import os
import pathlib
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from korora_tools import ui
from korora_tools.vectors import keyforms, machine, store
from korora_tools.vectors.packages import Workshop, call

NONCE = bytes(range(32)).hex()
RESTRICTED = (
    'fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda|'
    'restricted|sign'
)
UNRESTRICTED = RESTRICTED.replace('restricted|', '')
ALL = ','.join(map(str, range(16)))
#: What the firmware and the kernel would have measured.
EXTENDED = range(11)


@dataclass(frozen=True)
class Recipe:
    """:param key: algorithm as tpm2_create has it.
    :param selection: of tpm2_quote.
    :param kind: 'quote', or another attestation by the same key.
    """

    about: str
    key: str = 'ecc256:ecdsa-sha256:null'
    selection: str = f'sha256:{ALL}'
    kind: str = 'quote'
    attributes: str = RESTRICTED
    hash: str = 'sha256'

    @property
    def scheme(self) -> str:
        return self.key.split(':')[1].split('-')[0]


RECIPES = {
    'p256': Recipe('P-256 over the SHA-256 bank'),
    'p384': Recipe(
        'P-384 with SHA-384 over the SHA-384 bank',
        'ecc384:ecdsa-sha384:null',
        f'sha384:{ALL}',
        hash='sha384',
    ),
    'p384-sha256-bank': Recipe(
        'P-384 with SHA-384 over the SHA-256 bank',
        'ecc384:ecdsa-sha384:null',
        hash='sha384',
    ),
    'p256-two-banks': Recipe(
        'P-256 over the SHA-256 and the SHA-384 bank',
        selection=f'sha256:{ALL}+sha384:{ALL}',
    ),
    'p256-banks-other-order': Recipe(
        'P-256 over the SHA-384 and then the SHA-256 bank, other PCRs',
        selection='sha384:0,2,4,7+sha256:0,7,10,14',
    ),
    'p256-sha1-bank': Recipe(
        'P-256 over the SHA-1 bank only', selection=f'sha1:{ALL}'
    ),
    'p256-all-banks': Recipe(
        'P-256 over all four banks',
        selection='+'.join(
            f'{bank}:0,1,2,3,4,5,6,7,8,9,10'
            for bank in ('sha1', 'sha256', 'sha384', 'sha512')
        ),
    ),
    'p256-high-pcrs': Recipe(
        'P-256 over PCRs up to 23', selection='sha256:0,7,16,17,22,23'
    ),
    'rsassa-2048': Recipe('RSASSA, 2048 bits', 'rsa2048:rsassa-sha256:null'),
    'rsapss-2048': Recipe('RSAPSS, 2048 bits', 'rsa2048:rsapss-sha256:null'),
    'rsassa-3072': Recipe(
        'RSASSA, 3072 bits, SHA-384',
        'rsa3072:rsassa-sha384:null',
        f'sha256:{ALL}+sha384:{ALL}',
        hash='sha384',
    ),
    'rsapss-3072': Recipe('RSAPSS, 3072 bits', 'rsa3072:rsapss-sha256:null'),
    'rsassa-sha1': Recipe(
        'RSASSA with SHA-1: too weak', 'rsa2048:rsassa-sha1:null', hash='sha1'
    ),
    'p256-ecdsa-sha1': Recipe(
        'ECDSA with SHA-1: too weak', 'ecc256:ecdsa-sha1:null', hash='sha1'
    ),
    'p256-unrestricted': Recipe(
        'a quote by a key that also signs other data', attributes=UNRESTRICTED
    ),
    'p521': Recipe('P-521', 'ecc521:ecdsa-sha512:null', hash='sha512'),
    'time': Recipe('TPM2_GetTime, not a quote', kind='time'),
    'certify': Recipe('TPM2_Certify, not a quote', kind='certify'),
    'creation': Recipe('TPM2_CertifyCreation, not a quote', kind='creation'),
    'forged': Recipe(
        'a quote made outside of the TPM, signed by a key that '
        'is not restricted',
        attributes=UNRESTRICTED,
        kind='forged',
    ),
}


class Tpm:
    """A running swtpm and the TPM tools on it."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder

    def run(self, name: str, *argv: str) -> str:
        env = dict(os.environ, TPM2TOOLS_TCTI=f'swtpm:path={self.folder}/sock')
        # Three object slots, and no resource manager.
        call('tpm2', 'flushcontext', '-t', env=env)
        return call('tpm2', name, *argv, cwd=self.folder, env=env)

    def read(self, name: str) -> bytes:
        return (self.folder / name).read_bytes()


@contextlib.contextmanager
def tpm() -> Iterator[Tpm]:
    """A new TPM with four banks and some PCRs extended."""
    with tempfile.TemporaryDirectory(prefix='kv') as scratch:
        folder = pathlib.Path(scratch)
        machine.manufacture(machine.Tpm(), folder / 'tpm')
        process = subprocess.Popen(
            [
                'swtpm',
                'socket',
                '--tpm2',
                '--tpmstate',
                f'dir={folder}/tpm',
                '--server',
                f'type=unixio,path={folder}/sock',
                '--ctrl',
                f'type=unixio,path={folder}/sock.ctrl',
                '--flags',
                'not-need-init,startup-clear',
            ],
            stderr=subprocess.DEVNULL,
        )
        try:
            ui.wait('swtpm', (folder / 'sock').exists, 10)
            made = Tpm(folder)
            _extend(made)
            yield made
        finally:
            process.terminate()
            process.wait()


def _extend(made: Tpm) -> None:
    for index in EXTENDED:
        (made.folder / 'measured').write_bytes(b'component %d' % index)
        made.run('pcrevent', str(index), 'measured')


def record(shop: Workshop, name: str) -> None:
    """Make a TPM and a key, have it sign, and write the vector."""
    recipe = RECIPES[name]
    with tpm() as made:
        _key(made, recipe)
        {
            'quote': _quote,
            'time': _time,
            'certify': _certify,
            'creation': _creation,
            'forged': _forged,
        }[recipe.kind](made, recipe)
        made.run('pcrread', '-o', 'all')
        about = _about(shop, made, recipe)
        files = {
            file: made.read(file)
            for file in ('attest', 'signature', 'signature.plain')
            if (made.folder / file).exists()
        }
        files |= keyforms.forms(made.read('ak.pem'))
        files |= {
            'ak.tpm2b': made.read('ak.tpm2b'),
            'ak.tpmt': made.read('ak.tpmt'),
        }
    store.write(shop.out, 'quote/' + name, files, about)


def _key(made: Tpm, recipe: Recipe) -> None:
    made.run('createprimary', '-C', 'e', '-G', 'ecc', '-c', 'ek.ctx')
    made.run(
        'create',
        '-C',
        'ek.ctx',
        '-G',
        recipe.key,
        '-g',
        'sha256',
        '-a',
        recipe.attributes,
        '-u',
        'ak.tpm2b',
        '-r',
        'ak.priv',
    )
    made.run(
        'load',
        '-C',
        'ek.ctx',
        '-u',
        'ak.tpm2b',
        '-r',
        'ak.priv',
        '-c',
        'ak.ctx',
    )
    for form in ('tpmt', 'pem'):
        made.run('readpublic', '-c', 'ak.ctx', '-f', form, '-o', f'ak.{form}')


def _quote(made: Tpm, recipe: Recipe) -> None:
    # An ECDSA signature differs each time: take both forms of the same one.
    made.run(
        'quote',
        '-c',
        'ak.ctx',
        '-l',
        recipe.selection,
        '-q',
        NONCE,
        '-g',
        recipe.hash,
        '--scheme',
        recipe.scheme,
        '-m',
        'attest',
        '-s',
        'signature',
    )
    plain = keyforms.plain(made.read('signature'))
    if plain is not None:
        (made.folder / 'signature.plain').write_bytes(plain)


def _time(made: Tpm, recipe: Recipe) -> None:
    made.run(
        'gettime',
        '-c',
        'ak.ctx',
        '-q',
        NONCE,
        '--attestation',
        'attest',
        '-o',
        'signature',
    )


def _certify(made: Tpm, recipe: Recipe) -> None:
    made.run(
        'certify',
        '-C',
        'ak.ctx',
        '-c',
        'ak.ctx',
        '-g',
        recipe.hash,
        '-o',
        'attest',
        '-s',
        'signature',
    )


def _creation(made: Tpm, recipe: Recipe) -> None:
    made.run(
        'createprimary',
        '-C',
        'o',
        '-G',
        'ecc',
        '-c',
        'new.ctx',
        '-d',
        'new.digest',
        '-t',
        'new.ticket',
    )
    made.run(
        'certifycreation',
        '-C',
        'ak.ctx',
        '-c',
        'new.ctx',
        '-d',
        'new.digest',
        '-t',
        'new.ticket',
        '-g',
        recipe.hash,
        '-q',
        NONCE,
        '--attestation',
        'attest',
        '-o',
        'signature',
    )


def _forged(made: Tpm, recipe: Recipe) -> None:
    """A real quote, its magic changed: the TPM signs what it is given."""
    made.run(
        'quote',
        '-c',
        'ak.ctx',
        '-l',
        recipe.selection,
        '-q',
        NONCE,
        '-g',
        recipe.hash,
        '-m',
        'attest',
        '-s',
        'signature',
    )
    data = b'\xffTCH' + made.read('attest')[4:]
    (made.folder / 'attest').write_bytes(data)
    made.run(
        'sign', '-c', 'ak.ctx', '-g', recipe.hash, '-o', 'signature', 'attest'
    )


def _about(shop: Workshop, made: Tpm, recipe: Recipe) -> dict[str, Any]:
    raw = made.read('all')
    pcrs: store.Pcrs = {}
    at = 0
    for bank, size in (
        ('sha1', 20),
        ('sha256', 32),
        ('sha384', 48),
        ('sha512', 64),
    ):
        for index in range(24):
            pcrs.setdefault(bank, {})[str(index)] = raw[at : at + size].hex()
            at += size
    return {
        'about': recipe.about,
        'kind': recipe.kind,
        'made': {
            'swtpm': shop.versions['swtpm'],
            'tools': made.run('getcap', '--version').split()[1],
            'key': recipe.key,
            'attributes': recipe.attributes,
        },
        'nonce': NONCE,
        'selection': _selection(recipe.selection),
        'pcrs': pcrs,
    }


def _selection(text: str) -> dict[str, list[int]]:
    banks = (part.split(':') for part in text.split('+'))
    return {
        bank: [int(item) for item in indices.split(',')]
        for bank, indices in banks
    }


def recipes() -> dict[str, tuple[str, Any]]:
    return {
        f'quote/{name}': (recipe.about, functools.partial(record, name=name))
        for name, recipe in RECIPES.items()
    }
