# SPDX-License-Identifier: Apache-2.0
"""Quotes and certifications of an attestation key, and that key itself."""
