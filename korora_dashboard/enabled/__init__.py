# SPDX-License-Identifier: Apache-2.0
"""Files that Horizon reads from its own local/enabled, or from here."""
