# SPDX-License-Identifier: Apache-2.0
"""Hosts: what their agents say, and what is decided about them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from urllib import parse as urls

from korora_nova.client.http import (
    LONG_TIMEOUT,
    Answer,
    Calls,
    malformed,
    parse,
    path,
)
from korora_nova.custody.words import CHALLENGE_HEADER, CLASS_HEADER


@dataclasses.dataclass(frozen=True)
class Results:
    """One bulk answer: results by host, each with its signed token.

    :param etag: pass it to the next call, which is then cheap if nothing
        has changed.
    :param seq: pass it as ``changes_since`` to get only what has changed.
    """

    etag: str | None
    seq: int
    incarnation: str
    results: tuple[Answer, ...]


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """One answer about all hosts; ``rats.signed.snapshot`` verifies it."""

    token: str
    base: str
    rows: str
    gone: tuple[str, ...]


class HostCalls(Calls):
    """Enrolment, evidence, hosts and results."""

    # What an agent sends about its own host

    def enrol(
        self,
        host: str,
        *,
        ek_cert: str,
        ek_public: str,
        ak_public: str,
        srk_public: str,
        ek_chain: Sequence[str] = (),
    ) -> Answer:
        """Ask for a credential; all values base64.

        :param ek_cert: empty if the TPM has no certificate.
        :param ek_chain: intermediate certificates that it has.
        :returns: ``credential``, ``secret`` (base64), ``expires_in`` (s).
        :raises Conflict: IDENTITY_CONFLICT.
        """
        return self._send(
            'POST',
            path('hosts', host, 'enrolment'),
            {
                'version': 1,
                'ek_cert': ek_cert,
                'ek_public': ek_public,
                'ak_public': ak_public,
                'srk_public': srk_public,
                **({'ek_chain': list(ek_chain)} if ek_chain else {}),
            },
        )

    def prove(self, host: str, proof: str) -> Answer:
        """Answer the credential; ``proof`` is base64."""
        return self._send(
            'POST',
            path('hosts', host, 'enrolment', 'proof'),
            {'version': 1, 'proof': proof},
        )

    def challenge(self, host: str, challenge_class: str) -> Answer:
        """Ask for a challenge of class ``steady`` or ``on-demand``."""
        return self._send(
            'POST',
            path('hosts', host, 'challenges'),
            {'class': challenge_class},
        )

    def evidence(
        self,
        host: str,
        message: Mapping[str, object],
        challenge_class: str = '',
    ) -> Answer:
        """Attest with a purpose; ``message`` is the whole body.

        :param challenge_class: ``steady`` of a periodic one, which the
            service may put off.
        :raises Busy: BUSY.
        """
        return parse(
            self._request(
                'POST',
                path('hosts', host, 'evidence'),
                json=dict(message),
                headers={
                    CHALLENGE_HEADER: str(message.get('challenge')),
                    **(
                        {CLASS_HEADER: challenge_class}
                        if challenge_class
                        else {}
                    ),
                },
            )
        )

    # Hosts

    def list_hosts(
        self, *, status: str | None = None, tier: str | None = None
    ) -> list[Answer]:
        return self._list('hosts', status=status, tier=tier)

    def get_host(self, host: str) -> Answer:
        return self._get(path('hosts', host))

    def approve_host(
        self, host: str, ek_hash: str, *, uncertified: bool = False
    ) -> Answer:
        """Approve the TPM of a host.

        :param uncertified: although no maker vouches for its EK.
        :raises Conflict: IDENTITY_CONFLICT; IDENTITY_UNCERTIFIED.
        """
        return self._send(
            'PUT',
            path('hosts', host, 'approval'),
            {
                'ek_hash': ek_hash,
                **({'uncertified': True} if uncertified else {}),
            },
        )

    def delete_host(self, host: str, *, force: bool = False) -> None:
        query = '?force=true' if force else ''
        self._request('DELETE', path('hosts', host) + query)

    def evict_host(
        self,
        host: str,
        reason: str,
        *,
        dry_run: bool = False,
        after: str = '',
    ) -> Answer:
        """Take all keys from a dead or destroyed host.

        :param after: go on behind this server: the ``next`` of an answer.
        :returns: ``servers``, of which ``left`` have something left to do;
            call again while ``next`` is not ''.
        :raises NotFound: HOST_UNKNOWN.
        """
        return self._send(
            'POST',
            path('hosts', host, 'evict'),
            {'reason': reason, 'dry_run': dry_run, 'after': after},
            timeout=LONG_TIMEOUT,
        )

    # Results

    def results(
        self,
        *,
        changes_since: int | str | None = None,
        etag: str | None = None,
    ) -> Results | None:
        """All results in one call; None if ``etag`` is still current."""
        query = ''
        if changes_since is not None:
            query = '?' + urls.urlencode({'changes-since': changes_since})
        headers = {} if etag is None else {'If-None-Match': etag}
        response = self._request('GET', '/v1/results' + query, headers=headers)
        if response.status == 304:
            return None
        answer = parse(response)
        try:
            return Results(
                response.headers.get('ETag'),
                int(answer['seq']),
                str(answer['incarnation']),
                tuple(answer.objects('results')),
            )
        except (KeyError, TypeError, ValueError):
            raise malformed(response) from None

    def snapshot(self, base: str = '') -> Snapshot:
        """All results under one signature, or what changed in them.

        :param base: mark of an earlier snapshot that the caller has.
        :raises NotFound: NOT_FOUND, the service is of an earlier release.
        """
        query = '?' + urls.urlencode({'base': base}) if base else ''
        response = self._request('GET', '/v1/snapshot' + query)
        answer = parse(response)
        token, since, rows = map(answer.get, ('token', 'base', 'rows'))
        gone = answer.member('gone')
        if not (
            isinstance(token, str)
            and isinstance(since, str)
            and isinstance(rows, str)
            and all(isinstance(host, str) for host in gone)
        ):
            raise malformed(response)
        return Snapshot(token, since, rows, tuple(gone))

    def list_results(self, *, tier: str | None = None) -> list[Answer]:
        return self._list('results', tier=tier)

    def get_result(self, host: str) -> Answer:
        return self._get(path('results', host))
