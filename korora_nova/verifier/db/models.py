# SPDX-License-Identifier: Apache-2.0
"""Tables of the attestation service.

Times are seconds since 1970 (UTC) as doubles; digests, names and nonces are
lower-case hex.  Nothing secret is stored: of an enrolment's credential only
its hash.  Rows that several workers may change carry what a
compare-and-swap needs: the old value stands in the UPDATE's condition.
"""

from __future__ import annotations

from typing import Any, TypedDict, cast

import sqlalchemy as sa
from sqlalchemy import orm
from sqlalchemy.dialects import mysql

from korora_nova.custody.moves import Move

#: Public keys and certificates fit a BLOB; reference values do not.
LargeDocument = sa.LargeBinary().with_variant(mysql.LONGBLOB(), 'mysql')

NAME = 255
HASH = 64
UUID = 36
#: A TPM name in hex: algorithm and SHA-256.
TPM_NAME = 68


class Base(orm.DeclarativeBase):
    """Every table is InnoDB in a binary collation: names are exact."""

    __table_args__: Any = {
        'mysql_engine': 'InnoDB',
        'mysql_charset': 'utf8mb4',
        'mysql_collate': 'utf8mb4_bin',
    }


def table(model: type[Base]) -> sa.Table:
    """For statements that make no objects."""
    return cast(sa.Table, model.__table__)


class Host(Base):
    """A host, its TPM's identity and its last verified attestation.

    ``ek_name``, ``ak_*`` and ``srk_name`` are null until the host proved
    them (then never change); ``version`` counts attestations and is what
    makes the clock monotone among workers.  ``reported_at`` is when it last
    began to report all the servers it knows; ``report_began`` and
    ``report_upto`` say how far a report of several pages has come.
    ``evicted_at`` is when an operator gave it up with all its keys,
    ``prior_boot_at`` when it was last heard before its TPM's last reset.
    ``enforcer`` is what it attested last of its nova-compute, which spoke at
    ``enforcer_at``.  ``tls_*`` are of the certificate that was signed last
    for its streams: name, serial number, end, and the key that signed.
    ``offline_*`` are of the approvals that it was given last in advance: when
    they end, of how many servers, and in which boot they open a key.
    """

    __tablename__ = 'hosts'
    name: orm.Mapped[str] = orm.mapped_column(
        sa.String(NAME), primary_key=True
    )
    ek_hash: orm.Mapped[str] = orm.mapped_column(sa.String(HASH), unique=True)
    approved: orm.Mapped[bool] = orm.mapped_column(sa.Boolean)
    ek_name: orm.Mapped[str | None] = orm.mapped_column(
        sa.String(TPM_NAME), unique=True
    )
    ak_public: orm.Mapped[bytes | None] = orm.mapped_column(sa.LargeBinary)
    ak_name: orm.Mapped[str | None] = orm.mapped_column(
        sa.String(TPM_NAME), unique=True
    )
    srk_name: orm.Mapped[str | None] = orm.mapped_column(sa.String(TPM_NAME))
    enrolled_at: orm.Mapped[float | None] = orm.mapped_column(sa.Double)
    version: orm.Mapped[int] = orm.mapped_column(sa.BigInteger, default=0)
    clock_ms: orm.Mapped[str | None] = orm.mapped_column(sa.String(20))
    reset_count: orm.Mapped[int | None] = orm.mapped_column(sa.BigInteger)
    restart_count: orm.Mapped[int | None] = orm.mapped_column(sa.BigInteger)
    clock_safe: orm.Mapped[bool | None] = orm.mapped_column(sa.Boolean)
    attested_at: orm.Mapped[float | None] = orm.mapped_column(sa.Double)
    tier: orm.Mapped[str | None] = orm.mapped_column(sa.String(16))
    reasons: orm.Mapped[list[str]] = orm.mapped_column(sa.JSON, default=list)
    token: orm.Mapped[str | None] = orm.mapped_column(sa.Text)
    issued: orm.Mapped[float | None] = orm.mapped_column(sa.Double)
    expires: orm.Mapped[float | None] = orm.mapped_column(sa.Double)
    seq: orm.Mapped[int] = orm.mapped_column(
        sa.BigInteger, default=0, index=True
    )
    reported_at: orm.Mapped[float | None] = orm.mapped_column(sa.Double)
    report_began: orm.Mapped[float | None] = orm.mapped_column(sa.Double)
    report_upto: orm.Mapped[str] = orm.mapped_column(
        sa.String(UUID), default=''
    )
    evicted_at: orm.Mapped[float | None] = orm.mapped_column(sa.Double)
    prior_boot_at: orm.Mapped[float | None] = orm.mapped_column(sa.Double)
    enforcer: orm.Mapped[dict[str, Any] | None] = orm.mapped_column(
        sa.JSON(none_as_null=True)
    )
    enforcer_at: orm.Mapped[float | None] = orm.mapped_column(sa.Double)
    tls_name: orm.Mapped[str | None] = orm.mapped_column(
        sa.String(68), unique=True
    )
    tls_serial: orm.Mapped[str | None] = orm.mapped_column(sa.String(40))
    tls_until: orm.Mapped[float | None] = orm.mapped_column(sa.Double)
    tls_authority: orm.Mapped[str | None] = orm.mapped_column(sa.String(16))
    offline_until: orm.Mapped[float | None] = orm.mapped_column(sa.Double)
    offline_servers: orm.Mapped[int | None] = orm.mapped_column(sa.Integer)
    offline_boot: orm.Mapped[str | None] = orm.mapped_column(sa.String(16))
    # Read for one host at a time only.
    findings: orm.Mapped[list[dict[str, Any]] | None] = orm.mapped_column(
        sa.JSON, deferred=True
    )


