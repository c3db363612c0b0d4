# SPDX-License-Identifier: Apache-2.0
"""Remote attestation (RFC 9334), pure: bytes in, verified objects out.

No module here does I/O, reads a clock or draws randomness by itself, except
for loading and saving key files in :mod:`korora_nova.rats.signed.keys`.
"""
