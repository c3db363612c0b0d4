# SPDX-License-Identifier: Apache-2.0
"""The protocol's test vectors, made by the code with fixed keys.

``./tools/vectors record 'protocol/*'`` writes them; the same code gives the
same bytes. doc/source/protocol says what they are about.
"""

from __future__ import annotations

import json
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

from tests.support.protocol import hashed, messages, signed, tpm

Json = dict[str, Any]

#: Name -> what it is about, and what makes it.
FILES: Mapping[str, tuple[str, Callable[[], Json]]] = {
    **hashed.FILES,
    **signed.FILES,
    **tpm.FILES,
    **messages.FILES,
}


def text(name: str) -> str:
    """The content of a file."""
    about, make = FILES[name]
    document = {'about': about, 'warning': 'test keys only', **make()}
    return json.dumps(document, indent=1, sort_keys=True) + '\n'


def write(folder: pathlib.Path, name: str) -> None:
    """Write one file below a directory of vectors."""
    path = folder / 'protocol' / f'{name}.json'
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text(name))
