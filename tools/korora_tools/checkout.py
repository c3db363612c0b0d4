# SPDX-License-Identifier: Apache-2.0
"""This checkout and its virtual environment."""

from __future__ import annotations

import pathlib

ROOT = pathlib.Path(__file__).resolve().parents[2]
VENV = ROOT / '.venv'
BIN = VENV / 'bin'
CONSTRAINTS = pathlib.Path(__file__).with_name('constraints.txt')
