# SPDX-License-Identifier: Apache-2.0
"""stack, unstack and clean: DevStack's own scripts, as users run them."""

from __future__ import annotations

import pathlib
import shutil

from korora_tools import ui
from korora_tools.devstack import image, localconf, mirrors, network, paths
from korora_tools.devstack.node import Node

OPENSTACK = (
    f'env OS_CLOUD=devstack-admin OS_CACERT= {paths.VENV_BIN}/openstack'
)
REPLUG = pathlib.Path(__file__).with_name('replug.sh')
# Read-only in a container, and older DevStacks insist on writing to it.
KSM = '/sys/kernel/mm/ksm'
HIDE_KSM = f'[ ! -e {KSM}/run ] || mount -t tmpfs none {KSM}'
PHASES = (
    'unstack',
    'stack:pre-install',
    'stack:install',
    'stack:post-config',
    'stack:extra',
    'stack:test-config',
)


class Cloud:
    """A controller and its subnodes."""

    def __init__(self, work: paths.Work, branch: str) -> None:
        self.work, self.branch = work, branch
        self.controller = Node(work, paths.CONTROLLER)

    def node(self, name: str) -> Node:
        return Node(self.work, name)

    def openstack(self, command: str, **more: float) -> str:
        """Run the client as the administrator.

        :raises Problem: it failed.
        """
        return self.controller.output(
            f'{OPENSTACK} {command}', 'stack', **more
        ).strip()

    # -- DevStack ---------------------------------------------------------

    def prepare(self, node: Node) -> None:
        """Start a node and clone DevStack, unmodified, into it."""
        node.start()
        node.output(HIDE_KSM)
        disk = pathlib.Path(str(node.files) + localconf.IMAGE)
        disk.parent.mkdir(parents=True, exist_ok=True)
        disk.write_bytes(image.raw())
        disk.chmod(0o644)
        node.output(
            f'[ -d {paths.DEVSTACK} ] || git clone -q -b {self.branch} '
            f'file://{paths.GIT}/openstack/devstack.git {paths.DEVSTACK}',
            'stack',
        )

    def commit(self) -> str:
        """The commit of DevStack that is used, and that it is unmodified."""
        where = f'git -C {paths.DEVSTACK}'
        dirty = self.controller.output(
            f'{where} status --porcelain --untracked-files=no', 'stack'
        )
        if dirty.strip():
            raise ui.Problem(f'DevStack is modified:\n{dirty}')
        return self.controller.output(
            f'{where} rev-parse HEAD', 'stack'
        ).strip()

    def stack(self, node: Node, *, offline: bool = False) -> int:
        """stack.sh with the plugin's newest commit; its exit code."""
        self._write(node, offline)
        how = ' without a way out' if offline else ''
        with ui.step(
            f'stack.sh on {node.name}{how} '
            f'({self.work.log}/{node.name}.stack.log)'
        ):
            code = node.run(
                f'cd {paths.DEVSTACK} && ./stack.sh',
                f'{node.name}.stack.log',
            )
        if code:
            ui.say(f'stack.sh on {node.name} ended with {code}; see its log')
        return code

    def _write(self, node: Node, offline: bool = False) -> None:
        """local.conf; DevStack does not update a plugin that is there."""
        node.put(
            localconf.render(node.name, self.branch, offline=offline),
            f'{paths.DEVSTACK}/local.conf',
        )
        if not offline:
            node.output(f'rm -rf {paths.STACK_HOME}/{mirrors.PLUGIN}')

    def unstack(self, node: Node) -> int:
        with ui.step(f'unstack.sh on {node.name}'):
            return node.run(
                f'cd {paths.DEVSTACK} && ./unstack.sh',
                f'{node.name}.unstack.log',
            )

    def replug(self, node: Node) -> int:
        """The plugin's phases only, on a cloud that is up."""
        self._write(node)
        node.put(REPLUG.read_text(), f'{paths.STACK_HOME}/replug.sh')
        with ui.step(
            f'phases of the plugin on {node.name} '
            f'({self.work.log}/{node.name}.replug.log)'
        ):
            return node.run(
                f'bash {paths.STACK_HOME}/replug.sh {" ".join(PHASES)}',
                f'{node.name}.replug.log',
            )

    def clean(self, node: Node) -> int:
        with ui.step(f'clean.sh on {node.name}'):
            return node.run(
                f'cd {paths.DEVSTACK} && ./clean.sh',
                f'{node.name}.unstack.log',
            )

    def join(self, node: Node) -> int:
        """Stack a subnode and let the controller's Nova find it."""
        self.prepare(node)
        self.controller.copy_to(paths.HANDOUT, node)
        code = self.stack(node)
        if code == 0:
            self.controller.output(
                f'cd {paths.DEVSTACK} && ./tools/discover_hosts.sh', 'stack'
            )
        return code

    def tell_tempest(self, section: str, option: str, value: str) -> None:
        """Change tempest.conf, as DevStack does."""
        self.controller.output(
            f'source {paths.DEVSTACK}/functions && iniset '
            f'{paths.STACK_HOME}/tempest/etc/tempest.conf {section} {option} '
            f'{value}',
            'stack',
        )

    def down(self) -> None:
        """Stop and remove every node; the bare Debian and git stay."""
        for name in reversed(paths.ADDRESSES):
            node = self.node(name)
            if node.files.exists() or network.exists(network.namespace(name)):
                with ui.step(f'remove {name}'):
                    node.remove()

    def purge(self) -> None:
        """Remove all that was ever made, logs too."""
        self.down()
        shutil.rmtree(self.work.root, ignore_errors=True)
