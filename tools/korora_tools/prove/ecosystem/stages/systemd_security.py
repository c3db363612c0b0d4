# SPDX-License-Identifier: Apache-2.0
"""Units are as closed as they can be, and what they need still works.

``systemd-analyze security`` gives each unit its exposure, from 0 to 10. Then
a systemd starts the units of agent and service with a probe in place of the
program, which tries what they need and what they must not have; and at last
with the programs themselves: the agent with a software TPM, the service with
a database whose address is in a credential only. There is no TPM of hardware
and no IMA here: a character device and files are in their places.
"""

from __future__ import annotations

import pathlib
import re

from korora_tools import checkout, ui
from korora_tools.deploy import packages
from korora_tools.deploy.machine import Machine, Network
from korora_tools.fresh import root
from korora_tools.prove.ecosystem import stage

ABOUT = 'systemd units are hardened, and what they need still works'
ADDRESS = '127.0.79.4'
UNITS = '/lib/systemd/system'
MOST = 2.5
#: Units whose sandbox is tried, and as what.
PROBED = {'korora-agent': 'agent', 'korora-api': 'service'}
PROBE = '/srv/probe.py'
SAID = '/run/probe.out'
_DROP_IN = """\
[Service]
Type=oneshot
Restart=no
ExecStartPost=
ExecStart=
ExecStart=/usr/lib/korora/bin/python3 {probe} {kind}
StandardOutput=truncate:{said}
StandardError=truncate:{said}
"""
_MACHINE = """\
set -e
mount -t tmpfs tmpfs /sys/kernel/security
mkdir /sys/kernel/security/ima /sys/kernel/security/tpm0
cd /sys/kernel/security
install -m 0440 /dev/null ima/binary_runtime_measurements
install -m 0440 /dev/null tpm0/binary_bios_measurements
mknod -m 0600 /dev/tpmrm0 c 10 200
mknod -m 0666 /dev/probe c 1 11
install -d -m 0700 -o 65533 /var/lib/libvirt/swtpm/probe
install -m 0600 -o 65533 /dev/null \\
    /var/lib/libvirt/swtpm/probe/tpm2-00.permall
mkdir -p /run/libvirt /root/home
systemd-run -q --unit=libvirt-probe python3 -c "
import socket
server = socket.socket(socket.AF_UNIX)
server.bind('/run/libvirt/libvirt-sock')
server.listen()
while True:
    server.accept()"
until [ -S /run/libvirt/libvirt-sock ]; do sleep 0.1; done
"""
_SECRETS = {
    'api': (
        '[database]\nconnection = '
        'sqlite:////var/lib/korora-service/korora.db\n'
    ),
    'agent': (
        '[handover]\ntransport_url = '
        'rabbit://korora:probe@127.0.0.1:5672/korora\n'
    ),
}
_SERVICE = """\
set -e
sed -i '/^connection/d' /etc/korora/korora.conf
install -d -o korora -m 0700 /var/lib/korora-service
manage="korora-manage --config-file /etc/korora/korora.conf \\
    --config-file /srv/api.secrets"
$manage keys create
runuser -u korora -- $manage db sync
systemctl start korora-api
python3 -c "import urllib.request as r; \\
r.urlopen('http://127.0.0.1:8999/healthcheck')"
test -s /var/lib/korora-service/korora.db
"""
_AGENT = """\
set -e
# It answers nothing, and libvirt's library would wait for that.
systemctl stop libvirt-probe
rm /run/libvirt/libvirt-sock
mkdir -p /run/swtpm /var/lib/swtpm-probe
systemd-run -q --unit=swtpm-probe swtpm socket --tpm2 \\
    --tpmstate dir=/var/lib/swtpm-probe --flags not-need-init,startup-clear \\
    --server type=unixio,path=/run/swtpm/sock \\
    --ctrl type=unixio,path=/run/swtpm/sock.ctrl
until [ -S /run/swtpm/sock ]; do sleep 0.1; done
tcti=swtpm:path=/run/swtpm/sock
sed -i "/^transport_url/d; s|^host = .*|&\\ntcti = $tcti|" \\
    /etc/korora/agent.conf
timeout 60 systemctl start korora-agent || {
    journalctl -u korora-agent -n 20 -o cat; exit 1; }
sleep 5
systemctl -q is-active korora-agent
"""


def run() -> stage.Outcome:
    where = packages.prepare()
    with root.exclusive(where), Network(where) as net:
        built = packages.ensure(net)
        with Machine(net, 'sandbox', ADDRESS) as machine:
            machine.copy({f'/srv/{p.name}': p for p in built.files.values()})
            machine.installs('/srv/*.deb', 'swtpm', 'libtss2-tcti-swtpm0')
            exposures = _exposures(machine)
            wrong = _tried(machine)
    wrong += [
        f'{unit} has an exposure of {value}, at most {MOST} is wanted.'
        for unit, value in exposures.items()
        if value > MOST
    ]
    return stage.Outcome(exposures, wrong)


def _exposures(machine: Machine) -> dict[str, float]:
    """Unit -> exposure, by the systemd of the release."""
    found = {}
    for path in sorted((checkout.ROOT / 'etc/korora').glob('*.service')):
        said = machine.must(
            f'systemd-analyze security --offline=true {UNITS}/{path.name}'
        )
        value = re.search(r'exposure level for \S+: ([\d.]+)', said)
        if value is None:
            raise ui.Problem(f'no exposure of {path.name}: {said[-300:]}')
        found[path.stem] = float(value[1])
        ui.say(f'exposure of {path.stem}: {value[1]}')
    return found


def _tried(machine: Machine) -> list[str]:
    """Sentences about what is not as it should be in the sandboxes."""
    machine.must(_MACHINE)
    source = pathlib.Path(packages.__file__).with_name('probe.py').read_bytes()
    machine.write(PROBE, source)
    wrong = []
    for name, secrets in _SECRETS.items():
        machine.write(f'/srv/{name}.secrets', secrets)
        machine.write(f'/etc/credstore/korora-{name}.secrets', secrets, 0o600)
    for unit, kind in PROBED.items():
        wrong += [f'{unit}: {line}' for line in _probed(machine, unit, kind)]
    for what, script in (('service', _SERVICE), ('agent', _AGENT)):
        with ui.step(f'the {what} itself, as its unit starts it'):
            code, said = machine.run(script)
        if code:
            wrong.append(f'The {what} does not run: {said.strip()[-800:]}')
    return wrong


def _probed(machine: Machine, unit: str, kind: str) -> list[str]:
    drop_in = f'/run/systemd/system/{unit}.service.d/probe.conf'
    machine.write(drop_in, _DROP_IN.format(probe=PROBE, kind=kind, said=SAID))
    code, _ = machine.run(f'systemctl daemon-reload && systemctl start {unit}')
    said = machine.must(f'cat {SAID}').splitlines()
    machine.must(f'rm {drop_in} {SAID} && systemctl daemon-reload')
    last = said[-1] if said else 'it said nothing'
    if code or not re.fullmatch(r'\d+ tried', last):
        return [f'the probe did not run: {last}']
    ui.say(f'{"!!!" if said[1:] else "ok "} sandbox of {unit}: {last}')
    return said[:-1]
