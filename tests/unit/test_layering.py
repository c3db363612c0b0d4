# SPDX-License-Identifier: Apache-2.0
"""Imports point from services and hooks towards rats and custody.

Every import statement counts, also one inside a function or below
TYPE_CHECKING: the rule is about who may know whom, not about load order.
"""

import ast
import collections.abc
import pathlib
import sys
import typing

import testtools

ROOT = pathlib.Path(__file__).resolve().parents[2]
PACKAGE = 'korora_nova'

BASE = frozenset({'errors', 'secret'})
PURE = BASE | {'rats', 'custody'}

# part of the project -> parts it may import, besides itself
ALLOWED: typing.Final[dict[str, frozenset[str]]] = {
    'reasons': frozenset(),
    'errors': frozenset({'reasons'}),
    'secret': frozenset({'errors'}),
    # what a check says
    'checks': BASE | {'rats'},
    'rats': BASE,
    'custody': BASE | {'rats'},
    'tpm': PURE | {'spans'},
    # what all that waits is measured by
    'spans': frozenset({'trail'}),
    # whose doing it is, in the logs
    'trail': frozenset(),
    # what is counted
    'metrics': frozenset({'reasons'}),
    'conf': PURE | {'spans', 'trail', 'response.options'},
    'transport': frozenset({'spans', 'trail'}),
    # where tests stop a process
    'faultpoints': frozenset(),
    'client': PURE | {'transport'},
    'attester': PURE
    | {
        'checks',
        'tpm',
        'conf',
        'client',
        'faultpoints',
        'spans',
        'trail',
        'metrics',
    },
    # a counter of the node's TPM may be an anchor
    'verifier': PURE
    | {
        'conf',
        'tpm.counter',
        'faultpoints',
        'transport',
        'spans',
        'trail',
        'metrics',
    },
    'api': PURE | {'conf', 'verifier', 'spans', 'trail', 'metrics'},
    'wsgi': PURE | {'conf', 'verifier', 'api', 'metrics'},
    'relying_party': PURE
    | {
        'conf',
        'client',
        'attester.socket_client',
        'spans',
        'trail',
        'metrics',
    },
    # what a server requires is read without Nova
    'response': PURE
    | {'conf', 'verifier', 'transport', 'relying_party.requirement'},
    'starters': frozenset(),
    'osc': PURE | {'client', 'starters', 'checks'},
    'cmd': PURE
    | {
        'checks',
        'conf',
        'client',
        'tpm',
        'attester',
        'verifier',
        'api',
        'response',
        'metrics',
    },
    # the door nova loads the driver through
    'nova.virt.korora': frozenset({'relying_party.driver'}),
}

# A module that is more tightly bound than the part it lives in.
TIGHTER: typing.Final[dict[str, frozenset[str]]] = {
    # Runs inside nova-compute: no TPM, no bus, no configuration. The messages
    # that both ends of the socket exchange are pure, as is all they import.
    'attester.socket_client': frozenset(
        {'errors', 'secret', 'custody.operations', 'custody.answers', 'spans'}
    ),
}

# What has a plaintext -> the only module of the agent that may import it: it
# runs in a process that ends with the operation.
PLAINTEXT: typing.Final[dict[str, str]] = {
    'custody.envelope': 'attester.custodian.keeper',
    'tpm.seal': 'attester.custodian.keeper',
}

# distribution -> the only parts that may import it
SOLE_IMPORTERS: typing.Final[dict[str, frozenset[str]]] = {
    'tpm2_pytss': frozenset({'tpm'}),
    'nova': frozenset({'relying_party'}),
    'castellan': frozenset({'relying_party'}),
    'oslo_messaging': frozenset({'attester', 'response'}),
    'sqlalchemy': frozenset({'verifier', 'response'}),
    'stevedore': frozenset({'verifier', 'response'}),
    'pkcs11': frozenset({'verifier'}),
    'opentelemetry': frozenset({'spans'}),
    'prometheus_client': frozenset({'metrics', 'wsgi'}),
    'alembic': frozenset({'verifier'}),
    'etcd3gw': frozenset({'verifier'}),
    'oslo_db': frozenset({'verifier', 'conf', 'cmd'}),
    'osc_lib': frozenset({'osc'}),
    'webob': frozenset({'api', 'wsgi'}),
    'eventlet': frozenset(),
    'asyncio': frozenset(),
    'gevent': frozenset(),
}

