# SPDX-License-Identifier: Apache-2.0
"""TPM 2.0 structures as bytes: read, built, named; no TPM is spoken to."""
