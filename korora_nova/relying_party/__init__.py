# SPDX-License-Identifier: Apache-2.0
"""Nova's hooks: the scheduler filter and the compute driver.

The only part that imports nova. ``filter`` and ``driver`` are what Nova
loads, and hold no logic. ``requirement``, ``gate`` and ``results`` decide
without nova; what attends the life of a server, put together in ``host``,
knows Nova's objects and not its driver.
"""
