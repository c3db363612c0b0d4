# SPDX-License-Identifier: Apache-2.0
"""Tests of several parts together, without the lab.

All run native threads. oslo.service chooses for the whole process when it is
first used, so this must come before anything that uses it.
"""

from oslo_service import backend

backend.init_backend(backend.BackendType.THREADING)
