# SPDX-License-Identifier: Apache-2.0
"""Which role may make which call: every call as every kind of user.

A call is made with arguments that change nothing: a user who may make it is
told that something does not exist or that the request is malformed; a user
who may not is told so, whatever the arguments are.
"""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Callable
from typing import Any

from tempest.lib import decorators
from tempest.lib import exceptions as lib_exc

from korora_tempest_plugin.services import attestation
from korora_tempest_plugin.tests import base

#: Users, by what makes them one.
ADMIN, READER, ATTESTER, SERVICE, MEMBER, PROJECT_READER, SYSTEM_READER = (
    USERS := (
        'admin',
        'attestation_reader',
        'attester',
        'service',
        'member',
        'project reader',
        'system reader',
    )
)

ADMINS = frozenset({ADMIN})
READERS = frozenset({ADMIN, READER, SYSTEM_READER})
ATTESTERS = frozenset({ATTESTER})
RELYING = READERS | {ATTESTER, SERVICE}
ANYBODY = frozenset(USERS)

_NOBODY = str(uuid.UUID(int=0))
_HOST = base.NOWHERE


@dataclasses.dataclass(frozen=True)
class Call:
    """One call of the API.

    :param users: who may make it.
    :param status: of the answer to them, with these arguments.
    """

    users: frozenset[str]
    status: int
    make: Callable[[attestation.AttestationClient], attestation.Body]


#: Name of the policy rule, without ``attestation:``, and its call.
CALLS = {
    'keys:show': Call(ANYBODY, 200, lambda c: c.show_keys()),
    'hosts:list': Call(READERS, 200, lambda c: c.list_hosts()),
    'hosts:show': Call(READERS | ATTESTERS, 404, lambda c: c.show_host(_HOST)),
    'hosts:approve': Call(ADMINS, 400, lambda c: c.approve_host(_HOST)),
    'hosts:delete': Call(ADMINS, 404, lambda c: c.delete_host(_HOST)),
    'hosts:evict': Call(ADMINS, 400, lambda c: c.evict_host(_HOST)),
    'enrolment:create': Call(ATTESTERS, 400, lambda c: c.enrol(_HOST)),
    'enrolment:prove': Call(
        ATTESTERS, 400, lambda c: c.prove_enrolment(_HOST)
    ),
    'challenges:create': Call(
        ATTESTERS, 404, lambda c: c.create_challenge(_HOST, 'steady')
    ),
    'evidence:create': Call(ATTESTERS, 400, lambda c: c.send_evidence(_HOST)),
    'results:list': Call(RELYING, 200, lambda c: c.list_results()),
    'results:snapshot': Call(RELYING, 200, lambda c: c.show_snapshot()),
    'results:show': Call(RELYING, 404, lambda c: c.show_result(_HOST)),
    'references:create': Call(ADMINS, 400, lambda c: c.create_reference()),
    'references:list': Call(READERS, 200, lambda c: c.list_references()),
    'references:show': Call(READERS, 404, lambda c: c.show_reference(_HOST)),
    'references:delete': Call(
        ADMINS, 404, lambda c: c.delete_reference(_HOST)
    ),
    'policies:create': Call(ADMINS, 400, lambda c: c.create_policy(None)),
    'policies:list': Call(READERS, 200, lambda c: c.list_policies()),
    'policies:show': Call(READERS, 200, lambda c: c.show_policy('exact')),
    'policies:update': Call(
        ADMINS, 400, lambda c: c.update_policy(_HOST, None, 1)
    ),
    'policies:delete': Call(ADMINS, 404, lambda c: c.delete_policy(_HOST)),
    'policies:differences': Call(
        READERS, 404, lambda c: c.show_policy_differences('exact', _HOST)
    ),
    'policies:check': Call(READERS, 404, lambda c: c.check_policy(_HOST)),
    'policies:propose': Call(ADMINS, 400, lambda c: c.propose_policy(None)),
    'servers:list': Call(READERS, 200, lambda c: c.list_servers()),
    'servers:reissue': Call(ADMINS, 400, lambda c: c.reissue_server(_NOBODY)),
    'servers:release': Call(ADMINS, 400, lambda c: c.release_server(_NOBODY)),
    'servers:show': Call(
        READERS | ATTESTERS, 404, lambda c: c.show_server(_NOBODY)
    ),
    'migrations:list': Call(READERS, 200, lambda c: c.list_migrations()),
    'migrations:show': Call(
        READERS | ATTESTERS, 404, lambda c: c.show_migration(_NOBODY)
    ),
    'migrations:watch': Call(
        ATTESTERS, 404, lambda c: c.watch_migration(_NOBODY)
    ),
    'migrations:resolve': Call(
        ADMINS, 400, lambda c: c.resolve_migration(_NOBODY)
    ),
    'receipts:list': Call(
        READERS | ATTESTERS, 200, lambda c: c.list_receipts()
    ),
    'documents:present': Call(
        ADMINS, 400, lambda c: c.present_documents(['no document'])
    ),
    'responses:list': Call(READERS, 200, lambda c: c.list_responses()),
    'responses:show': Call(READERS, 404, lambda c: c.show_response(_NOBODY)),
    'responses:approve': Call(
        ADMINS, 400, lambda c: c.approve_response(_NOBODY)
    ),
    'responses:reject': Call(
        ADMINS, 400, lambda c: c.reject_response(_NOBODY)
    ),
    'responses:revert': Call(
        ADMINS, 400, lambda c: c.revert_response(_NOBODY)
    ),
    'responses:revert_all': Call(ADMINS, 400, lambda c: c.revert_responses()),
    'responses:resume': Call(ADMINS, 400, lambda c: c.resume_responses()),
}


