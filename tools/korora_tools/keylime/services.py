# SPDX-License-Identifier: Apache-2.0
"""Keylime's verifier and registrar, in processes of their own on loopback."""

from __future__ import annotations

import base64
import configparser
import json
import os
import pathlib
import signal
import socket
import subprocess
import time
from typing import Any

import requests

from korora_tools import checkout, environment, ui

_VENV = checkout.ROOT / '.venv-keylime-services'
#: Seconds for a service to answer after its start.
_START = 90
LOGGING = {
    'logging': {},
    'loggers': {'keys': 'root,keylime'},
    'handlers': {'keys': 'console'},
    'formatters': {'keys': 'plain'},
    'formatter_plain': {'format': '%(asctime)s %(name)s %(message)s'},
    'logger_root': {'level': 'INFO', 'handlers': 'console'},
    'logger_keylime': {
        'level': 'INFO',
        'qualname': 'keylime',
        'handlers': '',
    },
    'handler_console': {
        'class': 'StreamHandler',
        'level': 'INFO',
        'formatter': 'plain',
        'args': '(sys.stdout,)',
    },
}
_SERVER = {
    'ip': '127.0.0.1',
    'server_key': 'default',
    'server_key_password': '',
    'server_cert': 'default',
    'trusted_client_ca': 'default',
    'database_url': 'sqlite',
    'database_pool_sz_ovfl': '5,10',
    'auto_migrate_db': 'True',
    'num_workers': '1',
    'max_upload_size': '104857600',
}
_VERIFIER = {
    'uuid': 'default',
    'mode': 'pull',
    'enable_agent_mtls': 'False',
    'tls_dir': 'generate',
    'client_key': 'default',
    'client_key_password': '',
    'client_cert': 'default',
    'trusted_server_ca': 'default',
    'exponential_backoff': 'False',
    'retry_interval': '1',
    'max_retries': '2',
    'quote_interval': '1',
    'request_timeout': '5',
    'measured_boot_policy_name': 'accept-all',
    'measured_boot_imports': '[]',
    'measured_boot_evaluate': 'once',
    'severity_labels': '["info", "emergency"]',
    'severity_policy': '[{"event_id": ".*", "severity_label": "emergency"}]',
}
_CA = {
    'password': 'default',
    'cert_country': 'US',
    'cert_ca_name': 'Keylime',
    'cert_state': 'MA',
    'cert_locality': 'Lexington',
    'cert_organization': 'Test',
    'cert_org_unit': '53',
    'cert_ca_lifetime': '3650',
    'cert_lifetime': '3650',
    'cert_bits': '2048',
    'cert_crl_dist': 'http://localhost/crl',
}


def ensure() -> pathlib.Path:
    """The Python of Keylime's own environment; cheap when it is there.

    :raises Problem: pip failed.
    """
    return environment.ensure(
        _VENV,
        pathlib.Path(__file__).with_name('requirements.txt'),
        options=['--no-deps'],
    )


def free_port() -> int:
    with socket.socket() as one:
        one.bind(('127.0.0.1', 0))
        port: int = one.getsockname()[1]
        return port


