# SPDX-License-Identifier: Apache-2.0
"""Horizon under uWSGI on the loopback address, DEBUG off."""

from __future__ import annotations

import pathlib

import requests

from korora_tools import checkout
from korora_tools.fleet.processes import LOCAL, Process, Scratch
from korora_tools.horizon.site import Site


class Horizon:
    """The dashboard.

    :ivar url: of its front page.
    """

    def __init__(
        self,
        scratch: Scratch,
        python: pathlib.Path,
        *,
        keystone: str,
        memcached: int,
        keys: str,
    ) -> None:
        self._scratch = scratch
        self.port = scratch.port()
        self.url = f'http://{LOCAL}:{self.port}'
        self.site = Site(
            scratch.path / 'horizon',
            f'{LOCAL}:{self.port}',
            (LOCAL,),
            keystone,
            f'{LOCAL}:{memcached}',
            keys,
        )
        self.site.write()
        self.site.collect(python)
        self.process = self._served()

    def _served(self) -> Process:
        return self._scratch.process(
            'horizon',
            [str(checkout.BIN / 'uwsgi'), '--ini', str(self.site.ini)],
            self._answers,
            {'PYTHONPATH': str(self.site.path)},
        )

    def _answers(self) -> bool:
        try:
            found = requests.get(f'{self.url}/auth/login/', timeout=30)
        except requests.RequestException:
            return False
        return found.status_code == 200
