# SPDX-License-Identifier: Apache-2.0
"""Reading a guide and a unit file, as tools/fresh does."""

from __future__ import annotations

import pathlib
import subprocess
import tempfile
import textwrap
import unittest

from korora_tools.fresh import document, units

PAGE = """
Text.

#. A step:

   .. fresh: on=controller until=NAME.*pending
   .. code-block:: console

      # first \\
            --option
      $ second NAME

   More text.

.. fresh: on=compute merge=/etc/x.conf
.. literalinclude:: sample
   :language: ini
"""


class DocumentTest(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.page = pathlib.Path(folder.name) / 'page.rst'
        self.page.with_name('sample').write_text('[a]\nb = NAME\n')

    def steps(self, text: str) -> list[document.Step]:
        self.page.write_text(text)
        return list(document.steps(self.page))

    def test_blocks_and_prompts(self) -> None:
        first, second = self.steps(PAGE)
        self.assertEqual(
            [('first --option', False), ('second NAME', True)],
            [(c.text, c.admin) for c in first.commands],
        )
        self.assertEqual(
            ('controller', 9), (first.node, first.commands[0].line)
        )
        self.assertEqual('[a]\nb = NAME\n', second.text)

    def test_what_cannot_be_followed_is_an_error_with_its_place(self) -> None:
        for old, new, place in (
            ('on=controller', 'on=nowhere', ':6: '),
            ('until=', 'unless=', ':6: '),
            ('      # first', '      first', ':9: '),
            ('console\n', 'ini\n', ':6: '),
            ('$ second NAME', '$ second \\', ':11: '),
            ('merge=/etc/x.conf', '', ':15: '),
            ('.. code-block:: console', 'Text', ':7: '),
        ):
            with (
                self.subTest(new),
                self.assertRaisesRegex(document.DocumentError, place),
            ):
                self.steps(PAGE.replace(old, new))

    def test_words_stand_for_values_only_as_words(self) -> None:
        values = {'NAME': 'h1', 'NAME_TOO': 'x'}
        self.assertEqual(
            'h1 x NAMES', document.replace('NAME NAME_TOO NAMES', values)
        )

    def test_index(self) -> None:
        self.page.write_text(
            textwrap.dedent("""\
            .. toctree::

               one
               two

            ============  =====
            ``ONE``       first, ``NOT``
            ``TWO_A``,    more
            ``TWO_B``
            ============  =====

            .. toctree::

               three
            """)
        )
        self.assertEqual(
            ['one.rst', 'two.rst'], [p.name for p in document.pages(self.page)]
        )
        self.assertEqual({'ONE', 'TWO_A', 'TWO_B'}, document.words(self.page))


class MergeTest(unittest.TestCase):
    def test_options_are_replaced_and_sections_kept(self) -> None:
        self.assertEqual(
            '[a]\nfilter = x\nfilter = y\nother = 1\n[b]\nz = 3\n[c]\nd = 4\n',
            document.merge(
                '[a]\nfilter = old\nother = 1\n[b]\nz = 2\n',
                '# text\n[a]\nfilter = x\nfilter = y\n[b]\nz=3\n[c]\nd = 4\n',
            ),
        )

    def test_twice_is_once(self) -> None:
        new = '[a]\nb = 1\n[c]\nd = 2\nd = 3\n'
        once = document.merge('[a]\nx = 1\n', new)
        self.assertEqual(once, document.merge(once, new))


class UnitsTest(unittest.TestCase):
    UNIT = textwrap.dedent("""\
        [Unit]
        Description=Text
        [Service]
        ExecStart=/bin/echo "two words"
        User=nobody
        UMask=0077
        NoNewPrivileges=yes
        [Install]
        WantedBy=multi-user.target
        """)

    def test_the_script_ends_in_the_program(self) -> None:
        unit = units.read(self.UNIT)
        self.assertEqual(
            'exec setpriv --reuid=nobody --regid=nobody --init-groups '
            "--no-new-privs /bin/echo 'two words'",
            unit.script.splitlines()[-1],
        )
        self.assertFalse(unit.notify)

    def test_the_script_is_shell(self) -> None:
        unit = units.read(
            self.UNIT.replace(
                'UMask',
                'ProtectSystem=full\nPrivateTmp=yes\nProtectHome=yes\n'
                'RuntimeDirectory=x\nLimitCORE=0\nLimitMEMLOCK=infinity\n'
                'UMask',
            )
        )
        subprocess.run(['sh', '-n'], input=unit.script, text=True, check=True)
        self.assertIn(
            'install -d -o nobody -g nobody -m 0755 /run/x', unit.script
        )
        for limit in ('core=0', 'memlock=unlimited'):
            self.assertIn(f'prlimit --pid $$ --{limit} ', unit.script)

    def test_own_directories_stay_writable_and_a_credential_is_found(
        self,
    ) -> None:
        unit = units.read(
            self.UNIT.replace(
                'UMask',
                'ProtectSystem=strict\nStateDirectory=x\nLogsDirectory=y\n'
                'LoadCredential=korora.secrets:x.secrets\n'
                'LoadCredentialEncrypted=korora.owner-auth\n'
                'SystemCallFilter=@system-service\nUMask',
            )
        )
        subprocess.run(['sh', '-n'], input=unit.script, text=True, check=True)
        lines = unit.script.splitlines()
        closed = next(
            i for i, line in enumerate(lines) if 'bind,ro /var' in line
        )
        for own in ('/var/lib/x', '/var/log/y'):
            (opened,) = (
                i for i, line in enumerate(lines) if f'bind,rw {own}' in line
            )
            self.assertLess(closed, opened)
        self.assertIn(
            'install -o nobody -m 0400 /etc/credstore/x.secrets '
            '/run/credentials/nobody-x.secrets/korora.secrets',
            unit.script,
        )

    def test_what_cannot_be_done_is_refused(self) -> None:
        for old, new in (
            ('UMask=0077', 'RootDirectory=/x'),
            ('UMask=0077', 'User=root'),
            ('UMask=0077', 'Type=forking'),
            ('UMask=0077', 'ProtectSystem=other'),
            ('WantedBy=multi-user.target', ''),
            ('ExecStart=/bin/echo "two words"', ''),
        ):
            with self.subTest(new), self.assertRaises(units.UnitError):
                units.read(self.UNIT.replace(old, new))
