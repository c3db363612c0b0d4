# SPDX-License-Identifier: Apache-2.0
"""Directives that write tables out of the code."""

import collections.abc
import inspect
import json
import pathlib
import typing

from docutils import nodes
from docutils.parsers.rst import Directive
from docutils.statemachine import StringList

from korora_nova import errors
from korora_nova.api.openapi import document
from korora_nova.custody import exits
from korora_nova.rats import eventlog, policy
from korora_tools.prove.attack import catalogue
from korora_tools.prove.life import groups


class Reasons(Directive):
    """``.. korora-reasons::``: every reason id, its class and meaning."""

    has_content = False

    def run(self) -> list[nodes.Node]:
        return _parse(self, list(_reason_table()))


class ErrorClasses(Directive):
    """``.. korora-error-classes::``: class, HTTP code, first sentence."""

    has_content = False

    def run(self) -> list[nodes.Node]:
        return _parse(self, list(_class_table()))


class Quirks(Directive):
    """``.. korora-quirks::``: what event logs do beside their standard."""

    has_content = False

    def run(self) -> list[nodes.Node]:
        return _parse(self, list(_quirk_table()))


class PolicyRules(Directive):
    """``.. korora-policy-rules::``: every rule and its parameters."""

    has_content = False

    def run(self) -> list[nodes.Node]:
        return _parse(self, list(_rule_table()))


class Exits(Directive):
    """``.. korora-exits::``: every state of custody and its exits.

    Its content is ``states`` or ``exits``.
    """

    has_content = False
    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        table = {'states': _state_table, 'exits': _exit_table}
        return _parse(self, list(table[self.arguments[0]]()))


class Operations(Directive):
    """``.. korora-operations::``: what Nova does with protected servers."""

    has_content = False

    def run(self) -> list[nodes.Node]:
        return _parse(self, list(_operation_table()))


class Attacks(Directive):
    """``.. korora-attacks::``: every attack and where it was tried."""

    has_content = False

    def run(self) -> list[nodes.Node]:
        return _parse(self, list(_attack_table()))


def _attack_table() -> collections.abc.Iterator[str]:
    yield from _head('Attack', 'What is tried', 'Tests', 'On the lab')
    for one in catalogue.ATTACKS:
        modules = {name.rsplit('.', 2)[0] for name in one.tests}
        yield from _row(
            one.id,
            one.what,
            ', '.join(f'``{name}``' for name in sorted(modules)),
            'yes' if one.id in catalogue.ON_LAB else '',
        )


def _operation_table() -> collections.abc.Iterator[str]:
    yield from _head(
        'Operation', 'What is checked', 'Who holds the key then', 'If it fails'
    )
    for one in groups.GROUPS:
        yield from _row(one.name, one.checked, one.key, one.fails)


def _state_table() -> collections.abc.Iterator[str]:
    yield from _head('Of', 'State', 'Meaning', 'Exits')
    for one in exits.STATES:
        ways = ', '.join(f'``{way.id}``' for way in one.exits)
        yield from _row(str(one.part), f'``{one.name}``', one.meaning, ways)


def _exit_table() -> collections.abc.Iterator[str]:
    yield from _head('Exit', 'Command', 'What comes of it')
    for way in exits.Exit:
        shown = way.to_json()
        yield from _row(
            f'``{way.id}``', f'``{shown["command"]}``', way.consequence
        )


def _quirk_table() -> collections.abc.Iterator[str]:
    yield from _head('Quirk', 'Seen', 'Handling')
    for quirk in eventlog.QUIRKS.values():
        yield from _row(quirk.what, quirk.seen, quirk.handling)


def _rule_table() -> collections.abc.Iterator[str]:
    yield from _head('Rule', 'Parameters', 'Holds if')
    for name, rule in policy.BUILT_IN.items():
        needed = rule.SCHEMA.get('required', ())
        params = ', '.join(
            f'``{one}``' + ('' if one in needed else ' (optional)')
            for one in rule.SCHEMA['properties']
        )
        yield from _row(f'``{name}``', params, rule.HELP)


def _reason_table() -> collections.abc.Iterator[str]:
    yield from _head('Reason id', 'Class', 'HTTP', 'Meaning')
    for reason, meaning in sorted(errors.REASONS.items()):
        kind = type(errors.from_reason(reason))
        yield from _row(
            f'``{reason}``', kind.__name__, str(kind.code), meaning
        )


def _class_table() -> collections.abc.Iterator[str]:
    yield from _head('Class', 'HTTP', 'Meaning')
    for kind in _classes():
        doc = (inspect.getdoc(kind) or '').split('\n\n')[0]
        yield from _row(kind.__name__, str(kind.code), doc.replace('\n', ' '))


def _classes() -> list[type[errors.KororaError]]:
    kinds = {type(errors.from_reason(one)) for one in errors.REASONS}
    return sorted(kinds, key=lambda kind: (kind.code, kind.__name__))


def _head(*cells: str) -> collections.abc.Iterator[str]:
    yield '.. list-table::'
    yield '   :header-rows: 1'
    yield ''
    yield from _row(*cells)


def _row(*cells: str) -> collections.abc.Iterator[str]:
    for i, text in enumerate(cells):
        yield f'   {"*" if i == 0 else " "} - {text}'


def _parse(directive: Directive, lines: list[str]) -> list[nodes.Node]:
    box = nodes.container()
    source = StringList(lines, source=errors.__file__)
    directive.state.nested_parse(source, directive.content_offset, box)
    return list(box.children)


def _write_openapi(app: typing.Any, failed: Exception | None) -> None:
    """Put the API's document beside its reference."""
    if app.config.korora_openapi and failed is None:
        text = json.dumps(document.build(), indent=1, ensure_ascii=False)
        path = pathlib.Path(app.outdir, 'openapi.json')
        path.write_text(text + '\n', encoding='utf-8')


def setup(app: typing.Any) -> dict[str, bool]:
    app.add_directive('korora-reasons', Reasons)
    app.add_directive('korora-error-classes', ErrorClasses)
    app.add_directive('korora-quirks', Quirks)
    app.add_directive('korora-policy-rules', PolicyRules)
    app.add_directive('korora-exits', Exits)
    app.add_directive('korora-operations', Operations)
    app.add_directive('korora-attacks', Attacks)
    app.add_config_value('korora_openapi', False, 'env', [bool])
    app.connect('build-finished', _write_openapi)
    return {'parallel_read_safe': True, 'parallel_write_safe': True}