# All that rats and custody may use from outside the standard library.
PURE_THIRD_PARTY = frozenset({'cryptography', 'jsonschema', 'jwt'})
IMPURE_STDLIB = frozenset(
    {
        'concurrent',
        'ctypes',
        'fcntl',
        'ftplib',
        'glob',
        'http',
        'io',
        'logging',
        'mmap',
        'multiprocessing',
        'os',
        'pathlib',
        'random',
        'select',
        'shutil',
        'signal',
        'socket',
        'sqlite3',
        'ssl',
        'subprocess',
        'tempfile',
        'threading',
        'time',
        'urllib',
    }
)
# Signing keys and pinned keys are files; nothing else in there is.
PURE_EXCEPTIONS: typing.Final[dict[str, frozenset[str]]] = {
    'rats.signed.keys': frozenset({'os', 'pathlib'}),
}


class Import(typing.NamedTuple):
    """One imported name: the dotted target and the line it stands on."""

    target: str
    line: int


def imports(source: str, module: str) -> collections.abc.Iterator[Import]:
    """Every name that a module's text imports, relative ones resolved.

    ``from a import b`` yields ``a.b``: whether b is a module cannot be told
    from the text, and the longer name is the stricter one.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, node.lineno)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ''
            if node.level:
                above = module.split('.')[: -node.level]
                base = '.'.join([*above, base]).rstrip('.')
            for alias in node.names:
                yield Import(f'{base}.{alias.name}', node.lineno)


def within(name: str, parent: str) -> bool:
    return name == parent or name.startswith(parent + '.')


def part_of(module: str) -> str:
    """``korora_nova.rats.ima`` -> ``rats``; nova's door keeps its name."""
    if not within(module, PACKAGE):
        return module
    return module.removeprefix(PACKAGE).lstrip('.').split('.')[0]


def internal_fault(module: str, target: str) -> str | None:
    """Why a module must not import another one of the project, or None."""
    inner = module.removeprefix(PACKAGE + '.')
    wanted = target.removeprefix(PACKAGE).lstrip('.')
    part = part_of(module)
    tighter = inner in TIGHTER
    allowed = TIGHTER[inner] if tighter else ALLOWED.get(part)
    if allowed is None:
        return f"{part} is not in this test's map of the project"
    for secret, keeper in PLAINTEXT.items():
        if within(wanted, secret) and part == 'attester' and inner != keeper:
            return f'{inner} imports {secret}, which {keeper} alone may'
    if not tighter and within(wanted, part):
        return None
    if any(within(wanted, one) for one in allowed):
        return None
    return f'{inner} imports {wanted}'


def external_fault(module: str, target: str) -> str | None:
    """Why a module must not import something from outside, or None."""
    inner = module.removeprefix(PACKAGE + '.')
    part = part_of(module)
    top = target.split('.')[0]
    if top in SOLE_IMPORTERS and part not in SOLE_IMPORTERS[top]:
        return f'{inner} imports {top}'
    if part not in ('rats', 'custody', 'errors', 'secret'):
        return None
    if top in PURE_EXCEPTIONS.get(inner, ()) or target == 'os.urandom':
        return None
    stdlib = top in sys.stdlib_module_names and top not in IMPURE_STDLIB
    if stdlib or top in PURE_THIRD_PARTY:
        return None
    return f'{inner} is pure but imports {target}'


def uses_of(source: str, name: str) -> set[str]:
    """The attributes that a text takes from a name: os.urandom -> urandom."""
    return {
        node.attr
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == name
    }


def faults(source: str, module: str) -> list[str]:
    found = []
    random_only = uses_of(source, 'os') == {'urandom'}
    for target, line in imports(source, module):
        if target == 'os' and random_only:
            target = 'os.urandom'
        check = internal_fault if within(target, PACKAGE) else external_fault
        fault = check(module, target)
        if fault:
            found.append(f'line {line}: {fault}')
    return found


def opens_files(source: str) -> list[int]:
    """Lines on which a module calls the built-in open()."""
    return [
        node.lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == 'open'
    ]


def sources() -> collections.abc.Iterator[tuple[str, pathlib.Path]]:
    """Each module of the project with its dotted name."""
    for top in (ROOT / PACKAGE, ROOT / 'nova'):
        for path in sorted(top.rglob('*.py')):
            parts = path.relative_to(ROOT).with_suffix('').parts
            if parts[-1] == '__init__':
                # a package resolves relative imports from itself
                parts = parts[:-1] if parts[0] == 'nova' else parts
            yield '.'.join(parts), path


