# SPDX-License-Identifier: Apache-2.0
"""The Ansible collection: three hosts, a second run, an upgrade.

``ctl`` and ``h1`` get Debian packages, ``h2`` a virtual environment by pip;
all have a systemd of their own and are reached by ssh, and Keystone runs on
``ctl``. There is no TPM of hardware, so agents have a software TPM
(``korora_agent_config``), and nova-compute and nova-scheduler are installed
but do not run (``korora_nova_compute_units: []`` and the same of the
scheduler): that their configuration is read is asked of Nova's own code.
"""

from __future__ import annotations

import contextlib
import pathlib
import subprocess
from typing import Any

from korora_tools import checkout, ui
from korora_tools.deploy import packages, playbook
from korora_tools.deploy.machine import Machine, Network, layer
from korora_tools.fresh import root
from korora_tools.prove.ecosystem import stage

ABOUT = 'the Ansible collection installs, changes nothing twice, upgrades'
HOSTS = {'ctl': '127.0.79.11', 'h1': '127.0.79.12', 'h2': '127.0.79.13'}
AGENTS = ('h1', 'h2')
KEYSTONE = f'http://{HOSTS["ctl"]}:5000/v3'
SERVICE = f'{HOSTS["ctl"]}:8999'
PASSWORD = 'hush-hush'  # noqa: S105 of loopback only
NOVA = """\
apt-get -q update
apt-get -q install python3-venv python3-dev gcc
cat > /srv/constraints.txt <<'END'
{constraints}
END
python3 -m venv /opt/nova
/opt/nova/bin/pip install -q -c /srv/constraints.txt nova keystone \\
    python-openstackclient uWSGI
"""
_SSH = """\
set -e
install -d -m 0700 /root/.ssh
cat > /root/.ssh/authorized_keys
echo 'ListenAddress {address}' > /etc/ssh/sshd_config.d/here.conf
systemctl start ssh
"""
_TPM = """\
set -e
apt-get -q update
apt-get -q install swtpm libtss2-tcti-swtpm0
mkdir -p /run/swtpm /var/lib/swtpm-here
systemd-run -q --unit=swtpm-here swtpm socket --tpm2 \\
    --tpmstate dir=/var/lib/swtpm-here --flags not-need-init,startup-clear \\
    --server type=unixio,path=/run/swtpm/sock \\
    --ctrl type=unixio,path=/run/swtpm/sock.ctrl
until [ -S /run/swtpm/sock ]; do sleep 0.1; done
"""
_KEYSTONE = f"""\
set -e
mkdir -p /etc/keystone
cat > /etc/keystone/keystone.conf <<'END'
[database]
connection = sqlite:////etc/keystone/keystone.db
END
manage="/opt/nova/bin/keystone-manage \\
    --config-file /etc/keystone/keystone.conf"
$manage db_sync
$manage fernet_setup --keystone-user root --keystone-group root
$manage credential_setup --keystone-user root --keystone-group root
$manage bootstrap --bootstrap-password {PASSWORD} \\
    --bootstrap-region-id RegionOne --bootstrap-public-url {KEYSTONE}
systemd-run -q --unit=keystone -E OS_KEYSTONE_CONFIG_DIR=/etc/keystone \\
    /opt/nova/bin/uwsgi --http-socket {HOSTS['ctl']}:5000 \\
    --virtualenv /opt/nova --module keystone.wsgi.api:application \\
    --threads 4 --add-header 'Connection: close' --post-buffering 65536
until python3 -c "import urllib.request as r; r.urlopen('{KEYSTONE}')" \\
    2>/dev/null; do sleep 0.5; done
/opt/nova/bin/openstack <<'END'
project create service
role create attester
user create --password {PASSWORD} korora
role add --project service --user korora admin
role add --project service --user korora service
user create --password {PASSWORD} korora-agent
role add --project service --user korora-agent attester
service create --name korora attestation
endpoint create --region RegionOne attestation public http://{SERVICE}
END
"""
_NOVA_READS = """\
/opt/nova/bin/python - <<'END'
import importlib.util
from nova import config
import nova.conf
config.parse_args(['nova'], default_config_files=[], configure_db=False,
                  init_rpc=False)
assert importlib.util.find_spec('nova.virt.korora')
{}
END
"""
#: What has to be so afterwards: host, sentence, command.
AFTER = (
    (
        'ctl',
        'the service serves',
        f'curl -sf http://{SERVICE}/healthcheck || python3 -c "import '
        "urllib.request as r; r.urlopen('http://"
        f'{SERVICE}/healthcheck\')"',
    ),
    *(
        (host, f'the agent of {host} runs and trusts the keys of ctl', check)
        for host in AGENTS
        for check in ['systemctl -q is-active korora-agent && ls /run/korora']
    ),
    *(
        (
            host,
            f'passwords on {host} are not for everybody',
            'test "$(stat -c %a:%U /etc/credstore/korora-agent.secrets '
            '/etc/korora/agent.conf | sort -u)" = 600:root && '
            f'! grep -rq {PASSWORD} /etc/korora',
        )
        for host in AGENTS
    ),
    *(
        (
            host,
            f'nova-compute of {host} reads its options',
            _NOVA_READS.format(
                'assert nova.conf.CONF.compute_driver == '
                "'korora.KororaLibvirtDriver'"
            ),
        )
        for host in AGENTS
    ),
    (
        'ctl',
        'nova-scheduler reads its options',
        _NOVA_READS.format(
            "assert 'AttestationFilter' in "
            'nova.conf.CONF.filter_scheduler.enabled_filters'
        ),
    ),
)


