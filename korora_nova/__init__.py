# SPDX-License-Identifier: Apache-2.0
"""Kororā for Nova: attested hosts and TPM-to-TPM key hand-over for vTPMs."""
