# SPDX-License-Identifier: Apache-2.0
"""On the lab: hosts that were compromised, and orders that pass by checks."""

from __future__ import annotations

import base64
import json
import time

from korora_nova import errors
from korora_tools import ui
from korora_tools.demo import world
from korora_tools.demo.stage import SETTLE
from korora_tools.lab import client, database, net
from korora_tools.prove.attack.ground import (
    HARD,
    First,
    Ground,
    Seen,
    on_lab,
    until,
)
from korora_tools.prove.life.stage import TROUBLES, UNTRUSTED

#: Seconds until an agent has told that it does not hear from the driver.
_ENFORCER = 240.0
#: Seconds for a stream to be given up once its end is known to be bad.
_ABORT = 120.0


def _arrived(g: Ground, seen: str, host: str) -> Seen:
    where = ', '.join(g.places()) or 'nowhere'
    return Seen(g.runs_on(host), f'{seen}; the guest runs on {where}')


@on_lab('T1')
def to_a_compromised_host(g: Ground) -> Seen:
    if g.stock:
        g.compromise(UNTRUSTED)
    with g.enabled(UNTRUSTED):
        seen = _arrived(g, g.move(UNTRUSTED), UNTRUSTED)
    if seen.succeeded:
        _, value = g.libvirt_secret(UNTRUSTED)
        g.discard()
        gives = 'gives' if value else 'does not give'
        return Seen(
            True, f'{seen.evidence}, whose libvirt {gives} its passphrase'
        )
    return seen


@on_lab('T18')
def past_the_scheduler(g: Ground) -> Seen:
    forced = _arrived(g, g.move(UNTRUSTED, force=True), UNTRUSTED)
    if forced.succeeded:
        g.discard()
    with g.enabled(UNTRUSTED):
        made = g.world.create(
            'attack-named', g.kind, availability_zone=f'nova:{UNTRUSTED}'
        )
    created = g.runs_on(UNTRUSTED, made['id'])
    g.world.delete(made['id'])
    return Seen(
        forced.succeeded or created,
        f'forced: {forced.evidence}; nova:{UNTRUSTED}: {made["status"]}, '
        f'{"runs" if created else "does not run"}',
    )


@on_lab('T3')
def from_a_compromised_source(g: Ground) -> Seen:
    source, dest = g.home, g.other
    g.compromise(source)
    seen = _arrived(g, g.move(dest), dest)
    g.cure(source)
    return seen


@on_lab('T27')
def run_time_only(g: Ground) -> Seen:
    dest = g.other
    g.compromise(dest, 'garbage')
    seen = _arrived(g, g.move(dest), dest)
    g.cure(dest)
    return seen


@on_lab('T13')
def in_mid_stream(g: Ground) -> Seen:
    """The destination changes while the guest's memory arrives there.

    What counts is the time from the destination's first bad attestation, as
    the service has it, until the source's libvirt has no job any more.
    """
    source, dest = g.home, g.other
    with net.slow(source):
        record = g.world.start_migration(g.server, dest)
        time.sleep(1)
        with (
            First(lambda: _turned_bad(g, dest)) as known,
            First(lambda: _job_gone(g, source)) as gone,
        ):
            g.compromise(dest)
            g.attest(dest)
            ended = until(lambda: _is_over(g, record), _ABORT)
    seen = _arrived(g, g.ended() if ended else 'it goes on', dest)
    took = _between(known, gone)
    if not (g.stock or seen.succeeded) and _lost_trust(g):
        g.figures['in_flight_abort_s'] = took
    g.cure(dest)
    return Seen(
        seen.succeeded,
        f'{seen.evidence}; the stream was over {took} s after the change',
    )


def _between(known: First, gone: First) -> float | None:
    """Seconds, if both were; a stream that broke before tells nothing."""
    if known.value is None or gone.value is None:
        return None
    if gone.value < known.value:
        raise ui.Problem('the stream ended before the host was bad')
    return round(gone.value - known.value, 2)


def _lost_trust(g: Ground) -> bool:
    """Whether the service says that this is why the last stream ended."""
    newest = next(
        one
        for one in g.world.attestation('/v1/migrations')['migrations']
        if one['instance'] == g.server
    )
    return errors.Reason.TRUST_LOST_IN_FLIGHT in newest['taint']


def _turned_bad(g: Ground, host: str) -> float | None:
    """Since when the service knows; a change on stock Nova nobody notes."""
    if g.stock:
        return time.time()
    shown = g.world.attestation(f'/v1/hosts/{host}')
    bad = shown['tier'] != 'affirming'
    return float(shown['last_attested']) if bad else None


def _job_gone(g: Ground, host: str) -> float | None:
    """When a host's libvirt has no job for the guest; now, if that is so."""
    if not g.runs_on(host):
        return time.time()
    text = g.world.virsh(host, 'domjobinfo', g.server)
    return None if 'nbounded' in text else time.time()


