# SPDX-License-Identifier: Apache-2.0
"""Rules that other packages add to appraisal policies.

A package names them as entry points; doc/source/admin/policies.rst has an
example. All of them are loaded when the service starts, or it does not
start: a rule is never silently absent.
"""

from __future__ import annotations

import inspect
from importlib import metadata
from typing import Any, NoReturn

import jsonschema
import stevedore

from korora_nova import errors
from korora_nova.rats import policy

NAMESPACE = 'korora.appraisal.rules'


def load() -> policy.Registry:
    """The rules built in, and those of installed packages.

    :raises Unavailable: EXTENSION_INVALID, a package's rule cannot be
        imported, is not a rule, or has the name of another one.
    """
    installed = metadata.entry_points(group=NAMESPACE)
    _check_names(installed)
    manager: stevedore.ExtensionManager[Any] = stevedore.ExtensionManager(
        NAMESPACE, on_load_failure_callback=_broken
    )
    rules = {extension.name: extension.plugin for extension in manager}
    for point in installed:
        # Its cache may be older than a package.
        fault = (
            _fault(point.name, rules[point.name])
            if point.name in rules
            else 'stevedore does not find it, remove its cache'
        )
        if fault:
            _refuse(point, fault)
    return policy.Registry((*policy.BUILT_IN.values(), *rules.values()))


def _check_names(points: metadata.EntryPoints) -> None:
    """Of two rules with one name, stevedore would choose one."""
    seen: dict[str, metadata.EntryPoint] = {}
    for point in points:
        if point.name in (*policy.BUILT_IN, *policy.NESTED):
            _refuse(point, 'a rule that is built in has this name')
        if point.name in seen:
            other = _package(seen[point.name])
            _refuse(point, f'the package {other} has a rule of this name')
        seen[point.name] = point


def _broken(
    manager: object, point: metadata.EntryPoint, exc: BaseException
) -> NoReturn:
    _refuse(point, f'it cannot be imported: {type(exc).__name__}: {exc}', exc)


def _fault(name: str, rule: Any) -> str:
    """Why an object cannot be a rule of this name; empty if it can."""
    if not inspect.isclass(rule) or not issubclass(rule, policy.Rule):
        return 'it is not a subclass of korora_nova.rats.policy.Rule'
    if getattr(rule, 'NAME', None) != name:
        return 'its NAME is not that of the entry point'
    help_text = getattr(rule, 'HELP', None)
    if not isinstance(help_text, str) or not help_text:
        return 'it has no HELP'
    if issubclass(rule, policy.BUILT_IN['ima']):
        return 'measured files are judged by the rule ima alone'
    for method in ('parse', 'check'):
        base = inspect.getattr_static(policy.Rule, method)
        if inspect.getattr_static(rule, method) is base:
            return f'it has no method {method} of its own'
    schema = getattr(rule, 'SCHEMA', None)
    try:
        jsonschema.Draft202012Validator.check_schema(schema)
    except jsonschema.SchemaError as exc:
        return f'its SCHEMA is not a JSON schema: {exc.message[:200]}'
    if not isinstance(schema, dict) or schema.get('type') != 'object':
        return 'its SCHEMA does not describe an object'
    return ''


def _refuse(
    point: metadata.EntryPoint, why: str, cause: BaseException | None = None
) -> NoReturn:
    package = _package(point)
    raise errors.Unavailable(
        errors.Reason.EXTENSION_INVALID,
        f'The rule {point.name} ({point.value}) of the package {package} '
        f'cannot be used: {why}. Correct or remove the package.',
        details={'rule': point.name, 'package': package},
    ) from cause


def _package(point: metadata.EntryPoint) -> str:
    """Who brings an entry point; those of stevedore do not say it."""
    for one in metadata.entry_points(group=NAMESPACE):
        if one.dist is not None and (one.name, one.value) == (
            point.name,
            point.value,
        ):
            return one.dist.name
    return 'unknown'
