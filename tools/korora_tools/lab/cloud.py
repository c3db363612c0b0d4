# SPDX-License-Identifier: Apache-2.0
"""What `up` and `down` do, in order."""

from __future__ import annotations

import os
import pathlib
import shutil
from concurrent.futures import ThreadPoolExecutor

from korora_tools import setup, ui
from korora_tools.lab import (
    attestation,
    config,
    control,
    dashboard,
    guest,
    host,
    machine,
    net,
    paths,
    pki,
    processes,
    ssh,
)

# Says whose the namespaces are; gone after a reboot, as they are.
OWNER = pathlib.Path('/run/korora-lab.owner')
# Of the 107 characters of a socket's name, hosts/h1/hwtpm/sock.ctrl and
# tmp/tmpXXXXXXXX/privsep.sock need 30.
MAX_PATH = 75
# Places that a host's private directories are mounted over.
MOUNT_POINTS = tuple(host.PRIVATE)


def is_up(lab: paths.Lab) -> bool:
    return lab.mode_file.exists() and processes.alive(
        processes.load(lab, 'nova')
    )


def is_stock(lab: paths.Lab) -> bool:
    return lab.mode_file.exists() and lab.mode_file.read_text() == 'stock'


def up(lab: paths.Lab, stock: bool, horizon: bool = False) -> None:
    """Bring the cloud up; on any failure take it down again.

    :param horizon: whether Horizon is wanted as well, which a cloud that is
        up already gets then, and survives the failure of.
    """
    if len(str(lab.root)) > MAX_PATH:
        raise ui.Problem(
            f'{lab.root} is too long: unix sockets below it allow for '
            f'{MAX_PATH} characters'
        )
    if is_up(lab):
        mode = 'stock' if is_stock(lab) else 'korora'
        if stock != is_stock(lab):
            raise ui.Problem(
                f'a {mode} lab is up; take it down first (lab down)'
            )
        ui.note(f'the lab is already up ({lab.root})')
        if horizon:
            dashboard.up(lab)
        return
    _nowhere_else(lab)
    setup.ensure()
    if processes.names(lab) or any(map(net.exists, net.all_names())):
        with ui.step('clear what an earlier lab has left'):
            down(lab, keep=False, quiet=True)
    try:
        _up(lab, stock)
        if horizon:
            dashboard.up(lab)
    except BaseException:
        processes.abort()
        ui.note(f'taking the lab down; logs stay in {lab.log}')
        processes.resume()
        down(lab, keep=True, quiet=True)
        raise


def _nowhere_else(lab: paths.Lab) -> None:
    if OWNER.exists() and OWNER.read_text() != str(lab.root):
        raise ui.Problem(
            f'there is a lab in {OWNER.read_text()}; take that down first '
            f'(KORORA_LAB_DIR={OWNER.read_text()} lab down)'
        )


def _up(lab: paths.Lab, stock: bool) -> None:
    for path in _disposable(lab, keep=False):
        shutil.rmtree(path, ignore_errors=True)
    lab.make()
    (lab.data / 'lock').mkdir(exist_ok=True)
    _mount_points(lab)
    config.write_all(lab, stock)
    ssh.make_key(lab)
    if not stock:
        pki.make(lab)
        attestation.configure(lab)
        machine.make_vendor(lab)
    with ui.step('network namespaces'):
        OWNER.write_text(str(lab.root))
        net.create()
    with ThreadPoolExecutor(max_workers=8) as pool:
        try:
            _start(lab, stock, pool)
        except BaseException:
            processes.abort()
            raise
    lab.mode_file.write_text('stock' if stock else 'korora')


def _start(lab: paths.Lab, stock: bool, pool: ThreadPoolExecutor) -> None:
    """All processes, as much as possible at the same time."""
    control.infrastructure(lab)
    image = pool.submit(guest.build, lab)
    machines = [
        pool.submit(_machine, lab, name, stock) for name in paths.HOSTS
    ]
    control.schemas(lab, pool, stock)
    for made in machines:
        made.result()
    if not stock:
        attestation.endorse(lab)
    control.services(lab, stock)
    if not stock:
        _expect(lab)
    for name in paths.HOSTS:
        if not stock:
            host.start_agent(lab, name)
        host.start_compute(lab, name)
    image.result()
    content = pool.submit(_content, lab)
    if not stock:
        _trust(lab)
    control.computes(lab)
    content.result()


def _machine(lab: paths.Lab, name: str, stock: bool) -> None:
    what = 'libvirtd' if stock else 'TPM, measured boot, libvirtd'
    with ui.step(f'host {name}: namespaces, {what}'):
        host.prepare(lab, name, stock)
        if not stock:
            machine.make_tpm(lab, name)
            machine.power_on(lab, name)
        host.switch_on(lab, name)
        host.start_libvirt(lab, name)


