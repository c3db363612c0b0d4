# SPDX-License-Identifier: Apache-2.0
"""What can be said of the panel without Horizon, which is not here."""

from __future__ import annotations

import configparser
import gettext
import pathlib
import re
import sys

import testtools

from korora_tools.horizon import pages, rules
from tests.unit import test_layering as layering

ROOT = pathlib.Path(__file__).resolve().parents[2]
PANEL = ROOT / 'korora_dashboard'
#: Parts of the project that it may know: none that decides or that speaks
#: with a TPM, a database or a bus.
OURS = ('client', 'custody', 'errors', 'osc.diagnosis', 'rats', 'transport')
#: What Horizon brings along, and what is in requirements.txt.
THEIRS = frozenset(
    (
        'django',
        'horizon',
        'keystoneauth1',
        'korora_dashboard',
        'openstack_dashboard',
        'yaml',
    )
)


def templates() -> list[pathlib.Path]:
    found = sorted(PANEL.rglob('*.html'))
    assert found
    return found


class CodeTest(testtools.TestCase):
    def test_it_knows_only_what_it_may(self) -> None:
        wrong = []
        for path in sorted(PANEL.rglob('*.py')):
            name = '.'.join(path.relative_to(ROOT).with_suffix('').parts)
            for target, line in layering.imports(path.read_text(), name):
                top = target.split('.')[0]
                if top == 'korora_nova':
                    part = target.removeprefix('korora_nova.')
                    fine = any(layering.within(part, one) for one in OURS)
                else:
                    fine = top in THEIRS | sys.stdlib_module_names
                if not fine:
                    wrong.append(f'{path.name}:{line} imports {target}')
        self.assertEqual([], wrong)

    def test_it_is_packaged_with_an_extra(self) -> None:
        config = configparser.ConfigParser()
        config.read(ROOT / 'setup.cfg')
        self.assertIn('korora_dashboard', config['files']['packages'].split())
        self.assertRegex(config['extras']['horizon'], r'\nhorizon>=27')

    def test_rules_are_the_services(self) -> None:
        self.assertEqual(rules.text(), rules.PATH.read_text())

    def test_pages_are_counted(self) -> None:
        text = (PANEL / 'pages.py').read_text()
        self.assertEqual(text.count('.as_view()'), pages.count())


class TemplatesTest(testtools.TestCase):
    """What a hostile text, or a strict browser, could find in them."""

    def test_no_script_no_style_nothing_marked_safe(self) -> None:
        forbidden = re.compile(
            r'<script|<style|\sstyle=|\son\w+=|javascript:|\|\s*safe'
            r'|autoescape|mark_safe|format_html',
            re.IGNORECASE,
        )
        for path in [*templates(), *PANEL.rglob('*.py')]:
            self.assertIsNone(forbidden.search(path.read_text()), path)

    def test_every_attribute_is_quoted(self) -> None:
        for path in templates():
            self.assertIsNone(
                re.search(r'\s[\w-]+=\{\{', path.read_text()), path
            )

    def test_forms_that_change_something_have_a_token(self) -> None:
        found = 0
        for path in templates():
            for form in re.findall(
                r'<form.*?</form>', path.read_text(), re.DOTALL
            ):
                if 'method="post"' in form:
                    found += 1
                    self.assertIn('{% csrf_token %}', form, path)
                else:
                    self.assertIn('method="get"', form, path)
                # AngularJS, which Horizon loads, lets no other one be sent.
                self.assertIn('action="{{ request.path }}"', form, path)
        self.assertEqual(3, found)

    def test_tables_name_their_columns_and_rows(self) -> None:
        for path in templates():
            for table in re.findall(
                r'<table.*?</table>', path.read_text(), re.DOTALL
            ):
                self.assertIn('scope="col"', table, path)
                self.assertIn('scope="row"', table, path)


class MessagesTest(testtools.TestCase):
    """That nothing lacks a translation, the stage says: it has Babel."""

    def test_compiled_catalogue(self) -> None:
        found = sorted(PANEL.rglob('django.mo'))
        self.assertEqual(['de'], [path.parts[-3] for path in found])
        with found[0].open('rb') as file:
            german = gettext.GNUTranslations(file)
        for message, wanted in (
            ('Waits for approval', 'Wartet auf Zulassung'),
            ('The policy wants', 'Die Richtlinie verlangt'),
        ):
            self.assertEqual(wanted, german.gettext(message))
        self.assertEqual(
            '%(n)d Eintrag', german.ngettext('%(n)d entry', '', 1)
        )
