# SPDX-License-Identifier: Apache-2.0
"""Documents that operators write: read from files, shown on a terminal."""

import collections.abc
import json
import sys
import typing

import yaml
from osc_lib import exceptions
from osc_lib.cli import format_columns

#: Longest document that a table shows, characters.
MAX_SHOWN = 64 * 1024

_LOADER: typing.Any = getattr(yaml, 'CSafeLoader', yaml.SafeLoader)
_DUMPER: typing.Any = getattr(yaml, 'CSafeDumper', yaml.SafeDumper)


class Document(dict[str, typing.Any]):
    """A document whose text form is YAML."""

    def __str__(self) -> str:
        return text(self)


def read(name: str) -> Document:
    """Read a YAML or JSON file that holds one object; - for standard input.

    :raises exceptions.CommandError: it cannot be read, is something else,
        or has a key twice.
    """
    try:
        document = parse(_text(name))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as exc:
        raise exceptions.CommandError(f'{name}: {exc}') from exc
    if not isinstance(document, dict):
        raise exceptions.CommandError(f'{name}: it does not hold one object')
    return Document(document)


def parse(text: str) -> typing.Any:
    """The value that a YAML or JSON text holds.

    :raises ValueError: it is not JSON, or has a key twice.
    :raises yaml.YAMLError: it is not YAML, or has a key twice.
    """
    # All JSON is YAML, but YAML takes a hundred times as long.
    if text.lstrip().startswith('{'):
        try:
            return json.loads(text, object_pairs_hook=_unique)
        except json.JSONDecodeError as exc:
            try:
                return yaml.load(text, _Loader)
            except yaml.constructor.ConstructorError:
                raise
            except yaml.YAMLError:
                raise exc from None
    return yaml.load(text, _Loader)


class DocumentColumn(format_columns.DictColumn):
    """YAML for people, the document itself for machines."""

    def human_readable(self) -> str:
        shown = text(self._value)
        if len(shown) > MAX_SHOWN:
            return f'({len(shown)} characters of YAML; use -f json)'
        return shown.rstrip()

    def machine_readable(self) -> Document:
        return Document(self._value)


def text(document: collections.abc.Mapping[str, object]) -> str:
    """A document as YAML, keys in their order."""
    return str(
        yaml.dump(
            dict(document),
            Dumper=_DUMPER,
            sort_keys=False,
            default_flow_style=False,
            allow_unicode=True,
        )
    )


def _text(name: str) -> str:
    if name == '-':
        return sys.stdin.read()
    with open(name, encoding='utf-8') as file:
        return file.read()


class _Loader(_LOADER):  # type: ignore[misc]
    """Safe YAML without surprises: no key twice; digests and dates are text.

    Hex digits may look like a number: a PCR that was never extended is 64
    zeros.
    """

    def construct_mapping(
        self, node: typing.Any, deep: bool = False
    ) -> dict[typing.Any, typing.Any]:
        seen = set()
        for key, _ in node.value:
            if key.tag == 'tag:yaml.org,2002:merge':
                continue
            name = str(self.construct_object(key, deep=True))
            if name in seen:
                raise yaml.constructor.ConstructorError(
                    None,
                    None,
                    f'the key {name!r} occurs twice',
                    key.start_mark,
                )
            seen.add(name)
        found: dict[typing.Any, typing.Any] = super().construct_mapping(
            node, deep=deep
        )
        return found


def _number(loader: typing.Any, node: typing.Any) -> typing.Any:
    plain = loader.construct_scalar(node)
    return loader.construct_yaml_int(node) if len(plain) < 20 else plain


def _plain(loader: typing.Any, node: typing.Any) -> str:
    return str(loader.construct_scalar(node))


_Loader.add_constructor('tag:yaml.org,2002:int', _number)
_Loader.add_constructor('tag:yaml.org,2002:timestamp', _plain)


def _unique(
    pairs: list[tuple[str, object]],
) -> dict[str, object]:
    document = dict(pairs)
    if len(document) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise ValueError(f'the key {key!r} occurs twice')
            seen.add(key)
    return document