class SourceVerdict(Base):
    """What another verifier said last of a host; see ``rats.verdict``.

    ``asked_at`` is when it was asked.
    """

    __tablename__ = 'source_verdicts'
    host: orm.Mapped[str] = orm.mapped_column(
        sa.String(NAME), primary_key=True
    )
    source: orm.Mapped[str] = orm.mapped_column(
        sa.String(64), primary_key=True
    )
    tier: orm.Mapped[str] = orm.mapped_column(sa.String(16))
    reasons: orm.Mapped[list[str]] = orm.mapped_column(sa.JSON)
    subject: orm.Mapped[str] = orm.mapped_column(sa.String(NAME))
    issued: orm.Mapped[float] = orm.mapped_column(sa.Double)
    expires: orm.Mapped[float] = orm.mapped_column(sa.Double)
    asked_at: orm.Mapped[float] = orm.mapped_column(sa.Double)


class SourceSubject(Base):
    """Whose TPM another verifier means by one of its names.

    ``ek_name`` is as in :class:`Host`, of when the name was first seen;
    ``agrees`` whether the verifier still says so.  ``count`` grows as long
    as the verifier means the same record, ``read_at`` is when ``ek_name`` was
    last read there.
    """

    __tablename__ = 'source_subjects'
    source: orm.Mapped[str] = orm.mapped_column(
        sa.String(64), primary_key=True
    )
    subject: orm.Mapped[str] = orm.mapped_column(
        sa.String(NAME), primary_key=True
    )
    ek_name: orm.Mapped[str] = orm.mapped_column(sa.String(TPM_NAME))
    agrees: orm.Mapped[bool] = orm.mapped_column(sa.Boolean)
    count: orm.Mapped[int] = orm.mapped_column(sa.BigInteger)
    read_at: orm.Mapped[float] = orm.mapped_column(sa.Double)


class Enrolment(Base):
    """An open proof: the credential was made, its secret not yet shown."""

    __tablename__ = 'enrolments'
    secret_hash: orm.Mapped[str] = orm.mapped_column(
        sa.String(HASH), primary_key=True
    )
    host: orm.Mapped[str] = orm.mapped_column(sa.String(NAME), index=True)
    ek_hash: orm.Mapped[str] = orm.mapped_column(sa.String(HASH))
    ek_name: orm.Mapped[str] = orm.mapped_column(sa.String(TPM_NAME))
    ak_public: orm.Mapped[bytes] = orm.mapped_column(sa.LargeBinary)
    ak_name: orm.Mapped[str] = orm.mapped_column(sa.String(TPM_NAME))
    srk_name: orm.Mapped[str] = orm.mapped_column(sa.String(TPM_NAME))
    expires: orm.Mapped[float] = orm.mapped_column(sa.Double)
    used: orm.Mapped[bool] = orm.mapped_column(sa.Boolean, default=False)


