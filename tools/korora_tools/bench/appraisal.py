# SPDX-License-Identifier: Apache-2.0
"""tools/bench appraisal: who takes turns with whom, and the report."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pathlib
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

from korora_tools import checkout, ui
from korora_tools.bench import environment, million, workload
from tests.support import simulator

Json = dict[str, Any]
#: The recorded boot whose log and PCRs are used: Secure Boot, shim, GRUB.
VECTOR = 'secure-boot'
#: What the acceptance of this project asks for.
MAX_RATIO_FLOOR = 0.6
MIN_SPEEDUP_KEYLIME = 8.0
MAX_INCREMENTAL_MS = 2.0
MAX_RATIO_EVMCTL = 1.0
MAX_MILLION_MB = 300.0
#: Entries of the list that comes in parts.
MILLION = 1_000_000


_FORMS = ('binary', 'text')


class Contender:
    """A worker process that does a task once each time it is asked."""

    def __init__(self, python: str, module: str, load: pathlib.Path) -> None:
        self._process = subprocess.Popen(
            [python, '-m', f'korora_tools.bench.{module}', str(load), VECTOR],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=checkout.ROOT,
            env={
                **os.environ,
                'PYTHONPATH': str(checkout.ROOT),
            },
        )
        self.name = module
        self.ready: Json = self._answer()['ready']

    def run(self, task: str) -> Json:
        """Do a task once; returns what the worker measured."""
        assert self._process.stdin is not None
        self._process.stdin.write(task + '\n')
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> Json:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise ui.Problem(
                f'the contender {self.name} ended early with '
                f'{self._process.wait()}; see above'
            )
        answer: Json = json.loads(line)
        return answer

    def end(self) -> None:
        """End the process, at once if it is in the middle of a task."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def run(runs: int, entries: int) -> Json:
    """Measure everything; the report follows the README's form."""
    with tempfile.TemporaryDirectory(prefix='korora-bench-') as scratch:
        load = pathlib.Path(scratch)
        with ui.step(f'an IMA list of {entries} entries and its policy'):
            workload.write(workload.make(entries, _aggregate()), load)
        with _contenders(load) as known:
            report = _measure(known, runs)
        report['million'] = _million(load)
        report['ima'] = {'entries': entries, **report['ima']}
        report['peak_rss_mb'] = round(_memory(load), 1)
        return report


def _aggregate() -> str:
    pcrs = simulator.recorded_pcrs(VECTOR)
    return hashlib.sha256(
        b''.join(pcrs[index] for index in range(10))
    ).hexdigest()


@contextlib.contextmanager
def _contenders(load: pathlib.Path) -> Iterator[dict[str, Contender]]:
    known: dict[str, Contender] = {}
    try:
        for module, python in (
            ('floor', sys.executable),
            ('korora', sys.executable),
            ('keylime', str(environment.PYTHON)),
            ('evmctl', sys.executable),
        ):
            with ui.step(f'{module} loads the policy'):
                known[module] = Contender(python, module, load)
        yield known
    finally:
        for contender in known.values():
            contender.end()


def _measure(known: dict[str, Contender], runs: int) -> Json:
    """Have the contenders take turns; the report of what came of it."""
    korora = known['korora']
    log = simulator.VECTORS / 'uefi' / VECTOR / 'binary_bios_measurements'
    lists = _interleaved(
        'IMA lists',
        runs,
        {
            f'{name} {form}': _seconds(known[name], form)
            for name, form in (
                ('floor', 'text'),
                ('korora', 'text'),
                ('keylime', 'text'),
                ('floor', 'binary'),
                ('korora', 'binary'),
                ('korora', 'text, digests'),
                ('korora', 'binary, digests'),
                ('korora', 'again, digests'),
            )
        },
    )
    cpu = _interleaved(
        'CPU time of IMA lists',
        runs,
        {
            'evmctl': _cpu(known['evmctl'], 'binary'),
            **{form: _cpu(korora, form) for form in _FORMS},
        },
    )
    small = _interleaved(
        'UEFI logs, quotes, appraisals',
        runs,
        {
            'eventlog': lambda: _eventlog(log),
            **{
                task: _seconds(korora, task)
                for task in (
                    'uefi',
                    'quote',
                    'full',
                    'incremental',
                    'incremental, unprepared',
                    'incremental, list only',
                )
            },
        },
    )
    million = _interleaved(
        'a policy of 1,000,000 digests',
        1,
        {'load': lambda: korora.run('million')},
    )['load'][0]
    return {
        'ima': {
            **_of_lists(lists, small),
            'keylime_version': known['keylime'].ready['version'],
            'state_bytes': korora.ready['state_bytes'],
        },
        'evmctl': {
            **_of_evmctl(cpu),
            'version': known['evmctl'].ready['version'],
        },
        'uefi': {
            'korora_ms': _ms(small['uefi']),
            'tpm2_eventlog_ms': _ms(small['eventlog']),
            'log_bytes': log.stat().st_size,
        },
        'policy_1000000': million,
        'quote_verify_ms': _ms(small['quote']),
        'appraise_full_ms': _ms(small['full']),
        'runs': runs,
    }


