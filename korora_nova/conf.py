# SPDX-License-Identifier: Apache-2.0
"""Every option of Kororā, one function per process that reads it.

=================  ======================================================
``[korora]``       Nova's processes: scheduler filter and compute driver
``[attester]``     korora-agent: its TPM, vault, logs and addresses
``[handover]``     korora-agent: the bus between two agents
``[service_auth]`` korora-agent: credentials for the attestation service
``[verifier]``     the attestation service: keys, life times, caps
``[anchor]``       the attestation service: what its database cannot take back
``[nova]``         the attestation service: credentials to ask Nova
``[placement]``    korora-manage: credentials to set a trait in Placement
``[sources]``      the attestation service: whose word counts in results
``[keylime]``      korora-sources: how to ask a Keylime verifier
``[pkcs11]``       the attestation service: a token with its private keys
``[response]``     korora-enforcer: what it does, and credentials for Nova
=================  ======================================================

There is no global configuration object: each process makes its own
(``ConfigOpts``) and registers what it needs. The sample configuration is
generated from ``list_opts``.
"""

import itertools
import os
from collections.abc import Iterable, Mapping, Sequence
from importlib import metadata
from typing import Any

from keystoneauth1 import loading as ks_loading
from oslo_config import cfg
from oslo_log import log as logging

from korora_nova import spans, trail
from korora_nova.custody import offline
from korora_nova.custody.words import StreamTls
from korora_nova.response.options import RESPONSE_OPTS

KORORA = 'korora'
ATTESTER = 'attester'
HANDOVER = 'handover'
SERVICE_AUTH = 'service_auth'
VERIFIER = 'verifier'
ANCHOR = 'anchor'
NOVA = 'nova'
PLACEMENT = 'placement'
PKCS11 = 'pkcs11'
RESPONSE = 'response'
SOURCES = 'sources'
KEYLIME = 'keylime'

SERVICE_TYPE = 'attestation'
PROJECT = 'korora'
DISTRIBUTION = 'korora-nova'

SERVICE_CONF = '/etc/korora/korora.conf'
TRUSTED_KEYS = '/etc/korora/keys.json'
AGENT_SOCKET = '/run/korora/agent.sock'
#: A credential of the systemd unit (systemd.exec(5)): options, as in a file.
SECRETS = 'korora.secrets'


def _spans_opt() -> cfg.Opt:
    return cfg.StrOpt(
        'spans',
        default=spans.NONE,
        choices=(
            (spans.NONE, 'nothing is measured'),
            (spans.TO_LOG, 'a line of JSON for each span, level INFO'),
            (
                spans.OPENTELEMETRY,
                'the API of OpenTelemetry (extra "opentelemetry"); the '
                'environment has OTEL_* for its SDK',
            ),
        ),
        help='Where this process reports how long what Kororā adds to a '
        'migration or start takes: time, CPU, requests, TPM commands and '
        'SQL statements.',
    )


def _metrics_opt() -> cfg.Opt:
    return cfg.StrOpt(
        'metrics_dir',
        help='Directory in which this process writes what it counts, every '
        "15 seconds, for Prometheus: that of node_exporter's option "
        '--collector.textfile.directory. It needs the extra "prometheus". '
        'Default: nothing is counted.',
    )


