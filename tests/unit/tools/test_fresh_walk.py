# SPDX-License-Identifier: Apache-2.0
"""The installation guide can be followed by tools/fresh, all of it."""

from __future__ import annotations

import pathlib
import re

import fixtures
import testtools

from freshlib import document, units, walk
from lablib import paths

ROOT = pathlib.Path(__file__).resolve().parents[3]
GUIDE = ROOT / "doc" / "source" / "install"
SAMPLES = ROOT / "etc" / "korora"
# Capitals with an underscore, but for variables and keywords of the shell.
WORD = re.compile(r"(?<![$\w])[A-Z]+(?:_[A-Z]+)+\b")
NOT_OURS = {"KORORA_CONFIG_DIR"}


class TestGuide(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.pages = document.pages(GUIDE / "index.rst")
        self.words = document.words(GUIDE / "index.rst")
        self.steps = [step for page in self.pages
                      for step in document.steps(page)]

    def test_all_pages_but_devstack_are_followed(self) -> None:
        names = {path.name for path in self.pages}
        self.assertEqual(
            {path.name for path in GUIDE.glob("*.rst")},
            names | {"index.rst", "devstack.rst"})

    def test_every_block_of_commands_is_followed(self) -> None:
        followed = {(step.path, step.line) for step in self.steps}
        blocks = 0
        for page in self.pages:
            lines = page.read_text().splitlines()
            for number, line in enumerate(lines, 1):
                if line.strip() == ".. code-block:: console":
                    blocks += 1
                    self.assertIn((page, number - 1), followed)
                # No other way to show commands.
                self.assertNotRegex(line, r"^(?! *\.\. ).*::$")
        self.assertGreater(blocks, 15)
        self.assertGreater(
            sum(len(step.commands) for step in self.steps), 40)

    def test_words_are_explained_and_known(self) -> None:
        lab = paths.Lab(pathlib.Path(
            self.useFixture(fixtures.TempDir()).path))
        lab.cache.mkdir()
        kept = {step.ways["keep"] for step in self.steps
                if "keep" in step.ways}
        self.assertEqual(self.words, set(walk.values(lab)) | kept)

    def test_every_word_is_explained_and_used(self) -> None:
        texts = [command.text for step in self.steps
                 for command in step.commands]
        texts += [path.read_text() for pattern in ("*.snippet", "*.ini")
                  for path in SAMPLES.glob(pattern)]
        used = {word for text in texts
                for word in (*WORD.findall(text),
                             *re.findall(r"\b(?:COMPUTE|IMAGE|REPOSITORY|"
                                         r"CONSTRAINTS)\b", text))}
        self.assertEqual(self.words, used - NOT_OURS)

    def test_samples_that_are_installed_are_edited(self) -> None:
        """A copy with words in capitals in it is opened right away."""
        commands = [command.text for step in self.steps
                    for command in step.commands]
        for at, command in enumerate(commands):
            if "/opt/korora/share/korora/" not in command:
                continue
            name = re.search(r"share/korora/(\S+)", command)
            assert name is not None
            text = (SAMPLES / name[1]).read_text()
            if any(re.search(rf"\b{word}\b", text) for word in self.words):
                self.assertRegex(commands[at + 1], r"^\$EDITOR \S+$")

    def test_units_that_are_enabled_can_be_started(self) -> None:
        enabled = [command.text.split()[-1] for step in self.steps
                   for command in step.commands
                   if command.text.startswith("systemctl enable --now ")]
        self.assertEqual(["korora-api", "korora-agent"], enabled)
        for name in enabled:
            unit = units.read((SAMPLES / f"{name}.service").read_text())
            self.assertIn("--no-new-privs", unit.script)

    def test_secrets_are_not_readable_by_all(self) -> None:
        secret = {path.name for path in SAMPLES.glob("*.snippet")
                  if "PASSWORD" in path.read_text()
                  and not path.name.startswith("nova-")}
        modes = {}
        for step in self.steps:
            for command in step.commands:
                if found := re.fullmatch(
                        r"install -m (\d+) .*/(\S+\.snippet) \S+",
                        command.text):
                    modes[found[2]] = found[1]
        self.assertEqual(secret, set(modes))
        self.assertEqual(set(), {mode for mode in modes.values()
                                 if not mode.endswith("0")})
