# SPDX-License-Identifier: Apache-2.0
"""Certificates of TPM makers: profile, path, revocation."""
