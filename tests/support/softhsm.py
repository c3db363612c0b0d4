# SPDX-License-Identifier: Apache-2.0
"""A PKCS#11 token in a directory, by SoftHSM 2."""

import os
import pathlib
import subprocess

import fixtures
import pkcs11

MODULE = '/usr/lib/softhsm/libsofthsm2.so'
LABEL = 'korora'
PIN = '739154'


class SoftHsm(fixtures.Fixture):
    """One token; the module is finalized at the end, for the next one.

    :ivar tokens: the directory of all tokens.
    """

    def _setUp(self) -> None:
        top = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        self.tokens = top / 'tokens'
        self.tokens.mkdir()
        config = top / 'softhsm2.conf'
        config.write_text(
            f'directories.tokendir = {self.tokens}\n'
            'objectstore.backend = file\nlog.level = ERROR\n'
        )
        self.useFixture(
            fixtures.EnvironmentVariable('SOFTHSM2_CONF', str(config))
        )
        self.init()
        self.addCleanup(pkcs11.unload, MODULE)

    def init(self, label: str = LABEL) -> None:
        """Make a token, with a user's PIN."""
        subprocess.run(
            [
                'softhsm2-util',
                '--init-token',
                '--free',
                *('--label', label, '--pin', PIN, '--so-pin', '0000' + PIN),
            ],
            check=True,
            capture_output=True,
        )

    def remove(self) -> None:
        """Pull the token out."""
        os.rename(self.tokens, f'{self.tokens}.pulled')
        self.tokens.mkdir()

    def insert(self) -> None:
        """Put it back."""
        self.tokens.rmdir()
        os.rename(f'{self.tokens}.pulled', self.tokens)
