# SPDX-License-Identifier: Apache-2.0
"""Functional tests.

What Nova and SQLAlchemy keep for good is a million objects: looking through
them for garbage was a seventh of the time.
"""

import gc

gc.set_threshold(50_000, 10, 10)