KORORA_OPTS: list[cfg.Opt] = [
    cfg.StrOpt(
        'agent_socket',
        default=AGENT_SOCKET,
        help='Unix socket of the korora-agent of this compute host.',
    ),
    cfg.FloatOpt(
        'agent_timeout',
        default=60,
        min=1,
        help='Seconds to wait for one answer of the agent.',
    ),
    cfg.FloatOpt(
        'boot_wait',
        default=120,
        min=0,
        help='Seconds that nova-compute waits, once per process, for the '
        'first affirming attestation before it resumes protected '
        'servers after the host has booted.',
    ),
    cfg.FloatOpt(
        'boot_retry',
        default=3600,
        min=0,
        help='Seconds for which nova-compute tries to start a server that '
        'was refused while nova-compute started, as soon as the host is '
        'trusted. 0: it stays in ERROR until somebody reboots it hard.',
    ),
    cfg.FloatOpt(
        'reconcile_interval',
        default=600,
        min=0,
        help='Seconds between two comparisons of the keys that this host '
        "has with Nova's servers. The key of a server that Nova has deleted "
        'is forgotten; all else is logged. 0 turns it off.',
    ),
    cfg.IntOpt(
        'reconcile_batch',
        default=50,
        min=1,
        help='Servers that one comparison looks at, at most: those first '
        'that were not looked at for the longest time.',
    ),
    cfg.FloatOpt(
        'result_cache',
        default=5,
        min=0,
        help='Seconds between two refreshes of the attestation results of '
        'all hosts, in the background of nova-scheduler while they are used. '
        '0: each scheduling request waits for one, as the first does.',
    ),
    cfg.FloatOpt(
        'decision_timeout',
        default=3,
        min=0.1,
        help='Seconds that the first scheduling request of a process, or '
        'after a long rest, waits at most for the attestation service. All '
        'others use the results that are at hand until they expire; one that '
        'finds no host looks once for newer ones.',
    ),
    cfg.StrOpt(
        'trusted_keys',
        default=TRUSTED_KEYS,
        help='File of pinned public keys of the attestation service.',
    ),
    cfg.BoolOpt(
        'protect_vtpm',
        default=True,
        help='Protect every server that has a vTPM with secret security '
        '"host", not only those that ask for it.',
    ),
    cfg.BoolOpt(
        'require_authenticated_channel',
        default=True,
        help='Refuse live migrations of protected servers from this host '
        "if Nova connects to the destination's libvirt without knowing who "
        'it is: by [libvirt] live_migration_scheme = tcp, which is the '
        'default, or by a live_migration_uri that is neither TLS nor SSH. '
        'False while hosts are being prepared, and where libvirt has SASL on '
        'TCP, which cannot be told from here.',
    ),
    _spans_opt(),
    _metrics_opt(),
]

