# SPDX-License-Identifier: Apache-2.0
"""Keys with which a machine's owner signs files and kernels."""

from __future__ import annotations

import pathlib

from korora_tools.vectors.packages import Workshop, call

#: Name to what ``openssl req -newkey`` makes.
KEYS = {
    'rsa': ('rsa:2048',),
    'p256': ('ec', '-pkeyopt', 'ec_paramgen_curve:P-256'),
    'p384': ('ec', '-pkeyopt', 'ec_paramgen_curve:P-384'),
}


def keys(shop: Workshop) -> pathlib.Path:
    """Signing keys with certificates, made once for each workshop."""
    folder = shop.root / 'keys'
    folder.mkdir(exist_ok=True)
    for name, kind in KEYS.items():
        if (folder / f'{name}.der').exists():
            continue
        call(
            'openssl',
            'req',
            '-x509',
            '-newkey',
            *kind,
            '-nodes',
            '-days',
            '36500',
            '-subj',
            f'/CN=IMA {name}',
            '-addext',
            'keyUsage=digitalSignature',
            '-keyout',
            folder / f'{name}.key',
            '-out',
            folder / f'{name}.pem',
        )
        call(
            'openssl',
            'x509',
            '-in',
            folder / f'{name}.pem',
            '-outform',
            'DER',
            '-out',
            folder / f'{name}.der',
        )
    return folder
