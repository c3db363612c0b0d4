# SPDX-License-Identifier: Apache-2.0
"""What tests and both clouds showed, as one report."""

from __future__ import annotations

from typing import Any

from korora_tools.prove.attack import catalogue

Json = dict[str, Any]

#: What a claim about all attacks needs at least.
ATTACKS, ON_STOCK, TEETH = 50, 12, 12
ABORT = 2.0
#: What a thesis about this would try first.
SCENARIOS = {
    'migration to a compromised host': ('T1', 'T13', 'T18', 'T27'),
    'eavesdropping and tampering on the wire': ('T4', 'S1', 'T33', 'S4'),
    'roll-back and replay of vTPM state': ('T11', 'T9', 'T2'),
}
#: Programs whose memory must not have the passphrase after a hand-over.
PROGRAMS = ('agent', 'nova_compute', 'service')
_OUTCOME = {True: 'succeeded', False: 'prevented', None: 'not judged'}


def made(tests: list[Json], ours: Json, stock: Json) -> Json:
    """The report.

    :param ours: what was seen on the lab, ``{}`` if it was left out.
    """
    by_id = {row['id']: row for row in tests}
    here, there = (seen.get('attacks', {}) for seen in (ours, stock))
    known = {attack.id: attack.what for attack in catalogue.ATTACKS}
    rows = [
        _row(id, known[id], by_id.get(id), here.get(id), there.get(id))
        for id in sorted({*by_id, *here, *there}, key=catalogue.order)
    ]
    memory = ours.get('memory', {})
    return {
        'scenarios': [
            {
                'what': what,
                'attacks': {
                    row['id']: {
                        'stock': row['stock'],
                        'korora': row['korora'],
                    }
                    for row in rows
                    if row['id'] in ids
                },
            }
            for what, ids in SCENARIOS.items()
        ],
        'attacks': rows,
        'wire': {**ours.get('wire', {}), **stock.get('wire', {})},
        'memory_canary': {name: memory.get(name) for name in PROGRAMS},
        'memory': {'korora': memory, 'stock': stock.get('memory', {})},
        'passphrase': {
            'korora': ours.get('passphrase', {}),
            'stock': stock.get('passphrase', {}),
        },
        'in_flight_abort_s': ours.get('in_flight_abort_s'),
    }


def _row(
    id: str,
    what: str,
    test: Json | None,
    here: Json | None,
    there: Json | None,
) -> Json:
    """A row; whatever was not tried is not said to be prevented."""
    outcomes = set()
    evidence = []
    if test is not None:
        outcomes.add('not prevented' if test['why'] else 'prevented')
        evidence.append(f'{test["tests"]} tests, {test["test"]}')
    if here is not None:
        outcomes.add(_OUTCOME[here['succeeded']])
        evidence.append(f'lab: {here["evidence"]}')
    if there is not None:
        evidence.append(f'stock: {there["evidence"]}')
    outcomes.discard('prevented' if len(outcomes) > 1 else '')
    failed = test is not None and bool(test['without'])
    bitten = failed and id not in catalogue.REFUSED_TWICE
    return {
        'id': id,
        'what': what,
        'where': 'functional' if here is None else 'lab',
        'stock': _OUTCOME[there['succeeded']] if there else 'n/a',
        'korora': ', '.join(sorted(outcomes)) or 'not tried',
        'evidence': '; '.join(evidence),
        'without_defence': 'succeeded' if bitten else 'not tried',
        **({'without': test['without']} if test and failed else {}),
    }


def complaints(
    found: Json, tests: list[Json], *, whole: bool, teeth: bool
) -> list[str]:
    """What keeps the claim from being true."""
    rows = found['attacks']
    wrong = [
        f'{row["id"]}: {row["korora"]}: {row["evidence"]}'
        for row in rows
        if row['korora'] != 'prevented'
    ]
    wrong += [f'{row["id"]}: {row["why"]}' for row in tests if row['why']]
    wrong += [
        f'{row["id"]}: not judged on stock Nova: {row["evidence"]}'
        for row in rows
        if row['stock'] == 'not judged'
    ]
    if whole:
        wrong += _too_little(found, teeth=teeth)
    return wrong


def _too_little(found: Json, *, teeth: bool) -> list[str]:
    rows = found['attacks']
    least = {
        'attacks': (len(rows), ATTACKS),
        'attacks that stock Nova admits': (
            sum(row['stock'] == 'succeeded' for row in rows),
            ON_STOCK,
        ),
    }
    if teeth:
        least['attacks that work without their defence'] = (
            sum(row['without_defence'] == 'succeeded' for row in rows),
            TEETH,
        )
    wrong = [
        f'{number} {what}, {wanted} are wanted'
        for what, (number, wanted) in least.items()
        if number < wanted
    ]
    seen = {
        **{f'memory of {k}': v for k, v in found['memory_canary'].items()},
        **{
            f'wire: {name}': found['wire'].get(name)
            for name in ('ram_canary', 'disk_canary')
        },
    }
    wrong += [f'{name}: {count}' for name, count in seen.items() if count != 0]
    abort = found['in_flight_abort_s']
    if abort is None or abort > ABORT:
        wrong.append(f'a stream to a bad host is aborted in {abort} s')
    return wrong
