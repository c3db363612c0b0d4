# SPDX-License-Identifier: Apache-2.0
"""tools/bench fleet: the scheduler with many hosts."""

from __future__ import annotations

import contextlib
import datetime
import json
import logging
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import nova.conf
import requests
from nova import objects
from nova.scheduler import host_manager
from nova.scheduler.filters import compute_filter

from korora_nova import client as clients
from korora_nova.rats.signed import keys, snapshot
from korora_nova.rats.signed import token as tokens
from korora_nova.relying_party import feed, results
from korora_nova.relying_party import filter as korora_filter
from korora_tools import checkout, ui
from korora_tools.bench import fleet_costs, fleet_service

CONF = nova.conf.CONF
Json = dict[str, Any]

#: What can be measured alone.
PARTS = ('scheduler', 'service')
#: Share of the hosts of which something is new.
ONE_PERCENT = 100


class Service:
    """The service, a process of its own."""

    def __init__(self, hosts: int, scratch: str) -> None:
        self.keys = f'{scratch}/keys.json'
        self._process = subprocess.Popen(
            [
                sys.executable,
                '-m',
                'korora_tools.bench.fleet_service',
                str(hosts),
                self.keys,
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=checkout.ROOT,
        )
        port = self._answer()['ready']['port']
        self.endpoint = f'http://127.0.0.1:{port}'

    def do(self, task: str) -> None:
        """See the tasks of :mod:`korora_tools.bench.fleet_service`."""
        assert self._process.stdin is not None
        self._process.stdin.write(task + '\n')
        self._process.stdin.flush()
        self._answer()

    def _answer(self) -> Json:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise ui.Problem('the service ended early; see above')
        answer: Json = json.loads(line)
        return answer

    @contextlib.contextmanager
    def hanging(self) -> Iterator[None]:
        """Connections are taken, and nobody answers."""
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def end(self) -> None:
        self._process.kill()
        self._process.wait()


class Scheduler:
    """The filter in a process that has just started."""

    def __init__(self) -> None:
        self.filter = korora_filter.AttestationFilter()
        self.spec = objects.RequestSpec(
            instance_uuid='6b6f726f-7261-4000-8000-000000000001',
            flavor=objects.Flavor(
                extra_specs={'korora:trusted_host': 'required'}
            ),
            image=None,
            scheduler_hints={},
        )

    def passed(self, hosts: list[Any]) -> tuple[int, float]:
        """How many pass a request, and how many ms it took."""
        began = time.perf_counter()
        found = self.filter.filter_all(hosts, self.spec)
        return len(found), (time.perf_counter() - began) * 1000

    def await_passed(self, hosts: list[Any], count: int) -> None:
        """Until so many pass, on a machine as slow as this one."""
        end = time.monotonic() + 60
        while (found := self.passed(hosts)[0]) != count:
            if time.monotonic() > end:
                raise ui.Problem(f'{found} hosts pass, not {count}')
            time.sleep(0.1)

    def rests(self) -> None:
        """Nobody has asked for long: its thread has ended."""
        view = self.filter._results  # noqa: SLF001 the bench ages it
        thread = view._worker  # noqa: SLF001
        view._idle = 0.0  # noqa: SLF001
        if thread is not None:
            view._wake.set()  # noqa: SLF001
            thread.join(60)
        view._idle = results.IDLE  # noqa: SLF001


def run(count: int, runs: int, part: str | None = None) -> Json:
    """Measure everything, or one of :data:`PARTS`."""
    report: Json = {'hosts': count}
    if part in (None, 'scheduler'):
        report |= _scheduler(count, runs)
    if part in (None, 'service'):
        report |= fleet_costs.run(count)
    return report


def _scheduler(count: int, runs: int) -> Json:
    _silence()
    with contextlib.ExitStack() as stack:
        scratch = stack.enter_context(
            tempfile.TemporaryDirectory(prefix='korora-bench-')
        )
        with ui.step(f'a service with {count} hosts'):
            service = Service(count, scratch)
            stack.callback(service.end)
            service.do('all')
        _configure(service)
        hosts = _hosts(count)
        with ui.step('a scheduler and a service that have just started'):
            passed = {'cold': Scheduler().passed(hosts)}
        ratios = _ratios(service, hosts, runs)
        refresh = _refresh(service)
        passed.update(_passed(service, hosts))
        dead = _dead(service, hosts)
    return {
        'filter': {
            **ratios,
            **{f'passed_{name}': one[0] for name, one in passed.items()},
            **{f'{name}_ms': round(one[1], 1) for name, one in passed.items()},
            'request_ms_service_dead': round(dead, 2),
        },
        'refresh': refresh,
        'budget_ms': CONF.korora.decision_timeout * 1000,
        'runs': runs,
    }


def _silence() -> None:
    """Log as nova-scheduler does, to nowhere."""
    handler = logging.StreamHandler(open(os.devnull, 'w'))  # noqa: SIM115
    handler.setFormatter(
        logging.Formatter('%(asctime)s %(levelname)s %(name)s %(message)s')
    )
    logging.basicConfig(level=logging.INFO, handlers=[handler])


def _configure(service: Service) -> None:
    CONF([], project='nova', default_config_files=[])
    for name, value in (
        ('auth_type', 'none'),
        ('endpoint_override', service.endpoint),
        ('trusted_keys', service.keys),
    ):
        CONF.set_override(name, value, 'korora')
    objects.register_all()


def _hosts(count: int) -> list[Any]:
    made = []
    for number in range(count):
        name = f'compute-{number:05}.example.org'
        state = host_manager.HostState(name, name, 'cell1')
        state.service = host_manager.ReadOnlyDict(
            {
                'host': name,
                'binary': 'nova-compute',
                'disabled': False,
                'last_seen_up': datetime.datetime.now(datetime.timezone.utc),
            }
        )
        made.append(state)
    return made


def _ratios(service: Service, hosts: list[Any], runs: int) -> Json:
    """CPU time of a request, over that of Nova's ComputeFilter."""
    CONF.set_override('service_down_time', 86400)
    theirs = compute_filter.ComputeFilter()
    found = {}
    for name, task, passing in (
        ('all_affirming', 'all', len(hosts)),
        ('1pct', '1 % untrusted', len(hosts) - len(hosts[::ONE_PERCENT])),
        ('none', 'none', 0),
    ):
        with ui.step(f'requests: {name}, {runs} pairs'):
            service.do(task)
            ours = Scheduler()
            ours.await_passed(hosts, passing)
            found[f'ratio_{name}'] = round(
                _ratio(ours, theirs, hosts, runs), 3
            )
    return found


def _ratio(ours: Scheduler, theirs: Any, hosts: list[Any], runs: int) -> float:
    """Median of the ratios of pairs, ABBA; the first pair is dropped."""

    def one() -> object:
        return ours.filter.filter_all(hosts, ours.spec)

    def other() -> object:
        return list(theirs.filter_all(hosts, ours.spec))

    ratios = []
    for turn in range(runs + 1):
        if turn % 2:
            mine, nova = _cpu(one), _cpu(other)
        else:
            nova, mine = _cpu(other), _cpu(one)
        ratios.append(mine / nova)
    return statistics.median(ratios[1:])


def _cpu(call: Callable[[], object]) -> float:
    """CPU seconds of this thread; the filter's other one is in `_refresh`."""
    began = time.thread_time()
    call()
    return time.thread_time() - began


class _Canned:
    """A client that was answered already."""

    def __init__(self) -> None:
        self.body = b''

    def snapshot(self, base: str = '') -> clients.Snapshot:
        answer = json.loads(self.body)
        return clients.Snapshot(
            answer['token'],
            answer['base'],
            answer['rows'],
            tuple(answer['gone']),
        )

    def results(self, *, etag: str | None = None) -> None:
        raise NotImplementedError


def _refresh(service: Service) -> Json:
    """What comes over the wire, and what reading and verifying it costs."""
    canned = _Canned()
    pins = feed.Pins(service.keys)
    ring = pins.current()
    service.do('all')
    whole, changes = [], []
    for _ in range(5):
        reader = feed.Feed(lambda: canned, pins)

        def read(reader: feed.Feed = reader) -> object:
            return reader.refresh().windows

        canned.body, bytes_all, base = _fetch(service, '', ring)
        whole.append(_cpu(read))
        service.do('1 %')
        canned.body, bytes_1pct, _ = _fetch(service, base, ring)
        changes.append(_cpu(read))
    return {
        'bytes_10000': bytes_all,
        'bytes_1pct': bytes_1pct,
        'verify_ms_10000': round(statistics.median(whole) * 1000, 1),
        'verify_ms_1pct': round(statistics.median(changes) * 1000, 1),
    }


def _fetch(
    service: Service, base: str, ring: keys.KeyRing
) -> tuple[bytes, int, str]:
    """Body, bytes on the wire, and the mark of a snapshot."""
    time.sleep(1.1)
    answer = requests.get(
        f'{service.endpoint}/v1/snapshot',
        params={'base': base} if base else {},
        headers={'Accept-Encoding': 'gzip'},
        timeout=60,
    )
    answer.raise_for_status()
    found = answer.json()
    if found['base'] != base:
        raise ui.Problem('the service sent a whole snapshot')
    claims = tokens.verify(found['token'], ring, snapshot.KIND)
    return (
        answer.content,
        int(answer.headers['Content-Length']),
        f'{claims["seq"]}-{claims["incarnation"]}',
    )


def _passed(
    service: Service, hosts: list[Any]
) -> dict[str, tuple[int, float]]:
    """Hosts that pass after a rest, and while the service hangs."""
    scheduler = Scheduler()
    with ui.step('a scheduler that nobody has asked while all results ended'):
        service.do('all, for a short time')
        scheduler.await_passed(hosts, len(hosts))
        scheduler.rests()
        time.sleep(fleet_service.SHORT)
        service.do('all')
        idle = scheduler.passed(hosts)
    with ui.step('a service that hangs'), service.hanging():
        # Its refresh has begun, and waits.
        time.sleep(CONF.korora.result_cache * 1.3)
        hanging = max(
            (scheduler.passed(hosts) for _ in range(5)),
            key=lambda one: (-one[0], one[1]),
        )
    return {'after_idle': idle, 'service_hanging': hanging}


def _dead(service: Service, hosts: list[Any]) -> float:
    """The slowest request but the first of a scheduler, ms."""
    with ui.step('a service that is dead'):
        warm = Scheduler()
        warm.await_passed(hosts, len(hosts))
        service.end()
        cold = Scheduler()
        cold.passed(hosts)
        slowest = 0.0
        for _ in range(20):
            for scheduler, passing in ((warm, len(hosts)), (cold, 0)):
                passed, took = scheduler.passed(hosts)
                if passed != passing:
                    raise ui.Problem(f'{passed} hosts pass, not {passing}')
                slowest = max(slowest, took)
            time.sleep(CONF.korora.result_cache / 10)
    return slowest