def _is_over(g: Ground, record: str) -> bool:
    return any(
        str(one['id']) == record and one['status'] in client.ENDED
        for one in g.world.migrations(g.server)
    )


@on_lab('T17')
def starts(g: Ground) -> Seen:
    """Resume, hard reboot and start on a host that changed meanwhile."""
    host = g.home
    other = g.world.create('attack-stopped', g.kind, host=host)['id']
    g.world.act(other, 'os-stop')
    g.act('suspend')
    g.compromise(host)
    found = {}
    g.act('resume')
    found['resumed'] = g.runs_on(host)
    g.act('reboot', HARD)
    found['rebooted'] = g.runs_on(host)
    g.world.act(other, 'os-start')
    found['started'] = g.runs_on(host, other)
    g.world.delete(other)
    g.discard()
    g.cure(host)
    done = ', '.join(name for name, one in found.items() if one)
    return Seen(any(found.values()), f'runs again after: {done or "none"}')


@on_lab('T19', stock=False)
def service_is_dead(g: Ground) -> Seen:
    dest = g.other
    with g.without_service():
        seen = _arrived(g, g.move(dest), dest)
    g.calm()
    return seen


@on_lab('T32', stock=False)
def stripped(g: Ground) -> Seen:
    """What Nova keeps of the flavor does not ask for a vTPM any more."""
    where = f"FROM nova_cell1.instance_extra WHERE instance_uuid='{g.server}'"
    before = database.query(g.lab, f'SELECT HEX(flavor) {where}').strip()
    flavor = json.loads(bytes.fromhex(before))
    for part in flavor.values():
        if part:
            part['nova_object.data']['extra_specs'] = {}
    _keep_flavor(g, json.dumps(flavor).encode().hex())
    try:
        seen = _arrived(g, g.move(UNTRUSTED, force=True), UNTRUSTED)
    finally:
        _keep_flavor(g, before)
    return seen


def _keep_flavor(g: Ground, hexadecimal: str) -> None:
    database.query(
        g.lab,
        f"UPDATE nova_cell1.instance_extra SET flavor=X'{hexadecimal}' "
        f"WHERE instance_uuid='{g.server}'",
    )


@on_lab('T47', stock=False, apart=True)
def stock_driver(g: Ground) -> Seen:
    """A good host runs stock Nova's driver, and is all there is to choose."""
    with g.configured('h2', compute_driver='libvirt.LibvirtDriver'):
        noticed = until(
            lambda: not g.world.attestation('/v1/hosts/h2')['enforcing'],
            _ENFORCER,
        )
        # What the scheduler has heard counts for some seconds (ADR 0034).
        time.sleep(world.SCHEDULER_KEEPS)
        g.world.enable('h1', False)
        try:
            made = g.world.create('attack-stock-driver', g.kind)
            ran = g.runs_on('h2', made['id'])
        finally:
            g.world.enable('h1', True)
        g.world.delete(made['id'])
    return Seen(
        ran,
        f'{made["status"]}; the service '
        + ('knew' if noticed else f'did not know after {_ENFORCER:.0f} s'),
    )


@on_lab('T21', stock=False, apart=True)
def credentials_of_an_agent(g: Ground) -> Seen:
    """They make no host trusted, and drop no reference value."""
    agent = client.adapter_for(
        'attestation', user='korora-agent', project='service'
    )
    codes = {
        'approve': agent.put(
            f'/v1/hosts/{UNTRUSTED}/approval',
            json={'ek_hash': '0' * 64},
            raise_exc=False,
        ).status_code,
        'delete': agent.delete('/v1/hosts/h1', raise_exc=False).status_code,
        'reference': agent.delete(
            '/v1/references/lab', raise_exc=False
        ).status_code,
    }
    return Seen(any(code < 400 for code in codes.values()), f'HTTP {codes}')


@on_lab('T44', stock=False)
def squatting(g: Ground) -> Seen:
    """Root of another trusted host claims the server's name."""
    passphrase = g.world.passphrase(g.server)
    try:
        g.world.agent(
            g.other,
            'seal',
            instance=g.server,
            secret_uuid=g.world.server_secret(g.server),
            passphrase=base64.b64encode(passphrase).decode(),
        )
        said = 'sealed'
    except errors.KororaError as exc:
        said = str(exc.reason)
    holder = g.world.attestation(f'/v1/servers/{g.server}')['holder']
    return Seen(holder != g.home, f'{said}; the ledger has {holder}')


def settle(g: Ground) -> None:
    """The ledger has nothing pending any more, if that comes by itself."""
    if g.stock or not g.server:
        return

    def settled() -> bool:
        try:
            row = g.world.attestation(f'/v1/servers/{g.server}')
        except TROUBLES:
            return True
        return not row['pending']

    until(settled, SETTLE)