ATTESTER_OPTS: list[cfg.Opt] = [
    cfg.StrOpt(
        'host',
        help='Name of this host as Nova knows it ([DEFAULT] host of '
        'nova-compute). Default: the host name.',
    ),
    cfg.StrOpt(
        'socket',
        default=AGENT_SOCKET,
        help='Unix socket on which the agent serves local callers.',
    ),
    cfg.ListOpt(
        'allowed_users',
        default=['nova', 'root'],
        help='Users (names or uids) that may call the local socket.',
    ),
    cfg.StrOpt(
        'tcti',
        default='device:/dev/tpmrm0',
        help='How to reach the TPM: a TCTI string of the TPM2 Software Stack.',
    ),
    cfg.StrOpt(
        'owner_auth',
        help='File with the password of the owner hierarchy of the TPM: one '
        'line, or "hex:" and digits; mode 0600. Default: the systemd '
        'credential korora.owner-auth; none if there is none.',
    ),
    cfg.StrOpt(
        'endorsement_auth',
        help='The same for the endorsement hierarchy. Default: the systemd '
        'credential korora.endorsement-auth; none if there is none.',
    ),
    cfg.StrOpt(
        'ek_certificate',
        help='File with the certificate of the endorsement key, DER or PEM, '
        'in PEM perhaps with those above it, for a TPM without one or with '
        'one that is out of date. Default: what the TPM has in NV memory.',
    ),
    cfg.StrOpt(
        'uefi_log',
        default='/sys/kernel/security/tpm0/binary_bios_measurements',
        help='UEFI event log of this boot.',
    ),
    cfg.StrOpt(
        'ima_log',
        default='/sys/kernel/security/ima/binary_runtime_measurements',
        help='IMA measurement list, in its binary form.',
    ),
    cfg.StrOpt(
        'systemd_log',
        default='/run/log/systemd/tpm2-measure.log',
        help='Log of what systemd extends after the boot. Hosts without a '
        'unified kernel image have none.',
    ),
    cfg.StrOpt(
        'state_dir',
        default='/var/lib/korora',
        help='Directory of the vault and the journal.',
    ),
    cfg.StrOpt(
        'trusted_keys',
        default=TRUSTED_KEYS,
        help='File of pinned public keys of the attestation service.',
    ),
    cfg.FloatOpt(
        'interval',
        default=60,
        min=1,
        help='Seconds between two periodic attestations. Keep it well '
        'below [verifier] result_ttl.',
    ),
    cfg.FloatOpt(
        'enforcer_timeout',
        default=90,
        min=1,
        max=3600,
        help='Seconds of silence after which nova-compute of this host, '
        'which tells every second that it runs the driver of this '
        'package, counts as gone.',
    ),
    cfg.StrOpt(
        'libvirt_uri',
        default='qemu:///system',
        help='libvirt in which the agent defines the secrets of vTPMs.',
    ),
    cfg.BoolOpt(
        'lock_memory',
        default=True,
        help='Whether a key is opened only where its memory can be kept out '
        'of swap: the agent needs LimitMEMLOCK=infinity, or CAP_IPC_LOCK as '
        'root has it, and does not start without. False is for hosts that '
        'have no swap or an encrypted one.',
    ),
    cfg.StrOpt(
        'vtpm_state_check',
        default='off',
        choices=[
            ('off', 'nothing is compared'),
            ('warn', 'a difference is logged'),
            ('refuse', 'the server does not start'),
        ],
        help="Whether the state of a protected server's vTPM must be, at a "
        'start, what it was when the guest had stopped on this host. An '
        'agent of an earlier release cannot read the records of keys that '
        'were noted with this on: turn it off, and restart the agent, before '
        'a downgrade.',
    ),
    cfg.StrOpt(
        'address',
        help='Host name or address at which this host receives live '
        'migrations, exactly as its nova-compute has it: [libvirt] '
        'live_migration_inbound_addr, or [DEFAULT] host where that is '
        'not set. Nova does not use my_ip for live migration. Default: '
        'the name of this host.',
    ),
    cfg.StrOpt(
        'tls_name',
        help='Name in the TLS certificate with which this host receives '
        'live migrations, if that is one of the site. Default: the name '
        'of this host.',
    ),
    cfg.StrOpt(
        'migration_tls_dir',
        help='Where the agent has QEMU find key and certificate of this host '
        'for live migrations: the same as migrate_tls_x509_cert_dir in '
        "libvirt's qemu.conf. It becomes a symbolic link, and what is there "
        'and is no link of the agent stays as it is. Choose a path below '
        '/etc/pki/qemu, such as /etc/pki/qemu/korora: AppArmor lets QEMU read '
        'there. Default: this host has no such certificate.',
    ),
    _spans_opt(),
    _metrics_opt(),
]

HANDOVER_OPTS: list[cfg.Opt] = [
    cfg.StrOpt(
        'transport_url',
        secret=True,
        help='oslo.messaging URL of the bus between agents. Use a virtual '
        'host and a user of their own. The bus is not trusted.',
    ),
    cfg.FloatOpt(
        'rpc_timeout',
        default=20,
        min=1,
        help='Seconds that a destination waits for the key from the source. '
        'Before a cold migration the source waits twice as long for that.',
    ),
]

