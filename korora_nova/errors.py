# SPDX-License-Identifier: Apache-2.0
"""Every error of the project, and every reason id it can show.

::

    KororaError                 reason, message, details; HTTP code
     +-- EvidenceError     400  evidence or input bytes are bad; .place
     +-- Invalid           400  a document does not follow its schema
     +-- Forbidden         403  the caller may not do this
     +-- Untrusted         403  evidence is fine, appraisal or rule says no
     +-- CustodyError      403  permit, receipt, approval, transfer, vault
     +-- NotFound          404
     +-- Conflict          409  identity or ledger state
     |    +-- Retry        409  lost a race; the same request may succeed
     +-- TooLarge          413
     +-- Unavailable       503  service, agent, TPM, bus, database: never a
                                statement about evidence, nor the reverse

``Reason`` holds the stable ids; :data:`REASONS` documents each one, and the
operator's documentation is generated from it.
"""

from __future__ import annotations

from collections.abc import Mapping


class KororaError(Exception):
    """Base of all errors of Kororā.

    :param reason: stable id, one of :data:`REASONS`.
    :param message: a sentence an operator can act on; default: the table's.
    :param details: short strings for logs and APIs; never secrets.
    """

    code = 500

    def __init__(
        self,
        reason: str,
        message: str | None = None,
        *,
        details: Mapping[str, str] | None = None,
    ) -> None:
        self.reason = reason
        self.message = message or REASONS.get(reason, 'Unknown reason.')
        self.details: dict[str, str] = dict(details or {})
        super().__init__(self.reason, self.message)

    def __str__(self) -> str:
        return f'[{self.reason}] {self.message}'


