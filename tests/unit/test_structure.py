# SPDX-License-Identifier: Apache-2.0
"""The package keeps within its limits, and they count what they say."""

import json
import pathlib
import subprocess
import sys
import tempfile
import textwrap
import unittest

from korora_tools.structure import figures


class LimitsTest(unittest.TestCase):
    def test_the_package_is_within_its_limits(self):
        found = figures.measure()
        self.assertEqual([], found.over_limit, '\n'.join(found.details()))

    def test_one_line_as_typed_in_the_root_of_a_checkout(self):
        done = subprocess.run(
            [sys.executable, '-m', 'korora_tools.structure'],
            cwd=figures.ROOT,
            env={'PYTHONDONTWRITEBYTECODE': '1'},
            capture_output=True,
            text=True,
            check=True,
        )
        self.assertEqual(1, len(done.stdout.splitlines()))
        self.assertEqual(figures.measure().figures, json.loads(done.stdout))


class TreeTest(unittest.TestCase):
    """Packages that are made up, each called ``p``."""

    def measure(self, files):
        with tempfile.TemporaryDirectory() as scratch:
            for name, text in {'__init__.py': '', **files}.items():
                path = pathlib.Path(scratch, 'p', name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(textwrap.dedent(text))
            return figures.measure(pathlib.Path(scratch), 'p')


class CyclesTest(TreeTest):
    def check(self, wanted, **files):
        """Have modules p.a, p.b... with these lines the cycles wanted?"""
        found = self.measure({f'{name}.py': t for name, t in files.items()})
        self.assertEqual(wanted, found.cycles)

    def test_none(self):
        self.check([], a='import p.b', b='import p.c', c='import os')
        self.check([], a='import p.a')

    def test_every_way_to_import(self):
        back = 'from p import a'
        for line in (
            'import p.b',
            'import p.b as x',
            'from p import b',
            'from p import c, b as x',
            'from p.b import f',
            'from p.b import *',
            'from . import b',
            'from .b import f',
            'def f():\n    import p.b',
            'if TYPE_CHECKING:\n    from p import b',
        ):
            with self.subTest(line):
                self.check([['p.a', 'p.b']], a=line, b=back, c='')

    def test_one_name_for_two_modules(self):
        self.check(
            [['p.a', 'p.b']],
            a="""
            def f():
                from p import b as x
            def g():
                from p import c as x
            """,
            b='import p.a',
            c='',
        )

    def test_long_and_several(self):
        self.check(
            [['p.a', 'p.b', 'p.c'], ['p.d', 'p.e']],
            a='import p.b, p.d',
            b='import p.c',
            c='import p.a',
            d='import p.e',
            e='import p.d',
        )

    def test_a_package_is_a_module_of_its_own(self):
        for package, module, wanted in (
            # Its modules may use each other.
            ('from p.q import b', 'from p.q import c', []),
            ('from p.q import b', 'from . import c', []),
            ('from p.q.b import f', 'import p.q.c', []),
            # They must not use what it gathers.
            ('from p.q.b import f', 'from p.q import g', [['p.q', 'p.q.b']]),
            ('from .b import f', 'from . import g', [['p.q', 'p.q.b']]),
            ('from . import b', 'import p.q', [['p.q', 'p.q.b']]),
        ):
            with self.subTest(package=package, module=module):
                found = self.measure(
                    {
                        'q/__init__.py': package,
                        'q/b.py': module,
                        'q/c.py': '',
                    }
                )
                self.assertEqual(wanted, found.cycles)


class DictAnyTest(TreeTest):
    def check(self, wanted, a, b=''):
        found = self.measure({'a.py': a, 'b.py': b})
        self.assertEqual(wanted, found.figures['dict_any'])

    def test_what_is_one(self):
        for text in (
            'x: dict[str, Any]',
            'x: typing.Dict[str, typing.Any] = {}',
            'def f(x: Mapping[str, Any]): pass',
            'def f() -> collections.abc.MutableMapping[str, Any]: pass',
            'x: list[dict[str, Any] | None]',
            'x: "dict[str, Any]"',
            'x: list["dict[str, Any]"]',
            'def f() -> "dict[str, Any]": pass',
            'x = cast(dict[str, Any], y)',
            'x = typing.cast("dict[str, Any]", y)',
            'class C:\n    x: dict[str, Any]',
            'def f():\n    x: dict[str, Any] = {}',
        ):
            with self.subTest(text):
                self.check(1, text)

    def test_what_is_none(self):
        for text in (
            'x: dict[str, str]',
            'x: dict[str, object]',
            'x: dict[bytes, Any]',
            'x: tuple[str, Any]',
            '"""Gives a dict[str, Any]."""',
            'x = "dict[str, Any]"',
            '# dict[str, Any]',
        ):
            with self.subTest(text):
                self.check(0, text)

    def test_uses_of_an_alias(self):
        alias = 'Json = dict[str, Any]\n'
        for uses, text in (
            (0, ''),
            (1, 'x: Json'),
            (2, 'def f(x: Json) -> list[Json]: pass'),
            (1, 'x: "Json"'),
            (0, 'x = "Json"'),
        ):
            with self.subTest(text):
                self.check(1 + uses, alias + text)

    def test_an_alias_of_another_module(self):
        for text in (
            'from p import b\nx: b.Json',
            'from p import b as c\nx: c.Json',
            'import p.b\nx: p.b.Json',
            'from p.b import Json\nx: Json',
            'from .b import Json as J\nx: J',
        ):
            with self.subTest(text):
                self.check(2, text, b='Json = dict[str, Any]')

    def test_an_alias_taken_from_whoever_imported_it(self):
        found = self.measure(
            {
                'a.py': 'from p import b\nx: b.Json',
                'b.py': 'from p.c import Json',
                'c.py': 'Json: TypeAlias = Mapping[str, Any]',
            }
        )
        self.assertEqual({'p/a.py': 1, 'p/c.py': 1}, found.dict_any)

    def test_an_alias_of_an_alias(self):
        self.check(
            4,
            'Json = dict[str, Any]\nBody = Json | None\ndef f(x: Body): 0\n'
            'y: Body',
        )

    def test_a_name_that_is_no_alias(self):
        self.check(1, 'Json = list[dict[str, Any]]\nx: Json')
        self.check(1, 'from q import Json\nx: Json', b='y: dict[str, Any]')


class SizesTest(TreeTest):
    def test_files(self):
        found = self.measure({'a.py': 'x\n' * 400, 'b.py': 'x\n' * 401})
        self.assertEqual({'p/b.py': 401}, found.long_files)
        self.assertEqual(1, found.figures['files_over_400'])

    def test_functions_with_all_that_is_inside(self):
        found = self.measure(
            {
                'a.py': '''\
                @decorated
                def f(
                    x,
                ):
                    def g():
                        pass
                    return g

                class C:
                    async def h(self): """One line."""
                '''
            }
        )
        self.assertEqual(
            {'p/a.py:2 f': 6, 'p/a.py:5 g': 2, 'p/a.py:10 h': 1},
            found.functions,
        )

    def test_percentile_is_one_of_the_values(self):
        for values, wanted in (
            ([], 0),
            ([7], 7),
            (range(1, 101), 95),
            (range(1, 21), 19),
            (range(1, 22), 20),
        ):
            self.assertEqual(
                wanted, figures.percentile(list(reversed(values)), 95)
            )


class LimitTest(unittest.TestCase):
    def test_more_than_allowed_is_told(self):
        found = figures.Structure([], {'a': 10_000}, {}, {'f': 3})
        self.assertEqual(
            [
                'dict_any is 10000, at most '
                f'{figures.LIMITS["dict_any"]} are allowed'
            ],
            found.over_limit,
        )
        self.assertEqual(['dict_any: 10000 a'], list(found.details()))
