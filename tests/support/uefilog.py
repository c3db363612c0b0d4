# SPDX-License-Identifier: Apache-2.0
"""Event logs made by hand, and logs that were recorded."""

import hashlib
import struct
import uuid

from korora_nova.rats import eventlog

ALGORITHMS = {
    'sha1': 0x04,
    'sha256': 0x0B,
    'sha384': 0x0C,
    'sha512': 0x0D,
    'sm3-256': 0x12,
}
SIZES = {'sha1': 20, 'sha256': 32, 'sha384': 48, 'sha512': 64, 'sm3-256': 32}
SHA256 = (('sha256', 32),)
BOTH = (('sha1', 20), ('sha256', 32))

GLOBAL = uuid.UUID('8be4df61-93ca-11d2-aa0d-00e098032b8c')
SECURITY = uuid.UUID('d719b2cb-3d3a-4596-a3bc-dad00e67656f')
SHIM = uuid.UUID('605dab50-e046-4300-abb6-3dd810dd8b23')


def hashed(bank, data):
    return hashlib.new(bank.replace('sm3-256', 'sm3'), data).digest()


def record(pcr, kind, digest=bytes(20), data=b''):
    """A record of the SHA-1 format."""
    return struct.pack('<II20sI', pcr, kind, digest, len(data)) + data


def header(algorithms=SHA256, vendor=b'\0', size=None):
    """A Spec ID event; ``size`` replaces its eventSize."""
    data = (
        b'Spec ID Event03\0'
        + struct.pack('<IBBBBI', 0, 0, 2, 0, 2, len(algorithms))
        + b''.join(
            struct.pack('<HH', ALGORITHMS.get(name, name), number)
            for name, number in algorithms
        )
        + vendor
    )
    return (
        struct.pack(
            '<II20sI', 0, 3, bytes(20), len(data) if size is None else size
        )
        + data
    )


def event2(pcr, kind, digests, data=b''):
    """A crypto-agile record; digests: pairs of bank and bytes."""
    return (
        struct.pack('<III', pcr, kind, len(digests))
        + b''.join(
            struct.pack('<H', ALGORITHMS.get(name, name)) + value
            for name, value in digests
        )
        + struct.pack('<I', len(data))
        + data
    )


def event(pcr, kind=1, digest=b'd' * 32, data=b'data'):
    """A record with a SHA-256 digest."""
    return event2(pcr, kind, [('sha256', digest)], data)


def measured(pcr, kind, data, of=None, banks=('sha256',)):
    """A record whose digests are of ``of``, default the data."""
    content = data if of is None else of
    return event2(
        pcr, kind, [(bank, hashed(bank, content)) for bank in banks], data
    )


def locality(value, pcr=0):
    return event(pcr, 3, bytes(32), b'StartupLocality\0' + bytes((value,)))


def variable(name, value, vendor=GLOBAL):
    """UEFI_VARIABLE_DATA."""
    return (
        vendor.bytes_le
        + struct.pack('<QQ', len(name), len(value))
        + name.encode('utf-16-le')
        + value
    )


def extended(*digests, start=bytes(32), bank='sha256'):
    for digest in digests:
        start = hashed(bank, start + digest)
    return start


SB = 0x80000001
AUTHORITY = 0x800000E0
BOOT = 0x80000002
SEPARATOR = 4
IPL = 13
TAG = 6
IMAGE = 0x80000003

X509 = uuid.UUID('a5c059a1-94e4-4aa7-87b5-ab155c2bf072')
IMAGE_HASH = uuid.UUID('c1c41626-504c-4092-aca9-41f936934328')
OWNER = uuid.UUID('77fa9abd-0359-4d32-bd60-28f4e78f784b')


def signature_list(kind, *items, head=b'', owner=OWNER):
    """EFI_SIGNATURE_LIST of items of one size."""
    body = b''.join(owner.bytes_le + item for item in items)
    each = 16 + len(items[0]) if items else 48
    return (
        kind.bytes_le
        + struct.pack('<III', 28 + len(head) + len(body), len(head), each)
        + head
        + body
    )


def separator(pcr, value=bytes(4), banks=('sha256',)):
    return measured(pcr, SEPARATOR, value, banks=banks)


def secure_boot(value=b'\1', pcr=7, kind=SB, banks=('sha256',)):
    return measured(pcr, kind, variable('SecureBoot', value), banks=banks)


def path_node(kind, sub, body):
    return struct.pack('<BBH', kind, sub, 4 + len(body)) + body


def file_path(name):
    return path_node(4, 4, (name + '\0').encode('utf-16-le'))


END = path_node(0x7F, 0xFF, b'')


def image(path=b''):
    """EFI_IMAGE_LOAD_EVENT."""
    return struct.pack('<QQQQ', 0x1000, 0x2000, 0, len(path)) + path


def load_option(description, path=b'', attributes=1):
    return (
        struct.pack('<IH', attributes, len(path))
        + (description + '\0').encode('utf-16-le')
        + path
    )


def tagged(number, data):
    return struct.pack('<II', number, len(data)) + data


def boot(*records, head=None, bank='sha256', differs=()):
    """Facts of a log that agrees in all registers but ``differs``."""
    log = eventlog.parse((head or header()) + b''.join(records))
    pcrs = log.replay(bank)
    for index in differs:
        pcrs[index] = b'x' * len(pcrs[index])
    return log.compare(pcrs, bank).boot


def changed(record, kind=None, data=None):
    """A record with other labels and the same digest."""
    item = eventlog.parse(header() + record).events[1]
    return event(
        item.pcr,
        item.type if kind is None else kind,
        item.digests['sha256'],
        item.data if data is None else data,
    )


def variable_event(name, value, vendor=None, kind=SB):
    vendor = vendor or (GLOBAL if name in ('PK', 'KEK') else SECURITY)
    return measured(7, kind, variable(name, value, vendor))
