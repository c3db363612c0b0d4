# SPDX-License-Identifier: Apache-2.0
"""Real, unmodified DevStack with the plugin, in containers of this machine.

``cli`` (options), ``verify`` (what has to be true), ``cloud`` (stack, unstack,
clean), ``scenarios`` (what is tried on a cloud), ``tempest``, ``localconf``
(local.conf of a node), ``node`` (one container), ``network``, ``root`` (the
Debian it starts from), ``mirrors`` (git), ``paths``.
"""
