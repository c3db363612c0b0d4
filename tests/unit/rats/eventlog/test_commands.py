# SPDX-License-Identifier: Apache-2.0
"""Texts and files of boot loaders."""

import unittest

from korora_nova.rats import eventlog
from korora_nova.rats.eventlog import document
from tests.support import uefilog as raw
from tests.support.uefilog import (
    IMAGE,
    IPL,
    TAG,
    boot,
    file_path,
    measured,
    separator,
    tagged,
)

#: What the kernel's event of its load options says.
OPTIONS = tagged(0x8F3B22ED, b'LOADED_IMAGE::LoadOptions\0')


def utf16(text):
    return (text + '\0').encode('utf-16-le')


class GrubTest(unittest.TestCase):
    def test_prefixes_and_nuls(self):
        for data, of in (
            (b'grub_cmd: linux /x ro\0', b'linux /x ro'),
            (b'grub_cmd: linux /x ro', b'linux /x ro'),
            (b'grub_cmd: linux /x ro\0', b'linux /x ro\0'),
            (b'grub_cmd linux /x ro\0', b'linux /x ro'),
            (b'linux /x ro\0', b'linux /x ro'),
            (b'linux /x ro\0', b'linux /x ro\0'),
        ):
            state = boot(measured(8, IPL, data, of))
            self.assertEqual(
                (eventlog.CommandLine('linux /x ro', 'grub', True, 8),),
                state.commands,
            )
            self.assertEqual(((), ()), (state.command_lines, state.components))

    def test_command_lines(self):
        for prefix in ('kernel_cmdline', 'module_cmdline', 'grub_cmd'):
            for path in ('/vmlinuz', '(hd0,gpt2)/vmlinuz', '+1', '0+9'):
                text = f'{path} root=a:b ro'
                state = boot(
                    measured(
                        8, IPL, f'{prefix}: {text}\0'.encode(), text.encode()
                    )
                )
                self.assertEqual(
                    (eventlog.CommandLine(text, 'grub', True, 8),),
                    state.command_lines,
                )
                self.assertEqual((), state.commands)

    def test_nothing_is_hidden(self):
        # A command line whose text is left out, whatever its label.
        for kind, data in (
            (IPL, b'grub_cmd: echo hello\0'),
            (IPL, b''),
            (1, b'x'),
            (4, bytes(4)),
            (0x80000007, b'ok'),
        ):
            state = boot(
                raw.event2(
                    8,
                    kind,
                    [
                        (
                            'sha256',
                            raw.hashed('sha256', b'/vmlinuz init=/bin/sh'),
                        )
                    ],
                    data,
                )
            )
            self.assertEqual(
                [False], [item.verified for item in state.command_lines]
            )
            self.assertEqual((), state.commands)

    def test_text_that_is_not_printable(self):
        state = boot(
            measured(
                8, IPL, b'grub_cmd: a\x1b\xff\tb\nc\0', b'a\x1b\xff\tb\nc'
            )
        )
        self.assertEqual('a\\x1b\\xff\tb\nc', state.commands[0].text)

    def test_text_that_is_not_verified_is_cut(self):
        state = boot(measured(8, IPL, b'x' * 10000, b'y'))
        self.assertEqual(512, len(state.command_lines[0].text))

    def test_longest_text(self):
        for size, verified in ((65536 - 10, True), (65536, False)):
            text = b'a' * size
            state = boot(measured(8, IPL, b'grub_cmd: ' + text, text))
            self.assertEqual(verified, bool(state.commands))
            self.assertEqual(not verified, bool(state.command_lines))
            document.boot_from_json(document.boot_to_json(state))

    def test_files(self):
        names = {
            '(hd0)/boot/vmlinuz-6.1.0-42-amd64': (
                'kernel',
                'vmlinuz-6.1.0-42-amd64',
                '6.1.0-42-amd64',
            ),
            '/initrd.img-6.1.0-42-amd64': (
                'initrd',
                'initrd.img-6.1.0-42-amd64',
                '6.1.0-42-amd64',
            ),
            '/initramfs-5.14.0-503.el9.x86_64.img': (
                'initrd',
                'initramfs-5.14.0-503.el9.x86_64.img',
                '5.14.0-503.el9.x86_64',
            ),
            '(hd0,gpt1)/grub/x86_64-efi/ext2.mod': ('module', 'ext2.mod', ''),
            '(hd0,gpt1)/grub/x86_64-efi/linux.mod': (
                'module',
                'linux.mod',
                '',
            ),
            '/initrd.mod': ('module', 'initrd.mod', ''),
            '/linux': ('kernel', 'linux', ''),
            '(hd0)/EFI/debian/grub.cfg': ('configuration', 'grub.cfg', ''),
        }
        for path, want in names.items():
            state = boot(
                measured(9, IPL, path.encode() + b'\0', b'file content')
            )
            (item,) = state.components
            self.assertEqual(want, (item.kind, item.name, item.version))
            self.assertEqual((9, path), (item.pcr, item.path))
            self.assertEqual(
                f'sha256:{raw.hashed("sha256", b"file content").hex()}',
                item.digest,
            )

    def test_name_with_surplus_bytes(self):
        # Quirk shim-name, and what is none.
        for data, want in (
            (b'MokList\0j', ('MokList', '')),
            (b'MokListX\0', ('MokListX', '')),
            (b'/boot/vmlinuz\0\xff\0', ('vmlinuz', '/boot/vmlinuz')),
            (b'MokList\0' + b'j' * 9, ('MokList\\x00jjjjjjjjj', '')),
            (b'a/b\x1bc', ('b\\x1bc', 'a/b\\x1bc')),
            (b'a\\b\x1bc', ('x1bc', 'a\\b\\x1bc')),
            (utf16('EFI\\x.efi'), ('x.efi', 'EFI\\x.efi')),
            (b'\0', ('', '')),
            (b'a\0', ('a', '')),
            (b'', ('', '')),
        ):
            (item,) = boot(measured(14, IPL, data, b'content')).components
            self.assertEqual(want, (item.name, item.path))

    def test_image_of_a_file_that_was_read(self):
        state = boot(
            measured(9, IPL, b'/vmlinuz-6.1.0-42-amd64\0', b'file'),
            measured(4, IMAGE, raw.image(), b'image'),
            measured(
                4, IMAGE, raw.image(file_path('\\a.efi') + raw.END), b'other'
            ),
        )
        self.assertEqual(
            [('kernel', 9), ('kernel', 4), ('application', 4)],
            [(item.kind, item.pcr) for item in state.components],
        )
        self.assertEqual('6.1.0-42-amd64', state.components[1].version)


