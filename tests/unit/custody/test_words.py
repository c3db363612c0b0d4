# SPDX-License-Identifier: Apache-2.0
import json
import unittest

from korora_nova.custody import words
from korora_nova.rats.words import Tier, Word


class WordsTest(unittest.TestCase):
    def test_a_word_is_its_text(self):
        for kind in (Tier, *vars(words).values()):
            if not (isinstance(kind, type) and issubclass(kind, Word)):
                continue
            for word in kind:
                text = word.value
                self.assertIs(str, type(str(word)))
                self.assertEqual(
                    (text, text, text), (str(word), f'{word}', '%s' % word)
                )
                self.assertEqual(f'{text:>20}', f'{word:>20}')
                self.assertEqual(json.dumps(text), json.dumps(word))
                self.assertEqual({text: 1}, {word: 1})
                self.assertEqual(text, word)
                self.assertIs(word, kind(text))

    def test_no_other_word(self):
        self.assertRaises(ValueError, words.Outcome, 'lost')
