# SPDX-License-Identifier: Apache-2.0
"""JSON schemas of request bodies.

Those of evidence are in ``custody.exchange`` and ``custody.bodies``.
"""