class StubTest(unittest.TestCase):
    def section(self, name, content, label=None):
        data = utf16(label or name)
        return measured(11, IPL, data, name.encode() + b'\0') + measured(
            11, IPL, data, content
        )

    def test_sections(self):
        state = boot(
            self.section('.linux', b'kernel'),
            self.section('.cmdline', b'ro', label='.osrel'),
        )
        self.assertEqual(
            [
                ('section', '.linux', raw.hashed('sha256', b'kernel').hex()),
                ('section', '.cmdline', raw.hashed('sha256', b'ro').hex()),
            ],
            [
                (item.kind, item.name, item.digest[7:])
                for item in state.components
            ],
        )

    def test_section_without_content(self):
        state = boot(measured(11, IPL, utf16('.linux'), b'.linux\0'))
        self.assertEqual(1, len(state.components))

    def test_command_line(self):
        text = utf16('root=x ro')
        state = boot(measured(12, IPL, text), measured(9, TAG, OPTIONS, text))
        self.assertEqual(
            (
                ('root=x ro', 'stub', True, 12),
                ('root=x ro', 'kernel', True, 9),
            ),
            tuple(
                (item.text, item.source, item.verified, item.pcr)
                for item in state.command_lines
            ),
        )
        self.assertEqual((), state.components)

    def test_older_versions(self):
        # Into PCR 8, with a byte too much, and with or without the NUL.
        told = utf16('root=x ro')
        for pcr in (8, 12):
            for data in (told, told + b'\0', told[:-2]):
                for of in (told, told[:-2], data):
                    state = boot(measured(pcr, IPL, data, of))
                    self.assertEqual(
                        (
                            eventlog.CommandLine(
                                'root=x ro', 'stub', True, pcr
                            ),
                        ),
                        state.command_lines,
                    )

    def test_no_command_in_disguise(self):
        told = utf16('root=x init=/bin/sh')
        for data in (b'grub_cmd: ' + told, b'grub_cmd ' + told[:-2]):
            for of in (told, told[:-2], told[:-1]):
                state = boot(measured(8, IPL, data, of))
                self.assertEqual((), state.commands)
                self.assertEqual(1, len(state.command_lines))

    def test_load_options_that_nobody_told(self):
        state = boot(measured(9, TAG, OPTIONS, utf16('init=/bin/sh')))
        self.assertEqual(
            (eventlog.CommandLine('', 'kernel', False, 9),),
            state.command_lines,
        )
        self.assertEqual(
            ['LOADED_IMAGE::LoadOptions'],
            [item.name for item in state.components],
        )

    def test_load_options_from_grub(self):
        # With a NUL, or without as GRUB gives them.
        line = '/vmlinuz-6.1 root=x ro'
        for text in (line, f'BOOT_IMAGE={line}', 'root=x ro'):
            for given in (utf16(text), utf16(text)[:-2]):
                state = boot(
                    measured(
                        8,
                        IPL,
                        f'kernel_cmdline: {line}'.encode(),
                        line.encode(),
                    ),
                    measured(9, TAG, OPTIONS, given),
                )
                self.assertEqual(
                    eventlog.CommandLine(text, 'kernel', True, 9),
                    state.command_lines[-1],
                )

    def test_load_options_from_a_boot_option(self):
        text = 'root=LABEL=x ro initrd=\\initrd.img'
        path = file_path('\\vmlinuz.efi') + raw.END
        for given in (utf16(text), utf16(text)[:-2]):
            for name in ('Boot0001', 'Boot000A'):
                value = raw.load_option('Linux', path) + given
                state = boot(
                    measured(1, raw.BOOT, raw.variable(name, value)),
                    measured(9, TAG, OPTIONS, given),
                )
                self.assertEqual(
                    (eventlog.CommandLine(text, 'kernel', True, 9),),
                    state.command_lines,
                )
                self.assertEqual('Linux', state.boot_options[0].description)

    def test_boot_options_that_say_nothing(self):
        """Neither of another text, nor of bytes that are none."""
        path = file_path('\\vmlinuz.efi') + raw.END
        option = raw.load_option('Linux', path)
        for value, given in (
            (option + utf16('ro'), utf16('rw')),
            (option + utf16('ro'), utf16('ro') + b'\0'),
            (option + b'ro', b'ro'),
            (option + utf16('a\x01'), utf16('a\x01')),
            (option + b'\x00\xd8a\0', b'\x00\xd8a\0'),
            (option, b''),
            (option[:5], b''),
            (option[:9], option[9:]),
            (b'', b''),
        ):
            state = boot(
                measured(1, raw.BOOT, raw.variable('Boot0001', value)),
                measured(9, TAG, OPTIONS, given),
            )
            self.assertEqual(
                (eventlog.CommandLine('', 'kernel', False, 9),),
                state.command_lines,
            )

    def test_load_options_are_components(self):
        """Unless their text is just another command line's."""
        line = '/vmlinuz ro'
        for text, count in ((line, 0), (f'BOOT_IMAGE={line}', 1), ('x', 1)):
            state = boot(
                measured(8, IPL, line.encode()),
                measured(9, TAG, OPTIONS, utf16(text)),
            )
            self.assertEqual(count, len(state.components))

    def test_other_content_of_the_register(self):
        state = boot(
            measured(12, IPL, utf16('Credentials initrd'), b'cpio'),
            separator(12, b'WBCL'),
        )
        self.assertEqual(
            (eventlog.CommandLine('Credentials initrd', 'stub', False, 12),),
            state.command_lines,
        )
        self.assertEqual(1, len(state.components))

    def test_text_that_is_none(self):
        for data in (
            utf16('a\x01'),
            b'ab',
            b'\x00\xd8a\0',
            b'',
            utf16('a' * 40000),
        ):
            state = boot(measured(12, IPL, data))
            self.assertFalse(state.command_lines[0].verified)

    def test_tags(self):
        state = boot(
            measured(9, TAG, tagged(0x8F3B22EC, b'Linux initrd\0'), b'cpio'),
            measured(5, TAG, tagged(0xF5BC582A, utf16('loader.conf')), b'c'),
            measured(5, TAG, tagged(7, b'\xff\xfe\xfd'), b'c'),
            measured(5, TAG, b'\1', b'c'),
        )
        self.assertEqual(
            [
                ('initrd', 'Linux initrd'),
                ('configuration', 'loader.conf'),
                ('configuration', 'tag 0x00000007'),
                ('configuration', 'tag 0x00000000'),
            ],
            [(item.kind, item.name) for item in state.components],
        )
