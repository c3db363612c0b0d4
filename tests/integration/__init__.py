# SPDX-License-Identifier: Apache-2.0
"""Tests on the lab: real services, real hosts, a real guest."""
