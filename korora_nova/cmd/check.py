# SPDX-License-Identifier: Apache-2.0
"""korora-agent check: is this host ready, before anything is enrolled?

::

    korora-agent check [-f json] [--ek-roots DIRECTORY] [--timeout SECONDS]
                       [--nova-config-file FILE] [--config-file FILE]

Exit code 0: all is well; 1: warnings; 2: something will not work.
"""

from __future__ import annotations

import functools
import logging
import os
import pathlib
import pwd
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

from oslo_config import cfg

from korora_nova import checks as outcome
from korora_nova import client, errors
from korora_nova import conf as options
from korora_nova.attester.check import (
    logs,
    reach,
    settings,
    software,
    sources,
    stream_files,
)
from korora_nova.attester.check import tpm as tpm_checks
from korora_nova.attester.check.sources import Source
from korora_nova.attester.libvirt_secret import Qemu
from korora_nova.attester.streams import Streams
from korora_nova.checks import Result, bad, result, warn
from korora_nova.rats import eventlog, evidence
from korora_nova.rats.signed.keys import KeyRing
from korora_nova.tpm import endorsement, inspection
from korora_nova.tpm.authorisation import Authorisation, load
from korora_nova.tpm.device import Tpm
from korora_nova.verifier import service

CONFIG_FILE = '/etc/korora/agent.conf'
EK_ROOTS = '/etc/korora/ek-roots'
QEMU_CONF = '/etc/libvirt/qemu.conf'
IMA = '/sys/kernel/security/ima'

CLI_OPTS = [
    cfg.StrOpt(
        'format',
        short='f',
        default='text',
        choices=['text', 'json'],
        help='How to say it',
    ),
    cfg.StrOpt(
        'ek-roots',
        help='Directory with the CA certificates of TPM makers, a copy of '
        f'[verifier] ek_roots of the service; default: {EK_ROOTS}, if it '
        'exists',
    ),
    cfg.MultiStrOpt(
        'nova-config-file',
        default=[],
        help='Configuration of nova-compute; default: where it looks itself',
    ),
    cfg.FloatOpt(
        'timeout', default=10, min=0.1, help='Seconds for each check'
    ),
]

Check = Callable[[], Result]
T = TypeVar('T')


class Host:
    """What the checks look at, each read when it is first asked for."""

    def __init__(self, conf: cfg.ConfigOpts, config_file: str) -> None:
        self.conf = conf
        self.config_file = config_file
        agent = self.agent = conf[options.ATTESTER]
        # What cannot be read is said by tpm-state.
        self.unread: errors.KororaError | None = None
        self.tpm = Tpm(agent.tcti, self._authorisation())
        self.properties = Source(
            'the TPM', lambda: inspection.properties(self.tpm)
        )
        self.banks = self._of_tpm(inspection.banks)
        self.pcrs = self._of_tpm(inspection.pcrs)
        self.sha1 = self._of_tpm(inspection.pcrs_sha1)
        self.tpm_clock = self._of_tpm(inspection.clock)
        self.keys = self._of_tpm(self._keys)
        self.uefi = Source(
            'the event log', lambda: sources.content(agent.uefi_log)
        )
        self.hypervisor = Source(
            'libvirt', lambda: software.ask(agent.libvirt_uri)
        )
        self.ring = Source(
            'keys.json', lambda: KeyRing.load(agent.trusted_keys)
        )
        self.nova = Source('nova.conf', self._nova)
        self.client = Source(
            'the service',
            lambda: client.from_conf(conf, options.SERVICE_AUTH),
        )

    def _authorisation(self) -> Authorisation:
        agent = self.agent
        try:
            found = load(agent.owner_auth, agent.endorsement_auth)
        except errors.KororaError as exc:
            self.unread = exc
            found = Authorisation()
        self.given = [
            name
            for name, value in (
                ('owner', found.owner),
                ('endorsement', found.endorsement),
            )
            if len(value)
        ]
        return found

    def _keys(self, tpm: Tpm) -> inspection.Keys:
        name = self.agent.ek_certificate
        return inspection.found_keys(
            tpm, endorsement.read(name) if name else ()
        )

    def uptime(self) -> float:
        """Seconds since the TPM should be on; 0 for one of software."""
        own = self.agent.tcti.startswith('device:')
        return time.clock_gettime(time.CLOCK_BOOTTIME) if own else 0.0

    def state(self) -> Result:
        """Of the TPM, but the passwords if they cannot be read."""
        if self.unread is not None:
            raise self.unread
        return tpm_checks.tpm_state(
            self.properties.get(), self.keys.get().places, self.given
        )

    def _of_tpm(self, read: Callable[[Tpm], T]) -> Source[T]:
        def look() -> T:
            self.properties.get()  # one line says that there is no TPM
            return read(self.tpm)

        return Source('the TPM', look)

    @property
    def name(self) -> str:
        return str(self.agent.host or socket.gethostname())

    def ima(self) -> Iterator[bytes]:
        """The IMA list as it is now, in parts."""
        return sources.parts(self.agent.ima_log, evidence.MAX_IMA_LOG)

    def newest_pcrs(self) -> Mapping[int, bytes]:
        """The registers as they are now."""
        self.properties.get()
        return inspection.pcrs(self.tpm)

    def clock_offset(self) -> tuple[float | None, str]:
        """By how much this clock is ahead; "service" says why not."""
        try:
            return self.client.get().clock_offset()
        except errors.KororaError:
            return None, ''

    def _nova(self) -> settings.NovaSettings:
        files = tuple(self.conf.nova_config_file)
        return sources.nova(files or None)

    def settings(self) -> settings.AgentSettings:
        agent = self.agent
        return settings.AgentSettings(
            self.name,
            agent.address or self.name,
            agent.tls_name or self.name,
            agent.socket,
            agent.trusted_keys,
            tuple(agent.allowed_users),
            bool(self.conf[options.HANDOVER].transport_url),
            sources.mode(self.config_file),
        )

    def stream_name(self) -> str:
        """The name in the certificate that QEMU finds; '' if none counts."""
        found = Streams(
            pathlib.Path(self.agent.state_dir) / 'streams',
            self.agent.migration_tls_dir,
            self.name,
            self.ring.get,
            lambda: Qemu(0, 0),
            lambda: True,
        )
        return found.name()

    def endorsers(self) -> Mapping[str, bytes] | None:
        directory = self.conf.ek_roots or EK_ROOTS
        if not self.conf.ek_roots and not os.path.isdir(directory):
            return None
        return service.endorser_files(directory)

    def known(self) -> Mapping[str, object] | errors.KororaError:
        """This host as the service knows it, or its refusal."""
        try:
            return self.client.get().get_host(self.name)
        except errors.KororaError as exc:
            return exc


