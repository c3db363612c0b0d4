# SPDX-License-Identifier: Apache-2.0
"""What hosts are measured against, and what was measured of them."""
