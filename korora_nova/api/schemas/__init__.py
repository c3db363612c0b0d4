# SPDX-License-Identifier: Apache-2.0
"""JSON schemas of request bodies.

Bodies that are hashed into quotes are in ``custody.messages``.
"""
