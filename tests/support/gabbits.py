# SPDX-License-Identifier: Apache-2.0
"""Runs the tests in YAML, with what they cannot do: TPMs, and Nova's record.

Beside the API, the application they see has

``POST /_tpm/HOST/enrolment``
  the body with which a new host's TPM enrols, and its ``ek_hash``;
``POST /_tpm/HOST/proof``
  the proof for a credential;
``POST /_tpm/HOST/PURPOSE``
  a whole body with evidence, for the ``challenge`` and fields given; what
  is derived from a ``permit`` or made for a hand-over is added;
``POST /_nova/migrations``
  Nova carries out this one from now on;
``POST /_clock``
  time passes: ``seconds``.
"""

import json
import pathlib
import unittest

import webob
import yaml
from gabbi import handlers, suitemaker

from tests.support import agent, service

DIRECTORY = pathlib.Path(__file__).parents[1] / 'functional/api/gabbits'


class World:
    """WSGI application around that of a service."""

    def __init__(self, korora: service.KororaFixture) -> None:
        self._korora = korora
        self._agents: dict[str, agent.SimAgent] = {}

    def __call__(self, environ, start_response):
        request = webob.Request(environ)
        parts = request.path_info.strip('/').split('/')
        if not parts[0].startswith('_'):
            return self._korora.application(environ, start_response)
        found = self._serve(parts, request.json)
        answer = webob.Response(json=found, status=200)
        return answer(environ, start_response)

    def _serve(self, parts, given):
        if parts == ['_clock']:
            self._korora.clock.advance(given['seconds'])
            return {}
        if parts == ['_nova', 'migrations']:
            self._korora.nova.migrations.add(
                tuple(
                    given[name]
                    for name in ('migration', 'instance', 'source', 'dest')
                )
            )
            return {}
        _, name, what = parts
        host = self._agent(name)
        if what == 'enrolment':
            return _enrolment(host)
        if what == 'proof':
            return {'version': 1, 'proof': host.open_credential(given)}
        return _evidence(host, what, **given)

    def _agent(self, name: str) -> agent.SimAgent:
        if name not in self._agents:
            self._agents[name] = agent.SimAgent(
                name, self._korora.client_as('attester'), self._korora.vendor
            )
        return self._agents[name]


def _enrolment(host: agent.SimAgent):
    return {
        'ek_hash': host.ek_hash,
        'body': {
            'version': 1,
            'ek_cert': agent.b64(host.ek_cert),
            'ek_public': agent.b64(host.ek_public),
            'ak_public': agent.b64(host.tpm.ak_public),
            'srk_public': agent.b64(host.tpm.srk_public),
        },
    }


def _evidence(host, purpose, *, challenge, permit=None, **fields):
    more = {}
    if purpose == 'attest':
        fields = {'known': [], 'enforcer': agent.ENFORCER._asdict(), **fields}
    if purpose == 'receive':
        msk = host.make_msk(
            challenge,
            fields['migration'],
            fields['instance'],
            fields['source'],
        )
        more['msk_name'] = msk.name
        fields |= {
            'msk_public': agent.b64(msk.public),
            'creation_data': agent.b64(msk.creation),
            'creation_attest': agent.b64(msk.attest),
            'creation_signature': agent.b64(msk.signature),
            'address': '192.0.2.2',
            'tls_name': host.name,
        }
    if purpose == 'send':
        fields |= {'nonce': '0f' * 32, 'kid': host.approval_kid}
    if permit is not None:
        fields |= {
            'migration': host.read(permit).content.migration,
            'permit_hash': host.read(permit).hash,
        }
    text = json.dumps({'version': 1, **fields})
    return {'body': host.message(purpose, text, challenge), **more}


def names() -> list[str]:
    return sorted(path.stem for path in DIRECTORY.glob('*.yaml'))


def count(name: str) -> int:
    """Tests in one file."""
    return len(yaml.safe_load(_path(name).read_text())['tests'])


def _path(name: str) -> pathlib.Path:
    return DIRECTORY / f'{name}.yaml'


def run(name: str) -> unittest.TestResult:
    """Run one file, in its order, against a service of its own."""
    result = unittest.TestResult()
    with service.KororaFixture() as korora:
        world = World(korora)
        suite = suitemaker.test_suite_from_dict(
            unittest.TestLoader(),
            f'gabbi_{name}',
            yaml.safe_load(_path(name).read_text()),
            str(DIRECTORY),
            'attestation.test',
            80,
            None,
            lambda: world,
            handlers=[one() for one in handlers.RESPONSE_HANDLERS],
        )
        suite.run(result)
    return result
