# SPDX-License-Identifier: Apache-2.0
"""Every list has more columns, filters and an order; words complete."""

import configparser
import io
import pathlib
import subprocess
import typing

from cliff import app, commandmanager, complete
from osc_lib import exceptions

from korora_nova.api import schemas
from korora_nova.osc import (
    base,
    host,
    migration,
    policy,
    receipt,
    reference,
    response,
    result,
    server,
)
from korora_nova.rats.schemas import properties
from tests.unit.osc.base import CommandTest

ROOT = pathlib.Path(__file__).resolve().parents[3]
#: Command, path, name of the list, and its parameters.
LISTS = (
    (host.ListHost, 'hosts', schemas.LIST_HOSTS),
    (result.ListResult, 'results', schemas.LIST_RESULTS),
    (reference.ListReference, 'references', schemas.LIST_REFERENCES),
    (policy.ListPolicy, 'policies', schemas.LIST_POLICIES),
    (migration.ListMigration, 'migrations', schemas.LIST_MIGRATIONS),
    (receipt.ListReceipt, 'receipts', schemas.LIST_RECEIPTS),
    (response.ListResponse, 'responses', schemas.LIST_RESPONSES),
    (server.ListServer, 'servers', schemas.LIST_SERVERS),
)
#: Options that are called otherwise, or are no filters.
OTHERWISE = {'instance': 'server', 'changes-since': None}


#: What the script takes from the package bash-completion.
WORDS = """
_get_comp_words_by_ref() {
    words=("${COMP_WORDS[@]}")
    cur="${COMP_WORDS[COMP_CWORD]}"
    prev="${COMP_WORDS[COMP_CWORD-1]}"
}
"""


def parser(command: type):
    return command(None, None).get_parser('x')


class TestLists(CommandTest):
    def listed(self, name: str, *rows: object) -> None:
        self.http.get(
            f'https://attestation.example/v1/{name}',
            json={name: list(rows), 'next': ''},
            headers={'OpenStack-API-Version': 'attestation 1.1'},
        )

    def test_each_list_is_one(self) -> None:
        for command, _, _ in LISTS:
            self.assertTrue(issubclass(command, base.LongLister))
            self.assertEqual(set(), set(command.SHORT) & set(command.MORE))

    def test_filters_are_those_of_the_api(self) -> None:
        for command, name, schema in LISTS:
            options = parser(command)._option_string_actions
            for one, rule in properties(schema).items():
                option = OTHERWISE.get(one, one)
                if option is None or one in ('limit', 'marker'):
                    continue
                self.assertIn(f'--{option}', options, name)
                choices = options[f'--{option}'].choices
                if choices is not None:
                    self.assertEqual(
                        set(typing.cast('list[str]', rule['enum'])),
                        set(choices),
                        name,
                    )

    def test_long(self) -> None:
        for command, name, _ in LISTS:
            self.listed(name)
            printed = []
            for argv in ((), ('--long',)):
                self.app.stdout = io.StringIO()
                text = self.run_command(command, '-f', 'csv', *argv)
                printed.append(text.splitlines()[0])
            self.assertLess(len(printed[0]), len(printed[1]), name)
            for heading in command.MORE:
                self.assertIn(f'"{heading}"', printed[1])

    def test_filters_are_asked_for(self) -> None:
        for command, name, argv, query in (
            (host.ListHost, 'hosts', ('--tier', 'none'), 'tier=none'),
            (
                migration.ListMigration,
                'migrations',
                ('--server', 's', '--status', 'moving'),
                'instance=s&status=moving',
            ),
            (policy.ListPolicy, 'policies', ('--host', 'h'), 'host=h'),
            (
                receipt.ListReceipt,
                'receipts',
                ('--server', 's'),
                'instance=s&marker=0',
            ),
            (
                response.ListResponse,
                'responses',
                ('--driver', 'drain'),
                'driver=drain',
            ),
        ):
            self.listed(name)
            self.run_command(command, *argv)
            asked = self.http.last_request
            self.assertEqual(
                set(query.split('&')), set(asked.query.split('&'))
            )
            self.assertEqual(
                'attestation 1.1', asked.headers['OpenStack-API-Version']
            )

    def test_a_service_that_does_not_filter(self) -> None:
        self.answer('GET', '/v1/hosts', {'hosts': []})
        raised = self.assertRaises(
            exceptions.CommandError,
            self.run_command,
            host.ListHost,
            '--tier',
            'none',
        )
        self.assertIn('VERSION_UNKNOWN', str(raised))

    def test_order(self) -> None:
        names = ['b', 'c', 'a']
        self.listed('hosts', *({'name': name} for name in names))
        printed = self.run_command(
            host.ListHost, '-f', 'value', '-c', 'Name', '--sort-column', 'Name'
        )
        self.assertEqual(sorted(names), printed.split())


class TestCompletion(CommandTest):
    """What bash is given by ``openstack complete``, tried with bash."""

    def script(self) -> str:
        config = configparser.ConfigParser()
        config.read(ROOT / 'setup.cfg')
        manager = commandmanager.CommandManager('none')
        for line in (
            config['entry_points']['openstack.attestation.v1']
            .strip()
            .splitlines()
        ):
            name, target = line.split(' = ')
            module, _, found = target.partition(':')
            command = getattr(__import__(module, fromlist=['x']), found)
            manager.add_command(name.replace('_', ' '), command)
        out = io.StringIO()
        made = app.App('', '1', manager, stdout=out)
        made.NAME = 'openstack'
        made.client_manager = None
        # It asks the terminal for its width when it parses.
        command = complete.CompleteCommand(made, None)
        arguments = command.get_parser('x').parse_args(['--name', 'openstack'])
        command.run(arguments)
        return out.getvalue()

    def complete(self, *words: str) -> set[str]:
        line = ' '.join(words)
        done = subprocess.run(
            ['bash'],
            input=WORDS
            + self.script()
            + f'\nCOMP_WORDS=({line})\nCOMP_CWORD={len(words) - 1}\n'
            '_openstack\nprintf "%s\\n" "${COMPREPLY[@]}"\n',
            capture_output=True,
            text=True,
            check=True,
        )
        return set(done.stdout.split())

    def test_nouns_and_verbs(self) -> None:
        nouns = self.complete('openstack', 'attestation', '""')
        self.assertLessEqual(
            {'host', 'policy', 'server', 'migration', 'watch'}, nouns
        )
        self.assertEqual(
            {'delete', 'diagnose'},
            self.complete('openstack', 'attestation', 'host', 'd'),
        )

    def test_options(self) -> None:
        found = self.complete('openstack', 'attestation', 'host', 'list', '--')
        self.assertLessEqual({'--tier', '--status', '--long'}, found)