class Challenge(Base):
    """A challenge of one host and class, to be used once.

    ``answer`` is what the request that used it got, if that is to be said
    again to the same ``request``.
    """

    __tablename__ = 'challenges'
    challenge: orm.Mapped[str] = orm.mapped_column(
        sa.String(HASH), primary_key=True
    )
    host: orm.Mapped[str] = orm.mapped_column(sa.String(NAME))
    challenge_class: orm.Mapped[str] = orm.mapped_column(sa.String(16))
    issued: orm.Mapped[float] = orm.mapped_column(sa.Double)
    expires: orm.Mapped[float] = orm.mapped_column(sa.Double)
    used: orm.Mapped[bool] = orm.mapped_column(sa.Boolean, default=False)
    request: orm.Mapped[str | None] = orm.mapped_column(sa.String(HASH))
    answer: orm.Mapped[str | None] = orm.mapped_column(sa.Text, deferred=True)
    __table_args__ = (
        sa.Index('ix_challenges_host_expires', 'host', 'expires'),
        Base.__table_args__,
    )


class Measurement(Base):
    """What a host's last authentic evidence showed, compressed JSON.

    ``document`` is the VerifiedState, ``uefi_log`` the firmware's log that it
    comes from, and ``uefi_digest`` the SHA-256 of that.  ``ima_states`` holds
    the states from which the host may continue its measurement list, newest
    first; it is empty if the list did not verify.  ``fingerprint`` stands for
    what the document depends on: while it stays, nothing is written but the
    states.
    """

    __tablename__ = 'measurements'
    host: orm.Mapped[str] = orm.mapped_column(
        sa.String(NAME), primary_key=True
    )
    fingerprint: orm.Mapped[str] = orm.mapped_column(sa.String(HASH))
    reset_count: orm.Mapped[int] = orm.mapped_column(sa.BigInteger)
    document: orm.Mapped[bytes] = orm.mapped_column(
        LargeDocument, deferred=True
    )
    uefi_digest: orm.Mapped[str | None] = orm.mapped_column(sa.String(HASH))
    uefi_log: orm.Mapped[bytes | None] = orm.mapped_column(
        LargeDocument, deferred=True
    )
    ima_states: orm.Mapped[bytes] = orm.mapped_column(LargeDocument)
    measured_at: orm.Mapped[float] = orm.mapped_column(sa.Double)


class MeasurementSegment(Base):
    """A part of a host's measurement list as sent, compressed.

    ``start`` is its offset in the list; together the segments are the list
    up to where it was covered.  A long one is in parts, for a database takes
    no more than ``max_allowed_packet``, by default 16 MiB, in one statement.
    """

    __tablename__ = 'measurement_segments'
    host: orm.Mapped[str] = orm.mapped_column(
        sa.String(NAME), primary_key=True
    )
    start: orm.Mapped[int] = orm.mapped_column(
        sa.BigInteger, primary_key=True, autoincrement=False
    )
    part: orm.Mapped[int] = orm.mapped_column(
        sa.Integer, primary_key=True, autoincrement=False
    )
    content: orm.Mapped[bytes] = orm.mapped_column(LargeDocument)


class ListUpload(Base):
    """A measurement list that a host is sending in parts, not yet judged.

    The parts are the list from ``base`` up to ``upto``, in the boot of
    ``reset_count``.  ``version`` is another one after each change.
    """

    __tablename__ = 'list_uploads'
    host: orm.Mapped[str] = orm.mapped_column(
        sa.String(NAME), primary_key=True
    )
    reset_count: orm.Mapped[int] = orm.mapped_column(sa.BigInteger)
    base: orm.Mapped[int] = orm.mapped_column(sa.BigInteger)
    upto: orm.Mapped[int] = orm.mapped_column(sa.BigInteger)
    version: orm.Mapped[str] = orm.mapped_column(sa.String(UUID))
    updated_at: orm.Mapped[float] = orm.mapped_column(sa.Double, index=True)


class ListUploadPart(Base):
    """What was sent of it; as :class:`MeasurementSegment`, which it becomes
    once it led to a quoted PCR.
    """

    __tablename__ = 'list_upload_parts'
    host: orm.Mapped[str] = orm.mapped_column(
        sa.String(NAME), primary_key=True
    )
    start: orm.Mapped[int] = orm.mapped_column(
        sa.BigInteger, primary_key=True, autoincrement=False
    )
    part: orm.Mapped[int] = orm.mapped_column(
        sa.Integer, primary_key=True, autoincrement=False
    )
    content: orm.Mapped[bytes] = orm.mapped_column(LargeDocument)


class Reference(Base):
    """Reference values, compressed JSON."""

    __tablename__ = 'reference_values'
    name: orm.Mapped[str] = orm.mapped_column(
        sa.String(NAME), primary_key=True
    )
    uuid: orm.Mapped[str] = orm.mapped_column(sa.String(UUID), unique=True)
    host: orm.Mapped[str] = orm.mapped_column(sa.String(NAME))
    document: orm.Mapped[bytes] = orm.mapped_column(LargeDocument)
    created_at: orm.Mapped[float] = orm.mapped_column(sa.Double)


