# SPDX-License-Identifier: Apache-2.0
"""Custody of vTPM keys, pure: messages, permits, approvals, receipts, ledger.

Nothing here does I/O or reads a clock.
"""