VERIFIER_OPTS: list[cfg.Opt] = [
    cfg.StrOpt(
        'key_store',
        default='file',
        help='Where the private keys of the service come from: the name of '
        'an entry point in the namespace korora.keystore. "file" reads '
        'them from keys_dir, "pkcs11" has the token of [pkcs11] sign.',
    ),
    cfg.StrOpt(
        'keys_dir',
        default='/etc/korora/private',
        help='Directory of the private keys: files USE-ID.pem, of which USE '
        'is result, custody or approval.',
    ),
    cfg.StrOpt(
        'trusted_keys',
        default=TRUSTED_KEYS,
        help='File of the public keys, the same that hosts and Nova pin.',
    ),
    cfg.StrOpt(
        'ek_roots',
        default='/etc/korora/ek-roots',
        help='Directory with the CA certificates of the TPM makers whose '
        'EK certificates are accepted and, optionally, their revocation '
        'lists: files .pem, .crt, .cer, .der (PEM or DER) and .crl, '
        'also in directories below it. Self-signed certificates are '
        'trusted; others only lead to them.',
    ),
    cfg.FloatOpt(
        'result_ttl',
        default=180,
        min=1,
        help='Seconds for which a result is valid, counted from the issue '
        'of the challenge that it answers.',
    ),
    cfg.FloatOpt(
        'challenge_ttl_steady',
        default=600,
        min=1,
        help='Seconds for which the challenge of a periodic attestation '
        'can be used. Results still expire by result_ttl.',
    ),
    cfg.FloatOpt(
        'challenge_ttl_on_demand',
        default=10,
        min=1,
        help='Seconds for which an on-demand challenge can be used.',
    ),
    cfg.BoolOpt(
        'require_enforcer',
        default=True,
        help='Whether a host counts as enforcing only if its agent attests '
        'that nova-compute runs the driver of this package. False while '
        'hosts have agents that do not tell it; a driver that is known to '
        'be of no use counts in any case. Will be removed.',
    ),
    cfg.FloatOpt(
        'evidence_max_age',
        default=30,
        min=1,
        help='Maximum age, in seconds, of the evidence of either host of a '
        'live migration when a permit is signed.',
    ),
    cfg.FloatOpt(
        'approval_ttl',
        default=20,
        min=1,
        help='Seconds, on the clock of the TPM, for which an approval to '
        'unseal can be used.',
    ),
    cfg.FloatOpt(
        'offline_window',
        default=0,
        min=0,
        max=86400,
        help='Seconds, on the clock of the TPM, for which a trusted host may '
        'start servers that it has although the service cannot be reached; '
        'renewed at each attestation. What a host runs is not looked at in '
        'that time, and no loss of trust ends it on a host that is cut off: '
        'see "Offline window" in the operations guide first. 0: never.',
    ),
    cfg.ListOpt(
        'offline_flavors',
        default=[],
        help='Names of flavors whose servers have an offline window.',
    ),
    cfg.ListOpt(
        'offline_aggregates',
        default=[],
        help='Names of host aggregates: all protected servers on these hosts '
        'have an offline window.',
    ),
    cfg.IntOpt(
        'offline_servers',
        default=32,
        min=1,
        max=offline.MOST,
        help='Servers of one host that have an offline window, at most.',
    ),
    cfg.IntOpt(
        'offline_starts',
        default=3,
        min=1,
        max=offline.MOST_STARTS,
        help='Starts of each of them within one window. The agent counts '
        'them: it is no limit for whoever is root on the host.',
    ),
    cfg.FloatOpt(
        'permit_deadline',
        default=60,
        min=1,
        help='Seconds, on the clock of the TPM of the destination, within '
        'which a transferred key can be unsealed.',
    ),
    cfg.StrOpt(
        'migration_tls',
        default=str(StreamTls.ATTESTED),
        choices=[
            (
                str(StreamTls.ATTESTED),
                'with TLS, and only to the key that the destination attested: '
                'both hosts need [attester] migration_tls_dir',
            ),
            (
                str(StreamTls.SITE),
                'with TLS, to the name that the destination attested, by '
                'certificates of the site: whoever has one of that name '
                'passes for the destination',
            ),
            (
                str(StreamTls.TRANSITION),
                'like attested between hosts that have certificates for it, '
                'else as [libvirt] live_migration_with_native_tls of both '
                'hosts says, perhaps in clear; will be removed',
            ),
        ],
        help='How protected servers are streamed in a live migration.',
    ),
    cfg.FloatOpt(
        'certificate_ttl',
        default=14400,
        min=1800,
        max=30 * 86400,
        help='Seconds for which a certificate for streams is valid. Agents '
        'renew it when half of that is left, and stream no more when ten '
        'minutes are left.',
    ),
    cfg.IntOpt(
        'busy_requests',
        default=3,
        min=0,
        max=1024,
        help='How many periodic attestations each worker process has in hand '
        'at a time. One more is told when to come again (429), and its host '
        'does, while its last result counts: so hand-overs, starts and '
        'whoever asks for results find a thread. Take less than the threads '
        'that a worker has; 0 is any number.',
    ),
    cfg.IntOpt(
        'waiting_requests',
        default=2,
        min=0,
        max=1024,
        help='How many requests of each worker process may wait at a time '
        'for news of a stream under way. Each keeps a thread for up to half a '
        'minute: take half of the threads that a worker has, at most. Who '
        'finds no place is answered at once, and asks again each second.',
    ),
    _spans_opt(),
    _metrics_opt(),
]