class PolicySummary(TypedDict):
    """What lists show of a policy's document."""

    description: str
    hosts: list[str]
    rules: list[str]


class Policy(Base):
    """A policy of the operator; ``summary`` is what lists show of it.

    ``revision`` counts its documents, which are kept beside it in parts.
    """

    __tablename__ = 'policies'
    name: orm.Mapped[str] = orm.mapped_column(
        sa.String(NAME), primary_key=True
    )
    uuid: orm.Mapped[str] = orm.mapped_column(sa.String(UUID), unique=True)
    revision: orm.Mapped[int] = orm.mapped_column(sa.BigInteger)
    summary: orm.Mapped[PolicySummary] = orm.mapped_column(sa.JSON)
    created_at: orm.Mapped[float] = orm.mapped_column(sa.Double)
    updated_at: orm.Mapped[float] = orm.mapped_column(sa.Double)
    actor: orm.Mapped[str] = orm.mapped_column(sa.String(NAME))


class PolicyPart(Base):
    """A part of a policy's document, compressed JSON.

    In parts for the reason that :class:`MeasurementSegment` has.
    """

    __tablename__ = 'policy_parts'
    uuid: orm.Mapped[str] = orm.mapped_column(
        sa.String(UUID), primary_key=True
    )
    revision: orm.Mapped[int] = orm.mapped_column(
        sa.BigInteger, primary_key=True, autoincrement=False
    )
    seq: orm.Mapped[int] = orm.mapped_column(
        sa.Integer, primary_key=True, autoincrement=False
    )
    content: orm.Mapped[bytes] = orm.mapped_column(LargeDocument)


class Server(Base):
    """The ledger: what a server's newest document says.

    The columns are those of ``custody.ledger.LedgerRow``, and of the holder:
    the approval key that its copy rests under, '' for no copy, and when it
    reported that; and its resetCount || restartCount when it was last let
    open the key.
    """

    __tablename__ = 'servers'
    instance: orm.Mapped[str] = orm.mapped_column(
        sa.String(UUID), primary_key=True
    )
    holder: orm.Mapped[str | None] = orm.mapped_column(
        sa.String(NAME), index=True
    )
    epoch: orm.Mapped[int] = orm.mapped_column(sa.BigInteger)
    version: orm.Mapped[int] = orm.mapped_column(sa.BigInteger)
    head: orm.Mapped[str] = orm.mapped_column(sa.String(HASH))
    pending: orm.Mapped[str | None] = orm.mapped_column(sa.String(UUID))
    claim: orm.Mapped[str | None] = orm.mapped_column(sa.String(TPM_NAME))
    released: orm.Mapped[bool] = orm.mapped_column(sa.Boolean, default=False)
    disputed: orm.Mapped[str | None] = orm.mapped_column(sa.String(UUID))
    approval_kid: orm.Mapped[str | None] = orm.mapped_column(sa.String(16))
    reported_at: orm.Mapped[float | None] = orm.mapped_column(sa.Double)
    opened_boot: orm.Mapped[str | None] = orm.mapped_column(sa.String(16))


