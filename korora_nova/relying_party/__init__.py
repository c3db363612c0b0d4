# SPDX-License-Identifier: Apache-2.0
"""Nova's hooks: the scheduler filter and the compute driver.

The only part that imports nova. Decisions are in ``requirement``, ``gate``
and ``results``, which do not; ``filter`` and ``driver`` call them.
"""
