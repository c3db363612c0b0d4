# SPDX-License-Identifier: Apache-2.0
"""What documents promise about themselves."""

from __future__ import annotations

import ast
import pathlib
import re

import testtools

from korora_nova.custody import bodies
from korora_tools.fresh import document
from korora_tools.prove.attack import catalogue
from korora_tools.test import documents
from tests.unit import test_packaging as packaging

ROOT = pathlib.Path(__file__).resolve().parents[2]
SOURCE = ROOT / 'doc' / 'source'
CONF = SOURCE / 'conf.py'


def man_pages() -> list[tuple[str, str, str, int]]:
    """Page, name, description and section, as Sphinx's settings say."""
    text = CONF.read_text()
    tree = ast.parse(text)
    for node in tree.body:
        target = getattr(node, 'targets', [None])[0]
        if getattr(target, 'id', '') == 'man_pages':
            assert isinstance(node, ast.Assign)
            rows = ast.literal_eval(
                ast.unparse(node.value).replace('_AUTHORS', 'None')
            )
            return [
                (page, name, what, section)
                for page, name, what, _, section in rows
            ]
    return []


class ManTest(testtools.TestCase):
    def test_every_program_has_a_manual_page(self) -> None:
        scripts = {
            point.name
            for point in packaging.entry_points()
            if point.group == 'console_scripts'
        }
        self.assertEqual(
            scripts | {'openstack-attestation'},
            {name for _, name, _, _ in man_pages()},
        )

    def test_each_is_of_a_page_of_its_own_that_names_it(self) -> None:
        pages = [page for page, *_ in man_pages()]
        self.assertEqual(len(pages), len(set(pages)))
        for page, name, _, _ in man_pages():
            text = (SOURCE / f'{page}.rst').read_text()
            self.assertIn(name.replace('openstack-', 'openstack '), text)


class ThreatModelTest(testtools.TestCase):
    def test_each_attack_is_on_a_claim(self) -> None:
        page = (SOURCE / 'admin' / 'security.rst').read_text()
        claims = page[: page.index('\nAssets, in this order')]
        named = re.findall(r'\b[ACOST]\d{1,2}\b', claims)
        self.assertEqual(sorted(set(named)), sorted(named))
        self.assertEqual(set(catalogue.BY_ID), set(named))


class SpecificationTest(testtools.TestCase):
    def test_it_has_each_purpose(self) -> None:
        page = (SOURCE / 'protocol' / 'messages.rst').read_text()
        for kind in bodies.BODIES.values():
            self.assertIn(f'custody.bodies:{kind.__name__}\n', page)

    def test_it_has_each_label(self) -> None:
        page = (SOURCE / 'protocol' / 'index.rst').read_text()
        labels = set()
        for name in ('rats/evidence.py', 'custody/transcript.py'):
            text = (ROOT / 'korora_nova' / name).read_text()
            labels |= set(re.findall(r"'(korora [a-z]+ v\d+)'", text))
        self.assertEqual(6, len(labels))
        for label in labels:
            self.assertIn(f'``{label}``', page)


class FirstStepsTest(testtools.TestCase):
    def test_it_can_be_followed(self) -> None:
        """tests/integration/test_first_steps.py does it, on the lab."""
        steps = list(document.steps(SOURCE / 'start.rst'))
        self.assertGreater(len(steps), 5)
        for step in steps:
            self.assertEqual('controller', step.node)
            self.assertTrue(all(one.admin for one in step.commands))


class GlossaryTest(testtools.TestCase):
    def test_in_order_and_once(self) -> None:
        text = (SOURCE / 'glossary.rst').read_text()
        terms = re.findall(r'^   (\S.*)$', text, re.MULTILINE)
        folded = [term.casefold() for term in terms]
        self.assertEqual(sorted(set(folded)), folded)


class BuildTest(testtools.TestCase):
    def test_a_warning_is_counted(self) -> None:
        argv = ['printf', 'x.rst:1: WARNING: a\\nx.rst:2: ERROR: b\\n']
        self.assertEqual(2, documents.check('x', argv, {}).warnings)
        self.assertEqual(0, documents.check('x', ['true'], {}).warnings)

    def test_a_failure_without_a_word_counts(self) -> None:
        self.assertEqual(1, documents.check('x', ['false'], {}).warnings)

    def test_what_is_built_exists(self) -> None:
        for site in documents.SITES:
            self.assertTrue((ROOT / site.source / 'conf.py').is_file())
