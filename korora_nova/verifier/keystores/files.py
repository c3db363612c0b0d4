# SPDX-License-Identifier: Apache-2.0
"""Private keys in files: ``[verifier] key_store = file``."""

from __future__ import annotations

import contextlib
import os

from oslo_config import cfg

from korora_nova import conf as options
from korora_nova import errors
from korora_nova.rats.signed import keys


class FileKeyStore:
    """PEM files ``USE-ID.pem`` in ``[verifier] keys_dir``."""

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        self._directory = conf[options.VERIFIER].keys_dir

    def signing_key(self, use: str, kid: str) -> keys.SigningKey:
        """See :meth:`.KeyStore.signing_key`."""
        path = self._path(use, kid)
        found = keys.SigningKey.load(path)
        if found.kid != kid:
            raise errors.Unavailable(
                errors.Reason.KEYS_INVALID,
                f'The private key in {path} is not {kid} but {found.kid}.',
            )
        return found

    def create(self, use: str) -> keys.SigningKey:
        """See :meth:`.KeyStore.create`.

        The file belongs to the owner of the directory: root makes the key
        that the service is to read.
        """
        made = keys.SigningKey.generate()
        path = self._path(use, made.kid)
        try:
            os.makedirs(self._directory, mode=0o700, exist_ok=True)
            made.save(path)
        except OSError as exc:
            raise errors.Unavailable(
                errors.Reason.KEYS_INVALID,
                f'Cannot write the private key {path}: {exc.strerror}.',
            ) from None
        owner = os.stat(self._directory)
        # Only root may give files away; others keep what is theirs.
        with contextlib.suppress(PermissionError):
            os.chown(path, owner.st_uid, owner.st_gid)
        return made

    def _path(self, use: str, kid: str) -> str:
        return os.path.join(self._directory, f'{use}-{kid}.pem')