def checks(host: Host) -> dict[str, Check]:
    """Every check by its id, in the order in which they are shown."""
    return {**_of_tpm(host), **_of_logs(host), **_of_node(host)}


def _of_tpm(host: Host) -> dict[str, Check]:
    now = sources.utcnow
    return {
        'tpm': lambda: tpm_checks.tpm(host.properties.get()),
        'tpm-state': host.state,
        'tpm-keys': lambda: tpm_checks.tpm_keys(
            host.keys.get().places, host.properties.get().room
        ),
        'tpm-clock': lambda: tpm_checks.tpm_clock(
            *host.tpm_clock.get(), host.uptime()
        ),
        'pcr-banks': lambda: tpm_checks.pcr_banks(host.banks.get()),
        'ek-certificate': lambda: tpm_checks.ek_certificate(
            host.keys.get().endorsed, now()
        ),
        'ek-chain': lambda: tpm_checks.ek_chain(
            host.keys.get().endorsed, host.endorsers(), now()
        ),
    }


def _of_logs(host: Host) -> dict[str, Check]:
    return {
        'uefi-log': lambda: logs.uefi_log(host.uefi.get(), host.pcrs.get()),
        'secure-boot': lambda: logs.secure_boot(
            host.uefi.get(), host.pcrs.get()
        ),
        'ima-policy': lambda: logs.ima_policy(
            sources.text('/proc/cmdline') or '',
            sources.text(f'{IMA}/policy'),
            sources.number(f'{IMA}/runtime_measurements_count'),
        ),
        # The registers first: what follows in the list is left out.
        'ima-list': lambda: logs.ima_list(
            pcrs=host.newest_pcrs(),
            listed=host.ima,
            violations=sources.number(f'{IMA}/violations'),
            sha1=host.sha1.get(),
            booted=eventlog.Booted(host.uefi.get),
        ),
    }


def _of_node(host: Host) -> dict[str, Check]:
    conf, agent = host.conf, host.agent
    return {
        'libvirt': lambda: software.libvirt_version(host.hypervisor.get()),
        'qemu': lambda: software.qemu_version(host.hypervisor.get()),
        'swtpm': lambda: software.swtpm(software.swtpm_version(conf.timeout)),
        'agent-conf': lambda: settings.agent_conf(host.settings()),
        'state-dir': lambda: settings.state_dir(
            agent.state_dir,
            sources.mode(agent.state_dir),
            sources.free(agent.state_dir),
        ),
        'nova-conf': lambda: settings.nova_conf(
            host.nova.get(), host.settings()
        ),
        'certificates': lambda: settings.certificates(
            sources.qemu_certificates(),
            agent.tls_name or host.name,
            host.nova.get().native_tls,
            sources.utcnow(),
        ),
        'streams': lambda: stream_files.streams(
            agent.migration_tls_dir,
            host.stream_name(),
            sources.text(QEMU_CONF),
            host.nova.get().native_tls,
        ),
        'trusted-keys': lambda: settings.trusted_keys(host.ring.get()),
        'service': lambda: reach.service(host.name, host.known()),
        'service-keys': lambda: reach.service_keys(
            host.ring.get(), KeyRing.load(host.client.get().keys())
        ),
        'clock': lambda: tpm_checks.clock(*host.clock_offset()),
        'bus': lambda: reach.bus(
            sources.brokers(
                conf, conf[options.HANDOVER].transport_url, conf.timeout / 2
            )
        ),
    }


