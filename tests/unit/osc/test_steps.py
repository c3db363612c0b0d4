# SPDX-License-Identifier: Apache-2.0
"""Servers, and the steps that cannot be taken back."""

import io
import pathlib

import fixtures
from osc_lib import exceptions

from korora_nova.osc import (
    document,
    host,
    migration,
    policy,
    reference,
    server,
)
from tests.unit.osc.base import CommandTest

SERVER = {
    'instance': '9a',
    'state': 'held',
    'holder': 'h1',
    'epoch': 1,
    'version': 1,
    'issues': [{'id': 'no-copy', 'message': 'Host h1 has no copy.'}],
}
END = {
    'role': 'holder',
    'host': 'h1',
    'tier': 'contraindicated',
    'last_heard': 60.0,
    'evicted_at': None,
    'rebooted': True,
    'copy': 'no',
    'word': None,
}
PLAN = {
    'instance': '9a',
    'done': False,
    'consequences': ['The key of epoch 1 never opens again.'],
    'ends': [END],
    'nova': {'host': 'h1', 'status': 'ERROR'},
    'refused': None,
    'receipt': '',
}
DONE = {**PLAN, 'done': True, 'receipt': 'a.b.c'}
REFUSED = {
    **PLAN,
    'refused': {'reason': 'NOT_FENCED', 'message': 'It may run.'},
}


class Terminal(io.StringIO):
    """Somebody who types at a terminal."""

    def isatty(self) -> bool:
        return True


class StepTestCase(CommandTest):
    def typed(self, text: str) -> None:
        self.useFixture(fixtures.MonkeyPatch('sys.stdin', Terminal(text)))

    def silent(self) -> None:
        self.useFixture(fixtures.MonkeyPatch('sys.stdin', io.StringIO('y\n')))

    def setUp(self) -> None:
        super().setUp()
        self.said = io.StringIO()
        self.useFixture(fixtures.MonkeyPatch('sys.stderr', self.said))

    def answers(self, path: str, *bodies: dict) -> None:
        self.http.register_uri(
            'POST',
            'https://attestation.example' + path,
            [{'json': body} for body in bodies],
        )

    def sent(self) -> list[object]:
        return [one.json() for one in self.http.request_history]


