# SPDX-License-Identifier: Apache-2.0
"""IMA lists built by hand, binary and ASCII, and the PCRs they lead to.

Written from the kernel's documentation, not from the code under test.
"""

import hashlib
import struct

FIELDS = {
    'ima': 'd|n',
    'ima-ng': 'd-ng|n-ng',
    'ima-sig': 'd-ng|n-ng|sig',
    'ima-ngv2': 'd-ngv2|n-ng',
    'ima-sigv2': 'd-ngv2|n-ng|sig',
    'ima-buf': 'd-ng|n-ng|buf',
    'ima-modsig': 'd-ng|n-ng|sig|d-modsig|modsig',
    'evm-sig': 'd-ng|n-ng|evmsig|xattrnames|xattrlengths|xattrvalues|iuid|'
    'igid|imode',
}


def pcrs(bank='sha256'):
    """Values of PCRs 0-15 after some boot; 10 is zero."""
    size = hashlib.new(bank).digest_size
    values = {
        index: hashlib.new(bank, b'pcr %d' % index).digest()
        for index in range(16)
    }
    return {**values, 10: bytes(size)}


def field(data):
    return struct.pack('<I', len(data)) + data


def digest(content, name='sha256'):
    """The value of a field d-ng."""
    return name.encode() + b':\0' + hashlib.new(name, content).digest()


class List:
    """A list under construction.

    :ivar binary, ascii: the list; ``pcrs``: where it leads, by bank.
    """

    def __init__(
        self,
        template='ima-ng',
        *,
        template_hash='sha1',
        banks=('sha256',),
        aggregate='sha256',
        over=10,
        extension='own',
        pcr=10,
    ):
        self.template, self.template_hash = template, template_hash
        self.extension, self.pcr = extension, pcr
        self.banks = {
            bank: {**pcrs(bank), pcr: bytes(len(pcrs(bank)[0]))}
            for bank in (*banks, aggregate)
        }
        self.bank = banks[0]
        self.binary, self.ascii, self.count = b'', b'', 0
        if aggregate:
            self.boot_aggregate(aggregate, over)

    @property
    def pcrs(self):
        return self.banks[self.bank]

    def boot_aggregate(self, name='sha256', over=10):
        values = b''.join(self.banks[name][index] for index in range(over))
        value = hashlib.new(name, values).digest()
        return self.file('boot_aggregate', value, name=name)

    def file(
        self,
        path,
        content_digest=None,
        *,
        name='sha256',
        template=None,
        kind='ima',
        **fields,
    ):
        """A file; its digest is that of its path unless given."""
        template = template or self.template
        path = path.encode() if isinstance(path, str) else path
        names = FIELDS.get(template, template).split('|')
        if 'd' in names and name not in ('sha1', 'md5'):
            name = 'sha1'
        content = content_digest or hashlib.new(name, path).digest()
        plain = name.encode() + b':\0' + content
        values = {
            'd': content,
            'd-ng': plain,
            'd-ngv2': kind.encode() + b':' + plain,
            'n': path + b'\0',
            'n-ng': path + b'\0',
            **{key.replace('_', '-'): value for key, value in fields.items()},
        }
        self.add(template, [values.get(item, b'') for item in names])
        return f'{name}:{content.hex()}'

    def buffer(self, name, content, template='ima-buf'):
        """A key, a command line, critical data."""
        return self.file(
            name,
            hashlib.sha256(content).digest(),
            template=template,
            buf=content,
        )

    def violation(self, path, *, size=20, template=None):
        template = template or self.template
        names = FIELDS.get(template, template).split('|')
        path = path.encode() + b'\0'
        values = {
            'd': bytes(20),
            'd-ng': b'sha256:\0' + bytes(size),
            'd-ngv2': b'ima:sha256:\0' + bytes(size),
            'n': path,
            'n-ng': path,
        }
        self.add(template, [values.get(item, b'') for item in names], True)

    def add(self, template, values, violation=False, stated=None):
        if template == 'ima':
            path = values[1][:-1]
            hashed = values[0] + path.ljust(256, b'\0')
            body = values[0] + field(path)
        else:
            hashed = b''.join(field(value) for value in values)
            body = field(hashed)
        size = hashlib.new(self.template_hash).digest_size
        if stated is None:
            stated = (
                bytes(size)
                if violation
                else hashlib.new(self.template_hash, hashed).digest()
            )
        self.binary += (
            struct.pack('<I', self.pcr)
            + stated
            + field(template.encode())
            + body
        )
        self.ascii += (
            ' '.join(
                [
                    f'{self.pcr:2d}',
                    stated.hex(),
                    template,
                    *map(
                        text, FIELDS.get(template, template).split('|'), values
                    ),
                ]
            ).encode('latin-1')
            + b'\n'
        )
        self.count += 1
        for bank in self.banks:
            self.extend(bank, hashed, violation)

    def extend(self, bank, hashed, violation):
        values, make = self.banks[bank], getattr(hashlib, bank)
        size = make().digest_size
        extension = b'\xff' * size if violation else make(hashed).digest()
        if self.extension != 'own':
            padding = bytes(size - 20)
            if not violation:
                extension = hashlib.sha1(hashed).digest() + padding
            elif self.extension == 'sha1-padded':
                extension = b'\xff' * 20 + padding
        values[self.pcr] = make(values[self.pcr] + extension).digest()

    def form(self, name):
        return self.binary if name == 'binary' else self.ascii


def text(name, value):
    """A field as the ASCII list shows it."""
    if name in ('n', 'n-ng', 'xattrnames'):
        return value[:-1].decode('latin-1')
    if name in ('d-ng', 'd-ngv2', 'd-modsig') and value:
        head, _, octets = value.partition(b':\0')
        return head.decode('latin-1') + ':' + octets.hex()
    if name in ('iuid', 'igid', 'imode') and value:
        return str(int.from_bytes(value, 'little'))
    return value.hex()