class TestLayering(testtools.TestCase):
    def test_the_project_is_there(self) -> None:
        names = {part_of(name) for name, _ in sources()}
        self.assertEqual(set(), set(ALLOWED) - names)

    def test_imports_follow_the_map(self) -> None:
        found = [
            f'{path.relative_to(ROOT)}: {fault}'
            for name, path in sources()
            if part_of(name) != '__init__'
            for fault in faults(path.read_text(), name)
        ]
        self.assertEqual([], found)

    def test_the_pure_parts_open_no_file(self) -> None:
        found = [
            f'{path.relative_to(ROOT)}:{line}'
            for name, path in sources()
            if part_of(name) in ('rats', 'custody')
            and name.removeprefix(PACKAGE + '.') not in PURE_EXCEPTIONS
            for line in opens_files(path.read_text())
        ]
        self.assertEqual([], found)

    def test_nova_stays_a_foreign_package(self) -> None:
        # An __init__.py of ours would shadow the one of Nova.
        for path in ('nova/__init__.py', 'nova/virt/__init__.py'):
            self.assertFalse((ROOT / path).exists(), path)


class TestTheRulesThemselves(testtools.TestCase):
    """Each rule refuses what it is there for."""

    def assertFault(self, module: str, source: str) -> None:
        self.assertNotEqual([], faults(source, f'{PACKAGE}.{module}'))

    def assertFine(self, module: str, source: str) -> None:
        self.assertEqual([], faults(source, f'{PACKAGE}.{module}'))

    def test_back_references(self) -> None:
        self.assertFault('rats.ima', 'from korora_nova.custody import permit')
        self.assertFault('custody.permit', 'import korora_nova.verifier.app')
        self.assertFault('verifier.app', 'from korora_nova import api')
        self.assertFault('client', 'from korora_nova import conf')
        self.assertFine(
            'custody.permit', 'from korora_nova.rats.signed import keys'
        )
        self.assertFault('verifier.app', 'from korora_nova.tpm import seal')
        self.assertFine('verifier.app', 'from korora_nova.tpm import counter')

    def test_relative_imports_are_resolved(self) -> None:
        self.assertFault('rats.ima', 'from ..verifier import app')
        self.assertFine('rats.ima', 'from . import tpm2')

    def test_an_import_in_a_function_counts(self) -> None:
        self.assertFault('rats.ima', 'def f():\n    import socket\n')

    def test_pure_parts(self) -> None:
        for name in ('socket', 'requests', 'oslo_config', 'time', 'os'):
            self.assertFault('rats.ima', f'import {name}')
        self.assertFine('rats.ima', 'import hashlib, struct, jwt')
        self.assertFine('custody.envelope', 'from os import urandom')
        self.assertFine('custody.envelope', 'import os\nos.urandom(12)')
        self.assertFault('custody.envelope', 'import os\nos.stat(12)')
        self.assertFine('rats.signed.keys', 'import os')

    def test_sole_importers(self) -> None:
        self.assertFault('attester.vault', 'import tpm2_pytss')
        self.assertFault('attester.vault', 'from nova import exception')
        self.assertFault('relying_party.driver', 'import oslo_messaging')
        self.assertFault('attester.agent', 'import asyncio')
        self.assertFault('rats.policy.registry', 'import stevedore')
        self.assertFault('rats.signed.keys', 'import pkcs11')
        self.assertFine('relying_party.driver', 'from nova import exception')

    def test_the_driver_sees_of_the_agent_only_its_socket(self) -> None:
        self.assertFault(
            'relying_party.driver', 'from korora_nova.attester import vault'
        )
        self.assertFine(
            'relying_party.driver',
            'from korora_nova.attester import socket_client',
        )

    def test_the_socket_client_knows_messages_only(self) -> None:
        for name in (
            'attester import vault',
            'attester import server',
            'custody import envelope',
            'custody import ledger',
            'rats import state',
            'tpm import device',
            'conf import AGENT_SOCKET',
            'client import TIMEOUT',
        ):
            self.assertFault(
                'attester.socket_client', f'from korora_nova.{name}'
            )
        self.assertFine(
            'attester.socket_client',
            'from korora_nova.custody import answers, operations',
        )

    def test_only_custodians_have_a_plaintext(self) -> None:
        for name in PLAINTEXT:
            package, _, module = name.rpartition('.')
            line = f'from korora_nova.{package} import {module}'
            self.assertFault('attester.source', line)
            self.assertFault('attester.custodian.custodians', line)
            self.assertFine('attester.custodian.keeper', line)

    def test_an_unknown_part_is_a_fault(self) -> None:
        self.assertFault('extra.thing', 'from korora_nova import errors')

    def test_open_is_found(self) -> None:
        self.assertEqual([2], opens_files("x = 1\nopen('f')\n"))
