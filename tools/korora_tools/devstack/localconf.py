# SPDX-License-Identifier: Apache-2.0
"""local.conf of a node."""

from __future__ import annotations

import pathlib

from korora_tools.devstack import mirrors, paths

IMAGE = '/opt/images/tiny.img'
PASSWORD = 'secret'
# Plugins of Tempest out of the package index; the first needs the second.
OTHERS = ('whitebox-tempest-plugin', 'barbican-tempest-plugin')

CONTROLLER_SERVICES = (
    'key',
    'mysql',
    'rabbit',
    'placement-api',
    'placement-client',
    'g-api',
    'n-api',
    'n-api-meta',
    'n-cond',
    'n-sch',
    'n-cpu',
    'q-svc',
    'ovn-controller',
    'ovn-northd',
    'ovs-vswitchd',
    'ovsdb-server',
    'q-ovn-agent',
    'openstack-cli-server',
    'tempest',
)
SUBNODE_SERVICES = (
    'n-cpu',
    'placement-client',
    'ovn-controller',
    'ovs-vswitchd',
    'ovsdb-server',
    'q-ovn-agent',
)

COMMON = f"""\
[[local|localrc]]
HOST_IP={{address}}
ADMIN_PASSWORD={PASSWORD}
DATABASE_PASSWORD={PASSWORD}
RABBIT_PASSWORD={PASSWORD}
SERVICE_PASSWORD={PASSWORD}
GIT_BASE=file://{paths.GIT}
LOGFILE={paths.STACK_HOME}/logs/stack.sh.log
LOG_COLOR=False
VERBOSE=True
API_WORKERS=1
IP_VERSION=4
ENABLE_KSM=False
ENABLE_KSMTUNED=False
MYSQL_GATHER_PERFORMANCE=False
LIBVIRT_TYPE=qemu
LIBVIRT_CPU_MODE=none
ENABLED_SERVICES={{services}}
KORORA_TPM=swtpm
"""
CONTROLLER = f"""\
DOWNLOAD_DEFAULT_IMAGES=False
IMAGE_URLS=file://{IMAGE}
DEFAULT_IMAGE_NAME=tiny
TEMPEST_VENV_UPPER_CONSTRAINTS={paths.STACK_HOME}/requirements/\
upper-constraints.txt
TEMPEST_PLUGINS="{paths.STACK_HOME}/korora-nova {' '.join(OTHERS)}"
TEMPEST_RUN_VALIDATION=False
LIVE_MIGRATION_AVAILABLE=True
USE_BLOCK_MIGRATION_FOR_LIVE_MIGRATION=True
KORORA_RUN_ON_HOST="ssh -o StrictHostKeyChecking=no stack@{{host}} sudo"
"""
SUBNODE = f"""\
SERVICE_HOST={paths.ADDRESSES[paths.CONTROLLER]}
DATABASE_HOST=$SERVICE_HOST
MYSQL_HOST=$SERVICE_HOST
RABBIT_HOST=$SERVICE_HOST
DATABASE_TYPE=mysql
disable_service korora-api
"""


def has_openvswitch() -> bool:
    """Whether this machine's kernel has Open vSwitch's datapath."""
    return pathlib.Path('/sys/module/openvswitch').exists()


def render(name: str, branch: str, *, offline: bool = False) -> str:
    """What a node's DevStack is told."""
    controller = name == paths.CONTROLLER
    text = COMMON.format(
        address=paths.ADDRESSES[name],
        services=','.join(
            CONTROLLER_SERVICES if controller else SUBNODE_SERVICES
        ),
    )
    if offline:
        # DevStack installs Tempest anew from the package index in any case.
        text += 'OFFLINE=True\ndisable_service tempest\n'
    if not has_openvswitch():
        text += 'OVS_DATAPATH_TYPE=netdev\n'
        text += _plugin('ovs-netdev', 'ovs-netdev', 'master')
    if controller:
        text += CONTROLLER.format(host='{host}')
        text += _plugin('barbican', 'openstack/barbican', branch)
    text += _plugin(mirrors.PLUGIN, mirrors.PLUGIN, mirrors.PLUGIN_BRANCH)
    # After the plugin's settings have enabled it.
    if not controller:
        text += SUBNODE
    return text


def _plugin(name: str, repository: str, branch: str) -> str:
    url = f'file://{paths.GIT}/{repository}.git'
    return f'enable_plugin {name} {url} {branch}\n'
