# SPDX-License-Identifier: Apache-2.0
"""Options of korora-enforcer, besides those that ``conf`` has."""

from __future__ import annotations

from oslo_config import cfg

RESPONSE_OPTS: list[cfg.Opt] = [
    cfg.ListOpt(
        'drivers',
        default=[],
        help='What is done when a host has lost its trust: names of entry '
        'points in the namespace korora.response. "notify" sends versioned '
        'notifications, "webhook" the same over HTTPS, "disable" disables '
        'nova-compute, "abort" ends live migrations of protected servers from '
        'or to the host, "drain" migrates servers that require a trusted host '
        'away. Default: nothing.',
    ),
    cfg.StrOpt(
        'trusted_keys',
        default='/etc/korora/keys.json',
        help='File of pinned public keys of the attestation service.',
    ),
    cfg.BoolOpt(
        'dry_run',
        default=False,
        help='Whether responses are only noted, and nothing is done. Begin '
        'with this.',
    ),
    cfg.BoolOpt(
        'approval',
        default=False,
        help='Whether whatever touches a host waits for "openstack '
        'attestation response approve". "notify" and "webhook" never wait.',
    ),
    cfg.IntOpt(
        'bad_results',
        default=3,
        min=1,
        max=1000,
        help='Results in a row by which a host that was trusted has lost its '
        'trust. An eviction counts at once.',
    ),
    cfg.IntOpt(
        'good_results',
        default=2,
        min=1,
        max=1000,
        help='Results in a row by which it is trusted again, and what was '
        'done is undone.',
    ),
    cfg.FloatOpt(
        'max_share',
        default=0.1,
        min=0.0,
        max=1.0,
        help='Share of the hosts that were ever trusted which may be bad at a '
        'time; one host may in any case. If there are more, all responses '
        'that touch hosts are held until an operator decides.',
    ),
    cfg.IntOpt(
        'max_hosts',
        default=5,
        min=0,
        help='Hosts that may be responded to, without an operator, within '
        'window. If there are more, likewise.',
    ),
    cfg.FloatOpt(
        'window', default=3600, min=1, help='Seconds; see max_hosts.'
    ),
    cfg.FloatOpt(
        'interval',
        default=5,
        min=0.1,
        help='Seconds between two looks at the results in the database.',
    ),
    cfg.FloatOpt(
        'survey_interval',
        default=60,
        min=1,
        help='Seconds between two comparisons of what was decided with what '
        'Nova has.',
    ),
    cfg.IntOpt(
        'drain_batch',
        default=2,
        min=1,
        help='Driver "drain": live migrations that it has under way from a '
        'host at a time.',
    ),
    cfg.StrOpt(
        'notification_url',
        secret=True,
        help='Driver "notify": oslo.messaging URL of the bus that gets the '
        'notifications.',
    ),
    cfg.StrOpt(
        'notification_topic',
        default='attestation_notifications',
        help='Driver "notify": their topic.',
    ),
    cfg.StrOpt(
        'webhook_url',
        secret=True,
        help='Driver "webhook": where it posts, with https.',
    ),
    cfg.StrOpt(
        'webhook_key_file',
        help='Driver "webhook": file with the key that signs what is posted: '
        'all of its bytes, 32 at the least, without white space at its ends. '
        'It is read each time.',
    ),
    cfg.StrOpt(
        'webhook_ca_file',
        help='Driver "webhook": CA certificates that verify the receiver. '
        'Default: those of the system.',
    ),
    cfg.FloatOpt(
        'webhook_timeout',
        default=10,
        min=0.1,
        max=15,
        help='Driver "webhook": seconds to connect, and for the answer as a '
        'whole.',
    ),
]
