# SPDX-License-Identifier: Apache-2.0
"""A browser, and a person at it.

``KORORA_PANEL`` names the JSON file of the cloud's facts, ``url`` among
them.
"""

from __future__ import annotations

import io
import json
import os
import pathlib
import tempfile
import time
import unittest
from typing import Any

import axe_core_python
from PIL import Image, ImageChops, ImageStat
from selenium import webdriver
from selenium.common import exceptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support import ui

ROOT = pathlib.Path(__file__).resolve().parents[3]
IMAGES = ROOT / 'doc' / 'source' / 'admin' / 'images'
AXE = pathlib.Path(axe_core_python.__file__).with_name('axe.min.js')
ADMIN, PROJECT = '/admin/attestation/', '/project/attestation/'
#: Seconds for a page; the first one after a login is slow.
PATIENCE = 60
TRIALS = 5
#: Of all colour values, percent, below which two pictures show the same:
#: times and hashes are others with each run.
SAME = 2.0
MOST_BYTES = 100_000
_FLAGS = (
    '--headless',
    '--no-sandbox',
    '--disable-gpu',
    '--disable-quic',
    '--no-first-run',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
    '--disable-dev-shm-usage',
    '--force-color-profile=srgb',
    '--window-size=1200,900',
)


class BrowserTestCase(unittest.TestCase):
    """One browser for each class, in which one person is logged in.

    :cvar USER: who; '' for nobody. :cvar PLACE: the panel, for that person.
    """

    USER, PLACE = 'admin', ADMIN
    facts: dict[str, Any]
    driver: webdriver.Chrome

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.facts = json.loads(
            pathlib.Path(os.environ['KORORA_PANEL']).read_text()
        )
        profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        cls.addClassCleanup(profile.cleanup)
        options = webdriver.ChromeOptions()
        options.binary_location = '/usr/bin/chromium'
        for flag in (*_FLAGS, f'--user-data-dir={profile.name}'):
            options.add_argument(flag)
        cls.driver = webdriver.Chrome(
            options, Service('/usr/bin/chromedriver')
        )
        cls.addClassCleanup(cls.driver.quit)
        cls.driver.set_page_load_timeout(2 * PATIENCE)
        if cls.USER:
            cls.log_in()

    @classmethod
    def log_in(cls) -> None:
        cls.driver.get(f'{cls.facts["url"]}/auth/login/?next={cls.PLACE}')
        for field, value in (
            ('id_username', cls.USER),
            ('id_password', cls.facts['password']),
        ):
            cls.driver.find_element(By.ID, field).send_keys(value)
        cls.driver.find_element(By.ID, 'id_password').send_keys(Keys.ENTER)
        ui.WebDriverWait(cls.driver, PATIENCE).until(
            lambda driver: '/auth/login' not in driver.current_url
        )

    # Pages

    def go(self, path: str = '') -> None:
        """To a page of the panel."""
        self.driver.get(f'{self.facts["url"]}{self.PLACE}{path}')

    def at_region(self, name: str, path: str = '') -> None:
        """To a page of the panel in another region.

        Horizon keeps the region in a session that requests write as a whole:
        one that is under way may undo the change.
        """
        switch = f'/auth/switch_services_region/{name}/?next={self.PLACE}'
        for _ in range(TRIALS):
            self.driver.get(f'{self.facts["url"]}{switch}')
            self.go(path)
            if name in self.words('.topbar'):
                return
        self.fail(f'Horizon does not stay at the region {name}')

    def find(self, selector: str) -> Any:
        try:
            return self.driver.find_element(By.CSS_SELECTOR, selector)
        except exceptions.NoSuchElementException:
            self.fail(f'no {selector} in {self.driver.current_url}')

    def all(self, selector: str) -> list[Any]:
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def words(self, selector: str = '.attestation') -> str:
        return ' '.join(self.find(selector).text.split())

    def row(self, table: str, begin: str) -> str:
        """The row of a table whose heading begins so."""
        for one in self.all(f'#{table} tbody tr'):
            heading = one.find_elements(By.CSS_SELECTOR, 'th')
            if heading and heading[0].text.startswith(begin):
                return ' '.join(one.text.split())
        self.fail(f'no row {begin} in {self.words()}')

    def script(self, code: str, *arguments: Any) -> Any:
        return self.driver.execute_script(code, *arguments)

    def press(self, *keys: str) -> None:
        """Keys, one after the other, wherever the focus is."""
        actions = webdriver.ActionChains(self.driver)
        for key in keys:
            actions.send_keys(key)
        actions.perform()

    def await_text(self, text: str) -> None:
        end = time.monotonic() + PATIENCE
        while text not in self._body():
            if time.monotonic() > end:
                self.fail(f'{text!r} does not come in {self.words("body")}')
            time.sleep(0.2)

    def _body(self) -> str:
        try:
            return str(self.driver.find_element(By.TAG_NAME, 'body').text)
        except exceptions.WebDriverException:
            return ''  # of a page that goes as another one comes

    def barriers(self) -> list[str]:
        """What axe finds in the panel's part of the page, in sentences."""
        self.script(AXE.read_text())
        found = self.driver.execute_async_script(
            'const done = arguments[arguments.length - 1];'
            "axe.run('.attestation').then(done, e => done({error: ''+e}));"
        )
        self.assertNotIn('error', found)
        self.assertTrue(found['passes'])
        return [
            f'{one["id"]}: {one["help"]} ({node["html"][:120]})'
            for one in found['violations']
            for node in one['nodes']
        ]

    def picture(self, name: str) -> None:
        """Keep what is seen for the documents, if it looks another way."""
        image = Image.open(io.BytesIO(self.driver.get_screenshot_as_png()))
        image = image.convert('RGB').quantize(48)
        IMAGES.mkdir(exist_ok=True)
        path = IMAGES / f'dashboard-{name}.png'
        if not path.exists() or _difference(image, path) > SAME:
            image.save(path, optimize=True)
        self.assertLessEqual(path.stat().st_size, MOST_BYTES)


def _difference(image: Any, path: pathlib.Path) -> float:
    """Of two pictures, percent."""
    with Image.open(path) as before:
        if before.size != image.size:
            return 100.0
        changed = ImageChops.difference(
            image.convert('L'), before.convert('L')
        )
    return ImageStat.Stat(changed).mean[0] / 2.55
