# SPDX-License-Identifier: Apache-2.0
"""Every scenario of the demo, in the order in which they run.

Each is one function: it says what is done and what must come of it, acts
through the real APIs and returns what it observed.
"""

import collections.abc
import contextlib
import dataclasses
import json
import pathlib
import shutil
import tempfile
import time

from korora_nova import errors
from korora_tools.demo import world as w
from korora_tools.demo.stage import Outcome, Stage
from korora_tools.lab import net

Function = collections.abc.Callable[[Stage], Outcome]


@dataclasses.dataclass(frozen=True)
class Scenario:
    """One row of the demo's report."""

    id: str
    what: str
    expected: str
    run: Function


ALL: list[Scenario] = []


def scenario(
    ident: str, what: str, expected: str
) -> collections.abc.Callable[[Function], Function]:
    """Register a scenario under the order of the file."""

    def add(function: Function) -> Function:
        ALL.append(Scenario(ident, what, expected, function))
        return function

    return add


@scenario('boot', 'a server with an encrypted vTPM boots on h1', 'active')
def boot(stage: Stage) -> Outcome:
    server = stage.world.create('demo', 'vtpm', host='h1')
    stage.server = server['id']
    if server['status'] != 'ACTIVE':
        return Outcome(
            'server ' + server['status'], stage.world.reason(stage.server)
        )
    stage.watcher = stage.world.watcher(stage.server)
    stage.watcher.wait_past(1, 120)
    return Outcome('active')


@scenario(
    'migrate',
    'live migration without a host named: the scheduler '
    'takes it from h1 to h2',
    'migrated',
)
def migrate(stage: Stage) -> Outcome:
    result = stage.move()
    if result.observed == 'migrated' and result.host != 'h2':
        return Outcome(f'migrated to {result.host}')
    return Outcome(
        result.observed if stage.guest_runs() else 'the guest stopped',
        result.reason,
    )


@scenario('migrate-back', 'live migration from h2 back to h1', 'migrated')
def migrate_back(stage: Stage) -> Outcome:
    result = stage.move('h1')
    return Outcome(
        result.observed if stage.guest_runs() else 'the guest stopped',
        result.reason,
    )


@scenario(
    'scheduler',
    'only the tampered h3 is left to choose: the scheduler never picks it',
    'refused',
)
def scheduler(stage: Stage) -> Outcome:
    with _disabled(stage.world, 'h2'):
        return stage.refused(stage.move())


@contextlib.contextmanager
def _disabled(world: w.World, host: str) -> collections.abc.Iterator[None]:
    world.enable(host, False)
    try:
        yield
    finally:
        world.enable(host, True)


@scenario('host-h3', 'live migration with --host h3', 'refused')
def host_h3(stage: Stage) -> Outcome:
    return stage.refused(stage.move('h3'))


@scenario(
    'forced-h3',
    'forced live migration to h3 (compute API 2.67), which no scheduler sees',
    'refused',
)
def forced_h3(stage: Stage) -> Outcome:
    return stage.refused(stage.world.migrate_forced(stage.server, 'h3'))


@scenario(
    'create-nova-h3',
    'a new server on --availability-zone nova:h3, which no filter sees',
    'refused',
)
def create_nova_h3(stage: Stage) -> Outcome:
    server = stage.world.create('demo-h3', 'vtpm', availability_zone='nova:h3')
    try:
        status = str(server['status'])
        observed = 'refused' if status == 'ERROR' else status
        return Outcome(observed, stage.world.reason(server['id']))
    finally:
        stage.world.delete(server['id'])


def _changed_after_attestation(stage: Stage, kind: str) -> Outcome:
    """h2 changes while everyone still holds a good result of it."""
    world = stage.world
    world.lab_command('tamper', 'h2', kind)
    try:
        return stage.refused(stage.move('h2'))
    finally:
        world.lab_command('reboot', 'h2')


@scenario(
    'h2-boot-state',
    "h2's boot state changes after its last attestation",
    'refused',
)
def h2_boot_state(stage: Stage) -> Outcome:
    return _changed_after_attestation(stage, '--boot')


@scenario(
    'retry-good-host',
    'a retry after the refusal, to a host that is good again',
    'migrated',
)
def retry_good_host(stage: Stage) -> Outcome:
    result = stage.move_measured('h2')
    stage.back_to_h1()
    return Outcome(result.observed, result.reason)


@scenario(
    'h2-runtime-state',
    'an unknown program runs on h2 after its last attestation (PCR 10)',
    'refused',
)
def h2_runtime_state(stage: Stage) -> Outcome:
    return _changed_after_attestation(stage, '--runtime')


