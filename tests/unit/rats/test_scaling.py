# SPDX-License-Identifier: Apache-2.0
"""Four times the input takes about four times as long, not sixteen."""

import json
import struct
import time
import unittest

import tests.unit.tools  # noqa: F401  (tools/ is importable from here on)
from korora_nova import errors
from korora_nova.rats import endorsement, eventlog, evidence, ima, policy
from korora_nova.rats.x509 import certificate
from korora_tools.fuzz import repair
from tests.support import makers, simulator

#: Between linear (4) and quadratic (16); shorter times are noise.
MAX_RATIO = 10
NOISE = 0.02
REPEATS = 3

GLOBAL = bytes.fromhex('61dfe48bca93d211aa0d00e098032b8c')
SECURITY = bytes.fromhex('cbb219d73a3d9645a3bcdad00e67656f')
SHA256_LIST = bytes.fromhex('2616c4c14c509240aca941f936934328')


def seconds(work, value):
    best = float('inf')
    for _ in range(REPEATS):
        began = time.process_time()
        try:
            work(value)
        except errors.KororaError:
            pass
        best = min(best, time.process_time() - began)
    return best


def uefi(*events):
    return repair.uefi_chunks(repair.chunks_of(iter(events)))


def boot(log):
    parsed = eventlog.parse(log)
    eventlog.boot_to_json(parsed.compare(parsed.replay()).boot)


def variable(guid, name, value):
    return (
        guid
        + struct.pack('<QQ', len(name), len(value))
        + name.encode('utf-16-le')
        + value
    )


def hashes(count):
    size = 48
    return (
        SHA256_LIST
        + struct.pack('<III', 28 + size * count, 0, size)
        + bytes(size) * count
    )


def image(nodes):
    path = b'\1\1\6\0\0\0' * nodes + b'\x7f\xff\4\0'
    return struct.pack('<QQQQ', 0, 0, 0, len(path)) + path


def measured(count):
    entries = [
        simulator.ima_entry(f'/usr/bin/{number}')[0] for number in range(count)
    ]
    return b''.join(entries)


def measure(log):
    ima.measure(
        log,
        {index: bytes(32) for index in range(11)},
        [ima.Rules(exclude=['/var/*/x/*'])],
        memos=ima.Memos(),
    )


class ScalingTest(unittest.TestCase):
    def scales(self, work, make, count):
        small, large = make(count), make(4 * count)
        one, four = seconds(work, small), seconds(work, large)
        self.assertLess(four, MAX_RATIO * max(one, NOISE / 4))

    def test_uefi(self):
        for make, count in (
            (lambda n: uefi(*[(4, 13, b'')] * n), 2000),
            (
                lambda n: uefi(
                    *[
                        (8, 13, b'grub_cmd: linux a b=%d\0' % i)
                        for i in range(n)
                    ]
                ),
                1000,
            ),
            (lambda n: uefi((8, 13, b'kernel_cmdline: ' + b'a=b ' * n)), 4000),
            (
                lambda n: uefi(
                    (7, 0x80000001, variable(SECURITY, 'db', hashes(n)))
                ),
                300,
            ),
            (
                lambda n: uefi(
                    (7, 0x80000001, variable(SECURITY, 'db', hashes(1) * n))
                ),
                200,
            ),
            (lambda n: uefi(*[(4, 0x80000003, image(9))] * n), 1000),
            (lambda n: uefi((4, 0x80000003, image(n))), 2000),
            (
                lambda n: uefi(
                    (
                        1,
                        0x80000002,
                        variable(GLOBAL, 'BootOrder', bytes(2 * n)),
                    )
                ),
                4000,
            ),
        ):
            self.scales(boot, make, count)

    def test_ima(self):
        self.scales(ima.parse, measured, 4000)
        self.scales(measure, measured, 4000)
        # Violations, and a list that never ends an entry.
        tiny = (
            struct.pack('<I', 10)
            + bytes(20)
            + struct.pack('<I', 6)
            + b'ima-ng'
            + struct.pack('<I', 0)
        )
        self.scales(measure, lambda n: tiny * n, 20_000)
        text = b'10 ' + b'0' * 40 + b' ima-ng sha256:' + b'0' * 64 + b' '
        self.scales(ima.parse, lambda n: text + b'/x\n' * n, 20_000)
        self.scales(ima.parse, lambda n: text + b'10 ' * n, 20_000)
        self.scales(ima.parse, lambda n: (text + b'x\n') * n, 2000)

    def test_documents(self):
        digest = 'sha256:%064x'

        def listing(count):
            return {
                'version': 1,
                'name': 'x',
                'rules': [
                    {'pcrs': {'registers': [4], 'references': True}},
                    {'ima': {'digests': [digest % i for i in range(count)]}},
                ],
            }

        def nested(count):
            rule = {'secure-boot': {'enabled': True}}
            for _ in range(count):
                rule = {'any-of': [rule]}
            return {**listing(1), 'rules': [rule]}

        self.scales(policy.load, listing, 20_000)
        self.scales(policy.load, nested, 100)
        self.scales(
            evidence.Evidence.from_json,
            lambda n: {
                'attest': '',
                'signature': '',
                'pcrs': {},
                'uefi_log': '',
                'ima_log': 'A' * 4 * n,
            },
            500_000,
        )

    def test_certificates(self):
        pem = makers.Authority('x').pem
        begin = b'-----BEGIN CERTIFICATE-----\n'

        def blocks(data):
            return list(certificate.pem_blocks(data))

        for line in (pem, begin, begin[:-2], b'-----BEGIN ', b'-----'):
            self.scales(blocks, lambda n, line=line: line * n, 4000)
        self.scales(
            endorsement.Endorsers.read, lambda n: {'x.pem': pem * n}, 300
        )

    def test_the_listing_is_a_policy(self):
        # What is refused at once would prove nothing.
        document = {
            'version': 1,
            'name': 'x',
            'rules': [
                {'pcrs': {'registers': [4], 'references': True}},
                {'ima': {'digests': ['sha256:' + '00' * 32]}},
            ],
        }
        policy.load(json.loads(json.dumps(document)))
        boot(uefi((4, 13, b'')))
