# SPDX-License-Identifier: Apache-2.0
"""Whether a host is ready for the agent, before anything is enrolled.

A check is a function from what was read of the host to one
:class:`korora_nova.checks.Result`; :mod:`.sources` reads, and changes nothing.
What a check cannot know it does not call good.
"""
