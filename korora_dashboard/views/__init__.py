# SPDX-License-Identifier: Apache-2.0
"""What answers for each page."""