def _expect(lab: paths.Lab) -> None:
    with ui.step('approve the TPMs that were delivered'):
        control.venv_python(lab, 'korora_tools.lab.onboard', 'expect')


def _trust(lab: paths.Lab) -> None:
    with ui.step('reference values from h1'):
        control.venv_python(lab, 'korora_tools.lab.onboard', 'learn')
    with ui.step('verdicts: h1, h2 affirming, h3 contraindicated'):
        control.venv_python(
            lab, 'korora_tools.lab.onboard', 'await', *paths.HOSTS
        )


def reboot(lab: paths.Lab, name: str) -> None:
    """Power-cycle a host: its guests die, its TPM starts from zero."""
    power_off(lab, name)
    power_on(lab, name)
    if processes.pid_of(lab, 'korora'):
        with ui.step(f'new verdict on {name}'):
            control.venv_python(lab, 'korora_tools.lab.onboard', 'await', name)


def power_off(lab: paths.Lab, name: str) -> None:
    """Pull a host's plug."""
    with ui.step(f'power off {name}'):
        host.switch_off(lab, name)
        if not is_stock(lab):
            machine.power_off(lab, name)


def power_on(lab: paths.Lab, name: str) -> None:
    """Boot a host, and start what runs on it."""
    stock = is_stock(lab)
    with ui.step(f'power on {name}'):
        if not stock:
            machine.power_on(lab, name)
        host.switch_on(lab, name)
        host.start_libvirt(lab, name)
        if not stock:
            host.start_agent(lab, name)
        host.start_compute(lab, name)
        control.consumers(lab, 'compute.' + name)


def replace(lab: paths.Lab, name: str) -> None:
    """Another machine takes the place of a host that is off.

    Its servers' disks and the states of their vTPMs are restored there; its
    TPM, and what the agent kept, is not.
    """
    shutil.rmtree(lab.host(name) / 'var/lib/korora')
    host.prepare(lab, name, is_stock(lab))
    if not is_stock(lab):
        machine.scrap_tpm(lab, name)
        machine.make_tpm(lab, name)


def tamper(lab: paths.Lab, name: str, how: str) -> None:
    """Attack a running host."""
    if is_stock(lab):
        raise ui.Problem('the hosts of a stock lab have no TPM')
    machine.tamper(lab, name, how)
    ui.say(f'ok  tampered with {name} ({how})')


def _content(lab: paths.Lab) -> None:
    with ui.step('images and flavors'):
        control.venv_python(
            lab,
            'korora_tools.lab.bootstrap',
            'content',
            str(guest.directory(lab)),
        )


def _mount_points(lab: paths.Lab) -> None:
    """Make mount points the machine lacks; remember them for `down`."""
    made = [p for p in MOUNT_POINTS if not os.path.isdir(p)]
    (lab.run / 'mount-points').write_text('\n'.join(made))
    for path in made:
        os.makedirs(path)


def down(lab: paths.Lab, keep: bool = False, quiet: bool = False) -> None:
    """Stop everything; remove the state but the cache unless `keep`."""
    if OWNER.exists() and OWNER.read_text() != str(lab.root):
        ui.note(f'no lab in {lab.root}; there is one in {OWNER.read_text()}')
        return
    lab.mode_file.unlink(missing_ok=True)
    known = processes.names(lab)
    if not quiet and known:
        ui.say(f'... stop {len(known)} services')
    for name in paths.HOSTS:
        host.switch_off(lab, name)
    last = [n for n in known if n in ('mariadb', 'rabbitmq', 'epmd')]
    # Whatever they would still write goes with the state.
    processes.stop(lab, [n for n in known if n not in last], grace=1)
    processes.stop(lab, last, grace=1)
    net.delete()
    OWNER.unlink(missing_ok=True)
    for name in known:
        processes.forget(lab, name)
    _remove_mount_points(lab)
    for path in _disposable(lab, keep):
        shutil.rmtree(path, ignore_errors=True)
    if not quiet:
        ui.say('ok  the lab is down')


def undo(lab: paths.Lab) -> None:
    """Take the lab down and undo the set-up.

    :raises Problem: something could not be removed.
    """
    _nowhere_else(lab)
    down(lab)
    setup.undo(lab)


def _remove_mount_points(lab: paths.Lab) -> None:
    listed = lab.run / 'mount-points'
    if not listed.exists():
        return
    for path in filter(None, listed.read_text().splitlines()):
        try:
            os.rmdir(path)
        except OSError:
            pass  # in use by someone else by now
    listed.unlink()


def _disposable(lab: paths.Lab, keep: bool) -> list[pathlib.Path]:
    gone = [lab.run, lab.tmp]
    if not keep:
        gone += [
            lab.etc,
            lab.log,
            lab.data,
            lab.instances,
            lab.shared,
            lab.root / 'hosts',
        ]
    return gone
