# SPDX-License-Identifier: Apache-2.0
"""What tests of endorsements share."""

from cryptography.hazmat.primitives.asymmetric import rsa

from korora_nova.rats import endorsement
from tests.support import makers

ECDSA_SHA256 = bytes.fromhex('300a06082a8648ce3d040302')
EK = rsa.generate_private_key(65537, 2048)


class Authority(makers.Authority):
    def certify(self, key=None, **kwargs):
        return super().certify(key or EK.public_key(), **kwargs)


def read(files):
    """Endorsers from files without names."""
    if not isinstance(files, dict):
        files = {str(number): data for number, data in enumerate(files)}
    return endorsement.Endorsers.read(files)


def der(tag, content):
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    octets = (size.bit_length() + 7) // 8
    return bytes((tag, 0x80 | octets)) + size.to_bytes(octets, 'big') + content
