# SPDX-License-Identifier: Apache-2.0
"""``korora_nova.wsgi.metrics:application``: see :mod:`.exposition`."""

from korora_nova.wsgi import configuration, exposition

application = exposition.make_application(configuration())
