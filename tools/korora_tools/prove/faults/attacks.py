# SPDX-License-Identifier: Apache-2.0
"""Each known attack, the test that shows it fail, and the check it needs."""

from __future__ import annotations

import itertools
import queue
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from korora_tools import ui
from korora_tools.prove.patches import Patch, Scratch

#: Tests at a time.
WORKERS = 2

_API = 'tests.functional.api.'
_AGENT = 'tests.functional.attester.'
_UNIT = 'tests.unit.'


@dataclass(frozen=True)
class Attack:
    """An attack that does not work.

    :param test: dotted name; it is red without what ``check`` takes away.
    """

    id: str
    what: str
    test: str
    check: Patch


def _of(
    id: str, what: str, test: str, code: str, old: str, new: str
) -> Attack:
    """A row; ``code`` is ``file:function``, below korora_nova."""
    file, function = code.split(':')
    return Attack(
        id, what, test, Patch(f'korora_nova/{file}', function, old, new)
    )


ATTACKS: tuple[Attack, ...] = (
    _of(
        'A1',
        'a host shows what the service never signed',
        _API + 'test_recovery.PresentTest.test_forged',
        'rats/signed/token.py:verify',
        'options=_OPTIONS',
        "options={**_OPTIONS, 'verify_signature': False}",
    ),
    _of(
        'A2',
        'the service loses a permit that it signed',
        _AGENT + 'test_attacks_custody.LostPermitTest.test_before_the_stream',
        'verifier/custody/present.py:_adopt',
        'if newest is not None and newest != row:',
        'if False:',
    ),
    _of(
        'A3',
        'a restored database, and the new holder is silent',
        _API + 'test_attacks_ledger.RestoredTest.'
        'test_released_copy_while_its_holder_is_silent',
        'verifier/custody/ledger.py:check',
        'if is_behind(row, mark):',
        'if False:',
    ),
    _of(
        'A4',
        'one end says what only a stream can bring about, before it',
        _API + 'test_custody.TestWords.test_words_of_a_stream_before_it',
        'custody/decision.py:check_word',
        'word in _AFTER_STREAM and not moving and not decided',
        'False',
    ),
    _of(
        'A5',
        'the stream is to start before the destination has the key',
        _API + 'test_custody.TestStart.test_without_sealed',
        'verifier/custody/handover.py:_start',
        """elif known.status == MigrationState.PERMITTED:
        raise errors.Conflict(_R.NOT_SEALED)
    elif known.status == MigrationState.SEALED:""",
        """elif known.status in (
        MigrationState.PERMITTED,
        MigrationState.SEALED,
    ):""",
    ),
    _of(
        'A6',
        "a host claims another host's server",
        _API + 'test_attacks_ledger.WordTest.test_squatting',
        'verifier/custody/at_rest.py:claim',
        'service.nova.check_server(instance=body.instance, '
        'host=attested.host)',
        'pass',
    ),
    _of(
        'A7',
        'a large body from whoever has no challenge',
        _API + 'test_bad_input.TestChallengeFirst.'
        'test_challenge_that_admits_nothing',
        'api/body.py:read',
        'admit()',
        'pass',
    ),
    _of(
        'A8',
        'a claim is repeated, with a new challenge',
        _API + 'test_custody.TestClaim.test_again',
        'custody/ledger.py:may_claim',
        'if (row.holder, row.claim, row.pending) == (host, key, None):',
        'if False:',
    ),
    _of(
        'A9',
        'a host keeps a receipt back, and shows it later',
        _API + 'test_attacks_ledger.RestoredTest.test_withheld_receipt',
        'verifier/custody/present.py:_adopt',
        'documents.file(service, session, item)',
        'pass',
    ),
    _of(
        'A10',
        'the approval key is replaced during a hand-over',
        _AGENT
        + 'test_replaced_keys.ApprovalKeyTest.test_between_permit_and_seal',
        'attester/destination.py:Destination._keep',
        'content.approval_kid',
        'host.approval_kid()',
    ),
    _of(
        'A11',
        'one worker of the service is a little behind the other',
        _API + 'test_attacks_ledger.ClockTest.'
        'test_worker_whose_clock_is_behind',
        'verifier/challenges.py:_check_age',
        'row.issued - MAX_SKEW',
        'row.issued',
    ),
    _of(
        'A12',
        "a full disk tears a line of the agent's journal",
        _AGENT + 'test_attacks_custody.FullDiskTest.test_receipt',
        'attester/journal.py:Journal._append',
        'files.truncate(self._path, self._size)',
        'pass',
    ),
    _of(
        'C1',
        'Nova keeps the record of a migration that a crash ended',
        _UNIT + 'verifier.test_nova_record.TestMigration.'
        'test_a_stale_one_beside_it',
        'verifier/nova_record.py:check_record',
        'if isinstance(one, dict) and _is_named(one, migration, kind)',
        'if isinstance(one, dict)',
    ),
    _of(
        'T11',
        "an older file of a server's vTPM is put back",
        _AGENT + 'test_vtpm_state.RollBackTest.test_state_of_a_backup',
        'attester/stops.py:Stops._compare',
        'if found == record.vtpm_hash:',
        'if True:',
    ),
    _of(
        'T39',
        'a host reports absurd versions, and the database is MariaDB',
        _API + 'test_attacks_ledger.OverflowTest.test_epochs_have_a_cap',
        'rats/schemas.py:EPOCH',
        "'maximum': 2**63 - 1",
        "'maximum': 10**99",
    ),
    _of(
        'T40',
        'the service loses its last transaction',
        _API + 'test_recovery.LostTest.test_permit',
        'verifier/custody/present.py:_rebuild',
        'if permit is None:',
        'if True:',
    ),
    _of(
        'T41',
        'any older copy of the database is restored, and hosts are silent',
        _API + 'test_recovery.PropertyTest.test_whatever_copy_is_restored',
        'verifier/custody/ledger.py:is_behind',
        'row is None or row.version < mark.version',
        'row is None',
    ),
    _of(
        'T42',
        'an end lies, and a guest runs at the other one',
        _AGENT + 'test_decisions.RunningTest.'
        'test_committed_while_the_source_runs',
        'attester/outcome.py:check_erasable',
        'if record.has_key and has_domain():',
        'if False:',
    ),
    _of(
        'T43',
        'the bus holds the transfer back, and the start is forged',
        _AGENT + 'test_attacks_custody.LiarsTest.test_transfer_held_back',
        'verifier/custody/handover.py:_start',
        """elif known.status == MigrationState.PERMITTED:
        raise errors.Conflict(_R.NOT_SEALED)
    elif known.status == MigrationState.SEALED:""",
        """elif known.status in (
        MigrationState.PERMITTED,
        MigrationState.SEALED,
    ):""",
    ),
    _of(
        'T44',
        'a host claims a server that Nova has elsewhere',
        _UNIT + 'verifier.test_nova_record.TestServer.test_is_elsewhere',
        'verifier/nova_record.py:KeystoneNovaRecord.check_server',
        'if found.host != host:',
        'if False:',
    ),
    _of(
        'T45',
        'a body with as many values as fit, from a host that is known',
        _API + 'test_attacks_ledger.FloodTest.'
        'test_memory_for_a_host_that_is_known',
        'api/body.py:read',
        'values is not None',
        'False',
    ),
    _of(
        'T46',
        'what lies between sends a request of custody again',
        _API + 'test_repeats.RepeatsTest.test_claim_and_delete',
        'verifier/repeats.py:find',
        'if answer is None:',
        'if True:',
    ),
)
BY_ID = {attack.id: attack for attack in ATTACKS}


