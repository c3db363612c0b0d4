# SPDX-License-Identifier: Apache-2.0
"""The last release out of git, and what is said of the pairs."""

import ast
import pathlib
import subprocess
import tempfile
import unittest

from korora_tools import checkout, ui
from korora_tools.upgrade import ends, pairs, release

PAGE = checkout.ROOT / 'doc/source/contributor/releases.rst'


def git(folder, *argv):
    subprocess.run(
        [
            'git',
            '-c',
            'user.name=x',
            '-c',
            'user.email=x@example.org',
            '-C',
            str(folder),
            *argv,
        ],
        check=True,
        capture_output=True,
    )


class ReleaseTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def history(self):
        """A clone of two commits, and the id of the first."""
        origin = self.folder / 'origin'
        git(self.folder, 'init', '-q', str(origin))
        for text in ('old', 'new'):
            for part in release.PARTS:
                path = origin / part
                if not path.suffix:
                    path = path / 'file.py'
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
            git(origin, 'add', '.')
            git(origin, 'commit', '-qm', text)
        done = subprocess.run(
            ['git', '-C', str(origin), 'rev-parse', 'HEAD~'],
            capture_output=True,
            text=True,
            check=True,
        )
        return origin, done.stdout.strip()

    def test_files_are_those_of_the_commit(self):
        origin, commit = self.history()
        release.unpack(self.folder / 'tree', origin, commit)
        found = self.folder / 'tree/korora_nova/file.py'
        self.assertEqual('old', found.read_text())

    def test_a_shallow_clone_says_so(self):
        origin, commit = self.history()
        shallow = self.folder / 'shallow'
        git(
            self.folder,
            'clone',
            '-q',
            '--depth=1',
            f'file://{origin}',
            str(shallow),
        )
        with self.assertRaisesRegex(ui.Problem, 'git fetch --unshallow'):
            release.unpack(self.folder / 'tree', shallow, commit)


class PairsTest(unittest.TestCase):
    def test_the_page_has_each(self):
        page = PAGE.read_text()
        names = [pair.name for pair in pairs.PAIRS]
        self.assertEqual(len(names), len(set(names)))
        for name in names:
            self.assertIn(f'\n``{name}``', page)

    def test_each_has_something_old_and_something_new(self):
        for pair in pairs.PAIRS:
            trees = set(vars(pair).values())
            self.assertTrue({'old', 'new'} <= trees, pair)

    def test_what_comes_out_otherwise_is_wrong(self):
        pairs.expect('x', 1, 1)
        with self.assertRaisesRegex(pairs.Wrong, 'x: 2, not 1'):
            pairs.expect('x', 1, 2)

    def test_a_refusal_that_must_be(self):
        def refuse():
            raise ends.Refused('NOT_HOLDER', 'why')

        pairs.refused('x', 'NOT_HOLDER', refuse)
        with self.assertRaises(pairs.Wrong):
            pairs.refused('x', 'HOST_UNTRUSTED', refuse)
        with self.assertRaises(pairs.Wrong):
            pairs.refused('x', 'NOT_HOLDER', lambda: 'done')

    def test_report(self):
        results = [pairs.Result('a', '', 1.0), pairs.Result('b', 'bad', 2.0)]
        report = pairs.report(results, '1')
        self.assertEqual((2, 1), (report['pairs'], report['ok']))


class PeerTest(unittest.TestCase):
    def test_it_does_what_it_is_asked(self):
        """Every action of the pairs is a method of some role."""
        tree = ast.parse(ends.PEER.read_text())
        methods = {
            node.name
            for one in tree.body
            if isinstance(one, ast.ClassDef)
            for node in one.body
            if isinstance(node, ast.FunctionDef)
        }
        asked = {
            node.args[0].value
            for node in ast.walk(
                ast.parse(pathlib.Path(pairs.__file__).read_text())
            )
            if isinstance(node, ast.Call)
            and getattr(node.func, 'attr', '') == 'do'
        }
        self.assertGreater(len(asked), 10)
        self.assertEqual(set(), asked - methods)
