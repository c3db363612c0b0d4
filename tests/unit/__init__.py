# SPDX-License-Identifier: Apache-2.0
"""Unit tests; the same inputs each time: new ones are ``tools/fuzz``'s."""

import hypothesis

hypothesis.settings.register_profile(
    'same',
    deadline=None,
    derandomize=True,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile('same')