class Services:
    """Both, with a CA, databases and configuration below a directory.

    :param python: with Keylime; see :func:`ensure`.
    """

    def __init__(self, python: pathlib.Path, directory: pathlib.Path) -> None:
        self._python = python
        self.directory = directory
        self.verifier_port = free_port()
        self.registrar_port = free_port()
        self.agents_port = free_port()
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        (directory / 'stub').mkdir()
        (directory / 'stub' / 'gpg.py').touch()
        self._configure()

    @property
    def verifier_url(self) -> str:
        return f'https://127.0.0.1:{self.verifier_port}'

    @property
    def registrar_url(self) -> str:
        return f'https://127.0.0.1:{self.registrar_port}'

    def pki(self, name: str) -> str:
        """A file of the CA that the verifier has made."""
        return str(self.directory / 'cv_ca' / name)

    def options(self) -> dict[str, str]:
        """Of this project's ``[keylime]``."""
        return {
            'verifier_url': self.verifier_url,
            'registrar_url': self.registrar_url,
            'ca_file': self.pki('cacert.crt'),
            'cert_file': self.pki('client-cert.crt'),
            'key_file': self.pki('client-private.pem'),
        }

    def start(self) -> None:
        """:raises Problem: one does not answer."""
        # The verifier makes the certificates of both.
        self.start_one('verifier')
        self.start_one('registrar')

    def start_one(self, name: str) -> None:
        """Start the verifier or the registrar, and wait for it."""
        log = (self.directory / f'{name}.log').open('ab')
        with log:
            self._processes[name] = subprocess.Popen(
                [str(self._python.with_name(f'keylime_{name}'))],
                cwd=self.directory,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        url = getattr(self, f'{name}_url')
        end = time.monotonic() + _START
        while time.monotonic() < end:
            if self._processes[name].poll() is not None:
                break
            try:
                self.tenant('GET', f'{url}/version')
                return
            except (requests.RequestException, OSError):
                time.sleep(0.3)
        raise ui.Problem(
            f"Keylime's {name} does not answer; its log is "
            f'{self.directory}/{name}.log'
        )

    def stop_one(self, name: str, number: int = signal.SIGTERM) -> None:
        """End a service and its workers."""
        process = self._processes.pop(name, None)
        if process is None:
            return
        os.killpg(process.pid, number)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def stop(self) -> None:
        for name in list(self._processes):
            self.stop_one(name)

    def tenant(self, method: str, url: str, **kwargs: Any) -> Any:
        """One request of an administrator; returns the results.

        :raises requests.RequestException: it was refused.
        """
        answer = requests.request(
            method,
            url,
            verify=self.pki('cacert.crt'),
            cert=(self.pki('client-cert.crt'), self.pki('client-private.pem')),
            timeout=20,
            **kwargs,
        )
        answer.raise_for_status()
        return answer.json()['results']

    def add(self, agent: str, port: int, pcrs: dict[str, list[str]]) -> None:
        """Have the verifier ask an agent, as Keylime's tenant does.

        :param pcrs: allowed values by index.
        """
        known = self.tenant('GET', f'{self.registrar_url}/v2.6/agents/{agent}')
        mask = sum(1 << int(index) for index in pcrs) | 1 << 16
        self.tenant(
            'POST',
            f'{self.verifier_url}/v2.6/agents/{agent}',
            json={
                'v': None,
                'cloudagent_ip': '127.0.0.1',
                'cloudagent_port': port,
                'verifier_ip': '127.0.0.1',
                'verifier_port': self.verifier_port,
                'tpm_policy': json.dumps({**pcrs, 'mask': hex(mask)}),
                'runtime_policy': base64.b64encode(b'').decode(),
                'runtime_policy_name': '',
                'runtime_policy_key': '',
                'mb_policy': None,
                'mb_policy_name': '',
                'ima_sign_verification_keys': '',
                'metadata': '{}',
                'revocation_key': '',
                'accept_tpm_hash_algs': ['sha256'],
                'accept_tpm_encryption_algs': ['rsa', 'ecc'],
                'accept_tpm_signing_algs': ['rsassa', 'ecdsa'],
                'ak_tpm': known['aik_tpm'],
                'mtls_cert': 'disabled',
                'supported_version': '2.2',
            },
        )

    def remove(self, agent: str) -> None:
        """Have the verifier forget an agent; the registrar knows it still."""
        url = f'{self.verifier_url}/v2.6/agents/{agent}'
        end = time.monotonic() + 20
        while time.monotonic() < end:
            try:
                self.tenant('DELETE', url)
                self.tenant('GET', url)
            except requests.HTTPError:
                return
            time.sleep(0.5)

    def _configure(self) -> None:
        parts: dict[str, dict[str, dict[str, str]]] = {
            'verifier': {
                'verifier': {
                    **_SERVER,
                    **_VERIFIER,
                    'port': str(self.verifier_port),
                },
                'revocations': {
                    'enabled_revocation_notifications': '[]',
                    'webhook_url': '',
                },
            },
            'registrar': {
                'registrar': {
                    **_SERVER,
                    'tls_dir': 'default',
                    'port': str(self.agents_port),
                    'tls_port': str(self.registrar_port),
                    'malformed_cert_action': 'ignore',
                    'tpm_identity': 'default',
                }
            },
            'tenant': {'tenant': {'tpm_cert_store': str(self.directory)}},
            'ca': {'ca': _CA},
            'logging': LOGGING,
        }
        for name, sections in parts.items():
            made = configparser.RawConfigParser()
            sections[name]['version'] = '2.5'
            made.read_dict(sections)
            with (self.directory / f'{name}.conf').open('w') as file:
                made.write(file)

    def _environment(self) -> dict[str, str]:
        return {
            **os.environ,
            'KEYLIME_DIR': str(self.directory),
            'PYTHONPATH': str(self.directory / 'stub'),
            **{
                f'KEYLIME_{name.upper()}_CONFIG': str(
                    self.directory / f'{name}.conf'
                )
                for name in (
                    'verifier',
                    'registrar',
                    'tenant',
                    'ca',
                    'logging',
                )
            },
        }
