# SPDX-License-Identifier: Apache-2.0
"""The table of exits: whole, and of commands that exist."""

import shlex

import testtools

from korora_nova.custody import exits, words
from korora_nova.custody.exits import Exit, Part
from tests.unit.test_doc_names import plugin


class TestTable(testtools.TestCase):
    def test_every_state_has_an_exit(self) -> None:
        self.assertEqual([], [one for one in exits.STATES if not one.exits])

    def test_every_state_is_named_once(self) -> None:
        wanted = {
            *((Part.LEDGER, str(one)) for one in exits.LedgerState),
            *((Part.MIGRATION, str(one)) for one in words.MigrationState),
            *((Part.VAULT, str(one)) for one in words.VaultState),
            *((Part.VAULT, str(one)) for one in exits.RecordState),
        }
        named = [(one.part, str(one.name)) for one in exits.STATES]
        self.assertEqual(sorted(wanted), sorted(named))

    def test_commands_exist(self) -> None:
        commands = plugin()
        for way in Exit:
            shown = str(way.to_json(server='S', host='H')['command'])
            self.assertNotIn('{', shown)
            words_ = shlex.split(shown)
            if words_[1] != 'attestation':
                continue
            command = commands[' '.join(words_[1:4])]
            command(None, None).get_parser('x').parse_args(words_[4:])

    def test_names_that_are_not_known_stay_open(self) -> None:
        self.assertEqual(
            'openstack server reboot --hard SERVER',
            Exit.START.to_json()['command'],
        )
