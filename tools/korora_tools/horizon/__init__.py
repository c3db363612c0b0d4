# SPDX-License-Identifier: Apache-2.0
"""A real Horizon with the panel, and a cloud that it looks at."""
