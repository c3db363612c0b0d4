# SPDX-License-Identifier: Apache-2.0
"""Custody under faults: real processes that are stopped at each point.

The service, two agents with software TPMs and a database run over many runs;
each run has a server of its own, and one fault. ``tools/prove faults`` runs
the matrix, ``tests/functional/faults`` a sample of it.
"""
