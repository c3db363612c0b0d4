# SPDX-License-Identifier: Apache-2.0
"""What there is to look at: pages of the panel, pictures of the documents."""

from __future__ import annotations

import ast

from korora_tools import checkout

_PAGES = checkout.ROOT / 'korora_dashboard' / 'pages.py'
_IMAGES = checkout.ROOT / 'doc' / 'source' / 'admin' / 'images'


def count() -> int:
    """Paths in the panel's table."""
    return sum(
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == 'path'
        for node in ast.walk(ast.parse(_PAGES.read_text()))
    )


def screenshots() -> list[str]:
    """Below the checkout."""
    return sorted(
        str(one.relative_to(checkout.ROOT))
        for one in _IMAGES.glob('dashboard-*.png')
    )
