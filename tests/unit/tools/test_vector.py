# SPDX-License-Identifier: Apache-2.0
"""The recorder of test vectors, as far as it needs no virtual machine."""

from __future__ import annotations

import fnmatch
import gzip
import json
import pathlib
import tempfile
import unittest

from korora_tools.vectors import cli, keyforms, machine, store
from tests.support import vectors

OLDER = {'uefi/direct-kernel', 'uefi/secure-boot'}
BY_HAND = {'field'}


class RecordingsTest(unittest.TestCase):
    """What is committed is what the recipes make."""

    def test_every_vector_has_a_recipe(self) -> None:
        found = {
            str(path.parent.relative_to(vectors.ROOT))
            for path in vectors.ROOT.glob('*/*/vector.json')
            if path.parent.parent.name not in BY_HAND
        }
        self.assertEqual(set(), found - set(cli.recipes()) - OLDER)

    def test_every_recipe_has_its_vector(self) -> None:
        self.assertEqual(
            [],
            [
                name
                for name in cli.recipes()
                # What is not recorded of these, `prove field` says.
                if not fnmatch.fnmatch(name, cli.HOURS)
                and not (vectors.ROOT / name / 'vector.json').exists()
                and not (vectors.ROOT / f'{name}.json').exists()
            ],
        )

    def test_every_file_is_small(self) -> None:
        self.assertEqual(
            [],
            [
                str(path)
                for path in vectors.ROOT.rglob('*')
                if path.is_file() and path.stat().st_size > 200_000
            ],
        )


class StoreTest(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = pathlib.Path(folder.name)

    def test_pcrs(self) -> None:
        lines = b'sha1 0 0A\nsha256 10 BB\nsha256 17 FF\n'
        self.assertEqual(
            {'sha1': {'0': '0a'}, 'sha256': {'10': 'bb'}}, store.pcrs(lines)
        )

    def test_large_files_are_compressed(self) -> None:
        data = b'x' * (store.COMPRESS + 1)
        folder = store.write(
            self.root, 'a/b', {'big': data, 'small': b's'}, {'about': 'ā'}
        )
        self.assertEqual(
            data, gzip.decompress((folder / 'big.gz').read_bytes())
        )
        self.assertEqual(b's', (folder / 'small').read_bytes())
        self.assertEqual(
            {'about': 'ā'}, json.loads((folder / 'vector.json').read_text())
        )

    def test_nothing_of_an_older_recording_stays(self) -> None:
        store.write(self.root, 'a/b', {'old': b''}, {})
        folder = store.write(self.root, 'a/b', {'new': b''}, {})
        self.assertEqual(
            {'new', 'vector.json'}, {path.name for path in folder.iterdir()}
        )


class KeyFormsTest(unittest.TestCase):
    def test_plain_signatures_are_those_of_tpm2_quote(self) -> None:
        # DER of ECDSA: a sequence; RSA: as long as the modulus.
        for name, first, size in (
            ('p256', 0x30, None),
            ('rsassa-2048', None, 256),
        ):
            files = vectors.load(f'quote/{name}').files
            plain = keyforms.plain(files['signature'])
            assert plain is not None
            self.assertEqual(files['signature.plain'], plain)
            self.assertIn(first, (None, plain[0]))
            self.assertIn(size, (None, len(plain)))

    def test_other_schemes_have_no_plain_form(self) -> None:
        self.assertIsNone(keyforms.plain(b'\0\x1c\0\x0b\0\x01x'))


class BootTest(unittest.TestCase):
    def test_which_firmware_needs_system_management_mode(self) -> None:
        self.assertTrue(machine.Boot(firmware='OVMF_CODE_4M.ms.fd').secure)
        self.assertFalse(machine.Boot(firmware='OVMF_CODE_4M.fd').secure)
        self.assertFalse(machine.Boot(firmware=None).secure)
