# SPDX-License-Identifier: Apache-2.0
"""Custodians: processes that hold one key, for one operation.

The agent runs for months; what it once had in its memory may be found there.
So it never has a passphrase, nor a key that opens one. Whatever needs them is
a job of a *custodian*, whose memory is locked, is in no core dump, and goes
with the process when the operation ends.

=============  ==============================================================
jobs           what a custodian is asked for, and its answers
keeper         how it does that: the only code of a host that has a plaintext
zygote         forks custodians: a process with one thread and no secret
hardening      what keeps the memory of a process to itself
custodians     the agent's side
=============  ==============================================================
"""
