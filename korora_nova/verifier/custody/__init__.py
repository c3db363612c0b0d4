# SPDX-License-Identifier: Apache-2.0
"""Who holds which server's key: ledger, hand-over, receipts, recovery."""
