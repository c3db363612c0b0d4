# SPDX-License-Identifier: Apache-2.0
"""Every reason id, the class of its error and what it means, each said once.

The operator's documentation is generated from this table. Ids are stable:
they travel in answers, logs and signed results.
"""

from __future__ import annotations

from typing import Literal

#: A class of :mod:`korora_nova.errors`.
Kind = Literal[
    'EvidenceError',
    'Invalid',
    'Forbidden',
    'Untrusted',
    'CustodyError',
    'NotFound',
    'Conflict',
    'Retry',
    'Busy',
    'TooLarge',
    'Unavailable',
]


class Id:
    """One line of the table; reads as its own name, a plain string."""

    def __init__(self, kind: Kind, meaning: str) -> None:
        self.kind = kind
        self.meaning = meaning

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name
        TABLE[name] = self

    def __get__(self, instance: object, owner: type) -> str:
        return self.name


#: Reason id -> its line.
TABLE: dict[str, Id] = {}


class Reason:
    """The reason ids: ``Reason.RETRY == 'RETRY'``."""

    # Hosts and attestation results
    HOST_UNKNOWN = Id(
        'NotFound',
        'The attestation service does not know this host; enrol its agent.',
    )
    HOST_PENDING = Id(
        'Untrusted', 'The host waits for an operator to approve its identity.'
    )
    EVICTED = Id(
        'Untrusted',
        'An operator gave the host up, with all its keys; approve it again if '
        'it is back.',
    )
    HOST_UNTRUSTED = Id(
        'Untrusted',
        'The host is not trusted now; its attestation result says why.',
    )
    RESULT_MISSING = Id(
        'Untrusted', 'The host has no attestation result; check its agent.'
    )
    RESULT_EXPIRED = Id(
        'Untrusted',
        'The attestation result is too old; check agent, service and clocks.',
    )
    RESULT_FORGED = Id(
        'Untrusted', 'The attestation result does not verify with pinned keys.'
    )
    ENFORCER_ABSENT = Id(
        'Untrusted',
        "The host does not prove that its nova-compute runs Kororā's driver; "
        'start it with compute_driver = korora.KororaLibvirtDriver.',
    )
    ENFORCER_DRIFT = Id(
        'Untrusted',
        "The host's nova-compute refuses protected servers; its log and "
        'openstack attestation host show say why.',
    )
    SOURCE_REFUSES = Id(
        'Untrusted',
        'Another verifier that must agree does not trust the host; its own '
        'log says why.',
    )
    SOURCE_SILENT = Id(
        'Untrusted',
        'Another verifier that must agree has said nothing of the host that '
        'still counts; check korora-sources and that verifier.',
    )
    SOURCE_STALE = Id(
        'Untrusted',
        'Another verifier that must agree has not appraised the host for too '
        'long; check it, and its agent on the host.',
    )
    SOURCE_HOST_UNKNOWN = Id(
        'Untrusted',
        'Another verifier that must agree does not know the TPM of the host; '
        'add the host there.',
    )
    SOURCE_IDENTITY = Id(
        'Untrusted',
        'What another verifier calls this host is, or may be, a machine with '
        'another TPM; add the host there anew.',
    )
    SOURCE_UNAVAILABLE = Id(
        'Unavailable', 'Another verifier does not answer as expected.'
    )
    SOURCE_INVALID = Id(
        'Unavailable', 'The sources of results cannot be used as configured.'
    )
    IDENTITY_CONFLICT = Id(
        'Conflict',
        'This host has another TPM, or this TPM another host.',
    )
    IDENTITY_UNCERTIFIED = Id(
        'Conflict',
        'No TPM maker vouches for the endorsement key of this host: it may be '
        'that of a program, which can be copied together with all it '
        'protects. If you read the hash at the machine itself, and accept '
        'that, approve it with --uncertified.',
    )
    CREDENTIAL_WRONG = Id(
        'Forbidden', 'The TPM did not prove that it holds the keys it enrols.'
    )
    CREDENTIAL_EXPIRED = Id(
        'Forbidden',
        'The enrolment took too long or was already completed; start again.',
    )

    # Infrastructure
    SERVICE_UNAVAILABLE = Id(
        'Unavailable', 'The attestation service cannot be reached.'
    )
    AGENT_UNAVAILABLE = Id(
        'Unavailable', 'The local korora-agent cannot be reached.'
    )
    TPM_UNAVAILABLE = Id('Unavailable', 'The TPM does not answer as expected.')
    BUS_UNAVAILABLE = Id(
        'Unavailable', 'The other host did not answer over the message bus.'
    )
    NOVA_UNAVAILABLE = Id(
        'Unavailable', 'Nova cannot be asked about the migration.'
    )
    PLACEMENT_UNAVAILABLE = Id(
        'Unavailable',
        'Placement cannot be asked for the trait of trusted hosts, or does '
        'not set it.',
    )
    ESCROW_UNAVAILABLE = Id(
        'Unavailable',
        "The key manager cannot be asked for the tenant's secret.",
    )
    LIBVIRT_UNAVAILABLE = Id('Unavailable', 'libvirt cannot be reached.')
    CUSTODIAN_FAILED = Id(
        'Unavailable',
        'The process that has a key in its memory for one operation did not '
        'start, ended or took too long; the operation can be repeated.',
    )
    MEMORY_NOT_LOCKED = Id(
        'Unavailable',
        'korora-agent may not lock memory, so that a key could get into swap: '
        'give it LimitMEMLOCK=infinity or CAP_IPC_LOCK, or, where there is no '
        'swap or an encrypted one, set [attester] lock_memory to false.',
    )
    DATABASE_UNAVAILABLE = Id('Unavailable', 'The database cannot be reached.')
    ANCHOR_UNAVAILABLE = Id(
        'Unavailable',
        "The anchor of the service's database cannot be reached or used.",
    )
    KEYS_INVALID = Id('Unavailable', 'A key file is missing or malformed.')
    EXTENSION_INVALID = Id(
        'Unavailable',
        'A rule that another package adds to policies cannot be used.',
    )
    INTERNAL = Id('Unavailable', 'An internal error; see the log.')
    NOVA_DRIFT = Id(
        'Unavailable',
        'The driver does not know this Nova; protected servers are refused.',
    )
    LIBVIRT_TOO_OLD = Id(
        'Unavailable',
        'libvirt is older than 8.9 and would lose the state of vTPMs.',
    )

    # Challenges and quotes
    CHALLENGE_UNKNOWN = Id(
        'EvidenceError',
        'The challenge was never issued to this host for this class of call.',
    )
    CHALLENGE_EXPIRED = Id(
        'EvidenceError', 'The challenge is too old; ask for a new one.'
    )
    CHALLENGE_USED = Id('EvidenceError', 'The challenge was already used.')
    QUOTE_SIGNATURE = Id(
        'EvidenceError',
        "The signature does not verify with the host's attestation key.",
    )
    QUOTE_MAGIC = Id(
        'EvidenceError', 'The attestation was not generated by a TPM.'
    )
    QUOTE_TYPE = Id('EvidenceError', 'The attestation is of another type.')
    QUOTE_NONCE = Id(
        'EvidenceError',
        'The attestation answers another challenge, purpose, host or request.',
    )
    QUOTE_SELECTION = Id(
        'EvidenceError', 'The quote does not cover exactly the required PCRs.'
    )
    QUOTE_DIGEST = Id('EvidenceError', 'The PCR values differ from the quote.')
    QUOTE_MALFORMED = Id('EvidenceError', 'A TPM structure is malformed.')
    QUOTE_ALGORITHM = Id(
        'EvidenceError', 'An algorithm other than the required one was used.'
    )
    QUOTE_CREATION = Id(
        'EvidenceError',
        'The certified creation does not match the key, data or request.',
    )
    QUOTE_KEY = Id(
        'EvidenceError',
        'The attestation key is not of a kind that can be used.',
    )
    CLOCK_WENT_BACK = Id(
        'EvidenceError',
        'The TPM counters are lower than those last seen: old evidence.',
    )

    # Logs and policy
    UEFI_LOG_MALFORMED = Id(
        'EvidenceError', 'The UEFI event log is malformed.'
    )
    UEFI_LOG_REPLAY = Id(
        'EvidenceError',
        'The UEFI event log does not replay to the quoted PCRs.',
    )
    UEFI_LOG_MISSING = Id(
        'EvidenceError',
        'The host sent no UEFI event log; boot with UEFI and enable the TPM.',
    )
    UEFI_LOG_BANK = Id(
        'EvidenceError',
        'The UEFI event log does not cover this PCR bank completely.',
    )
    IMA_LOG_MALFORMED = Id(
        'EvidenceError',
        'The IMA measurement list is malformed or of an unsupported kind.',
    )
    IMA_LOG_REPLAY = Id(
        'EvidenceError',
        'The IMA measurement list does not replay to the quoted PCR 10.',
    )
    IMA_LOG_MISSING = Id(
        'EvidenceError',
        'The host sent no IMA measurement list; boot it with an IMA policy.',
    )
    IMA_LOG_TRIMMED = Id(
        'EvidenceError',
        'The kernel has dropped a part of the IMA measurement list that the '
        'service has not seen; reboot the host.',
    )
    EVENT_LOG_UNKNOWN = Id(
        'Conflict',
        'The service does not have the event log with this digest; send the '
        'log itself.',
    )
    IMA_CONTINUITY = Id(
        'Conflict',
        'The IMA measurement list does not continue the last one; send it '
        'all.',
    )
    IMA_TEMPLATE = Id(
        'EvidenceError',
        'The IMA measurement list has an unsupported or unwanted template.',
    )
    IMA_TEMPLATE_HASH = Id(
        'EvidenceError',
        'An entry of the IMA measurement list does not match its hash.',
    )
    IMA_BOOT_AGGREGATE = Id(
        'EvidenceError',
        'The IMA boot aggregate does not match the quoted PCRs.',
    )
    IMA_VIOLATION = Id(
        'Untrusted',
        'IMA recorded a violation: a file changed while it was measured.',
    )
    IMA_UNKNOWN_FILE = Id(
        'Untrusted', 'A measured file is not among the reference values.'
    )
    IMA_WRONG_DIGEST = Id(
        'Untrusted',
        "A measured file's digest is not one the policy has for its path.",
    )
    IMA_SIGNATURE = Id(
        'Untrusted',
        "A measured file's signature is missing, wrong or of an unknown key.",
    )
    IMA_KEYRING = Id(
        'Untrusted',
        'A kernel keyring got a key that the policy does not allow.',
    )
    IMA_KEXEC = Id(
        'Untrusted',
        'Another kernel was started with kexec; no log records which one.',
    )
    SECURE_BOOT_OFF = Id(
        'Untrusted',
        'The verified event log does not show that Secure Boot is on.',
    )
    SIGNATURE_UNKNOWN = Id(
        'Untrusted',
        'A Secure Boot database has an entry that the policy does not allow.',
    )
    SIGNATURE_MISSING = Id(
        'Untrusted',
        'A Secure Boot database lacks an entry that the policy requires.',
    )
    SIGNATURE_FORBIDDEN = Id(
        'Untrusted',
        'A Secure Boot database has an entry that the policy forbids.',
    )
    AUTHORITY_UNKNOWN = Id(
        'Untrusted',
        'A key that the policy does not allow vouched for a boot image.',
    )
    COMPONENT_UNKNOWN = Id(
        'Untrusted', 'A boot component is not among the reference values.'
    )
    COMPONENT_MISSING = Id(
        'Untrusted',
        'A boot component that the policy requires was not measured.',
    )
    COMMAND_LINE = Id(
        'Untrusted', 'A kernel command line is not one that the policy allows.'
    )
    EVENT_UNVERIFIED = Id(
        'Untrusted',
        'The policy needs event data that does not match its digest.',
    )
    TPM_FIRMWARE = Id(
        'Untrusted', "The policy does not allow the TPM's firmware version."
    )
    TPM_CLOCK_UNSAFE = Id(
        'Untrusted',
        "The TPM's clock is not safe: it may show the same time twice.",
    )
    PCR_NOT_GOLDEN = Id(
        'Untrusted', 'A PCR differs from the reference values.'
    )
    SITE_RULE = Id('Untrusted', "A rule of the site's own does not hold.")
    NO_POLICY = Id('Untrusted', 'No appraisal policy applies to the host.')
    POLICY_INVALID = Id(
        'Invalid', 'The appraisal policy does not follow its schema.'
    )
    POLICY_CONFLICT = Id(
        'Conflict',
        'The policy has changed since you read it, or its name is taken.',
    )
    SITE_RULE = Id(
        'Untrusted',
        "A rule of the site's own does not hold; its message says which.",
    )
    NO_REFERENCE = Id(
        'Untrusted',
        'There are no reference values to compare with; create a reference.',
    )

    # Keys in TPMs
    EK_CHAIN = Id(
        'EvidenceError', 'The EK certificate chains to no trusted endorser.'
    )
    EK_EKU = Id(
        'EvidenceError', 'The EK certificate is not for an endorsement key.'
    )
    EK_MISMATCH = Id(
        'EvidenceError',
        'The endorsement key does not match its certificate or template.',
    )
    EK_VALIDITY = Id(
        'EvidenceError', 'A certificate of the EK chain is not valid now.'
    )
    EK_REVOKED = Id(
        'EvidenceError', 'A certificate of the EK chain is revoked.'
    )
    EK_CRL = Id(
        'EvidenceError',
        'A revocation list of the EK chain is malformed, forged or too old.',
    )
    AK_ATTRIBUTES = Id(
        'EvidenceError', 'The attestation key is not of the required kind.'
    )
    SRK_ATTRIBUTES = Id(
        'EvidenceError', 'The storage root key is not of the required kind.'
    )
    MSK_TEMPLATE = Id(
        'EvidenceError',
        'The migration storage key differs from the required template.',
    )

    # Custody
    NOT_HOLDER = Id(
        'CustodyError', "The ledger names another holder of the server's key."
    )
    EPOCH_MISMATCH = Id(
        'CustodyError', "The epoch is not the ledger's for the server's key."
    )
    CUSTODY_PENDING = Id(
        'Conflict', "A hand-over of the server's key has not been decided yet."
    )
    LEDGER_CONFLICT = Id(
        'Conflict',
        "The ledger knows another key of the server; its holder's, or one to "
        'be reissued by an operator.',
    )
    LEDGER_BEHIND = Id(
        'Conflict',
        "The database went back: it lacks the server's newest document, which "
        'a host or an operator has to present.',
    )
    HOSTS_UNHEARD = Id(
        'Conflict',
        'Without an anchor, nothing is signed after a start of the service '
        'until every host has reported, or was evicted.',
    )
    CUSTODY_DISPUTED = Id(
        'Conflict',
        "Both ends of a hand-over contradict each other about the server's "
        'key; resolve the migration.',
    )
    DOCUMENT_INVALID = Id(
        'CustodyError',
        'The document does not verify with the pinned keys, or is about '
        'something else.',
    )
    DOMAIN_RUNNING = Id(
        'CustodyError',
        "This host's libvirt has the server: its key is not erased.",
    )
    NOT_FENCED = Id(
        'Conflict',
        "The key's holder may still run the server: it was not heard of since "
        'it was booted, fenced or evicted.',
    )
    CANNOT_KEEP = Id(
        'Conflict',
        'That end of the hand-over has no copy of the key to be kept.',
    )
    SERVER_IN_NOVA = Id(
        'Conflict',
        'Nova has the server: its key is not released while it may start.',
    )
    LEDGER_FORKED = Id(
        'Conflict',
        'The anchor knows another document of the same version: two services '
        'signed for one server.',
    )
    ANCHOR_MISSING = Id(
        'Conflict',
        "The anchor is not there, or is another ledger's; nothing is signed.",
    )
    ANCHOR_EXISTS = Id(
        'Conflict', 'There is an anchor already; it is never emptied.'
    )
    KEY_IN_USE = Id(
        'Conflict',
        'Something still needs this key of the attestation service.',
    )
    KEY_REVOKED = Id(
        'Conflict', 'This key of the attestation service is revoked for good.'
    )
    HOLDS_KEYS = Id('Conflict', 'The host still holds keys of servers.')
    MIGRATION_UNKNOWN = Id('NotFound', 'The migration is not known here.')
    MIGRATION_NOT_IN_NOVA = Id(
        'CustodyError',
        'Nova has no record that it prepares this migration.',
    )
    SERVER_NOT_IN_NOVA = Id(
        'CustodyError',
        "Nova's record does not have the server on this host.",
    )
    MIGRATION_SPENT = Id(
        'Conflict', 'The migration has already been decided or used.'
    )
    TRUST_LOST_IN_FLIGHT = Id(
        'Untrusted',
        'The live migration was ended, and the server runs on where it was: '
        'one of its two hosts was not trusted any more while the memory was '
        'streamed. openstack attestation migration show says why.',
    )
    NOT_SEALED = Id(
        'Conflict',
        'The destination has not said yet that it has the key sealed.',
    )
    STATEMENT_NOT_ALLOWED = Id(
        'Forbidden', 'This host may not state that about this migration.'
    )
    PERMIT_INVALID = Id(
        'CustodyError', 'The permit does not verify with the pinned keys.'
    )
    PERMIT_EXPIRED = Id('CustodyError', 'The permit is too old.')
    PERMIT_MISMATCH = Id('CustodyError', 'The permit is for something else.')
    RECEIPT_INVALID = Id(
        'CustodyError', 'The receipt or its chain does not verify.'
    )
    TRANSFER_INVALID = Id(
        'CustodyError',
        'The transfer does not match its permit or was altered.',
    )
    APPROVAL_INVALID = Id(
        'CustodyError',
        'The approval does not verify or is not for this.',
    )
    NOT_ANNOUNCED = Id(
        'CustodyError', "This host's own Nova did not announce the migration."
    )
    BUSY = Id('Retry', 'Another hand-over of the same server is under way.')
    VAULT_MISSING = Id('CustodyError', 'The host holds no key for the server.')
    VAULT_STATE = Id(
        'CustodyError', "The state of the server's key does not allow this."
    )
    VAULT_DAMAGED = Id(
        'CustodyError', "The vault record is damaged or another server's."
    )
    STATE_DIR_IN_USE = Id(
        'Conflict',
        'Another agent uses this state directory; this one does not start.',
    )
    UNSEAL_REFUSED = Id('CustodyError', 'The TPM refused to open the key.')
    OFFLINE_SPENT = Id(
        'CustodyError',
        'The attestation service cannot be reached, and the starts that it '
        'approved in advance for this server are used up.',
    )
    OFFLINE_REFUSED = Id(
        'CustodyError',
        'The attestation service cannot be reached, and the TPM does not take '
        'the approval that it gave in advance: the offline window has ended, '
        'or the host has changed since.',
    )
    ESCROW_MISSING = Id(
        'CustodyError',
        "The tenant's secret is gone: the state of the server's vTPM is lost.",
    )
    ESCROW_FORBIDDEN = Id(
        'CustodyError',
        "The start must carry a token of the server's own project, or an ACL "
        "in the key manager; a host's boot has no token.",
    )
    SECRET_IN_MIGRATE_DATA = Id(
        'CustodyError', 'The migrate data carries a secret; it must not.'
    )
    ADDRESS_MISMATCH = Id(
        'CustodyError',
        'Nova and the agents name different addresses for the migration.',
    )
    CERTIFICATE_MISSING = Id(
        'CustodyError',
        'A host of the migration has no certificate for its stream that '
        'counts; the log of its agent and "korora-agent check" there say why.',
    )
    CERTIFICATE_INVALID = Id(
        'EvidenceError', 'The certificate is not one for the key of this host.'
    )
    CERTIFICATE_KEY_TAKEN = Id(
        'Conflict',
        'Another host has certificates for the same key; the agent makes '
        'another one.',
    )
    CERTIFICATE_AUTHORITY_MISSING = Id(
        'Unavailable',
        'The service has no key that signs certificates of streams; make one '
        'with "korora-manage keys create tls".',
    )
    STREAM_TUNNELLED = Id(
        'CustodyError',
        'A protected server is not streamed through a tunnel of libvirt; set '
        '[libvirt] live_migration_tunnelled = false.',
    )
    STREAM_DISKS_UNNAMED = Id(
        'CustodyError',
        'QEMU before 7.0 does not compare the name of who gets the disks of a '
        'protected server; update QEMU on this host, or share the disks.',
    )
    CHANNEL_UNAUTHENTICATED = Id(
        'CustodyError',
        "Nova connects to the destination's libvirt without knowing who it "
        'is; set [libvirt] live_migration_scheme = tls, or a '
        'live_migration_uri with qemu+tls or qemu+ssh.',
    )
    POSTCOPY_FORBIDDEN = Id(
        'CustodyError', 'Post-copy cannot be used with a protected server.'
    )
    COLD_MIGRATION_UNSUPPORTED = Id(
        'CustodyError',
        'A protected server cannot move to another cell.',
    )
    COLD_VTPM_CHANGED = Id(
        'CustodyError',
        'A resize of a protected server must not give it another vTPM, or '
        'take or add one.',
    )
    VTPM_STATE_TWICE = Id(
        'CustodyError',
        "There are two states of the server's vTPM on this host.",
    )
    VTPM_STATE_CHANGED = Id(
        'CustodyError',
        "The state of the server's vTPM is not the one with which its guest "
        'stopped on this host: put that one back, or accept this one.',
    )
    VTPM_STATE_UNREADABLE = Id(
        'Unavailable',
        "The state of the server's vTPM cannot be read on this host, so it "
        'cannot be compared.',
    )
    PEER_TOO_OLD = Id(
        'Unavailable',
        'The agent of the other host is too old to hand over a key for a '
        'cold migration.',
    )

    # Responses to lost trust
    RESPONSE_UNKNOWN = Id('NotFound', 'There is no such response.')
    RESPONSE_STATE = Id(
        'Conflict',
        'The state of the response does not admit this; show it.',
    )
    RESPONSE_DRIVER = Id(
        'Unavailable',
        'A driver that [response] drivers names is of no use.',
    )
    WEBHOOK_UNAVAILABLE = Id(
        'Unavailable', 'The receiver of webhooks does not answer as it should.'
    )

    # Calls
    PEER_DENIED = Id('Forbidden', 'This user may not call the agent.')
    FORBIDDEN = Id('Forbidden', "The caller's role does not allow this call.")
    INVALID_REQUEST = Id('Invalid', 'The document does not follow its schema.')
    NOT_FOUND = Id('NotFound', 'The requested resource does not exist.')
    MARKER_UNKNOWN = Id(
        'Invalid',
        'What the marker names is not there any more; begin the list again.',
    )
    VERSION_UNKNOWN = Id(
        'Invalid',
        'The service does not speak this version of its API; GET / says '
        'which it does.',
    )
    TOO_LARGE = Id('TooLarge', 'The input is too large.')
    RETRY = Id('Retry', 'A race was lost; try again.')
    BUSY = Id(
        'Busy',
        'The service has more to do than it can; come again later.',
    )


#: Reason id -> what it means, for operators.
REASONS: dict[str, str] = {name: one.meaning for name, one in TABLE.items()}
