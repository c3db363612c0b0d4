# SPDX-License-Identifier: Apache-2.0
"""Configuration files of a compute host."""

from __future__ import annotations

import pathlib
import pwd
import uuid

from korora_tools import checkout
from korora_tools.lab import broker, config, machine, paths, pki

TCTI = 'swtpm:path=/run/hwtpm/sock'
#: Where QEMU finds what the agent has for streams.
STREAMS = '/etc/pki/qemu/korora'
#: How libvirtd is reached: by Nova's default, and as Kororā insists on.
_STOCK_CHANNEL = 'listen_tls = 0\nlisten_tcp = 1\nauth_tcp = "none"\n'
_CHANNEL = (
    'listen_tls = 1\nlisten_tcp = 0\n'
    f'tls_allowed_dn_list = [{pki.allowed()}]\n'
)


def swtpm_user() -> str:
    """Whom the distribution's packages made for software TPMs."""
    for name in ('tss', 'swtpm'):
        try:
            return pwd.getpwnam(name).pw_name
        except KeyError:
            continue
    return 'root'


def libvirt(
    root: pathlib.Path, host: str, number: uuid.UUID, stock: bool
) -> None:
    """libvirtd listens for its peers; QEMU as root, without cgroups."""
    address = paths.HOSTS[host]
    (root / 'etc/libvirt/libvirtd.conf').write_text(
        (_STOCK_CHANNEL if stock else _CHANNEL)
        + f'listen_addr = "{address}"\n'
        'auth_unix_rw = "none"\n'
        f'host_uuid = "{number}"\n'
        'log_filters="3:qemu 3:libvirt 4:object 4:json 4:event 4:util"\n'
        'log_outputs="3:file:/var/log/libvirt/libvirtd.log"\n'
    )
    (root / 'etc/libvirt/qemu.conf').write_text(
        'user = "root"\n'
        'group = "root"\n'
        'security_driver = "none"\n'
        'cgroup_controllers = []\n'
        'namespaces = []\n'
        'stdio_handler = "file"\n'
        'remember_owner = 0\n'
        f'swtpm_user = "{swtpm_user()}"\n'
        f'swtpm_group = "{swtpm_user()}"\n'
        f'migration_address = "{address}"\n'
        + ('' if stock else f'migrate_tls_x509_cert_dir = "{STREAMS}"\n')
    )


def nova_file(lab: paths.Lab, host: str) -> pathlib.Path:
    return lab.etc / (f'nova-{host}') / 'nova.conf'


def nova_compute(lab: paths.Lab, host: str, stock: bool) -> None:
    """nova-compute of a host: TCG guests, vTPMs, block migration."""
    path = nova_file(lab, host)
    sections = config.nova(lab, 'nova-' + host, stock)
    sections['DEFAULT'].update(
        {
            'host': host,
            'my_ip': paths.HOSTS[host],
            'state_path': lab.host(host) / 'nova',
            'instances_path': lab.instances,
            'force_raw_images': 'false',
            'compute_driver': 'libvirt.LibvirtDriver'
            if stock
            else 'korora.KororaLibvirtDriver',
        }
    )
    sections['libvirt'] = {
        # The machine may offer no KVM; a fixed model is fast under TCG.
        'virt_type': 'qemu',
        'cpu_mode': 'custom',
        'cpu_models': 'Nehalem',
        'hw_machine_type': 'x86_64=q35',
        'tb_cache_size': 64,
        'images_type': 'qcow2',
        # The guest does not listen to its power button.
        'wait_soft_reboot_seconds': 10,
        'swtpm_enabled': 'true',
        'swtpm_user': swtpm_user(),
        'swtpm_group': swtpm_user(),
        'live_migration_scheme': 'tcp' if stock else 'tls',
        'live_migration_inbound_addr': paths.HOSTS[host],
        'live_migration_permit_auto_converge': 'true',
    }
    helper = f'{checkout.BIN}/privsep-helper --config-file {path}'
    for section in ('nova_sys_admin', 'vif_plug_ovs_privileged'):
        sections[section] = {'helper_command': helper}
    if not stock:
        sections['korora']['trusted_keys'] = '/etc/korora/keys.json'
    config.write(path, sections)


def agent(lab: paths.Lab, host: str) -> None:
    """korora-agent of a host."""
    config.write(
        lab.host(host) / 'etc/korora/agent.conf',
        {
            'DEFAULT': config.log(lab, 'korora-agent-' + host),
            'attester': {
                'host': host,
                'tcti': TCTI,
                'interval': 20,
                'uefi_log': '/run/securityfs/' + machine.UEFI_NAME,
                'ima_log': '/run/securityfs/' + machine.IMA_NAME,
                'allowed_users': 'root',
                'address': paths.HOSTS[host],
                'migration_tls_dir': STREAMS,
            },
            'handover': {
                'transport_url': broker.url(
                    lab,
                    broker.HANDOVER_USER,
                    paths.HANDOVER_VHOST,
                )
            },
            'service_auth': {
                **config.client(lab, 'korora-agent'),
                'service_type': 'attestation',
                'valid_interfaces': 'public',
            },
        },
    )