PKCS11_OPTS: list[cfg.Opt] = [
    cfg.StrOpt(
        'module',
        help='The PKCS#11 module: a shared library of the maker of the token.',
    ),
    cfg.StrOpt('token', help='Label of the token that has the keys.'),
    cfg.StrOpt(
        'pin',
        secret=True,
        help="The user's PIN of the token. Better in the environment, as "
        'OS_PKCS11__PIN, or in pin_file.',
    ),
    cfg.StrOpt(
        'pin_file',
        help='File of which the first line is the PIN. It is read whenever '
        'the token is opened.',
    ),
    cfg.FloatOpt(
        'timeout',
        default=10,
        min=0.1,
        help='Seconds that a signature waits for the ones before it.',
    ),
]

ANCHOR_OPTS: list[cfg.Opt] = [
    cfg.StrOpt(
        'backend',
        default='none',
        help='Where the service keeps, outside of its database, which '
        'document is the newest one of each server: the name of an entry '
        'point in the namespace korora.anchor. "database" and "etcd" tell '
        'that [database] was restored from a backup; "tpm" does so for a '
        'service on one node; "file" and "none" do not, and the service '
        'then signs nothing after its start until every host has reported.',
    ),
    cfg.FloatOpt(
        'timeout',
        default=5,
        min=0.1,
        help='Seconds to wait for the anchor, for a connection and for each '
        'answer.',
    ),
    cfg.StrOpt(
        'connection',
        secret=True,
        help='Backend "database": SQLAlchemy URL of a second database, on '
        'another server than [database], which is not restored with it.',
    ),
    cfg.StrOpt(
        'path',
        help='Backends "file" and "tpm": the file of the marks, an SQLite '
        'database in a directory that the user of the service can write.',
    ),
    cfg.ListOpt(
        'endpoints',
        default=['http://127.0.0.1:2379'],
        help='Backend "etcd": URLs of its members. They are asked one after '
        'the other until one answers.',
    ),
    cfg.StrOpt(
        'prefix',
        default='/korora/anchor',
        help='Backend "etcd": what its keys begin with. Each cloud needs its '
        'own.',
    ),
    cfg.StrOpt(
        'ca_file',
        help='Backend "etcd": file of the CA certificates that its members '
        'are verified with. Default: those of the system.',
    ),
    cfg.StrOpt(
        'cert_file',
        help='Backend "etcd": file of the certificate of this client.',
    ),
    cfg.StrOpt(
        'key_file',
        help='Backend "etcd": file of the private key of this client.',
    ),
    cfg.StrOpt(
        'username',
        help='Backend "etcd": user, if etcd has its authentication on.',
    ),
    cfg.StrOpt(
        'password',
        secret=True,
        help='Backend "etcd": password of the user.',
    ),
    cfg.StrOpt(
        'tcti',
        default='device:/dev/tpmrm0',
        help='Backend "tpm": how to reach the TPM of this node, a TCTI string '
        'of the TPM2 Software Stack.',
    ),
    cfg.StrOpt(
        'nv_index',
        default='0x01804b4f',
        regex='^0x[0-9a-fA-F]{8}$',
        help='Backend "tpm": index of the counter in the non-volatile memory '
        'of the TPM.',
    ),
]