class TestServer(StepTestCase):
    def test_list(self) -> None:
        second = {**SERVER, 'instance': '9b', 'issues': []}
        self.http.get(
            'https://attestation.example/v1/servers',
            [
                {'json': {'servers': [SERVER], 'next': '9a', 'nova': True}},
                {'json': {'servers': [second], 'next': '', 'nova': False}},
            ],
        )
        shown = self.run_json(server.ListServer, '--issues', '--holder', 'h1')
        self.assertEqual(['9a', '9b'], [one['Server'] for one in shown])
        self.assertEqual(['no-copy: Host h1 has no copy.'], shown[0]['Issues'])
        first, last = self.http.request_history
        self.assertEqual({'issues': ['true'], 'holder': ['h1']}, first.qs)
        self.assertEqual(['9a'], last.qs['marker'])
        self.assertIn('Nova does not answer', self.said.getvalue())

    def test_list_of_a_service_that_goes_round(self) -> None:
        """A marker that does not go on ends it."""
        page = {'servers': [SERVER], 'next': '9a', 'nova': False}
        self.answer('GET', '/v1/servers', page)
        self.assertEqual(2, len(self.run_json(server.ListServer)))

    def test_show(self) -> None:
        exit_ = {'id': 'x', 'command': 'do it', 'consequence': 'It is done.'}
        self.answer(
            'GET',
            '/v1/servers/9a',
            {
                **SERVER,
                'refused': {'reason': 'LEDGER_BEHIND', 'message': 'Old.'},
                'holder_state': END,
                'ends': [],
                'documents': [],
                'exits': [exit_],
            },
        )
        shown = self.run_json(server.ShowServer, '9a')
        self.assertEqual([exit_], shown['exits'])
        self.assertEqual('[LEDGER_BEHIND] Old.', shown['refused'])
        self.app.stdout.truncate(0)
        self.app.stdout.seek(0)
        printed = self.run_command(server.ShowServer, '9a', '-f', 'table')
        self.assertIn('do it', printed)
        self.assertIn('holder h1: contraindicated, last heard 1970', printed)

    def test_dry_run(self) -> None:
        self.answers('/v1/servers/9a/reissue', REFUSED)
        shown = self.run_json(
            server.ReissueServer, '9a', '--reason', 'why', '--dry-run'
        )
        self.assertEqual(
            [{'reason': 'why', 'fenced': '', 'dry_run': True}], self.sent()
        )
        self.assertEqual(
            (False, '[NOT_FENCED] It may run.', 'ERROR on h1'),
            (shown['done'], shown['refused'], shown['nova']),
        )
        self.assertEqual(
            [
                'holder h1: contraindicated, last heard 1970-01-01T00:01:00Z, '
                'booted since, copy no, says nothing'
            ],
            shown['ends'],
        )

    def test_yes(self) -> None:
        self.answers('/v1/servers/9a/release', DONE)
        shown = self.run_json(
            server.ReleaseServer,
            '9a',
            '--reason',
            'why',
            '--force',
            'so',
            '--yes',
        )
        self.assertEqual(
            [{'reason': 'why', 'force': 'so', 'dry_run': False}], self.sent()
        )
        self.assertEqual('a.b.c', shown['receipt'])

    def test_confirmed(self) -> None:
        self.answers('/v1/servers/9a/reissue', PLAN, DONE)
        self.typed('yes\n')
        shown = self.run_json(
            server.ReissueServer, '9a', '--reason', 'why', '--fenced', 'off'
        )
        self.assertTrue(shown['done'])
        self.assertEqual(
            [True, False], [one['dry_run'] for one in self.sent()]
        )
        self.assertIn(PLAN['consequences'][0], self.said.getvalue())

    def test_not_confirmed(self) -> None:
        for answer in ('\n', 'n\n', ''):
            self.answers('/v1/servers/9a/reissue', PLAN)
            self.typed(answer)
            self.assertRaises(
                exceptions.CommandError,
                self.run_command,
                server.ReissueServer,
                '9a',
                '--reason',
                'why',
            )
        self.assertEqual([True] * 3, [one['dry_run'] for one in self.sent()])

    def test_nobody_to_ask(self) -> None:
        """A script that did not say --yes does nothing."""
        self.answers('/v1/servers/9a/reissue', PLAN)
        self.silent()
        exc = self.assertRaises(
            exceptions.CommandError,
            self.run_command,
            server.ReissueServer,
            '9a',
            '--reason',
            'why',
        )
        self.assertIn('--yes', str(exc))
        self.assertEqual(1, len(self.sent()))

    def test_refused_before_it_asks(self) -> None:
        self.answers('/v1/servers/9a/reissue', REFUSED)
        self.typed('y\n')
        exc = self.assertRaises(
            exceptions.CommandError,
            self.run_command,
            server.ReissueServer,
            '9a',
            '--reason',
            'why',
        )
        self.assertEqual('[NOT_FENCED] It may run.', str(exc))

    def test_reason_is_required(self) -> None:
        for command, argv in (
            (server.ReissueServer, ['9a']),
            (server.ReleaseServer, ['9a']),
            (host.EvictHost, ['h1']),
            (migration.ResolveMigration, ['1b', '--keep', 'source']),
            (migration.ResolveMigration, ['1b', '--reason', 'why']),
        ):
            parser = command(self.app, None).get_parser('attestation')
            self.assertRaises(SystemExit, parser.parse_args, argv)


class TestResolve(StepTestCase):
    def test_resolve(self) -> None:
        self.answers('/v1/migrations/1b/resolve', DONE)
        self.run_json(
            migration.ResolveMigration,
            '1b',
            '--keep',
            'destination',
            '--reason',
            'why',
            '--yes',
        )
        self.assertEqual(
            [{'keep': 'destination', 'reason': 'why', 'dry_run': False}],
            self.sent(),
        )