class RbacTests(base.BaseAttestationTest):
    """The calls; its subclasses are the users."""

    #: One of USERS.
    user: str
    #: Roles of the user, its project's or the system's; none: an admin.
    roles: list[str] = []

    @classmethod
    def setup_credentials(cls) -> None:
        super().setup_credentials()
        cls.caller = cls.os_admin
        if cls.roles:
            cls.ensure_roles()
            scope = 'system' if cls.user == SYSTEM_READER else 'project'
            cls.caller = cls.get_client_manager(
                roles=cls.roles, force_new=True, scope=scope
            )

    @classmethod
    def ensure_roles(cls) -> None:
        """Every cloud with the service has them."""

    @classmethod
    def setup_clients(cls) -> None:
        super().setup_clients()
        cls.caller_client = cls.caller.attestation.AttestationClient()

    def check(self, rule: str) -> None:
        call = CALLS[rule]
        status, error = self._make(call)
        if self.user in call.users:
            self.assertEqual(call.status, status, error)
            self.assertNotEqual('FORBIDDEN', error.get('reason'))
        else:
            self.assertEqual(
                (403, 'FORBIDDEN', f'attestation:{rule}'),
                (
                    status,
                    error.get('reason'),
                    error.get('details', {}).get('rule'),
                ),
            )

    def _make(self, call: Call) -> tuple[int, Any]:
        try:
            return call.make(self.caller_client).response.status, {}
        except lib_exc.RestClientException as exc:
            return exc.resp.status, exc.resp_body

    @decorators.idempotent_id('21a9dc6e-1755-41af-857c-5c31c5a25d4a')
    def test_show_keys(self) -> None:
        self.check('keys:show')

    @decorators.idempotent_id('4485a184-1e28-4f38-ba7e-292847054b71')
    def test_list_hosts(self) -> None:
        self.check('hosts:list')

    @decorators.idempotent_id('13ea6a91-0ddb-454f-9c7e-da85851bc2fe')
    def test_show_host(self) -> None:
        self.check('hosts:show')

    @decorators.idempotent_id('98f18544-a1ec-402a-a8e6-a0f8e040223b')
    def test_approve_host(self) -> None:
        self.check('hosts:approve')

    @decorators.idempotent_id('74802d87-754f-45a0-ad32-af95529b716d')
    def test_delete_host(self) -> None:
        self.check('hosts:delete')

    @decorators.idempotent_id('1ce4f89e-fa41-47ff-81ec-b540dcbbca4e')
    def test_enrol(self) -> None:
        self.check('enrolment:create')

    @decorators.idempotent_id('6f19692f-76fc-4182-963a-39423297a609')
    def test_prove_enrolment(self) -> None:
        self.check('enrolment:prove')

    @decorators.idempotent_id('eda0e4e2-df8b-44b3-b0d1-4caa31f2c2dd')
    def test_create_challenge(self) -> None:
        self.check('challenges:create')

    @decorators.idempotent_id('8e165d84-9ad1-45d8-a0a1-807dbd3e647d')
    def test_send_evidence(self) -> None:
        self.check('evidence:create')

    @decorators.idempotent_id('a3ee1ec5-f2d9-4a05-becd-4a8efe67ee15')
    def test_list_results(self) -> None:
        self.check('results:list')

    @decorators.idempotent_id('e27d0c5b-9a41-4f68-8b3e-1c60f7d2a954')
    def test_show_snapshot(self) -> None:
        self.check('results:snapshot')

    @decorators.idempotent_id('4506c1be-d8dd-4396-a8f9-dbc051dd98bd')
    def test_show_result(self) -> None:
        self.check('results:show')

    @decorators.idempotent_id('7ad4652a-01ca-49bc-bab7-8322268defb0')
    def test_create_reference(self) -> None:
        self.check('references:create')

    @decorators.idempotent_id('ddcd4031-a221-4231-839a-728b4e30c619')
    def test_list_references(self) -> None:
        self.check('references:list')

    @decorators.idempotent_id('21ce7920-41e7-40e6-9b45-5c49c29a2bb4')
    def test_show_reference(self) -> None:
        self.check('references:show')

    @decorators.idempotent_id('d25c3ea6-211e-48de-8a58-a94c46baaa70')
    def test_delete_reference(self) -> None:
        self.check('references:delete')

    @decorators.idempotent_id('087df43e-9254-414f-ab3e-772a4b70b757')
    def test_create_policy(self) -> None:
        self.check('policies:create')

    @decorators.idempotent_id('810306af-49c7-4af5-a7e1-112084533b78')
    def test_list_policies(self) -> None:
        self.check('policies:list')

    @decorators.idempotent_id('48dd0a71-c53e-4496-93db-a9beddb99f43')
    def test_show_policy(self) -> None:
        self.check('policies:show')

    @decorators.idempotent_id('a18de1bc-678a-4bca-9c08-61c40a0aa40c')
    def test_update_policy(self) -> None:
        self.check('policies:update')

    @decorators.idempotent_id('90f710a7-a8ba-4d65-bb17-ce61623b60bb')
    def test_delete_policy(self) -> None:
        self.check('policies:delete')

    @decorators.idempotent_id('81d0ede4-1a76-49cb-a129-dc448a53042a')
    def test_show_policy_differences(self) -> None:
        self.check('policies:differences')

    @decorators.idempotent_id('ca4b6285-c594-4023-9434-230440407d0a')
    def test_check_policy(self) -> None:
        self.check('policies:check')

    @decorators.idempotent_id('4047682b-8546-423c-bf72-193716326c46')
    def test_propose_policy(self) -> None:
        self.check('policies:propose')

    @decorators.idempotent_id('06ffe798-fb05-42f1-b16a-98fe0b6ba2c0')
    def test_show_server(self) -> None:
        self.check('servers:show')

    @decorators.idempotent_id('c71d231a-732e-4ff9-9dd7-82db9b5e51aa')
    def test_list_migrations(self) -> None:
        self.check('migrations:list')

    @decorators.idempotent_id('aabf604b-2dd8-4d0e-821c-32a5b0f613bf')
    def test_show_migration(self) -> None:
        self.check('migrations:show')

    @decorators.idempotent_id('5b8e1f0c-2d7a-4c39-9e64-0af1d3b7c825')
    def test_watch_migration(self) -> None:
        self.check('migrations:watch')

    @decorators.idempotent_id('bdf944d0-a4c1-4a0d-8f31-a2bf23fbac81')
    def test_resolve_migration(self) -> None:
        self.check('migrations:resolve')

    @decorators.idempotent_id('470a2de2-dc84-4120-b042-1d8278242bca')
    def test_list_receipts(self) -> None:
        self.check('receipts:list')

    @decorators.idempotent_id('9e640e23-4993-4ef1-9912-77ad3f577f21')
    def test_present_documents(self) -> None:
        self.check('documents:present')

    @decorators.idempotent_id('4c0b6a0e-3f5d-4d0f-9a55-6f6b6c1f20b1')
    def test_list_servers(self) -> None:
        self.check('servers:list')

    @decorators.idempotent_id('d2f3bd54-0d0f-4a5b-8f2f-8a3c8f6f6a52')
    def test_reissue_server(self) -> None:
        self.check('servers:reissue')

    @decorators.idempotent_id('f0c5b6de-7a5e-4ff4-9a0a-0b6e2a3c77b3')
    def test_release_server(self) -> None:
        self.check('servers:release')

    @decorators.idempotent_id('0a9c2f7b-55c8-4a3d-a7c3-7d1d1a0f8ef4')
    def test_evict_host(self) -> None:
        self.check('hosts:evict')

    @decorators.idempotent_id('84f84e37-7530-4a11-b612-d99049cc8357')
    def test_list_responses(self) -> None:
        self.check('responses:list')

    @decorators.idempotent_id('4ee6cc29-89d2-4630-a129-bfc0343f4b15')
    def test_show_response(self) -> None:
        self.check('responses:show')

    @decorators.idempotent_id('85f3d217-ab75-4005-bdee-12aad97efad1')
    def test_approve_response(self) -> None:
        self.check('responses:approve')

    @decorators.idempotent_id('988501e9-0f6d-4fae-b404-a31fde2f18fb')
    def test_reject_response(self) -> None:
        self.check('responses:reject')

    @decorators.idempotent_id('36c0edd1-1efc-4c2c-bf91-d6744db437d3')
    def test_revert_response(self) -> None:
        self.check('responses:revert')

    @decorators.idempotent_id('4e18dedc-85e0-4ae0-9082-f1d02b942014')
    def test_revert_responses(self) -> None:
        self.check('responses:revert_all')

    @decorators.idempotent_id('4f4e6430-1d15-49ba-a86b-11b138f51d7d')
    def test_resume_responses(self) -> None:
        self.check('responses:resume')


class AdminTest(RbacTests):
    user = ADMIN


class AttesterTest(RbacTests):
    user = ATTESTER
    roles = ['attester']


class ServiceTest(RbacTests):
    user = SERVICE
    roles = ['service']


class MemberTest(RbacTests):
    user = MEMBER
    roles = ['member']


class ProjectReaderTest(RbacTests):
    """Every member of any project is its reader: that is too many."""

    user = PROJECT_READER
    roles = ['reader']


class SystemReaderTest(RbacTests):
    user = SYSTEM_READER
    roles = ['reader']


class ReaderTest(RbacTests):
    """A role that operators make if they want it; so does this test."""

    user = READER
    roles = [READER]
    _made: str = ''

    @classmethod
    def ensure_roles(cls) -> None:
        roles = cls.os_admin.identity_v3.RolesClient()
        if READER not in [
            role['name'] for role in roles.list_roles()['roles']
        ]:
            cls._made = roles.create_role(name=READER)['role']['id']

    @classmethod
    def clear_credentials(cls) -> None:
        try:
            if cls._made:
                cls.os_admin.identity_v3.RolesClient().delete_role(cls._made)
                cls._made = ''
        finally:
            super().clear_credentials()


# What a loader finds here are the users.
del RbacTests
