# SPDX-License-Identifier: Apache-2.0
import unittest

from korora_nova.custody import transcript
from tests.support import documents


class TranscriptTest(unittest.TestCase):
    def counts_every_field(self, function, args, others):
        seen = {function(*args)}
        for index, other in enumerate(others):
            seen.add(function(*args[:index], other, *args[index + 1 :]))
        self.assertEqual(len(args) + 1, len(seen))
        self.assertEqual({32}, {len(value) for value in seen})

    def test_rest(self):
        args = (b'ak', b'srk', documents.INSTANCE, 1)
        others = (b'ak2', b'srk2', documents.OTHER, 2)
        for function in (transcript.rest_ref, transcript.rest_aad):
            self.counts_every_field(function, args, others)

    def test_msk(self):
        self.counts_every_field(
            transcript.msk_outside_info,
            (b'c', documents.MIGRATION, documents.INSTANCE, 'h1', 'h2'),
            (b'd', documents.OTHER, documents.OTHER, 'h3', 'h3'),
        )

    def test_transfer(self):
        """T10: a message of the hand-over is dropped, doubled or exchanged."""
        self.counts_every_field(
            transcript.transfer_qualifying,
            ('p', b'public', b'duplicate', b'seed', b'envelope'),
            ('q', b'x', b'x', b'x', b'x'),
        )

    def test_labels_differ(self):
        """The same fields under another purpose hash to something else."""
        values = {
            transcript.rest_ref(b'a', b'b', 'c', 1),
            transcript.rest_aad(b'a', b'b', 'c', 1),
            transcript.envelope_aad('a'),
        }
        self.assertEqual(3, len(values))
