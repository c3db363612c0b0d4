# SPDX-License-Identifier: Apache-2.0
"""One attestation as it travels: challenge, request, and answer.

An answer has the same three fields for every purpose, and what the purpose
adds: a kind of :class:`Served`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Generic, TypeVar

from korora_nova import errors
from korora_nova.custody import bodies, messages
from korora_nova.custody.approval import Approval
from korora_nova.custody.offline import Offline
from korora_nova.custody.words import ChallengeClass, StreamTls
from korora_nova.rats import schemas
from korora_nova.rats.evidence import MAX_IMA_OFFSET

#: Longest body of an attestation, characters.
MAX_BODY = 256 * 1024

T = TypeVar('T')
S = TypeVar('S', bound='Served')


def malformed_answer(field: str) -> errors.Unavailable:
    """The service answered, but not as its API says."""
    return errors.Unavailable(
        errors.Reason.SERVICE_UNAVAILABLE,
        f'The answer of the attestation service lacks a valid {field!r}.',
    )


@dataclasses.dataclass(frozen=True)
class Challenge:
    """A challenge of the service.

    :param value: 32 bytes.
    :param issued: seconds since 1970; ``expires_in`` seconds after that.
    :param incarnation: of the ledger when the challenge was issued.
    """

    value: bytes
    challenge_class: ChallengeClass
    issued: float
    expires_in: float
    incarnation: str

    def to_json(self) -> dict[str, object]:
        return {
            'challenge': self.value.hex(),
            'class': self.challenge_class,
            'issued': self.issued,
            'expires_in': self.expires_in,
            'incarnation': self.incarnation,
        }

    @classmethod
    def from_json(cls, document: object) -> Challenge:
        """Read what :meth:`to_json` made.

        :raises Unavailable: SERVICE_UNAVAILABLE, not a challenge.
        """
        try:
            fields = messages.validate(document, _CHALLENGE)
        except errors.Invalid:
            raise malformed_answer('challenge') from None
        return cls(
            bytes.fromhex(fields['challenge']),
            ChallengeClass(fields['class']),
            float(fields['issued']),
            float(fields['expires_in']),
            fields['incarnation'],
        )


# Open: the service may come to say more about a challenge.
_CHALLENGE = {
    **schemas.closed(
        {
            'challenge': schemas.DIGEST,
            'class': {'enum': [str(word) for word in ChallengeClass]},
            'issued': schemas.TIME,
            'expires_in': schemas.TIME,
            'incarnation': schemas.text(64),
        }
    ),
    'additionalProperties': True,
}


@dataclasses.dataclass(frozen=True)
class Request(messages.Message):
    """An attestation with one purpose.

    :param challenge: 32 bytes, hex.
    :param body: the JSON text of the purpose's ``bodies.Body``, hashed
        into the quote as it stands here.
    :param evidence: for ``Evidence.from_json``, once the challenge is known:
        its logs are long.
    """

    SCHEMA = schemas.closed(
        {
            'version': schemas.VERSION,
            'challenge': schemas.DIGEST,
            'purpose': {'enum': sorted(bodies.BODIES)},
            'body': {'type': 'string', 'maxLength': MAX_BODY},
            'evidence': {'type': 'object'},
        }
    )

    challenge: str
    purpose: str
    body: str
    evidence: Mapping[str, object]


@dataclasses.dataclass(frozen=True)
class Served:
    """What a purpose adds to an answer: for ``attest`` nothing."""

    def to_json(self) -> dict[str, object]:
        """The properties that it adds."""
        return {}

    @classmethod
    def from_json(cls: type[S], document: Mapping[str, object]) -> S:
        """Find them in a whole answer.

        :raises Unavailable: SERVICE_UNAVAILABLE, they are missing.
        """
        return cls()


@dataclasses.dataclass(frozen=True)
class Streams:
    """How protected servers are streamed, and what a host needs for it.

    :param certificate: PEM; '' if none is due.
    :param refused: reason id, why there is none; '' if there is no reason.
    """

    mode: StreamTls = StreamTls.TRANSITION
    certificate: str = ''
    refused: str = ''

    def to_json(self) -> dict[str, object]:
        """The object; without what is empty."""
        return {key: value for key, value in vars(self).items() if value}

    @classmethod
    def from_json(cls, document: object) -> Streams:
        """Read what :meth:`to_json` made; services of before say nothing.

        :raises Unavailable: SERVICE_UNAVAILABLE, it is malformed.
        """
        if document is None:
            return cls()
        if not isinstance(document, dict):
            raise malformed_answer('streams')
        try:
            mode = StreamTls(_field(document, 'mode', str))
        except ValueError:
            raise malformed_answer('mode') from None
        texts = {'certificate': '', 'refused': '', **document}
        return cls(
            mode,
            _field(texts, 'certificate', str),
            _field(texts, 'refused', str),
        )


@dataclasses.dataclass(frozen=True)
class Heard(Served):
    """The report was heard.

    :param approval_kid: id of the approval key that is active there.
    :param wanted: servers whose documents the service wants to see.
    :param news: documents, signed tokens, that the host lacks.
    :param offline: None: the host has no offline window.
    """

    approval_kid: str
    wanted: tuple[str, ...] = ()
    news: tuple[str, ...] = ()
    streams: Streams = Streams()
    offline: Offline | None = None

    def to_json(self) -> dict[str, object]:
        offline = self.offline
        return {
            'approval_kid': self.approval_kid,
            'wanted': list(self.wanted),
            'news': list(self.news),
            'streams': self.streams.to_json(),
            **({'offline': offline.to_json()} if offline else {}),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, object]) -> Heard:
        """See :meth:`Served.from_json`."""
        return cls(
            _field(document, 'approval_kid', str),
            _texts(document, 'wanted'),
            _texts(document, 'news'),
            Streams.from_json(document.get('streams')),
            Offline.from_json(document['offline'])
            if 'offline' in document
            else None,
        )


@dataclasses.dataclass(frozen=True)
class Presented(Served):
    """The documents were taken note of.

    :param news: the newest ones, signed tokens, of the same servers.
    """

    news: tuple[str, ...] = ()

    def to_json(self) -> dict[str, object]:
        return {'news': list(self.news)}

    @classmethod
    def from_json(cls, document: Mapping[str, object]) -> Presented:
        """See :meth:`Served.from_json`."""
        return cls(_texts(document, 'news'))


@dataclasses.dataclass(frozen=True)
class Granted(Served):
    """The host holds the key.

    :param grant: the signed token.
    """

    grant: str

    def to_json(self) -> dict[str, object]:
        return {'grant': self.grant}

    @classmethod
    def from_json(cls, document: Mapping[str, object]) -> Granted:
        """See :meth:`Served.from_json`."""
        return cls(_field(document, 'grant', str))


@dataclasses.dataclass(frozen=True)
class Approvals(Served):
    """One approval for each key, in the order in which they were named."""

    approvals: tuple[Approval, ...]

    def to_json(self) -> dict[str, object]:
        return {'approvals': [one.to_json() for one in self.approvals]}

    @classmethod
    def from_json(cls, document: Mapping[str, object]) -> Approvals:
        """See :meth:`Served.from_json`.

        :raises CustodyError: APPROVAL_INVALID.
        """
        given = _field(document, 'approvals', list)
        return cls(tuple(Approval.from_json(one) for one in given))


@dataclasses.dataclass(frozen=True)
class Permitted(Served):
    """The hand-over may be.

    :param permit: the signed token.
    :param approval: opens the source's own copy, once.
    """

    permit: str
    approval: Approval

    def to_json(self) -> dict[str, object]:
        return {'permit': self.permit, 'approval': self.approval.to_json()}

    @classmethod
    def from_json(cls, document: Mapping[str, object]) -> Permitted:
        """See :meth:`Served.from_json`.

        :raises CustodyError: APPROVAL_INVALID.
        """
        approval = _field(document, 'approval', dict)
        return cls(
            _field(document, 'permit', str), Approval.from_json(approval)
        )


@dataclasses.dataclass(frozen=True)
class Started(Served):
    """The stream may start.

    :param start: the signed token.
    :param peer: the destination's result now, a signed token.
    """

    start: str
    peer: str

    def to_json(self) -> dict[str, object]:
        return {'start': self.start, 'peer': self.peer}

    @classmethod
    def from_json(cls, document: Mapping[str, object]) -> Started:
        """See :meth:`Served.from_json`."""
        return cls(
            _field(document, 'start', str), _field(document, 'peer', str)
        )


@dataclasses.dataclass(frozen=True)
class Told(Served):
    """A word, or a deletion, was heard.

    :param receipt: the signed token; '' while nothing is decided, and after
        an end without permit.
    """

    receipt: str

    def to_json(self) -> dict[str, object]:
        return {'receipt': self.receipt}

    @classmethod
    def from_json(cls, document: Mapping[str, object]) -> Told:
        """See :meth:`Served.from_json`."""
        return cls(_field(document, 'receipt', str))


@dataclasses.dataclass(frozen=True)
class Answer(Generic[S]):
    """The service's answer to one attestation.

    :param result: the host's new attestation result, a signed token.
    :param ima_offset: bytes of the IMA list that need not be sent again.
    :param uefi_digest: SHA-256, hex, of the firmware's log, if that need not
        be sent again; else ''.
    :param ima_dropped: how many of them the kernel had dropped, if the
        evidence had all that was left.
    """

    result: str
    ima_offset: int
    next_challenge: Challenge
    served: S
    ima_dropped: int = 0
    uefi_digest: str = ''

    def to_json(self) -> dict[str, object]:
        return {
            'result': self.result,
            'ima_offset': self.ima_offset,
            'next_challenge': self.next_challenge.to_json(),
            **({'ima_dropped': self.ima_dropped} if self.ima_dropped else {}),
            **({'uefi_digest': self.uefi_digest} if self.uefi_digest else {}),
            **self.served.to_json(),
        }

    @classmethod
    def from_json(
        cls, document: Mapping[str, object], kind: type[S]
    ) -> Answer[S]:
        """Read what :meth:`to_json` made.

        An offset that makes no sense counts as 0: the next evidence has the
        whole list.

        :param kind: what the purpose adds.
        :raises Unavailable: SERVICE_UNAVAILABLE, something is missing.
        :raises CustodyError: APPROVAL_INVALID.
        """
        return Answer(
            _field(document, 'result', str),
            _offset(document.get('ima_offset')),
            Challenge.from_json(document.get('next_challenge')),
            kind.from_json(document),
            _offset(document.get('ima_dropped')),
            _digest(document.get('uefi_digest')),
        )


def _offset(value: object) -> int:
    # True is an int in Python.
    if type(value) is int and 0 <= value <= MAX_IMA_OFFSET:
        return value
    return 0


def _digest(value: object) -> str:
    """One that makes no sense is none: the log is sent."""
    known = schemas.fault(schemas.DIGEST, value) is None
    return str(value) if known else ''


def _texts(document: Mapping[str, object], name: str) -> tuple[str, ...]:
    found = _field(document, name, list)
    if not all(isinstance(one, str) for one in found):
        raise malformed_answer(name)
    return tuple(found)


def _field(document: Mapping[str, object], name: str, kind: type[T]) -> T:
    value = document.get(name)
    if not isinstance(value, kind):
        raise malformed_answer(name)
    return value
