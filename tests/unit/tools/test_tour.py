# SPDX-License-Identifier: Apache-2.0
"""The tour tells of the demo's own scenarios, in an order that works."""

import argparse
import hashlib
import pathlib
import tempfile
import types
import unittest
from unittest import mock

from korora_tools import ui
from korora_tools.demo import canary, cli, scenarios, tour

PASSPHRASE = hashlib.shake_256(b'canary').digest(384)
SERVER = '6d3cbd36-8a05-4a2c-b6e3-f2e3ec4f5c11'


class ChaptersTest(unittest.TestCase):
    def test_each_is_a_scenario_of_the_demo(self):
        known = [one.id for one in scenarios.ALL]
        told = [one.scenario for one in tour.CHAPTERS]
        self.assertEqual(len(told), len(set(told)))
        self.assertEqual([], [one for one in told if one not in known])
        # The first one makes the server that all others are about.
        self.assertEqual(known[0], told[0])

    def test_each_says_all_that_is_to_be_said(self):
        for one in tour.CHAPTERS:
            for text in (one.title, one.happens, one.attacker):
                self.assertGreater(len(text), 10)


class NarratorTest(unittest.TestCase):
    def tell(self, interactive):
        said, waited = [], []
        narrator = tour.Narrator(interactive, said.append, waited.append)
        narrator.chapter(1, tour.CHAPTERS[0])
        narrator.shows('On the wire', ['a ' * 100])
        narrator.pause('Enter: go on ')
        return '\n'.join(said), waited

    def test_it_waits_on_a_terminal_only(self):
        self.assertEqual([], self.tell(False)[1])
        self.assertEqual(2, len(self.tell(True)[1]))

    def test_lines_fit(self):
        text, _ = self.tell(False)
        self.assertLessEqual(max(map(len, text.splitlines())), 80)
        self.assertIn('1. A protected server starts', text)


class WireTest(unittest.TestCase):
    def seen(self, content):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder, 'flow')
            path.write_bytes(content)
            wanted = canary.needles(PASSPHRASE)
            return ' '.join(tour.wire([path], wanted, SERVER))

    def test_what_is_there_is_counted(self):
        text = self.seen(SERVER.encode() * 3 + PASSPHRASE.hex().encode())
        self.assertIn('id 3 times', text)
        self.assertIn('base64, 1 times', text)

    def test_what_is_not_there(self):
        text = self.seen(b'nothing')
        self.assertIn('base64, 0 times', text)


class TourTest(unittest.TestCase):
    """The order of what it does, on a cloud that is made up."""

    def test_all_chapters(self):
        events = []
        world = mock.Mock()
        world.lab.data = pathlib.Path('/nonexistent')
        world.passphrase.return_value = PASSPHRASE
        world.attestation.side_effect = lambda path: (
            {'hosts': [{'name': 'h1', 'tier': 'affirming'}]}
            if path == '/v1/hosts'
            else {'holder': 'h1', 'epoch': 1, 'version': 1}
        )

        # Each move leaves the server on h2.
        places = []
        world.host.side_effect = lambda _: places[-1]

        def act(_, stage, scenario):
            if stage.server:
                self.assertEqual('h1', places[-1], scenario.id)
            stage.server = SERVER
            places.append('h2')
            events.append(scenario.id)
            return {'id': scenario.id}

        capture = mock.MagicMock()
        entered = capture.return_value.__enter__.return_value
        entered.reassemble.return_value = []
        with (
            mock.patch.object(tour.run, 'act', act),
            mock.patch.object(
                tour.Stage, 'back_to_h1', lambda _: places.append('h1')
            ),
            mock.patch.object(tour.canary, 'Capture', capture),
            mock.patch.object(
                tour.run,
                'elsewhere',
                lambda *_: {'logs': canary.Finds()},
            ),
            mock.patch.object(
                tour.run, 'report', lambda w, s, rows, finds: (rows, finds)
            ),
        ):
            said = []
            narrator = tour.Narrator(False, said.append)
            rows, finds = tour.Tour(world, narrator).run()
        self.assertEqual([one.scenario for one in tour.CHAPTERS], events)
        self.assertEqual(len(events), len(rows))
        self.assertEqual({'bus', 'logs'}, set(finds))
        text = '\n'.join(said)
        # A dead service says nothing.
        self.assertEqual(len(events) - 1, text.count('  The service:'))
        self.assertEqual(len(events), text.count('  An attacker has:'))
        self.assertIn('In all, the passphrase was found:', text)


class CommandTest(unittest.TestCase):
    def test_it_takes_no_scenario(self):
        options = argparse.Namespace(tour=True, scenario=['boot'])
        with self.assertRaises(ui.Problem):
            cli._demo(options)

    def test_a_tour_has_this_terminal(self):
        code = types.SimpleNamespace(wait=lambda: 3)
        with (
            mock.patch.object(cli.subprocess, 'Popen', return_value=code) as p,
            self.assertRaises(ui.Problem),
        ):
            cli._attached(['x'])
        self.assertNotIn('stdin', p.call_args.kwargs)