def run() -> stage.Outcome:
    where = packages.prepare()
    with root.exclusive(where), Network(where) as net:
        built = packages.ensure(net)
        nova = layer(
            net,
            'nova',
            NOVA.format(constraints=checkout.CONSTRAINTS.read_text()),
        )
        control = playbook.Control(net)
        control.prepare()
        with contextlib.ExitStack() as life:
            hosts = {
                name: life.enter_context(Machine(net, name, address, (nova,)))
                for name, address in HOSTS.items()
            }
            return Run(control, hosts, built).all()


class Run:
    """The collection on these hosts."""

    def __init__(
        self,
        control: playbook.Control,
        hosts: dict[str, Machine],
        built: packages.Built,
    ) -> None:
        self.control, self.hosts, self.built = control, hosts, built
        self.wrong: list[str] = []
        self.changed = -1

    def all(self) -> stage.Outcome:
        if said := self.control.lint():
            self.wrong.append(f'ansible-lint: {said[-600:]}')
        self._furnish()
        self._first_and_second()
        if not self.wrong:
            self._after()
            self._upgrade()
            self._red_hat()
        report = {
            'hosts': len(self.hosts),
            'second_run_changed': self.changed,
        }
        return stage.Outcome(report, self.wrong)

    def _play(self, what: str, *arguments: str) -> playbook.Ran:
        with ui.step(what):
            ran = self.control.play(*arguments)
        if ran.failed:
            self.wrong.append(
                f'{what}: failed on {", ".join(ran.failed)}: '
                + ran.said[-1500:]
            )
        return ran

    # -- before -----------------------------------------------------------

    def _furnish(self) -> None:
        public = playbook.key(self.control.where).with_suffix('.pub')
        for name, host in self.hosts.items():
            host.must(_SSH.format(address=host.address), public.read_bytes())
            if name in AGENTS:
                with ui.step(f'a software TPM for {name}'):
                    host.must(_TPM)
        openrc = ' '.join(f'{k}={v}' for k, v in OPENRC.items())
        with ui.step('Keystone'):
            self.hosts['ctl'].must(f'export {openrc}\n{_KEYSTONE}')
        self._inventory(self._debs('debs'))

    def _debs(self, name: str) -> pathlib.Path:
        """A directory with the packages, and nothing else."""
        made = self.control.where / name
        root.remove(made)
        made.mkdir()
        for path in self.built.files.values():
            (made / path.name).write_bytes(path.read_bytes())
        return made

    def _inventory(self, debs: pathlib.Path) -> None:
        unpacked = self.control.where / 'unpacked'
        root.remove(unpacked)
        subprocess.run(
            ['dpkg-deb', '-x', self.built.files['korora-nova'], unpacked],
            check=True,
        )
        (wheel,) = unpacked.rglob('*.whl')
        self.control.inventory(
            inventory(debs, wheel, playbook.key(self.control.where))
        )

    # -- runs -------------------------------------------------------------

    def _first_and_second(self) -> None:
        self._play('the first run')
        if self.wrong:
            return
        second = self._play('the second run')
        self.changed = sum(second.changed.values())
        if self.changed:
            tasks = [
                line
                for line in second.said.splitlines()
                if line.startswith(('TASK', 'changed:'))
            ]
            self.wrong.append(
                f'The second run changed something: {tasks[-12:]}'
            )

    def _after(self) -> None:
        for name, what, command in AFTER:
            code, said = self.hosts[name].run(command)
            ui.say(f'{"ok " if not code else "!!!"} {what}')
            if code:
                self.wrong.append(
                    f'It is not so that {what}: {said.strip()[-500:]}'
                )
        pinned = {
            host.must('sha256sum < /etc/korora/keys.json')
            for host in self.hosts.values()
        }
        if len(pinned) != 1:
            self.wrong.append('The hosts do not trust the same keys.')

    def _upgrade(self) -> None:
        """A newer release: the service first, then the agents."""
        ctl = self.hosts['ctl']
        ctl.copy({f'/srv/old/{p.name}': p for p in self.built.files.values()})
        packages.renew(ctl, '/srv/old', '/srv/new')
        debs = self._debs('newer')
        for path in debs.iterdir():
            path.unlink()
        for name in ctl.must('ls /srv/new').split():
            (debs / name).write_bytes(ctl.read(f'/srv/new/{name}'))
        self._inventory(debs)
        self._play('the upgrade')
        if self.wrong:
            return
        began = {
            name: int(
                self.hosts[name].must(
                    'dpkg-query -W -f "\\${Version}" korora-common | '
                    'grep -q newer && systemctl show -P '
                    f'ActiveEnterTimestampMonotonic {unit}'
                )
            )
            for name, unit in (('ctl', 'korora-api'), ('h1', 'korora-agent'))
        }
        if not began['ctl'] < began['h1']:
            self.wrong.append('An agent was upgraded before the service.')

    def _red_hat(self) -> None:
        self._play(
            "a dry run with Red Hat's names",
            '--check',
            '--diff',
            '--skip-tags=packages',
            '--limit=h2',
            '-e',
            'korora_os_family=RedHat',
        )


