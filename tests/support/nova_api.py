# SPDX-License-Identifier: Apache-2.0
"""Nova's API as far as responses need it: a WSGI application, and a client.

It stands for the real one where a test needs an API that is down, slow or
changes under one's hands; ``tests/functional/nova/test_responses.py`` shows
that the real one does the same.
"""

import json
import uuid

import requests
import webob
from keystoneauth1 import adapter, noauth, session

from korora_nova.response import nova
from tests.support import service

ENDPOINT = 'http://nova.test'


class FakeNovaApi:
    """What Nova has.

    :ivar services: by host; each as the API shows it.
    :ivar servers: by uuid: (host, task, extra specs, status).
    :ivar migrations: as the API shows them.
    :ivar calls: what was asked for that changes something.
    :ivar before: is called before each request.
    :ivar broken: an HTTP status for each request, in the place of an answer.
    """

    def __init__(self, *hosts):
        self.services = {host: self._service(host) for host in hosts}
        self.servers = {}
        self.migrations = []
        self.calls = []
        self.before = lambda method, path: None
        self.broken = 0
        self.transport = service.WsgiTransport(self)

    def _service(self, host):
        return {
            'id': str(uuid.uuid5(uuid.NAMESPACE_DNS, host)),
            'binary': 'nova-compute',
            'host': host,
            'status': 'enabled',
            'disabled_reason': None,
        }

    def client(self):
        http = requests.Session()
        http.mount('http://', self.transport)
        return nova.NovaApi(
            adapter.Adapter(
                session.Session(
                    auth=noauth.NoAuth(endpoint=ENDPOINT), session=http
                ),
                service_type='compute',
            )
        )

    # What its people do

    def disabled(self):
        """Hosts whose nova-compute is disabled, and why."""
        return {
            host: one['disabled_reason']
            for host, one in self.services.items()
            if one['status'] == 'disabled'
        }

    def set(self, host, status, reason=None):
        self.services[host].update(status=status, disabled_reason=reason)

    def forget(self, host):
        del self.services[host]

    def add_server(self, host, task=None, specs=None, status='ACTIVE'):
        made = str(uuid.uuid4())
        self.servers[made] = [host, task, specs or {}, status]
        return made

    def add_migration(self, server, source, dest, status='running'):
        self.migrations.append(
            {
                'id': len(self.migrations) + 1,
                'instance_uuid': server,
                'source_compute': source,
                'dest_compute': dest,
                'status': status,
                'migration_type': 'live-migration',
            }
        )

    def arrive(self, server, host):
        """A live migration ends."""
        self.servers[server][:2] = [host, None]

    # The API

    def __call__(self, environ, start_response):
        request = webob.Request(environ)
        self.before(request.method, request.path)
        if self.broken:
            answer = webob.Response(status=self.broken)
        else:
            answer = self._answer(request)
        return answer(environ, start_response)

    def _answer(self, request):
        what = getattr(
            self,
            '_'.join(
                [
                    '',
                    request.method.lower(),
                    request.path.strip('/').split('/')[0].replace('-', '_'),
                ]
            ),
        )
        status, body = what(request)
        return webob.Response(
            status=status,
            json=body,
        )

    def _get_os_services(self, request):
        wanted = request.GET.get('host')
        return 200, {
            'services': [
                one
                for host, one in self.services.items()
                if wanted in (None, host)
            ]
        }

    def _put_os_services(self, request):
        number = request.path.rpartition('/')[2]
        for host, one in self.services.items():
            if one['id'] == number:
                body = json.loads(request.body)
                self.calls.append((body['status'], host))
                one['status'] = body['status']
                one['disabled_reason'] = body.get('disabled_reason')
                return 200, {'service': one}
        return 404, {}

    def _get_os_migrations(self, request):
        host, status = request.GET['host'], request.GET['status']
        return 200, {
            'migrations': [
                one
                for one in self.migrations
                if host in (one['source_compute'], one['dest_compute'])
                and one['status'] == status
            ]
        }

    def _get_servers(self, request):
        host = request.GET['host']
        found = sorted(
            server for server, row in self.servers.items() if row[0] == host
        )
        marker = request.GET.get('marker', '')
        page = [one for one in found if one > marker]
        return 200, {
            'servers': [
                self._shown(one) for one in page[: int(request.GET['limit'])]
            ]
        }

    def _shown(self, server):
        _, task, specs, status = self.servers[server]
        return {
            'id': server,
            'status': status,
            'OS-EXT-STS:task_state': task,
            'flavor': {'extra_specs': specs},
        }

    def _post_servers(self, request):
        server = request.path.split('/')[2]
        self.calls.append(('migrate', server))
        self.servers[server][1] = 'migrating'
        return 202, {}

    def _delete_servers(self, request):
        _, _, server, _, number = request.path.split('/')
        for one in self.migrations:
            if str(one['id']) == number and one['status'] == 'running':
                self.calls.append(('abort', server))
                one['status'] = 'cancelled'
                return 202, {}
        return 400, {}
