# SPDX-License-Identifier: Apache-2.0
import itertools
import pathlib
import unittest

from korora_nova import errors
from korora_nova.custody import decision
from korora_nova.custody.decision import Verdict
from korora_nova.custody.words import MigrationState, Role, Statement

_S = Statement
_V = Verdict
SOURCE = (None, *sorted(decision.WORDS[Role.SOURCE]))
DEST = (None, *sorted(decision.WORDS[Role.DEST]))
GUIDE = (
    pathlib.Path(__file__).parents[3] / 'doc/source/contributor/custody.rst'
)


def documented() -> dict[tuple[str, str], str]:
    """(S, D) -> what the guide's table of decisions says."""
    text = GUIDE.read_text(encoding='utf-8')
    table = text[text.index('S \\\\ D') :].split('\n')
    columns = [cell for cell in table[0].split('  ') if cell.strip()][1:]
    found = {}
    for line in table[2:]:
        if line.startswith('='):
            break
        cells = [cell.strip() for cell in line.split('  ') if cell.strip()]
        for column, cell in zip(columns, cells[1:], strict=True):
            found[cells[0], column.strip()] = cell
    return found


class DecisionTest(unittest.TestCase):
    def test_as_the_guide_says(self):
        table = documented()
        self.assertEqual(len(SOURCE) * len(DEST), len(table))
        for source, dest in itertools.product(SOURCE, DEST):
            verdict = decision.judge(source, dest, moving=True)
            self.assertEqual(
                table[source or '(silent)', dest or '(silent)'],
                verdict.name.lower(),
                (source, dest),
            )

    def test_before_the_start(self):
        """T42: one end gives up, and nothing can have arrived."""
        for source, dest in itertools.product(SOURCE, DEST):
            verdict = decision.judge(source, dest, moving=False)
            if dest == _S.ACTIVATED or source == _S.STREAM_COMPLETED:
                self.assertEqual(_V.CONTRADICTION, verdict)
            elif source is None and dest is None:
                self.assertEqual(_V.WAIT, verdict)
            else:
                self.assertEqual(_V.ABORTED, verdict)

    def test_no_word_of_one_end_decides_before_the_other_was_bound(self):
        for role, word in itertools.chain(
            ((Role.SOURCE, word) for word in SOURCE[1:]),
            ((Role.DEST, word) for word in DEST[1:]),
        ):
            words = (word, None) if role == Role.SOURCE else (None, word)
            self.assertNotEqual(
                _V.COMMITTED, decision.judge(*words, moving=False)
            )
            self.assertNotEqual(
                _V.ABORTED, decision.judge(*words, moving=True)
            )

    def test_who_may_say_what(self):
        for role, word in itertools.product(Role, Statement):
            mine = word in decision.WORDS[role]
            late = word in (_S.ACTIVATED, _S.STREAM_COMPLETED)
            for moving, decided in itertools.product((True, False), repeat=2):
                if mine and (not late or moving or decided):
                    decision.check_word(
                        role, word, moving=moving, decided=decided
                    )
                    continue
                with self.assertRaises(errors.Forbidden) as caught:
                    decision.check_word(
                        role, word, moving=moving, decided=decided
                    )
                self.assertEqual(
                    'STATEMENT_NOT_ALLOWED', caught.exception.reason
                )

    def test_what_is_final(self):
        """The other end may have erased its copy on such a word."""
        for moving, other in itertools.product((True, False), DEST):
            self.assertFalse(
                decision.may_replace(
                    Role.SOURCE, _S.STREAM_COMPLETED, other, moving=moving
                )
            )
        for other in SOURCE:
            contradicted = other in (_S.KEPT, _S.NEVER_STARTED)
            self.assertEqual(
                contradicted,
                decision.may_replace(
                    Role.DEST, _S.ACTIVATED, other, moving=True
                ),
            )
        for role, words in decision.WORDS.items():
            for word in (None, *words - {_S.STREAM_COMPLETED, _S.ACTIVATED}):
                self.assertTrue(
                    decision.may_replace(role, word, None, moving=True)
                )

    def test_agreed(self):
        agreed = {
            (source, dest)
            for source, dest in itertools.product(SOURCE, DEST)
            if decision.is_agreed(source, dest, moving=True)
        }
        self.assertEqual(6, len(agreed))
        self.assertFalse(any(None in pair for pair in agreed))
        self.assertNotIn((_S.KEPT, _S.ACTIVATED), agreed)

    def test_a_boot_is_a_word_of_its_end(self):
        for role, word in decision.REBOOTED.items():
            self.assertIn(word, decision.WORDS[role])

    def test_disputed_after_a_while(self):
        self.assertFalse(decision.is_disputed(None, 1000.0))
        self.assertFalse(decision.is_disputed(1000.0, 1059.9))
        self.assertTrue(decision.is_disputed(1000.0, 1060.0))
        state = MigrationState.MOVING
        self.assertEqual(state, decision.shown_state(state, 1000.0, 1001.0))
        self.assertEqual(
            'disputed', decision.shown_state(state, 1000.0, 1061.0)
        )
