# SPDX-License-Identifier: Apache-2.0
"""What can be done about a host; ``base.Driver`` says how one is written."""