def _of_lists(
    lists: dict[str, list[float]], small: dict[str, list[float]]
) -> Json:
    return {
        **_compared(lists, 'text', 'text'),
        'binary': _compared(lists, 'binary', 'binary'),
        # The policy has digests without paths, and says nothing ahead.
        'digests': {
            'text': _compared(lists, 'text', 'text, digests'),
            'binary': _compared(lists, 'binary', 'binary, digests'),
            'seen_before': _compared(lists, 'binary', 'again, digests'),
        },
        'incremental_100_entries_ms': _ms(small['incremental']),
        'incremental_100_entries_unprepared_ms': _ms(
            small['incremental, unprepared']
        ),
        'incremental_100_entries_list_only_ms': _ms(
            small['incremental, list only']
        ),
    }


def _of_evmctl(cpu: dict[str, list[float]]) -> Json:
    """Our CPU time, policy included, over evmctl's for the binary list."""
    ratios = {form: _ratio(cpu[form], cpu['evmctl']) for form in _FORMS}
    return {
        **{form: round(ratio, 3) for form, ratio in ratios.items()},
        'ratio': round(max(ratios.values()), 3),
        'evmctl_cpu_s': round(_median(cpu['evmctl']), 4),
    }


def _compared(lists: dict[str, list[float]], form: str, task: str) -> Json:
    """Medians; ratios are those of the runs of one round, then medians."""
    floor, korora = lists[f'floor {form}'], lists[f'korora {task}']
    keylime = lists['keylime text']
    return {
        'floor_s': round(_median(floor), 4),
        'korora_s': round(_median(korora), 4),
        'keylime_s': round(_median(keylime), 4),
        'ratio_floor': round(_ratio(korora, floor), 3),
        'speedup_keylime': round(_ratio(keylime, korora), 2),
    }


def _interleaved(
    what: str, runs: int, tasks: dict[str, Callable[[], Any]]
) -> dict[str, list[Any]]:
    """Run each task once a round, in another order each time."""
    measured: dict[str, list[Any]] = {name: [] for name in tasks}
    order, dice = list(tasks), random.Random(1)
    with ui.step(f'{what}: {runs} rounds'):
        for turn in range(runs + (runs > 1)):
            dice.shuffle(order)
            for name in order:
                value = tasks[name]()
                # The first round only warms caches up.
                if turn or runs == 1:
                    measured[name].append(value)
    return measured


def _seconds(contender: Contender, task: str) -> Callable[[], float]:
    return lambda: float(contender.run(task)['s'])


def _cpu(contender: Contender, task: str) -> Callable[[], float]:
    return lambda: float(contender.run(task)['cpu'])


def _eventlog(log: pathlib.Path) -> float:
    began = time.perf_counter()
    subprocess.run(
        ['tpm2_eventlog', str(log)], check=True, stdout=subprocess.DEVNULL
    )
    return time.perf_counter() - began


def _memory(load: pathlib.Path) -> float:
    """Peak of a process that appraises the list once, MiB."""
    with ui.step('memory of one appraisal'):
        contender = Contender(sys.executable, 'memory', load)
        try:
            return float(contender.run('full')['peak_rss_mb'])
        finally:
            contender.end()


def _million(load: pathlib.Path) -> Json:
    """A long list in parts, and the peak of a process with both ends."""
    with ui.step(f'{MILLION} entries in parts'):
        million.write(load, MILLION, _aggregate())
        contender = Contender(sys.executable, 'million', load)
        try:
            return contender.run('million')
        finally:
            contender.end()


def _median(values: list[float]) -> float:
    return statistics.median(values)


def _ms(values: list[float]) -> float:
    return round(_median(values) * 1000, 3)


def _ratio(above: list[float], below: list[float]) -> float:
    return _median(
        [one / other for one, other in zip(above, below, strict=True)]
    )


def conclude(report: Json) -> int:
    """Print the report and its limits; 1 if it misses one."""
    ui.note(json.dumps(report, indent=2))
    ima = report['ima']
    checks = [
        ('ratio_floor, text', ima['ratio_floor'], '<=', MAX_RATIO_FLOOR),
        (
            'ratio_floor, binary',
            ima['binary']['ratio_floor'],
            '<=',
            MAX_RATIO_FLOOR,
        ),
        (
            'speedup_keylime, text',
            ima['speedup_keylime'],
            '>=',
            MIN_SPEEDUP_KEYLIME,
        ),
        (
            'speedup_keylime, binary',
            ima['binary']['speedup_keylime'],
            '>=',
            MIN_SPEEDUP_KEYLIME,
        ),
        (
            'incremental_100_entries_ms',
            ima['incremental_100_entries_ms'],
            '<=',
            MAX_INCREMENTAL_MS,
        ),
        (
            'evmctl.ratio',
            report['evmctl']['ratio'],
            '<=',
            MAX_RATIO_EVMCTL,
        ),
        (
            'million.peak_rss_mb',
            report['million']['peak_rss_mb'],
            '<=',
            MAX_MILLION_MB,
        ),
    ]
    missed = 0
    for name, value, relation, limit in checks:
        held = value <= limit if relation == '<=' else value >= limit
        missed += not held
        ui.say(
            f'{"ok " if held else "BAD"} {name}: {value} '
            f'(wanted: {relation} {limit})'
        )
    return 1 if missed else 0
