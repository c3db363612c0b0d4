# SPDX-License-Identifier: Apache-2.0
"""What stand-ins know, kept in files: it outlives processes."""

from __future__ import annotations

import hashlib
import mmap
import os
import pathlib
import pickle
import struct
from collections.abc import Iterator, MutableMapping, MutableSet
from typing import Any, TypeVar

_T = TypeVar('_T')


class Kept(MutableMapping[Any, Any]):
    """A dictionary, one file for each key."""

    def __init__(self, directory: pathlib.Path) -> None:
        self._directory = directory
        directory.mkdir(parents=True, exist_ok=True)

    def _path(self, key: Any) -> pathlib.Path:
        name = hashlib.sha256(repr(key).encode()).hexdigest()[:32]
        return self._directory / name

    def __getitem__(self, key: Any) -> Any:
        try:
            return pickle.loads(self._path(key).read_bytes())[1]
        except FileNotFoundError:
            raise KeyError(key) from None

    def __setitem__(self, key: Any, value: Any) -> None:
        path = self._path(key)
        new = path.with_name(f'.{path.name}.{os.getpid()}')
        new.write_bytes(pickle.dumps((key, value)))
        new.replace(path)

    def __delitem__(self, key: Any) -> None:
        try:
            self._path(key).unlink()
        except FileNotFoundError:
            raise KeyError(key) from None

    def __iter__(self) -> Iterator[Any]:
        for path in sorted(self._directory.glob('[!.]*')):
            try:
                yield pickle.loads(path.read_bytes())[0]
            except FileNotFoundError:
                continue

    def __len__(self) -> int:
        return sum(1 for _ in self)


class KeptSet(MutableSet[Any]):
    """A set, one file for each element."""

    def __init__(self, directory: pathlib.Path) -> None:
        self._kept = Kept(directory)

    def __contains__(self, element: object) -> bool:
        return element in self._kept

    def __iter__(self) -> Iterator[Any]:
        return iter(self._kept)

    def __len__(self) -> int:
        return len(self._kept)

    def add(self, value: Any) -> None:
        self._kept[value] = None

    def discard(self, value: Any) -> None:
        self._kept.pop(value, None)


def keep(stand_in: _T, directory: pathlib.Path) -> _T:
    """Let a stand-in's dictionaries and sets be those of a directory."""
    for name, value in vars(stand_in).items():
        if isinstance(value, dict):
            setattr(stand_in, name, Kept(directory / name))
        elif isinstance(value, set):
            setattr(stand_in, name, KeptSet(directory / name))
    return stand_in


class Seconds:
    """A number that processes share: by how much a clock is wrong."""

    _FORM = struct.Struct('d')

    def __init__(self, path: pathlib.Path) -> None:
        if not path.exists():
            path.write_bytes(bytes(self._FORM.size))
        with path.open('r+b') as file:
            self._memory = mmap.mmap(file.fileno(), self._FORM.size)

    def get(self) -> float:
        return float(self._FORM.unpack(self._memory[:])[0])

    def set(self, value: float) -> None:
        self._memory[:] = self._FORM.pack(value)
