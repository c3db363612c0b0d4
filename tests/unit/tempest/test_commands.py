# SPDX-License-Identifier: Apache-2.0
"""Commands on hosts: what is run, and what becomes of a failure."""

from __future__ import annotations

import sys

import testtools

from korora_tempest_plugin.common import commands


class TestWords(testtools.TestCase):
    def test_host_goes_into_every_word(self) -> None:
        self.assertEqual(
            ['ssh', 'stack@h1', 'sudo', 'say h1', 'virsh', 'list'],
            commands.words(
                "ssh stack@{host} sudo 'say {host}'", 'h1', ['virsh', 'list']
            ),
        )

    def test_names_that_are_options_or_shell(self) -> None:
        for host in ('', '-oProxyCommand=id', 'h1;id', 'h 1', '$(id)', 'h1\n'):
            self.assertRaises(ValueError, commands.words, 'ssh {host}', host)

    def test_words_that_a_remote_shell_would_split(self) -> None:
        for word in ('a b', 'a;b', '`id`', '$HOME', '', '*', 'a\n'):
            self.assertRaises(ValueError, commands.words, 'ssh', 'h1', [word])

    def test_no_command(self) -> None:
        self.assertRaises(ValueError, commands.words, ' ', 'h1', ['virsh'])


class TestRun(testtools.TestCase):
    def run_python(self, code: str, **kwargs: object) -> commands.Finished:
        return commands.run(
            f"{sys.executable} -c '{code}'", 'h1', **{'timeout': 30, **kwargs}
        )

    def test_output(self) -> None:
        done = self.run_python('print("{host}")')
        self.assertEqual(
            (0, 'h1\n', ''), (done.code, done.output, done.errors)
        )

    def test_failure(self) -> None:
        code = 'import sys; sys.exit("no such host")'
        raised = self.assertRaises(
            commands.CommandError, self.run_python, code
        )
        self.assertIn('no such host', str(raised))
        self.assertEqual(1, self.run_python(code, check=False).code)

    def test_timeout(self) -> None:
        raised = self.assertRaises(
            commands.CommandError,
            self.run_python,
            'import time; time.sleep(60)',
            timeout=1,
        )
        self.assertIn('longer than 1 seconds', str(raised))

    def test_no_such_command(self) -> None:
        self.assertRaises(
            commands.CommandError,
            commands.run,
            '/nonexistent/{host}',
            'h1',
            timeout=1,
        )

    def test_it_reads_nothing_from_the_terminal(self) -> None:
        self.assertEqual(
            "''\n",
            self.run_python(
                'import sys; print(repr(sys.stdin.read()))'
            ).output,
        )