class Migration(Base):
    """One hand-over: what D asked for, what was signed, what was said.

    ``permit_hash`` and ``start_hash`` are digests of documents; ``key`` is
    what D's copy is sealed in.  The words are the last ones of both ends,
    ``contradicted_at`` is since when they contradict each other.  ``taint``
    has the reasons why a host was not trusted that said one, or while its
    stream was under way.
    """

    __tablename__ = 'migrations'
    id: orm.Mapped[str] = orm.mapped_column(sa.String(UUID), primary_key=True)
    instance: orm.Mapped[str] = orm.mapped_column(sa.String(UUID), index=True)
    source: orm.Mapped[str] = orm.mapped_column(sa.String(NAME))
    dest: orm.Mapped[str] = orm.mapped_column(sa.String(NAME))
    status: orm.Mapped[str] = orm.mapped_column(sa.String(16), index=True)
    msk_name: orm.Mapped[str] = orm.mapped_column(
        sa.String(TPM_NAME), unique=True
    )
    ak_dest: orm.Mapped[str] = orm.mapped_column(sa.String(TPM_NAME))
    ak_source: orm.Mapped[str | None] = orm.mapped_column(sa.String(TPM_NAME))
    address: orm.Mapped[str] = orm.mapped_column(sa.String(NAME))
    tls_name: orm.Mapped[str] = orm.mapped_column(sa.String(NAME))
    kind: orm.Mapped[str] = orm.mapped_column(
        sa.String(16), server_default=str(Move.LIVE)
    )
    dest_issued: orm.Mapped[float] = orm.mapped_column(sa.Double)
    dest_pcr_digest: orm.Mapped[str] = orm.mapped_column(sa.String(HASH))
    dest_reset_restart: orm.Mapped[str] = orm.mapped_column(sa.String(16))
    dest_clock_ms: orm.Mapped[str] = orm.mapped_column(sa.String(20))
    source_reset_restart: orm.Mapped[str | None] = orm.mapped_column(
        sa.String(16)
    )
    epoch: orm.Mapped[int | None] = orm.mapped_column(sa.BigInteger)
    new_epoch: orm.Mapped[int | None] = orm.mapped_column(sa.BigInteger)
    permit_hash: orm.Mapped[str | None] = orm.mapped_column(sa.String(HASH))
    start_hash: orm.Mapped[str | None] = orm.mapped_column(sa.String(HASH))
    key: orm.Mapped[str | None] = orm.mapped_column(sa.String(TPM_NAME))
    source_word: orm.Mapped[str | None] = orm.mapped_column(sa.String(16))
    dest_word: orm.Mapped[str | None] = orm.mapped_column(sa.String(16))
    contradicted_at: orm.Mapped[float | None] = orm.mapped_column(sa.Double)
    taint: orm.Mapped[list[str]] = orm.mapped_column(sa.JSON, default=list)
    created_at: orm.Mapped[float] = orm.mapped_column(sa.Double)
    updated_at: orm.Mapped[float] = orm.mapped_column(sa.Double)


class Document(Base):
    """A document as signed, of whatever kind.

    ``seq`` is its place in the log of all documents, 1, 2, ...; null until it
    was given one.
    """

    __tablename__ = 'documents'
    hash: orm.Mapped[str] = orm.mapped_column(
        sa.String(HASH), primary_key=True
    )
    instance: orm.Mapped[str] = orm.mapped_column(sa.String(UUID))
    version: orm.Mapped[int] = orm.mapped_column(sa.BigInteger)
    kind: orm.Mapped[str] = orm.mapped_column(sa.String(32))
    subject: orm.Mapped[str] = orm.mapped_column(sa.String(UUID), index=True)
    kid: orm.Mapped[str] = orm.mapped_column(sa.String(16))
    seq: orm.Mapped[int | None] = orm.mapped_column(sa.BigInteger, unique=True)
    stored_at: orm.Mapped[float] = orm.mapped_column(sa.Double)
    token: orm.Mapped[str] = orm.mapped_column(sa.Text)
    __table_args__ = (
        sa.Index('ix_documents_instance_version', 'instance', 'version'),
        Base.__table_args__,
    )


class Audit(Base):
    """What was decided, by whom; ordered, never changed by the service.

    ``korora-manage db purge`` deletes what is in an :class:`Archive`.
    """

    __tablename__ = 'audit'
    id: orm.Mapped[int] = orm.mapped_column(
        sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), primary_key=True
    )
    at: orm.Mapped[float] = orm.mapped_column(sa.Double)
    actor: orm.Mapped[str] = orm.mapped_column(sa.String(NAME))
    action: orm.Mapped[str] = orm.mapped_column(sa.String(64))
    subject: orm.Mapped[str] = orm.mapped_column(sa.String(NAME))
    note: orm.Mapped[str] = orm.mapped_column(sa.Text)


class Archive(Base):
    """A file with rows that the database may delete; ``digest`` is its own.

    ``first`` and ``last`` are numbers of its rows: ``id`` of the audit table,
    ``seq`` of documents, of which ``head`` is the log's head after ``last``.
    """

    __tablename__ = 'archives'
    digest: orm.Mapped[str] = orm.mapped_column(
        sa.String(HASH), primary_key=True
    )
    kind: orm.Mapped[str] = orm.mapped_column(sa.String(16))
    row_count: orm.Mapped[int] = orm.mapped_column(sa.BigInteger)
    first: orm.Mapped[int] = orm.mapped_column(sa.BigInteger)
    last: orm.Mapped[int] = orm.mapped_column(sa.BigInteger)
    head: orm.Mapped[str] = orm.mapped_column(sa.String(HASH))
    archived_at: orm.Mapped[float] = orm.mapped_column(sa.Double)


