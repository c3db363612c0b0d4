# SPDX-License-Identifier: Apache-2.0
"""The checks of custody that the model can do without, one at a time.

Each is a macro of custody.pml, removed by ``MUTATE_`` and its name, and a
piece of the code with a test that fails without it. The standard library
only.
"""

from __future__ import annotations

from dataclasses import dataclass

from korora_tools.prove.patches import Patch


@dataclass(frozen=True)
class Mutation:
    """One check less.

    :param name: in custody.pml, after ``MUTATE_``.
    :param configuration: of model.py, in which spin finds what it breaks.
    :param patch: removes the check from the code.
    :param test: dotted name; it is red without the check.
    """

    name: str
    configuration: str
    patch: Patch
    test: str

    @property
    def code(self) -> str:
        """``file:function`` of the check."""
        return self.patch.code


_V = 'korora_nova/verifier/custody/'
_RULES = 'korora_nova/custody/ledger.py'
_DECISION = 'korora_nova/custody/decision.py'
_OUTCOME = 'korora_nova/attester/outcome.py'
_RECOVERY = 'tests.functional.api.test_recovery.'
_CUSTODY = 'tests.functional.api.test_custody.'
_OPEN = 'tests.unit.custody.test_ledger.LedgerTest.test_open'
_TABLE = 'tests.unit.custody.test_decision.DecisionTest.'
_ERASED = 'tests.unit.attester.test_outcome.ReceiptTest.'
_OBSERVE = 'korora_nova/attester/observe.py'
_OBSERVED = 'tests.unit.attester.test_observe.ObserveTest.'