def run(check: str, look: Check, timeout: float) -> Result:
    """Run one check; it ends, whatever happens, with one result."""
    found: list[Result] = []
    thread = threading.Thread(
        target=lambda: found.append(_run(check, look)), daemon=True
    )
    thread.start()
    thread.join(timeout)
    if not found:
        return result(
            check,
            '',
            [
                bad(
                    f'no answer within {timeout:g} s',
                    'find out what hangs, or give --timeout',
                )
            ],
        )
    return found[0]


def _run(check: str, look: Check) -> Result:
    """The result of a check, or what kept it from having one."""
    try:
        return look()
    except sources.Missing as exc:
        problem = warn(f'not checked: {exc.name} could not be read')
    except PermissionError as exc:
        problem = warn(
            f'not checked: {exc.filename} is not for the user {_user()}',
            'run "korora-agent check" as root',
        )
    except errors.KororaError as exc:
        problem = bad(f'[{exc.reason}] {exc.message}', _advice(exc))
    except cfg.ConfigFilesNotFoundError as exc:
        problem = bad(
            f'there is no {", ".join(exc.config_files)}',
            'write it; a sample is in share/korora',
        )
    except cfg.ConfigFilesPermissionDeniedError as exc:
        problem = warn(
            f'{", ".join(exc.config_files)} is not for the user {_user()}: '
            'checked with defaults',
            'run "korora-agent check" as root',
        )
    except cfg.Error as exc:
        # Its text may quote a line with a password.
        problem = bad(
            f'the configuration cannot be read: {type(exc).__name__}',
            'correct it; oslo-config-validator names the line',
        )
    except OSError as exc:
        problem = bad(f'{exc.filename}: {exc.strerror}')
    except Exception as exc:  # noqa: BLE001 - a check that fails is a line
        problem = bad(
            f'the check itself failed: {type(exc).__name__}', 'report it'
        )
    return result(check, '', [problem])


def _advice(exc: errors.KororaError) -> str:
    if exc.reason != errors.Reason.TPM_UNAVAILABLE:
        return ''
    if os.geteuid():
        return 'run "korora-agent check" as root'
    return (
        "enable the TPM 2.0 in the host's firmware setup; compare "
        '[attester] tcti'
    )


def _user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def main(args: Sequence[str]) -> int:
    """Run all checks; returns the exit code.

    :param args: the command line behind ``check``.
    """
    # Libraries would tell in their own words what a line says already.
    logging.getLogger().addHandler(logging.NullHandler())
    conf, config_file, unread = _configuration(args)
    host = Host(conf, config_file)
    results = [] if unread is None else [unread]
    for check, look in checks(host).items():
        if unread is None or check != unread.id:
            results.append(run(check, look, conf.timeout))
    show = {'json': outcome.as_json, 'text': outcome.as_text}[conf.format]
    print(show(results, host.tpm.count))
    return int(outcome.worst(results))


def _configuration(
    args: Sequence[str],
) -> tuple[cfg.ConfigOpts, str, Result | None]:
    """agent.conf; without it, the defaults and a result that says so."""
    unread = None
    try:
        conf = _parse(args, [CONFIG_FILE])
    except cfg.Error as exc:
        unread = _run('agent-conf', functools.partial(_raise, exc))
        conf = _parse(_without_files(args), [])
    named = conf.config_file or [CONFIG_FILE]
    return conf, named[-1], unread


def _parse(args: Sequence[str], files: Sequence[str]) -> cfg.ConfigOpts:
    conf = cfg.ConfigOpts()
    conf.register_cli_opts(CLI_OPTS)
    options.parse(args, files, conf=conf)
    options.register_attester_opts(conf)
    return conf


def _raise(exc: Exception) -> Result:
    raise exc


def _without_files(args: Sequence[str]) -> list[str]:
    """The command line without the files that cannot be read."""
    kept: list[str] = []
    skip = False
    for word in args:
        if skip or word.split('=')[0] in ('--config-file', '--config-dir'):
            skip = not skip and '=' not in word
        else:
            kept.append(word)
    return kept
