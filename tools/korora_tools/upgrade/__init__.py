# SPDX-License-Identifier: Apache-2.0
"""The last release and this tree, serving each other.

``./tools/prove ecosystem --only upgrade`` runs it;
doc/source/contributor/releases.rst says what is promised.
"""