def run(attacks: Sequence[Attack]) -> list[dict[str, Any]]:
    """A row for each attack; ``why`` is empty if it held."""
    todo: queue.SimpleQueue[Attack] = queue.SimpleQueue()
    for attack in attacks:
        todo.put(attack)
    rows: dict[str, dict[str, Any]] = {}

    def work() -> None:
        with Scratch.of() as scratch:
            while True:
                try:
                    attack = todo.get_nowait()
                except queue.Empty:
                    return
                rows[attack.id] = row = _row(attack, scratch)
                ui.say(
                    f'{"ok " if row["held"] else "!!!"} {attack.id}: '
                    f'{attack.what}' + (f': {row["why"]}' * bool(row['why']))
                )

    with ui.step(f'{len(attacks)} attacks'):
        threads = [
            threading.Thread(target=work, daemon=True)
            for _ in range(min(WORKERS, len(attacks)))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return [rows[attack.id] for attack in attacks if attack.id in rows]


def _row(attack: Attack, scratch: Scratch) -> dict[str, Any]:
    why = _why_not(attack, scratch)
    return {
        'id': attack.id,
        'what': attack.what,
        'held': not why,
        'test': attack.test,
        'red_without': attack.check.code,
        'why': why,
    }


def _why_not(attack: Attack, scratch: Scratch) -> str:
    """What is wrong with an attack's row; empty if nothing is."""
    outcome = scratch.run(attack.test)
    if not outcome.passed:
        return f'its test fails: {_last(outcome.output)}'
    try:
        with scratch.without(attack.check):
            outcome = scratch.run(attack.test)
    except ui.Problem as exc:
        return str(exc)
    if outcome.passed:
        return f'its test passes without {attack.check.code}'
    if not outcome.failed:
        return f'its test cannot run: {_last(outcome.output)}'
    return ''


def _last(output: str) -> str:
    lines = [line for line in output.splitlines() if line.strip()]
    errors = itertools.takewhile(
        lambda line: not line.startswith('Traceback'), reversed(lines)
    )
    return ' / '.join(list(errors)[:6])