class EvidenceError(KororaError):
    """Evidence or other untrusted bytes are malformed or do not verify.

    :param place: the field or offset at fault, if known.
    """

    code = 400

    def __init__(
        self,
        reason: str,
        message: str | None = None,
        *,
        place: str | None = None,
        details: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(reason, message, details=details)
        self.place = place
        if place is not None:
            self.details.setdefault('place', place)


class Invalid(KororaError):
    """A document does not follow its schema."""

    code = 400


class Forbidden(KororaError):
    """The caller may not do this."""

    code = 403


class Untrusted(KororaError):
    """The evidence was read, and the appraisal or a rule says no."""

    code = 403


class CustodyError(KororaError):
    """A permit, receipt, approval, transfer or vault record was refused."""

    code = 403


class NotFound(KororaError):
    """What was asked for does not exist."""

    code = 404


class Conflict(KororaError):
    """The request contradicts the recorded identity or ledger state."""

    code = 409


class Retry(Conflict):
    """A race was lost; the same request with a new challenge may succeed."""

    def __init__(
        self,
        reason: str = 'RETRY',
        message: str | None = None,
        *,
        details: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(reason, message, details=details)


class TooLarge(KororaError):
    """The input is larger than its cap."""

    code = 413


class Unavailable(KororaError):
    """Infrastructure is down; says nothing about any evidence."""

    code = 503


class Reason:
    """Stable reason ids; :data:`REASONS` explains each."""

    HOST_UNKNOWN = 'HOST_UNKNOWN'
    HOST_PENDING = 'HOST_PENDING'
    HOST_UNTRUSTED = 'HOST_UNTRUSTED'
    RESULT_MISSING = 'RESULT_MISSING'
    RESULT_EXPIRED = 'RESULT_EXPIRED'
    RESULT_FORGED = 'RESULT_FORGED'
    IDENTITY_CONFLICT = 'IDENTITY_CONFLICT'
    CREDENTIAL_WRONG = 'CREDENTIAL_WRONG'
    CREDENTIAL_EXPIRED = 'CREDENTIAL_EXPIRED'
    SERVICE_UNAVAILABLE = 'SERVICE_UNAVAILABLE'
    AGENT_UNAVAILABLE = 'AGENT_UNAVAILABLE'
    TPM_UNAVAILABLE = 'TPM_UNAVAILABLE'
    BUS_UNAVAILABLE = 'BUS_UNAVAILABLE'
    NOVA_UNAVAILABLE = 'NOVA_UNAVAILABLE'
    LIBVIRT_UNAVAILABLE = 'LIBVIRT_UNAVAILABLE'
    DATABASE_UNAVAILABLE = 'DATABASE_UNAVAILABLE'
    KEYS_INVALID = 'KEYS_INVALID'
    INTERNAL = 'INTERNAL'
    NOVA_DRIFT = 'NOVA_DRIFT'
    LIBVIRT_TOO_OLD = 'LIBVIRT_TOO_OLD'
    CHALLENGE_UNKNOWN = 'CHALLENGE_UNKNOWN'
    CHALLENGE_EXPIRED = 'CHALLENGE_EXPIRED'
    CHALLENGE_USED = 'CHALLENGE_USED'
    QUOTE_SIGNATURE = 'QUOTE_SIGNATURE'
    QUOTE_MAGIC = 'QUOTE_MAGIC'
    QUOTE_TYPE = 'QUOTE_TYPE'
    QUOTE_NONCE = 'QUOTE_NONCE'
    QUOTE_SELECTION = 'QUOTE_SELECTION'
    QUOTE_DIGEST = 'QUOTE_DIGEST'
    QUOTE_MALFORMED = 'QUOTE_MALFORMED'
    QUOTE_ALGORITHM = 'QUOTE_ALGORITHM'
    QUOTE_CREATION = 'QUOTE_CREATION'
    QUOTE_KEY = 'QUOTE_KEY'
    CLOCK_WENT_BACK = 'CLOCK_WENT_BACK'
    UEFI_LOG_MALFORMED = 'UEFI_LOG_MALFORMED'
    UEFI_LOG_REPLAY = 'UEFI_LOG_REPLAY'
    UEFI_LOG_MISSING = 'UEFI_LOG_MISSING'
    UEFI_LOG_BANK = 'UEFI_LOG_BANK'
    IMA_LOG_MALFORMED = 'IMA_LOG_MALFORMED'
    IMA_LOG_REPLAY = 'IMA_LOG_REPLAY'
    IMA_LOG_MISSING = 'IMA_LOG_MISSING'
    IMA_CONTINUITY = 'IMA_CONTINUITY'
    IMA_TEMPLATE = 'IMA_TEMPLATE'
    IMA_TEMPLATE_HASH = 'IMA_TEMPLATE_HASH'
    IMA_BOOT_AGGREGATE = 'IMA_BOOT_AGGREGATE'
    IMA_VIOLATION = 'IMA_VIOLATION'
    IMA_UNKNOWN_FILE = 'IMA_UNKNOWN_FILE'
    IMA_WRONG_DIGEST = 'IMA_WRONG_DIGEST'
    IMA_SIGNATURE = 'IMA_SIGNATURE'
    IMA_KEYRING = 'IMA_KEYRING'
    IMA_KEXEC = 'IMA_KEXEC'
    SECURE_BOOT_OFF = 'SECURE_BOOT_OFF'
    SIGNATURE_UNKNOWN = 'SIGNATURE_UNKNOWN'
    SIGNATURE_MISSING = 'SIGNATURE_MISSING'
    SIGNATURE_FORBIDDEN = 'SIGNATURE_FORBIDDEN'
    AUTHORITY_UNKNOWN = 'AUTHORITY_UNKNOWN'
    COMPONENT_UNKNOWN = 'COMPONENT_UNKNOWN'
    COMPONENT_MISSING = 'COMPONENT_MISSING'
    COMMAND_LINE = 'COMMAND_LINE'
    EVENT_UNVERIFIED = 'EVENT_UNVERIFIED'
    TPM_FIRMWARE = 'TPM_FIRMWARE'
    TPM_CLOCK_UNSAFE = 'TPM_CLOCK_UNSAFE'
    PCR_NOT_GOLDEN = 'PCR_NOT_GOLDEN'
    NO_REFERENCE = 'NO_REFERENCE'
    NO_POLICY = 'NO_POLICY'
    POLICY_INVALID = 'POLICY_INVALID'
    POLICY_CONFLICT = 'POLICY_CONFLICT'
    EK_CHAIN = 'EK_CHAIN'
    EK_EKU = 'EK_EKU'
    EK_MISMATCH = 'EK_MISMATCH'
    EK_VALIDITY = 'EK_VALIDITY'
    EK_REVOKED = 'EK_REVOKED'
    EK_CRL = 'EK_CRL'
    AK_ATTRIBUTES = 'AK_ATTRIBUTES'
    SRK_ATTRIBUTES = 'SRK_ATTRIBUTES'
    MSK_TEMPLATE = 'MSK_TEMPLATE'
    NOT_HOLDER = 'NOT_HOLDER'
    EPOCH_MISMATCH = 'EPOCH_MISMATCH'
    CUSTODY_PENDING = 'CUSTODY_PENDING'
    LEDGER_CONFLICT = 'LEDGER_CONFLICT'
    LEDGER_BEHIND = 'LEDGER_BEHIND'
    HOLDS_KEYS = 'HOLDS_KEYS'
    MIGRATION_UNKNOWN = 'MIGRATION_UNKNOWN'
    MIGRATION_NOT_IN_NOVA = 'MIGRATION_NOT_IN_NOVA'
    MIGRATION_SPENT = 'MIGRATION_SPENT'
    STATEMENT_NOT_ALLOWED = 'STATEMENT_NOT_ALLOWED'
    PERMIT_INVALID = 'PERMIT_INVALID'
    PERMIT_EXPIRED = 'PERMIT_EXPIRED'
    PERMIT_MISMATCH = 'PERMIT_MISMATCH'
    RECEIPT_INVALID = 'RECEIPT_INVALID'
    TRANSFER_INVALID = 'TRANSFER_INVALID'
    APPROVAL_INVALID = 'APPROVAL_INVALID'
    NOT_ANNOUNCED = 'NOT_ANNOUNCED'
    BUSY = 'BUSY'
    VAULT_MISSING = 'VAULT_MISSING'
    VAULT_STATE = 'VAULT_STATE'
    VAULT_DAMAGED = 'VAULT_DAMAGED'
    STATE_DIR_IN_USE = 'STATE_DIR_IN_USE'
    UNSEAL_REFUSED = 'UNSEAL_REFUSED'
    SECRET_IN_MIGRATE_DATA = 'SECRET_IN_MIGRATE_DATA'
    ADDRESS_MISMATCH = 'ADDRESS_MISMATCH'
    POSTCOPY_FORBIDDEN = 'POSTCOPY_FORBIDDEN'
    COLD_MIGRATION_UNSUPPORTED = 'COLD_MIGRATION_UNSUPPORTED'
    PEER_DENIED = 'PEER_DENIED'
    FORBIDDEN = 'FORBIDDEN'
    INVALID_REQUEST = 'INVALID_REQUEST'
    NOT_FOUND = 'NOT_FOUND'
    TOO_LARGE = 'TOO_LARGE'
    RETRY = 'RETRY'


_TABLE: dict[str, tuple[type[KororaError], str]] = {
    # Hosts and attestation results
    'HOST_UNKNOWN': (
        NotFound,
        'The attestation service does not know this host; enrol its agent.',
    ),
    'HOST_PENDING': (
        Untrusted,
        'The host waits for an operator to approve its identity.',
    ),
    'HOST_UNTRUSTED': (
        Untrusted,
        'The host is not trusted now; see the '
        'reasons of its attestation result.',
    ),
    'RESULT_MISSING': (
        Untrusted,
        'There is no attestation result for the '
        'host; check that its agent runs.',
    ),
    'RESULT_EXPIRED': (
        Untrusted,
        'The attestation result is too old; check '
        'the agent, the service and the clocks.',
    ),
    'RESULT_FORGED': (
        Untrusted,
        'The attestation result does not verify with the pinned keys.',
    ),
    'IDENTITY_CONFLICT': (
        Conflict,
        'The host name or the TPM is enrolled with another partner.',
    ),
    'CREDENTIAL_WRONG': (
        Forbidden,
        'The TPM did not prove that it holds the keys it enrols.',
    ),
    'CREDENTIAL_EXPIRED': (
        Forbidden,
        'The enrolment took too long or was used already; start again.',
    ),
    # Infrastructure
    'SERVICE_UNAVAILABLE': (
        Unavailable,
        'The attestation service cannot be reached.',
    ),
    'AGENT_UNAVAILABLE': (
        Unavailable,
        'The local korora-agent cannot be reached.',
    ),
    'TPM_UNAVAILABLE': (Unavailable, 'The TPM does not answer as expected.'),
    'BUS_UNAVAILABLE': (
        Unavailable,
        'The other host did not answer over the message bus.',
    ),
    'NOVA_UNAVAILABLE': (
        Unavailable,
        'Nova cannot be asked about the migration.',
    ),
    'LIBVIRT_UNAVAILABLE': (Unavailable, 'libvirt cannot be reached.'),
    'DATABASE_UNAVAILABLE': (Unavailable, 'The database cannot be reached.'),
    'KEYS_INVALID': (Unavailable, 'A key file is missing or malformed.'),
    'INTERNAL': (Unavailable, 'An internal error; see the log.'),
    'NOVA_DRIFT': (
        Unavailable,
        'This Nova differs from those the driver '
        'knows; protected servers are refused.',
    ),
    'LIBVIRT_TOO_OLD': (
        Unavailable,
        'libvirt is older than 8.9 and would lose the state of vTPMs.',
    ),
    # Challenges and quotes
    'CHALLENGE_UNKNOWN': (
        EvidenceError,
        'The challenge was never issued to this host for this class of call.',
    ),
    'CHALLENGE_EXPIRED': (
        EvidenceError,
        'The challenge is too old; ask for a new one.',
    ),
    'CHALLENGE_USED': (EvidenceError, 'The challenge was used already.'),
    'QUOTE_SIGNATURE': (
        EvidenceError,
        "The attestation's signature does not "
        "verify with the host's attestation key.",
    ),
    'QUOTE_MAGIC': (
        EvidenceError,
        'The attestation was not generated by a TPM.',
    ),
    'QUOTE_TYPE': (EvidenceError, 'The attestation is of another type.'),
    'QUOTE_NONCE': (
        EvidenceError,
        'The attestation answers another challenge, purpose, host or request.',
    ),
    'QUOTE_SELECTION': (
        EvidenceError,
        'The quote does not cover exactly the required PCRs.',
    ),
    'QUOTE_DIGEST': (EvidenceError, 'The PCR values do not match the quote.'),
    'QUOTE_MALFORMED': (EvidenceError, 'A TPM structure is malformed.'),
    'QUOTE_ALGORITHM': (
        EvidenceError,
        'An algorithm other than the required one was used.',
    ),
    'QUOTE_CREATION': (
        EvidenceError,
        'The certified creation does not match '
        'the key, its data or the request.',
    ),
    'QUOTE_KEY': (
        EvidenceError,
        'The attestation key is not of a kind that can be used.',
    ),
    'CLOCK_WENT_BACK': (
        EvidenceError,
        'The TPM counters are older than those last seen: stale evidence.',
    ),
    # Logs and policy
    'UEFI_LOG_MALFORMED': (EvidenceError, 'The UEFI event log is malformed.'),
    'UEFI_LOG_REPLAY': (
        EvidenceError,
        'The UEFI event log does not replay to the quoted PCRs.',
    ),
    'UEFI_LOG_MISSING': (
        EvidenceError,
        'The host sent no UEFI event log; '
        'boot it in UEFI mode with its TPM enabled.',
    ),
    'UEFI_LOG_BANK': (
        EvidenceError,
        'The UEFI event log does not cover this PCR bank completely.',
    ),
    'IMA_LOG_MALFORMED': (
        EvidenceError,
        'The IMA measurement list is malformed or of an unsupported kind.',
    ),
    'IMA_LOG_REPLAY': (
        EvidenceError,
        'The IMA measurement list does not replay to the quoted PCR 10.',
    ),
    'IMA_LOG_MISSING': (
        EvidenceError,
        'The host sent no IMA measurement list; boot it with an IMA policy.',
    ),
    'IMA_CONTINUITY': (
        Conflict,
        'The IMA measurement list does not continue '
        'what was appraised before; send all of it.',
    ),
    'IMA_TEMPLATE': (
        EvidenceError,
        'An entry of the IMA measurement list '
        'has a template that is not supported or not wanted.',
    ),
    'IMA_TEMPLATE_HASH': (
        EvidenceError,
        'An entry of the IMA measurement list does not match its hash.',
    ),
    'IMA_BOOT_AGGREGATE': (
        EvidenceError,
        'The IMA boot aggregate does not match the quoted PCRs.',
    ),
    'IMA_VIOLATION': (
        Untrusted,
        'The IMA measurement list holds a '
        'violation: a file changed while it was measured.',
    ),
    'IMA_UNKNOWN_FILE': (
        Untrusted,
        'A measured file is not among the reference values.',
    ),
    'IMA_WRONG_DIGEST': (
        Untrusted,
        'A measured file has another digest than '
        'the policy lists for its path.',
    ),
    'IMA_SIGNATURE': (
        Untrusted,
        'The signature of a measured file is '
        'missing, of an unknown key, or wrong.',
    ),
    'IMA_KEYRING': (
        Untrusted,
        'A key was loaded into a kernel keyring that '
        'the policy does not allow.',
    ),
    'IMA_KEXEC': (
        Untrusted,
        'Another kernel was started with kexec; no log '
        'tells which one, or with what command line.',
    ),
    'SECURE_BOOT_OFF': (
        Untrusted,
        'The verified event log does not say that Secure Boot is on.',
    ),
    'SIGNATURE_UNKNOWN': (
        Untrusted,
        'A Secure Boot database has an entry that the policy does not allow.',
    ),
    'SIGNATURE_MISSING': (
        Untrusted,
        'A Secure Boot database lacks an entry that the policy requires.',
    ),
    'SIGNATURE_FORBIDDEN': (
        Untrusted,
        'A Secure Boot database has an entry that the policy forbids.',
    ),
    'AUTHORITY_UNKNOWN': (
        Untrusted,
        'A boot image was vouched for by a key '
        'that the policy does not allow.',
    ),
    'COMPONENT_UNKNOWN': (
        Untrusted,
        'A boot component is not among the reference values.',
    ),
    'COMPONENT_MISSING': (
        Untrusted,
        'A boot component that the policy requires was not measured.',
    ),
    'COMMAND_LINE': (
        Untrusted,
        'A kernel command line is not one that the policy allows.',
    ),
    'EVENT_UNVERIFIED': (
        Untrusted,
        'The policy needs event data that does not match its digest.',
    ),
    'TPM_FIRMWARE': (
        Untrusted,
        "The TPM's firmware version is not one that the policy allows.",
    ),
    'TPM_CLOCK_UNSAFE': (
        Untrusted,
        "The TPM's clock is not safe: it may have run before.",
    ),
    'PCR_NOT_GOLDEN': (Untrusted, 'A PCR differs from the reference values.'),
    'NO_POLICY': (Untrusted, 'No appraisal policy applies to the host.'),
    'POLICY_INVALID': (
        Invalid,
        'The appraisal policy does not follow its schema.',
    ),
    'POLICY_CONFLICT': (
        Conflict,
        'The policy was changed meanwhile, or its '
        'name is taken; look at it again.',
    ),
    'NO_REFERENCE': (
        Untrusted,
        'There are no reference values to compare with; create a reference.',
    ),
    # Keys in TPMs
    'EK_CHAIN': (
        EvidenceError,
        'The EK certificate does not chain to a trusted endorser.',
    ),
    'EK_EKU': (
        EvidenceError,
        'The EK certificate is not one for an endorsement key.',
    ),
    'EK_MISMATCH': (
        EvidenceError,
        'The endorsement key is not that of its '
        'certificate, or not of the required kind.',
    ),
    'EK_VALIDITY': (
        EvidenceError,
        'A certificate of the EK chain is not valid now.',
    ),
    'EK_REVOKED': (EvidenceError, 'A certificate of the EK chain is revoked.'),
    'EK_CRL': (
        EvidenceError,
        'A revocation list for the EK chain is '
        'malformed, not signed by its issuer, or too old.',
    ),
    'AK_ATTRIBUTES': (
        EvidenceError,
        'The attestation key is not of the required kind.',
    ),
    'SRK_ATTRIBUTES': (
        EvidenceError,
        'The storage root key is not of the required kind.',
    ),
    'MSK_TEMPLATE': (
        EvidenceError,
        'The migration storage key differs from the required template.',
    ),
    # Custody
    'NOT_HOLDER': (
        CustodyError,
        "The ledger names another holder of the server's key.",
    ),
    'EPOCH_MISMATCH': (
        CustodyError,
        "The epoch is not the one the ledger has for the server's key.",
    ),
    'CUSTODY_PENDING': (
        Conflict,
        "A hand-over of the server's key is not decided yet.",
    ),
    'LEDGER_CONFLICT': (
        Conflict,
        "The ledger already knows the server's key; recover it first.",
    ),
    'LEDGER_BEHIND': (
        Conflict,
        'Hosts hold receipts that the ledger does '
        'not know; recover the ledger.',
    ),
    'HOLDS_KEYS': (Conflict, 'The host still holds keys of servers.'),
    'MIGRATION_UNKNOWN': (NotFound, 'The migration is not known here.'),
    'MIGRATION_NOT_IN_NOVA': (
        CustodyError,
        'Nova does not record this migration as being prepared.',
    ),
    'MIGRATION_SPENT': (
        Conflict,
        'The migration was decided or used already.',
    ),
    'STATEMENT_NOT_ALLOWED': (
        Forbidden,
        'This host may not say that about this migration.',
    ),
    'PERMIT_INVALID': (
        CustodyError,
        'The permit does not verify with the pinned keys.',
    ),
    'PERMIT_EXPIRED': (CustodyError, 'The permit is too old.'),
    'PERMIT_MISMATCH': (CustodyError, 'The permit is for something else.'),
    'RECEIPT_INVALID': (
        CustodyError,
        'The receipt, or the chain it is in, does not verify.',
    ),
    'TRANSFER_INVALID': (
        CustodyError,
        'The transfer does not match its permit or was altered.',
    ),
    'APPROVAL_INVALID': (
        CustodyError,
        'The approval does not verify or is for something else.',
    ),
    'NOT_ANNOUNCED': (
        CustodyError,
        "The migration was not announced by this host's own Nova.",
    ),
    'BUSY': (Retry, 'Another hand-over of the same server is under way.'),
    'VAULT_MISSING': (CustodyError, 'The host holds no key for the server.'),
    'VAULT_STATE': (
        CustodyError,
        "The state of the server's key does not admit this.",
    ),
    'VAULT_DAMAGED': (
        CustodyError,
        "The vault record is damaged or not this server's.",
    ),
    'STATE_DIR_IN_USE': (
        Conflict,
        'Another agent uses the state directory; this one does not start.',
    ),
    'UNSEAL_REFUSED': (CustodyError, 'The TPM refused to open the key.'),
    'SECRET_IN_MIGRATE_DATA': (
        CustodyError,
        'The migrate data carries a secret; it must not.',
    ),
    'ADDRESS_MISMATCH': (
        CustodyError,
        'Nova and the agents name different addresses for the live migration.',
    ),
    'POSTCOPY_FORBIDDEN': (
        CustodyError,
        'Post-copy cannot be used with a protected server.',
    ),
    'COLD_MIGRATION_UNSUPPORTED': (
        CustodyError,
        'Cold migration and resize of protected servers are not supported.',
    ),
    # Calls
    'PEER_DENIED': (Forbidden, 'This user may not talk to the agent.'),
    'FORBIDDEN': (Forbidden, 'The role does not admit this call.'),
    'INVALID_REQUEST': (Invalid, 'The document does not follow its schema.'),
    'NOT_FOUND': (NotFound, 'There is no such thing.'),
    'TOO_LARGE': (TooLarge, 'The input is too large.'),
    'RETRY': (Retry, 'A race was lost; try again.'),
}

#: Reason id -> what it means, for operators.
REASONS: dict[str, str] = {key: text for key, (_, text) in _TABLE.items()}

_BY_CODE: dict[int, type[KororaError]] = {
    cls.code: cls
    for cls in (Invalid, Forbidden, NotFound, Conflict, TooLarge, Unavailable)
}


def from_reason(
    reason: str,
    message: str | None = None,
    details: Mapping[str, str] | None = None,
    code: int | None = None,
) -> KororaError:
    """Build the error a peer reported, by its reason id.

    A reason this version does not know becomes the class of the HTTP
    ``code``, else a plain :class:`KororaError`; never a success.
    """
    if reason in _TABLE:
        cls = _TABLE[reason][0]
    else:
        cls = _BY_CODE.get(code or 0, KororaError)
    return cls(reason, message, details=details)
