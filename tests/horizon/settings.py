# SPDX-License-Identifier: Apache-2.0
"""Horizon's own settings, with nothing outside this process."""

from openstack_dashboard.settings import *  # noqa: F403

DEBUG = False
ALLOWED_HOSTS = ['testserver']
SECRET_KEY = 'of tests'  # noqa: S105
COMPRESS_ENABLED = False
COMPRESS_OFFLINE = False
CACHES = {
    'default': {'BACKEND': 'django.core.cache.backends.locmem.LocMemCache'}
}
SESSION_ENGINE = 'django.contrib.sessions.backends.cache'
OPENSTACK_KEYSTONE_URL = 'http://keystone.invalid/v3'
DATABASES: dict = {}
# Style sheets are compiled for each page otherwise, and policies of services
# that are not here are long.
COMPRESS_PRECOMPILERS = ()
_RULES = globals()['POLICY_FILES']['attestation']
POLICY_FILES = {'attestation': _RULES}