SOURCES_OPTS: list[cfg.Opt] = [
    cfg.ListOpt(
        'required',
        default=['native'],
        help='Sources that must all affirm a host: names of entry points in '
        'the namespace korora.verdict_source. "native" is the appraisal of '
        'this service, "keylime" an existing Keylime verifier, "static" a '
        'file, which proves nothing. All but native are asked by '
        'korora-sources.',
    ),
    cfg.ListOpt(
        'advisory',
        default=[],
        help='Sources of which is only shown what they say. With "native" '
        'here the policies of this service decide nothing any more.',
    ),
    cfg.FloatOpt(
        'interval',
        default=15,
        min=1,
        help='Seconds between two questions to a source.',
    ),
    cfg.FloatOpt(
        'max_age',
        default=180,
        min=10,
        help="Seconds for which a source's word on a host counts, from when "
        'it had proof of it: with Keylime its last successful attestation. '
        'Keep it above the interval of that, [sources] interval and '
        '[attester] interval together.',
    ),
    cfg.StrOpt(
        'static_file',
        default='/etc/korora/verdicts.json',
        help='Source "static": a JSON object of hosts, each "affirming" or '
        '"contraindicated". Whoever can write it decides.',
    ),
]

KEYLIME_OPTS: list[cfg.Opt] = [
    cfg.StrOpt(
        'verifier_url',
        help='The Keylime verifier, such as https://keylime.example.org:8881.',
    ),
    cfg.StrOpt(
        'registrar_url',
        help='The Keylime registrar, at its port for TLS, such as '
        'https://keylime.example.org:8891. It tells which agent is in which '
        'TPM.',
    ),
    cfg.StrOpt(
        'ca_file',
        help='File of the CA certificates of both, PEM.',
    ),
    cfg.StrOpt(
        'cert_file',
        help='File of the certificate of this client, PEM. Keylime lets '
        'whoever has one do anything: keep it and its key as safe as that.',
    ),
    cfg.StrOpt(
        'key_file',
        help='File of the private key of this client, PEM, not encrypted.',
    ),
    cfg.StrOpt(
        'server_name',
        help='Name in the certificates of both, if that is not the one in '
        'the URLs.',
    ),
    cfg.FloatOpt(
        'timeout',
        default=30,
        min=1,
        help='Seconds for all requests of one question together.',
    ),
    cfg.FloatOpt(
        'refresh',
        default=300,
        min=10,
        help='Seconds after which the registrar is asked again in which TPM '
        'an agent is.',
    ),
]


def register_korora_opts(conf: cfg.ConfigOpts) -> None:
    """Register what Nova's processes read, credentials included."""
    conf.register_opts(KORORA_OPTS, KORORA)
    _register_keystoneauth(conf, KORORA)
    ks_loading.register_adapter_conf_options(conf, KORORA)
    conf.set_default('service_type', SERVICE_TYPE, KORORA)


def register_attester_opts(conf: cfg.ConfigOpts) -> None:
    """Register what korora-agent reads."""
    conf.register_opts(ATTESTER_OPTS, ATTESTER)
    conf.register_opts(HANDOVER_OPTS, HANDOVER)
    _register_keystoneauth(conf, SERVICE_AUTH)
    ks_loading.register_adapter_conf_options(conf, SERVICE_AUTH)
    conf.set_default('service_type', SERVICE_TYPE, SERVICE_AUTH)


def register_verifier_opts(conf: cfg.ConfigOpts) -> None:
    """Register what the attestation service reads.

    ``[database]``, ``[keystone_authtoken]`` and ``[oslo_policy]`` are
    registered by the libraries that own them.
    """
    conf.register_opts(VERIFIER_OPTS, VERIFIER)
    conf.register_opts(ANCHOR_OPTS, ANCHOR)
    conf.register_opts(SOURCES_OPTS, SOURCES)
    _register_keystoneauth(conf, NOVA)
    ks_loading.register_adapter_conf_options(conf, NOVA)
    conf.set_default('service_type', 'compute', NOVA)
    _register_keystoneauth(conf, PLACEMENT)
    ks_loading.register_adapter_conf_options(conf, PLACEMENT)
    conf.set_default('service_type', 'placement', PLACEMENT)


def register_pkcs11_opts(conf: cfg.ConfigOpts) -> None:
    """Register what the key store "pkcs11" reads."""
    conf.register_opts(PKCS11_OPTS, PKCS11)


