# SPDX-License-Identifier: Apache-2.0
"""The fuzzer: ``cli`` (options, summary), ``environment`` (atheris),
``runner`` (one target, in a process of its own), ``targets`` (what is fed,
and with what to begin), ``repair`` (hashes that fit mutated content),
``mutate`` (documents that stay documents)."""
