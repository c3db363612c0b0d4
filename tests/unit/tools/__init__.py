# SPDX-License-Identifier: Apache-2.0
"""Tests of the programs in tools/, which are not part of the package."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[3] / 'tools'))
