# SPDX-License-Identifier: Apache-2.0
"""The panel inside Horizon: run by tools/prove ecosystem --only horizon."""
