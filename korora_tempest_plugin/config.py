# SPDX-License-Identifier: Apache-2.0
"""The plugin's options in tempest.conf."""

from __future__ import annotations

from oslo_config import cfg

SERVICE_AVAILABLE = cfg.BoolOpt(
    'attestation',
    default=True,
    help='Whether the attestation service is expected to be available.',
)

GROUP = cfg.OptGroup('attestation', title='Options of the attestation tests')

_ON_HOST = (
    '{host} in it stands for the name of the compute host. It is '
    'split into words as a shell does, and run without one.'
)

OPTIONS = [
    cfg.StrOpt(
        'catalog_type',
        default='attestation',
        help='Type of the attestation service in the catalog.',
    ),
    cfg.StrOpt(
        'endpoint_type',
        default='publicURL',
        choices=[
            'public',
            'admin',
            'internal',
            'publicURL',
            'adminURL',
            'internalURL',
        ],
        help='The endpoint of the attestation service to use.',
    ),
    cfg.StrOpt(
        'region',
        default='',
        help='Region of the attestation service; [identity] region if empty.',
    ),
    cfg.IntOpt(
        'build_interval',
        default=1,
        min=1,
        help='Seconds between two checks while waiting for a state.',
    ),
    cfg.IntOpt(
        'build_timeout',
        default=120,
        min=1,
        help='Seconds within which a hand-over of a key is settled, and a '
        'host whose policy changed has attested again: more than '
        '[attester] interval of the agents.',
    ),
    cfg.IntOpt(
        'migration_timeout',
        default=300,
        min=1,
        help='Seconds within which a live migration ends.',
    ),
    cfg.StrOpt(
        'tamper_command',
        default='',
        help='Command that changes the measured state of a compute host, '
        'below its agent, so that it fails its next appraisal. '
        + _ON_HOST
        + ' Tests that need it are skipped without it.',
    ),
    cfg.StrOpt(
        'restore_command',
        default='',
        help='Command that undoes tamper_command; it may power-cycle the '
        'host. ' + _ON_HOST,
    ),
    cfg.IntOpt(
        'restore_timeout',
        default=600,
        min=1,
        help='Seconds that tamper_command and restore_command may take, '
        'and seconds after restore_command within which the host is '
        'trusted again.',
    ),
    cfg.StrOpt(
        'host_command',
        default='',
        help='Prefix of a command that has to run as root on a compute '
        'host, such as "sudo" if everything is on one machine, '
        'or "ssh stack@{host} sudo". ' + _ON_HOST + ' Tests that need '
        'it are skipped without it.',
    ),
    cfg.IntOpt(
        'host_command_timeout',
        default=60,
        min=1,
        help='Seconds that a command on a compute host may take.',
    ),
    cfg.StrOpt(
        'nova_log_command',
        default='',
        help='Command that prints the log of nova-compute of a host, at '
        'DEBUG, such as "ssh stack@{host} sudo journalctl -u '
        'devstack@n-cpu". ' + _ON_HOST + ' Tests that need it are '
        'skipped without it.',
    ),
    cfg.StrOpt(
        'vault_directory',
        default='/var/lib/korora/vault',
        help='Directory on a compute host in which its agent keeps sealed '
        'keys.',
    ),
    cfg.IntOpt(
        'flavor_ram',
        default=64,
        min=1,
        help='MiB of memory of the flavors that the tests make.',
    ),
    cfg.IntOpt(
        'flavor_disk',
        default=1,
        min=1,
        help='GiB of disk of the flavors that the tests make.',
    ),
    cfg.IntOpt(
        'slow_migration_ram',
        default=2048,
        min=0,
        help='MiB of memory of the server whose live migration is aborted. '
        'Its stream is limited to 1 MiB a second by host_command, and '
        'empty memory travels as 9 bytes a page: 2048 last some 5 '
        'seconds. 0 skips the test.',
    ),
]