MUTATIONS: tuple[Mutation, ...] = (
    Mutation(
        'BEHIND',
        'restore',
        Patch(
            _V + 'ledger.py',
            'check',
            'if is_behind(row, mark):',
            'if False:',
        ),
        _RECOVERY + 'LostTest.test_receipt',
    ),
    Mutation(
        'ANCHOR_DIGEST',
        'restores',
        Patch(
            _V + 'ledger.py',
            'check',
            'if is_forked(row, mark):',
            'if False:',
        ),
        _RECOVERY + 'ForkTest.test_the_anchors_document_counts',
    ),
    Mutation(
        'RAISE_ON_READ',
        'anchor',
        Patch(
            _V + 'ledger.py',
            'current_all',
            'if row is not None:',
            'if False:',
        ),
        _RECOVERY + 'AnchorTest.test_after_the_commit',
    ),
    Mutation(
        'RAISE_BEFORE_ANSWER',
        'anchor',
        Patch(
            _V + 'ledger.py',
            'attempt',
            'new is not None',
            'False',
        ),
        _RECOVERY + 'LostTest.test_receipt',
    ),
    Mutation(
        'TELL_BEHIND',
        'restores',
        Patch(
            _V + 'reports.py',
            'tellable',
            'if ledger.is_behind(row, mark) or ledger.is_forked(row, mark):',
            'if False:',
        ),
        _RECOVERY + 'ReportTest.test_no_news_of_a_server_that_is_behind',
    ),
    Mutation(
        'HOSTS_UNHEARD',
        'no-anchor',
        Patch(
            _V + 'ledger.py',
            'signable_all',
            'if not service.anchor.GUARANTEES:',
            'if False:',
        ),
        _RECOVERY + 'UnheardTest.test_until_all_have_reported',
    ),
    Mutation(
        'CLAIM_NO_HOLDER',
        'liar-source',
        Patch(
            _RULES,
            'may_claim',
            'if row.holder is not None:',
            'if False:',
        ),
        'tests.unit.custody.test_ledger.LedgerTest.test_claim_again',
    ),
    Mutation(
        'RECEIVED',
        'liar-destination',
        Patch(
            _V + 'handover.py',
            '_check_send',
            'if getattr(asked, field) != value:',
            'if False:',
        ),
        _CUSTODY + 'TestSend.test_differs_from_what_the_destination_asked_for',
    ),
    Mutation(
        'SPENT',
        'crashes',
        Patch(
            _V + 'handover.py',
            '_check_send',
            'if asked.status != MigrationState.RECEIVING:',
            'if False:',
        ),
        _CUSTODY + 'TestSend.test_once',
    ),
    Mutation(
        'SEALED',
        'crashes',
        Patch(
            _V + 'handover.py',
            '_start',
            'PERMITTED:\n        raise errors.Conflict(_R.NOT_SEALED)\n'
            '    elif known.status == MigrationState.SEALED:',
            'PERMITTED or True:',
        ),
        _CUSTODY + 'TestStart.test_without_sealed',
    ),
    Mutation(
        'AFFIRMING_NOW',
        'distrust',
        Patch(
            _V + 'trusted.py',
            'check_destination',
            'tier != Tier.AFFIRMING or ',
            '',
        ),
        _CUSTODY + 'TestStart.test_destination_turned_bad',
    ),
    Mutation(
        'STATEMENT_NOT_ALLOWED',
        'liar-destination',
        Patch(
            _DECISION,
            'check_word',
            'word in _AFTER_STREAM and not moving and not decided',
            'False',
        ),
        _TABLE + 'test_who_may_say_what',
    ),
    Mutation(
        'BOTH_WORDS',
        'liar-destination',
        Patch(
            _DECISION,
            '_judge_moving',
            'source in STAYS and dest == _S.NO_DOMAIN',
            'source in STAYS or dest == _S.NO_DOMAIN',
        ),
        _TABLE + 'test_no_word_of_one_end_decides_before_the_other_was_bound',
    ),
    Mutation(
        'CONTRADICTION',
        'finish',
        Patch(
            _DECISION,
            '_judge_moving',
            'if source in (None, _S.ENDED_HERE):',
            'if True:',
        ),
        _TABLE + 'test_agreed',
    ),
    Mutation(
        'SOURCE_DOMAIN',
        'finish',
        Patch(
            _OUTCOME,
            'apply_receipt',
            '            check_erasable(record, has_domain)\n',
            '',
        ),
        _ERASED + 'test_source_is_not_erased_under_its_guest',
    ),
    Mutation(
        'DEST_DOMAIN',
        'finish',
        Patch(
            _OUTCOME,
            'apply_receipt',
            '    )\n    check_erasable(record, has_domain)\n',
            '    )\n',
        ),
        _ERASED + 'test_destination_is_not_erased_under_its_guest',
    ),
    Mutation(
        'HOLDER',
        'liar-destination',
        Patch(_RULES, 'holds', ' or row.holder != host', ''),
        _OPEN,
    ),
    Mutation(
        'EPOCH',
        'liar-destination',
        Patch(_RULES, 'check_epoch', 'if epoch != row.epoch:', 'if False:'),
        _OPEN,
    ),
    Mutation(
        'APPROVE_PENDING',
        'liar-source',
        Patch(
            _RULES,
            'check_settled',
            'if row.pending is not None:',
            'if False:',
        ),
        _OPEN,
    ),
    Mutation(
        'APPROVE_DISPUTED',
        'finish',
        Patch(
            _RULES,
            'check_settled',
            'if row.disputed is not None:',
            'if False:',
        ),
        _OPEN,
    ),
    Mutation(
        'FINAL_WORD',
        'reboots',
        Patch(_DECISION, 'may_replace', 'return False', 'return True'),
        _CUSTODY + 'TestDisputes.test_final_words',
    ),
    Mutation(
        'COLD_SOURCE',
        'cold',
        Patch(
            _OBSERVE,
            'Observer._of_source',
            'if record.is_cold and not (now or record.forget):',
            'if False:',
        ),
        _OBSERVED + 'test_cold_source_sees_nothing',
    ),
    Mutation(
        'COLD_DEST',
        'cold',
        Patch(
            _OBSERVE, 'Observer._of_dest', 'if record.is_cold:', 'if False:'
        ),
        _OBSERVED + 'test_cold_destination_waits',
    ),
    Mutation(
        'WORDS_OF_RECEIPT',
        'restore-deaths',
        Patch(
            _V + 'present.py',
            '_rebuild',
            'if receipt is not None and (',
            'if False and (',
        ),
        _RECOVERY + 'LostTest.test_words_of_a_receipt',
    ),
)
