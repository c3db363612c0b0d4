# SPDX-License-Identifier: Apache-2.0
"""What setup.cfg promises is there."""

import configparser
import importlib.metadata
import pathlib

import testtools

ROOT = pathlib.Path(__file__).resolve().parents[2]
SPDX = "# SPDX-License-Identifier: Apache-2.0"


def entry_points() -> list[importlib.metadata.EntryPoint]:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    found = []
    for group, text in config["entry_points"].items():
        for line in text.strip().splitlines():
            name, value = line.split(" = ")
            found.append(importlib.metadata.EntryPoint(name, value, group))
    return found


class TestPackaging(testtools.TestCase):
    def test_every_entry_point_loads(self) -> None:
        points = entry_points()
        self.assertNotEqual([], points)
        for point in points:
            self.assertIsNotNone(point.load(), point)

    def test_every_command_of_the_plugin_is_an_entry_point(self) -> None:
        promised = {
            point.value
            for point in entry_points()
            if point.group == "openstack.attestation.v1"
        }
        written = set()
        for path in (ROOT / "korora_nova" / "osc").glob("*.py"):
            for line in path.read_text().splitlines():
                if line.startswith("class ") and path.stem not in (
                    "base", "plugin",
                ):  # fmt: skip
                    name = line.split()[1].split("(")[0]
                    if not name.startswith("_"):
                        written.add(f"korora_nova.osc.{path.stem}:{name}")
        self.assertEqual(promised, written)

    def test_every_file_says_its_license(self) -> None:
        trees = ("korora_nova", "nova", "tests", "tools", "doc", "api-ref")
        without = [
            str(path.relative_to(ROOT))
            for tree in trees
            for path in (ROOT / tree).rglob("*.py")
            if path.stat().st_size
            and SPDX not in path.read_text().splitlines()[:2]
        ]
        self.assertEqual([], without)