# -- the inventory --------------------------------------------------------

OPENRC = {
    'OS_AUTH_URL': KEYSTONE,
    'OS_USERNAME': 'admin',
    'OS_PASSWORD': PASSWORD,
    'OS_PROJECT_NAME': 'admin',
    'OS_USER_DOMAIN_NAME': 'Default',
    'OS_PROJECT_DOMAIN_NAME': 'Default',
    'OS_IDENTITY_API_VERSION': '3',
}


def _credentials(user: str) -> dict[str, str]:
    return {
        'auth_type': 'password',
        'auth_url': KEYSTONE,
        'username': user,
        'project_name': 'service',
        'user_domain_name': 'Default',
        'project_domain_name': 'Default',
    }


def inventory(
    debs: pathlib.Path, wheel: pathlib.Path, key: pathlib.Path
) -> dict[str, Any]:
    """What an operator would write for these hosts."""
    here = checkout.ROOT / 'etc/korora/policies'
    password = {'password': PASSWORD}
    service = {
        'korora_listen': SERVICE,
        'korora_service_config': {
            'keystone_authtoken': _credentials('korora'),
            'nova': _credentials('korora'),
            'anchor': {'backend': 'none'},
        },
        'korora_service_secrets': {
            'database': {
                'connection': 'sqlite:////var/lib/korora-service/korora.db'
            },
            'keystone_authtoken': password,
            'nova': password,
        },
        'korora_policies': {'debian': str(here / 'debian.yaml')},
        'korora_openrc': OPENRC,
        'korora_nova_scheduler_units': [],
    }
    agent = {
        'korora_agent_config': {
            'attester': {'tcti': 'swtpm:path=/run/swtpm/sock'},
            'service_auth': _credentials('korora-agent'),
        },
        'korora_agent_secrets': {
            'service_auth': password,
            'handover': {
                'transport_url': f'rabbit://korora:{PASSWORD}'
                f'@{HOSTS["ctl"]}:5672/korora'
            },
        },
        'korora_nova_compute_units': [],
    }
    by = {
        'h1': {'korora_method': 'package'},
        'h2': {'korora_method': 'venv'},
    }
    agents = {
        name: {'korora_agent_address': HOSTS[name], **by[name]}
        for name in AGENTS
    }
    return {
        'all': {
            'vars': {
                'ansible_user': 'root',
                'ansible_ssh_private_key_file': str(key),
                'ansible_python_interpreter': '/usr/bin/python3',
                'korora_debs': str(debs),
                'korora_wheel': str(wheel),
                'korora_constraints': '/srv/constraints.txt',
                'korora_nova_credentials': _credentials('nova'),
            },
            'hosts': {
                name: {'ansible_host': address}
                for name, address in HOSTS.items()
            },
            'children': {
                'korora_service': {
                    'hosts': {'ctl': {'korora_method': 'package'}},
                    'vars': service,
                },
                'korora_agent': {'hosts': agents, 'vars': agent},
                'nova_compute': {'hosts': dict.fromkeys(AGENTS)},
                'nova_scheduler': {'hosts': {'ctl': None}},
            },
        }
    }
