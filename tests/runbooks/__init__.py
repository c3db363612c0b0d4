# SPDX-License-Identifier: Apache-2.0
"""Every alert: brought about, evaluated by Prometheus, mended by its runbook.

``./tools/prove ecosystem --only docs`` runs them; they need promtool.
"""

import tests.functional  # noqa: F401 chooses how services run, first of all