def register_response_opts(conf: cfg.ConfigOpts) -> None:
    """Register what korora-enforcer reads, besides ``[database]``."""
    conf.register_opts(RESPONSE_OPTS, RESPONSE)
    _register_keystoneauth(conf, RESPONSE)
    ks_loading.register_adapter_conf_options(conf, RESPONSE)
    conf.set_default('service_type', 'compute', RESPONSE)


def register_keylime_opts(conf: cfg.ConfigOpts) -> None:
    """Register what the source "keylime" reads."""
    conf.register_opts(KEYLIME_OPTS, KEYLIME)


def _register_keystoneauth(conf: cfg.ConfigOpts, group: str) -> None:
    ks_loading.register_session_conf_options(conf, group)
    ks_loading.register_auth_conf_options(conf, group)


def parse(
    args: Sequence[str],
    config_files: Sequence[str] | None = None,
    *,
    conf: cfg.ConfigOpts | None = None,
) -> cfg.ConfigOpts:
    """Return a new configuration, read from files and command line.

    The credential :data:`SECRETS` of the systemd unit, if there is one, is
    read after the files, so that passwords need not be in them.

    :param args: command line without the program's name.
    :param config_files: used if the command line names none.
    :param conf: one that has more command line options.
    """
    conf = cfg.ConfigOpts() if conf is None else conf
    logging.register_options(conf)
    conf.set_default('logging_context_format_string', trail.FORMAT)
    args = list(args)
    files = None if config_files is None else list(config_files)
    if secrets := _secrets(os.environ):
        if files is None:
            files = cfg.find_config_files(project=PROJECT)
        files.append(secrets)
        if at := _behind_files(args):
            args[at:at] = ['--config-file', secrets]
    conf(
        args,
        project=PROJECT,
        version=release(),
        default_config_files=files,
    )
    return conf


def _secrets(environ: Mapping[str, str]) -> str:
    """The credential's file; '' if the unit has none."""
    directory = environ.get('CREDENTIALS_DIRECTORY')
    path = os.path.join(directory, SECRETS) if directory else ''
    return path if os.path.exists(path) else ''


def _behind_files(args: Sequence[str]) -> int:
    """The place behind the last ``--config-file``; 0 if there is none.

    >>> _behind_files(['--config-file', 'a', 'db', 'sync'])
    2
    """
    ends = [
        at + (1 if '=' in word else 2)
        for at, word in enumerate(args)
        if word.split('=')[0] == '--config-file'
    ]
    return max(ends, default=0)


def default_files() -> list[str]:
    """The service's configuration file, if it is in its usual place."""
    return [SERVICE_CONF] if os.path.exists(SERVICE_CONF) else []


def release() -> str:
    """Version of the installed package; '0' in a bare source tree."""
    try:
        return metadata.version(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return '0'


def list_opts() -> Iterable[tuple[str, Sequence[cfg.Opt]]]:
    """Groups and options, for ``oslo-config-generator``."""
    session = ks_loading.get_session_conf_options()
    auth = _password_opts()
    adapter = ks_loading.get_adapter_conf_options(include_deprecated=False)
    credentials = list(itertools.chain(session, auth, adapter))
    return [
        (KORORA, [*KORORA_OPTS, *credentials]),
        (ATTESTER, ATTESTER_OPTS),
        (HANDOVER, HANDOVER_OPTS),
        (SERVICE_AUTH, credentials),
        (VERIFIER, VERIFIER_OPTS),
        (ANCHOR, ANCHOR_OPTS),
        (NOVA, credentials),
        (PLACEMENT, credentials),
        (PKCS11, PKCS11_OPTS),
        (RESPONSE, [*RESPONSE_OPTS, *credentials]),
        (SOURCES, SOURCES_OPTS),
        (KEYLIME, KEYLIME_OPTS),
    ]


def _password_opts() -> list[Any]:
    common = ks_loading.get_auth_common_conf_options()
    plugin = ks_loading.get_auth_plugin_conf_options('password')
    return [*common, *plugin]
