# SPDX-License-Identifier: Apache-2.0
"""Policy documents: from JSON or YAML data to rules.

::

    {version: 1, name: ..., description: ..., hosts: [patterns],
     one-reference: false, rules: [{RULE: PARAMETERS}, ...]}

A document is refused if it follows no schema, and also if it forgets
something: each must say what becomes of the measured files (``ima: {...}``
or ``ima: not-appraised``), and each must pin what booted.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping

from korora_nova.rats import schemas
from korora_nova.rats.policy import registry, runtime
from korora_nova.rats.policy.node import AllOf, Params, Rule, invalid
from korora_nova.rats.policy.registry import BUILT_IN, Registry

#: Caps of a document.
MAX_RULES = 256
MAX_DEPTH = 8
MAX_HOSTS = 4096

#: Marker: files are measured, and this policy does not judge them.
NOT_APPRAISED = 'not-appraised'

_NAME = re.compile(r'[A-Za-z0-9][A-Za-z0-9._-]*')
_FIELDS: schemas.Schema = {
    'version': {'const': 1},
    'name': {
        **schemas.text(255),
        'pattern': f'^{_NAME.pattern}{schemas.END}',
    },
    'description': {'type': 'string', 'maxLength': 4096},
    'hosts': {
        'type': 'array',
        'minItems': 1,
        'maxItems': MAX_HOSTS,
        'items': schemas.text(255),
    },
    'one-reference': {'type': 'boolean'},
    'rules': {'type': 'array', 'minItems': 1, 'maxItems': MAX_RULES},
}
_TOP = schemas.closed(_FIELDS, ('description', 'hosts', 'one-reference'))


def schema(rules: Registry = BUILT_IN) -> schemas.Schema:
    """The whole schema, for editors and documentation.

    Digests have no pattern in it, see :func:`..node.digests`.
    """
    listed = {
        'type': 'array',
        'minItems': 1,
        'maxItems': MAX_RULES,
        'items': {'$ref': '#/$defs/rule'},
    }
    params: dict[str, schemas.Schema] = {
        name: {**rule.SCHEMA, 'description': rule.HELP}
        for name, rule in rules.items()
    }
    params['ima'] = {'anyOf': [{'const': NOT_APPRAISED}, params['ima']]}
    for name, nested in registry.NESTED.items():
        params[name] = {**listed, 'description': nested.HELP}
    return {
        '$schema': 'https://json-schema.org/draft/2020-12/schema',
        **_TOP,
        'properties': {**_FIELDS, 'rules': listed},
        '$defs': {
            'rule': {
                'type': 'object',
                'minProperties': 1,
                'maxProperties': 1,
                'properties': params,
                'additionalProperties': False,
            }
        },
    }


@dataclasses.dataclass(frozen=True)
class Parsed:
    """What a document says, see :class:`.bound.Policy`.

    :param hosts: patterns of the names of hosts that it judges.
    :param one_reference: all rules must hold with one reference, and files
        be those of references with which they do; else rules unite what
        references have.
    :param ima: None if files are not appraised.
    :param kinds: names of the rules at the top.
    :param document: what all of it was read from.
    """

    name: str
    description: str
    hosts: tuple[str, ...]
    one_reference: bool
    rules: AllOf
    ima: runtime.Ima | None
    kinds: tuple[str, ...]
    document: Params = dataclasses.field(repr=False)


def parse(document: object, known: Registry = BUILT_IN) -> Parsed:
    """Read a document.

    :param known: the rules that it may have.
    :raises Invalid: POLICY_INVALID, details have the ``pointer`` (RFC 6901)
        of the first fault.
    """
    _follow(_TOP, document, '')
    assert isinstance(document, Mapping)
    if not _NAME.fullmatch(document['name']):
        raise invalid(
            'name', 'letters, digits, dots, underscores and hyphens only'
        )
    rules = _Rules(known).read(document['rules'], 'rules', 1)
    files = [rule for rule in rules if isinstance(rule, runtime.Ima)]
    marked = document['rules'].count({'ima': NOT_APPRAISED})
    if len(files) + marked != 1:
        raise invalid(
            'rules',
            'exactly one ima rule is needed; write ima: '
            f'{NOT_APPRAISED} if measured files are not to count',
        )
    tree = AllOf(
        'rules',
        tuple(rule for rule in rules if not isinstance(rule, runtime.Ima)),
    )
    if not tree.pins(frozenset()):
        raise invalid(
            'rules',
            'nothing pins what boots, in each branch of '
            'any-of: give pcrs with 4 or 7, boot-components of '
            'PCR 4, or secure-boot and authorities',
        )
    return Parsed(
        document['name'],
        document.get('description', ''),
        tuple(document.get('hosts', ('*',))),
        document.get('one-reference', False),
        tree,
        files[0] if files else None,
        tuple(next(iter(rule)) for rule in document['rules']),
        document,
    )


class _Rules:
    """Reads lists of rules, counting."""

    def __init__(self, known: Registry) -> None:
        self._known = known
        self._count = 0

    def read(self, items: object, path: str, depth: int) -> list[Rule]:
        if not isinstance(items, list) or not items:
            raise invalid(path, 'it is not a list of rules, or empty')
        if depth > MAX_DEPTH:
            raise invalid(path, 'too deep')
        self._count += len(items)
        if self._count > MAX_RULES:
            raise invalid(path, f'more than {MAX_RULES} rules')
        found = (
            self._rule(item, f'{path}/{index}', depth)
            for index, item in enumerate(items)
        )
        return [rule for rule in found if rule is not None]

    def _rule(self, item: object, path: str, depth: int) -> Rule | None:
        if not isinstance(item, Mapping) or len(item) != 1:
            raise invalid(path, 'a rule is an object with one key, its name')
        ((name, params),) = item.items()
        if name in registry.NESTED:
            path = f'{path}/{name}'
            return registry.NESTED[name](
                path, tuple(self.read(params, path, depth + 1))
            )
        if name not in self._known:
            raise invalid(
                path,
                'there is no such rule; there are '
                f'{", ".join((*self._known, *registry.NESTED))}',
            )
        path = f'{path}/{name}'
        if name == runtime.Ima.NAME and depth > 1:
            raise invalid(path, 'an ima rule stands at the top only')
        if name == runtime.Ima.NAME and params == NOT_APPRAISED:
            return None
        rule = self._known[name]
        _follow(rule.SCHEMA, params, path)
        return rule.parse(params, path)


def _follow(schema: schemas.Schema, document: object, path: str) -> None:
    fault = schemas.fault(schema, document)
    if fault is not None:
        parts = [path] if path else []
        # RFC 6901, section 3.
        parts += [
            str(part).replace('~', '~0').replace('/', '~1')
            for part in fault.absolute_path
        ]
        raise invalid('/'.join(parts), fault.message[:200])
