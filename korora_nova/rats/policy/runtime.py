# SPDX-License-Identifier: Apache-2.0
"""The rule about files that IMA measured while the host ran."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Iterable, Sequence
from typing import Any

from korora_nova import errors
from korora_nova.rats import ima, schemas
from korora_nova.rats.finding import Finding
from korora_nova.rats.policy.node import (
    BOOLEAN,
    DIGESTS,
    Params,
    Rule,
    digests,
    invalid,
    strings,
)
from korora_nova.rats.reference import ReferenceValues
from korora_nova.rats.state import VerifiedState

#: PEM of a public key, characters.
MAX_KEY = 8192
#: Name to digests, of which there may be a million: checked by hand.
_BY_NAME: schemas.Schema = {'type': 'object'}
#: Paths whose violations are admitted, and how many of them in one boot.
_VIOLATION = schemas.closed(
    {
        'path': schemas.text(1024),
        'most': {'type': 'integer', 'minimum': 0, 'maximum': 2**31},
    },
    ('most',),
)


@dataclasses.dataclass(frozen=True)
class Ima(Rule):
    """Only known files were used.

    :param inline: digests in the document, which may be a million: they
        are kept once, as its own list.
    :param options: the other parameters of :class:`ima.Rules`.
    :param learned: digests of the references, by reference.
    """

    inline: Sequence[str]
    options: Params
    references: bool
    learned: tuple[frozenset[str], ...] = ()

    NAME = 'ima'
    HELP = (
        'Each measured file has a digest that is listed here or in a '
        'reference, one listed for its path, or a signature by one of '
        'the keys; or its path is excluded. violations: true admits every '
        'entry of a file that changed while it was measured; better is a list '
        'of {path: PATTERN, most: NUMBER}. A kernel that was started '
        'with kexec is refused unless kexec: true admits any.'
    )
    SCHEMA = schemas.closed(
        {
            'digests': DIGESTS,
            'files': _BY_NAME,
            'exclude': strings(4096),
            'keys': {
                'type': 'array',
                'maxItems': 256,
                'items': {'type': 'string', 'maxLength': MAX_KEY},
            },
            'keyrings': _BY_NAME,
            'templates': strings(256),
            'violations': {
                'anyOf': [
                    BOOLEAN,
                    {'type': 'array', 'maxItems': 1000, 'items': _VIOLATION},
                ]
            },
            'kexec': BOOLEAN,
            'references': BOOLEAN,
        },
        (
            'digests',
            'files',
            'exclude',
            'keys',
            'keyrings',
            'templates',
            'violations',
            'kexec',
            'references',
        ),
    )

    @classmethod
    def parse(cls, params: Params, path: str) -> Ima:
        references = params.get('references', False)
        if not references and not any(
            params.get(key) for key in ('digests', 'files', 'keys')
        ):
            raise invalid(
                path,
                'it allows no file: give digests, files, '
                'keys or references: true',
            )
        for index, pattern in enumerate(params.get('exclude', ())):
            if not pattern.strip('/*?'):
                raise invalid(
                    f'{path}/exclude/{index}',
                    'it excludes every file: write ima: not-appraised',
                )
        _check_violations(path, params.get('violations', ()))
        options: dict[str, Any] = {'kexec': False} | {
            key: value
            for key, value in params.items()
            if key not in ('digests', 'references')
        }
        if isinstance(options.get('violations'), list):
            options['violations'] = {
                item['path']: _count(item.get('most'))
                for item in options['violations']
            }
        for key in ('files', 'keyrings'):
            for name, items in options.get(key, {}).items():
                _check_named(f'{path}/{key}', name, items)
        inline = params.get('digests', ())
        digests(inline, f'{path}/digests')
        rule = cls(path, inline, options, references)
        # What references cannot change is made here, once.
        if references:
            rule.compile(())
        else:
            _ = rule.rules
        return rule

    def bind(self, references: Sequence[ReferenceValues]) -> Ima:
        if not self.references:
            return self
        return dataclasses.replace(
            self, learned=tuple(item.ima_digests for item in references)
        )

    @functools.cached_property
    def rules(self) -> ima.Rules | None:
        """What to measure lists with; None: there is nothing to judge by.

        Made once: a million digests take seconds.
        """
        if not self._judges:
            return None
        return self.compile(itertools.chain(self.inline, *self.learned))

    def compile(self, listed: Iterable[str]) -> ima.Rules:
        """The rules with these digests.

        :raises Invalid: POLICY_INVALID.
        """
        try:
            return ima.Rules(listed, **self.options)
        except errors.Invalid as exc:
            # Only faults of keys come without a place.
            place = exc.details.get('place', 'keys')
            raise invalid(
                '/'.join(filter(None, (self.path, place))),
                exc.message.rstrip('.'),
            ) from None

    @property
    def _judges(self) -> bool:
        return bool(
            self.inline
            or self.learned
            or self.options.get('files')
            or self.options.get('keys')
        )

    def check(self, state: VerifiedState) -> list[Finding]:
        """Whether files can be judged at all; the list is not here."""
        return [] if self._judges else [self.no_reference('measured files')]


def _check_violations(path: str, items: bool | Sequence[Params]) -> None:
    if isinstance(items, bool):
        return
    for index, item in enumerate(items):
        if not item['path'].strip('/*?'):
            raise invalid(
                f'{path}/violations/{index}',
                'it admits those of every file: write violations: true',
            )


def _count(most: float | None) -> int | None:
    """To a JSON schema 4.0 is an integer as well."""
    return None if most is None else int(most)


def _check_named(path: str, name: object, items: object) -> None:
    if not isinstance(name, str):
        raise invalid(path, 'its keys are texts')
    path = f'{path}/{name.replace("~", "~0").replace("/", "~1")}'
    if not isinstance(items, list):
        raise invalid(path, 'it is not a list of digests')
    digests(items, path)
