# SPDX-License-Identifier: Apache-2.0
"""The commands of tools/, a package each, and what they share."""