class Ledger(Base):
    """The single row (id 1) of the ledger: incarnation, and the log's head.

    ``head_hash`` is over all documents up to and with ``head_seq``; see
    ``verifier.custody.log``.
    """

    __tablename__ = 'ledger'
    id: orm.Mapped[int] = orm.mapped_column(
        sa.Integer, primary_key=True, autoincrement=False
    )
    incarnation: orm.Mapped[str] = orm.mapped_column(sa.String(UUID))
    head_seq: orm.Mapped[int] = orm.mapped_column(sa.BigInteger)
    head_hash: orm.Mapped[str] = orm.mapped_column(sa.String(HASH))


class Counter(Base):
    """Named counters; 'results' numbers every change of a result."""

    __tablename__ = 'counters'
    name: orm.Mapped[str] = orm.mapped_column(sa.String(32), primary_key=True)
    value: orm.Mapped[int] = orm.mapped_column(sa.BigInteger)


class Response(Base):
    """What one driver does about a host that lost its trust.

    The columns are those of ``responses.words.Response``.  ``closed`` is ''
    while something is to come of it, then its id: so there is one such of a
    host and driver.  ``acted_at`` is when it became due without an operator.
    """

    __tablename__ = 'responses'
    id: orm.Mapped[str] = orm.mapped_column(sa.String(UUID), primary_key=True)
    host: orm.Mapped[str] = orm.mapped_column(sa.String(NAME))
    driver: orm.Mapped[str] = orm.mapped_column(sa.String(64))
    closed: orm.Mapped[str] = orm.mapped_column(sa.String(UUID), default='')
    state: orm.Mapped[str] = orm.mapped_column(sa.String(16), index=True)
    reasons: orm.Mapped[list[str]] = orm.mapped_column(sa.JSON, default=list)
    why: orm.Mapped[str] = orm.mapped_column(sa.Text, default='')
    detail: orm.Mapped[dict[str, object]] = orm.mapped_column(
        sa.JSON, default=dict
    )
    attempts: orm.Mapped[int] = orm.mapped_column(sa.Integer, default=0)
    error: orm.Mapped[str] = orm.mapped_column(sa.Text, default='')
    created_at: orm.Mapped[float] = orm.mapped_column(sa.Double)
    updated_at: orm.Mapped[float] = orm.mapped_column(sa.Double, index=True)
    due_at: orm.Mapped[float] = orm.mapped_column(sa.Double)
    acted_at: orm.Mapped[float | None] = orm.mapped_column(
        sa.Double, index=True
    )
    actor: orm.Mapped[str] = orm.mapped_column(sa.String(NAME), default='')
    note: orm.Mapped[str] = orm.mapped_column(sa.Text, default='')
    __table_args__ = (
        sa.UniqueConstraint(
            'host', 'driver', 'closed', name='uniq_responses0open'
        ),
        Base.__table_args__,
    )


class ResponseHost(Base):
    """What korora-enforcer believes of a host that it saw trusted.

    ``streak`` counts results in a row that say otherwise, of which the last
    one was issued at ``seen``.
    """

    __tablename__ = 'response_hosts'
    host: orm.Mapped[str] = orm.mapped_column(
        sa.String(NAME), primary_key=True
    )
    lost: orm.Mapped[bool] = orm.mapped_column(sa.Boolean)
    streak: orm.Mapped[int] = orm.mapped_column(sa.Integer)
    seen: orm.Mapped[float] = orm.mapped_column(sa.Double)


class ResponseLease(Base):
    """The single row (id 1) of who leads, and whether responses are held.

    ``term`` is another one for each leader; whatever a leader writes, it
    writes while it has this row locked, and only in its own term.
    ``version`` is another one after each change of anything of responses.
    """

    __tablename__ = 'response_lease'
    id: orm.Mapped[int] = orm.mapped_column(
        sa.Integer, primary_key=True, autoincrement=False
    )
    holder: orm.Mapped[str] = orm.mapped_column(sa.String(NAME))
    term: orm.Mapped[int] = orm.mapped_column(sa.BigInteger)
    version: orm.Mapped[int] = orm.mapped_column(sa.BigInteger)
    until: orm.Mapped[float] = orm.mapped_column(sa.Double)
    hold_since: orm.Mapped[float | None] = orm.mapped_column(sa.Double)
    hold_why: orm.Mapped[str] = orm.mapped_column(sa.Text)
    resumed_at: orm.Mapped[float] = orm.mapped_column(sa.Double)
