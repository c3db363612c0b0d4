# SPDX-License-Identifier: Apache-2.0
"""What the demo shows: scenarios, the canary and the guest's continuity."""