@scenario(
    'h2-hidden-runtime',
    "h2's PCR 10 holds what its log does not tell",
    'refused',
)
def h2_hidden_runtime(stage: Stage) -> Outcome:
    return _changed_after_attestation(stage, '--garbage')


@scenario('service-down', 'the attestation service is stopped', 'refused')
def service_down(stage: Stage) -> Outcome:
    # It may have seen what h2 was a moment before, and could not ask again.
    time.sleep(w.SCHEDULER_KEEPS)
    stage.world.stop_service()
    try:
        outcome = stage.refused(stage.move('h2'))
    finally:
        stage.world.start_service()
    if outcome.reason != errors.Reason.SERVICE_UNAVAILABLE:
        return Outcome('refused for another reason', outcome.reason)
    return outcome


@scenario('service-back', 'the attestation service is back', 'migrated')
def service_back(stage: Stage) -> Outcome:
    result = stage.move_measured('h2')
    stage.back_to_h1()
    return Outcome(result.observed, result.reason)


@scenario('abort-stream', 'the stream to h2 is aborted half way', 'aborted')
def abort_stream(stage: Stage) -> Outcome:
    world = stage.world
    backup = _backups() / 'h2-incoming'
    with net.slow('h1'):
        migration = world.start_migration(stage.server, 'h2')
        time.sleep(2)
        world.back_up_vault('h2', backup)
        result = world.abort_migration(stage.server, migration)
    outcome = stage.refused(result)
    stage.settled()
    return Outcome(
        'aborted' if outcome.observed == 'refused' else outcome.observed
    )


def _backups() -> pathlib.Path:
    return pathlib.Path(tempfile.gettempdir()) / 'korora-demo-backups'


def _open_restored(stage: Stage, host: str, backup: pathlib.Path) -> Outcome:
    """Let root on a host bring back an old vault and use it.

    The record is made to look like a held key: nothing in the file may be
    what protects it.
    """
    world = stage.world
    now = backup.with_name(backup.name + '-now')
    world.back_up_vault(host, now)
    try:
        world.restore_vault(host, _as_held(backup, stage.server))
        world.start_agent(host)
        reason = world.agent_refusal(host, 'open', instance=stage.server)
    finally:
        world.restore_vault(host, now)
        world.start_agent(host)
    return Outcome('refused' if reason else 'opened', reason)


def _as_held(backup: pathlib.Path, server: str) -> pathlib.Path:
    for record in (backup / 'vault').glob(f'{server}.*.json'):
        document = json.loads(record.read_text())
        document['state'] = 'held'
        record.write_text(json.dumps(document))
    return backup


@scenario(
    'aborted-copy',
    "h2's copy of the aborted hand-over comes back from a backup",
    'refused',
)
def aborted_copy(stage: Stage) -> Outcome:
    return _open_restored(stage, 'h2', _backups() / 'h2-incoming')


@scenario(
    'committed-copy',
    "h1's copy comes back from a backup after h2 has taken over",
    'refused',
)
def committed_copy(stage: Stage) -> Outcome:
    backup = _backups() / 'h1-held'
    stage.world.back_up_vault('h1', backup)
    result = stage.move_measured('h2')
    if result.observed != 'migrated':
        return Outcome(f'the migration was {result.observed}', result.reason)
    outcome = _open_restored(stage, 'h1', backup)
    stage.back_to_h1()
    return outcome


@scenario(
    'start-on-bad-host',
    'a stopped server is started on a host that turned bad meanwhile',
    'refused',
)
def start_on_bad_host(stage: Stage) -> Outcome:
    world = stage.world
    server = world.create('demo-stopped', 'vtpm', host='h2')['id']
    try:
        stopped = world.act(server, 'os-stop')
        if stopped['status'] != 'SHUTOFF':
            return Outcome('server ' + stopped['status'])
        world.lab_command('tamper', 'h2', '--boot')
        started = world.act(server, 'os-start')
        reason = world.reason(server)
        if started['status'] != 'SHUTOFF':
            return Outcome('server ' + started['status'], reason)
        world.lab_command('reboot', 'h2')
        again = world.act(server, 'os-start')
        return Outcome(
            'refused'
            if again['status'] == 'ACTIVE'
            else f'good again, but {again["status"]}',
            reason,
        )
    finally:
        world.delete(server)


@scenario(
    'plain',
    'a server without requirement moves to the untrusted h3 as in stock Nova',
    'migrated',
)
def plain(stage: Stage) -> Outcome:
    world = stage.world
    server = world.create('demo-plain', 'plain', host='h1')['id']
    try:
        result = world.migrate_live(server, 'h3')
        return Outcome(result.observed, result.reason)
    finally:
        world.delete(server)


def clean_up() -> None:
    """Remove what the scenarios kept outside the lab."""
    shutil.rmtree(_backups(), ignore_errors=True)