class TestEvict(StepTestCase):
    def batch(self, following: str, *plans: dict) -> dict:
        return {'host': 'h1', 'servers': list(plans), 'next': following}

    def test_batches(self) -> None:
        self.answers(
            '/v1/hosts/h1/evict',
            self.batch('9a', DONE),
            self.batch('', {**REFUSED, 'instance': '9b'}),
        )
        shown = self.run_json(host.EvictHost, 'h1', '--reason', 'why', '--yes')
        self.assertEqual(['', '9a'], [one['after'] for one in self.sent()])
        self.assertEqual([True, False], [one['Done'] for one in shown])
        self.assertEqual('[NOT_FENCED] It may run.', shown[1]['Left To Do'])
        self.assertIn('for 1 servers', self.said.getvalue())

    def test_dry_run(self) -> None:
        self.answers('/v1/hosts/h1/evict', self.batch('', PLAN))
        self.run_json(host.EvictHost, 'h1', '--reason', 'why', '--dry-run')
        self.assertEqual(
            [{'reason': 'why', 'dry_run': True, 'after': ''}], self.sent()
        )

    def test_a_host_without_keys_is_asked_about_too(self) -> None:
        self.answers('/v1/hosts/h1/evict', self.batch(''))
        self.silent()
        self.assertRaises(
            exceptions.CommandError,
            self.run_command,
            host.EvictHost,
            'h1',
            '--reason',
            'why',
        )


class TestPresent(StepTestCase):
    def file(self, text: str) -> str:
        path = self.useFixture(fixtures.TempDir()).join('documents')
        pathlib.Path(path).write_text(text)
        return path

    def test_each_document_once(self) -> None:
        self.answers('/v1/documents', {'servers': 2, 'current': 1})
        shown = self.run_json(
            document.PresentDocument,
            self.file('a.b.c\n\nd.e.f\n'),
            # The host died while its agent wrote.
            self.file('{"seq": 1, "token": "d.e.f"}\n{"token": "g.h'),
        )
        self.assertEqual({'documents': 2, 'servers': 2, 'current': 1}, shown)
        self.assertEqual([{'documents': ['a.b.c', 'd.e.f']}], self.sent())

    def test_page_by_page(self) -> None:
        self.answers('/v1/documents', {'servers': 1, 'current': 1})
        lines = '\n'.join(f'a.b.{n}' for n in range(document.PAGE + 1))
        shown = self.run_json(document.PresentDocument, self.file(lines))
        self.assertEqual(2, shown['servers'])
        self.assertEqual(2, len(self.sent()))

    def test_files_without_documents(self) -> None:
        for text in ('', '[]', '{', '{"a": 1}', 'no document', '{\na.b.c'):
            self.assertRaises(
                exceptions.CommandError,
                self.run_command,
                document.PresentDocument,
                self.file(text),
            )
        self.assertRaises(
            exceptions.CommandError,
            self.run_command,
            document.PresentDocument,
            '/does/not/exist',
        )
        self.assertFalse(self.http.called)


class TestDeletion(StepTestCase):
    """What is forgotten is asked about, too."""

    COMMANDS = (
        (host.DeleteHost, '/v1/hosts/x', 'must enrol and be approved again'),
        (reference.DeleteReference, '/v1/references/x', 'lose their trust'),
        (policy.DeletePolicy, '/v1/policies/x', 'judged by the built-in one'),
    )

    def delete(self, command: type, path: str, *argv: str) -> list:
        self.http.reset_mock()
        self.answer('DELETE', path)
        self.run_command(command, 'x', *argv)
        return self.http.request_history

    def test_nobody_can_be_asked(self) -> None:
        for command, path, _ in self.COMMANDS:
            self.silent()
            raised = self.assertRaises(
                exceptions.CommandError, self.delete, command, path
            )
            self.assertIn('--yes', str(raised))
            self.assertEqual([], self.http.request_history)

    def test_no(self) -> None:
        for command, path, _ in self.COMMANDS:
            self.typed('n\n')
            self.assertRaises(
                exceptions.CommandError, self.delete, command, path
            )
            self.assertEqual([], self.http.request_history)

    def test_yes(self) -> None:
        for command, path, said in self.COMMANDS:
            self.typed('y\n')
            self.assertEqual(1, len(self.delete(command, path)))
            self.assertIn(said, ' '.join(self.said.getvalue().split()))

    def test_scripts(self) -> None:
        self.silent()
        for command, path, _ in self.COMMANDS:
            self.assertEqual(1, len(self.delete(command, path, '--yes')))
        self.assertEqual('', self.said.getvalue())
