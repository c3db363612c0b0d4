# SPDX-License-Identifier: Apache-2.0
"""A real Keylime verifier and registrar, and agents on software TPMs.

services   both services, in processes of their own on loopback
agent      the least that Keylime's protocol wants of an agent

Keylime has no agent in Python any more, and neither Debian nor PyPI has the
one in Rust. So the agent is ours; its quotes are real ones, of a TPM in
software, and Keylime verifies them.
"""
