# SPDX-License-Identifier: Apache-2.0
"""What an administrator sees and does."""

from __future__ import annotations

import time

from selenium.webdriver.common.keys import Keys

from tests.horizon.browser.base import ADMIN, BrowserTestCase

#: Seconds in which a result of the world has ended, on any machine.
RESULT_ENDS = 150.0
TABS = ('', 'migrations/', 'servers/', 'policies/')


class LookTest(BrowserTestCase):
    def test_panel_is_in_admin_compute(self) -> None:
        self.go()
        link = self.find(f'#sidebar-accordion a[href="{ADMIN}"]')
        self.assertEqual(
            'Attestation', link.get_attribute('textContent').strip()
        )
        self.assertEqual('Attestation', self.words('h1'))

    def test_hosts_in_every_tier(self) -> None:
        self.go()
        end = time.monotonic() + RESULT_ENDS
        while 'No result' not in self.row('hosts', 'compute-4'):
            self.assertLess(time.monotonic(), end, 'its result does not end')
            time.sleep(1)
            self.go()
        for host, said in (
            ('compute-0', '✓ Approved ✓ Affirming'),
            ('compute-3', '✗ Contraindicated'),
            ('compute-4', '○ No result'),
            ('compute-5', '! Waits for approval'),
            ('compute-6', '○ Never enrolled'),
        ):
            self.assertIn(said, self.row('hosts', host))
        self.assertIn('RESULT_EXPIRED', self.row('hosts', 'compute-4'))
        self.assertRegex(self.row('hosts', 'compute-0'), r'\d+ s ago yes')
        self.picture('hosts')

    def test_host_beside_its_policy(self) -> None:
        self.go()
        self.find('#hosts a[href$="/compute-3/"]').click()
        self.assertIn('Policy production', self.words())
        self.assertIn(
            'Rule The policy wants The host shows What to do',
            self.words('.attestation-differences thead'),
        )
        self.assertIn('/tmp/dropped', self.words('.attestation-differences'))
        self.assertIn('✓ Verified', self.words('.attestation-facts'))
        self.assertIn('keys that are pinned here', self.words())
        self.script('window.scrollTo(0, 0)')
        self.picture('host')

    def test_hand_over_that_is_decided(self) -> None:
        self.go('migrations/')
        moved = self.facts['moved']
        self.assertIn('✓ Committed', self.row('migrations', moved))
        self.find(f'#migrations a[href*="{moved}"]').click()
        for one in ('Permit', 'Start', 'Receipt'):
            self.assertIn(f'{one} ✓ Verified', self.row('proofs', one))
        self.assertIn('yes yes', self.row('ends', 'Enrolled with it now'))
        self.picture('migration')

    def test_timeline_is_drawn_and_written(self) -> None:
        self.go(f'migrations/{self.facts["moved"]}/')
        steps = self.all('#steps li')
        self.assertEqual(7, len(steps))
        self.assertEqual(
            [str(number) for number in range(1, 8)],
            [one.text for one in self.all('.attestation-step text')],
        )
        drawing = self.find('svg.attestation-timeline')
        self.assertEqual('img', drawing.aria_role.replace('image', 'img'))
        self.assertIn('Timeline of the hand-over', drawing.accessible_name)
        self.assertGreater(drawing.size['width'], 700)
        left = [one.location['x'] for one in self.all('svg circle')]
        self.assertEqual(sorted(left), left)

    def test_hand_overs_that_are_not(self) -> None:
        self.go(f'migrations/{self.facts["open"]}/')
        self.assertIn('Not decided yet', self.words('#steps'))
        self.assertEqual(1, len(self.all('#proofs tbody tr')))
        self.go(f'migrations/{self.facts["stayed"]}/')
        self.assertIn('Aborted, compute-0 holds', self.words('#steps'))

    def test_servers(self) -> None:
        self.go('servers/')
        first, second, third = self.facts['servers']
        self.assertRegex(self.row('servers', first), r'✓ Held compute-1 \d+\Z')
        self.assertIn('✓ Held compute-0', self.row('servers', second))
        self.assertIn('! Pending compute-1', self.row('servers', third))
        self.picture('servers')
        self.find(f'#servers a[href*="{third}"]').click()
        self.assertIn('openstack attestation migration', self.words())

    def test_dry_run(self) -> None:
        self.go('policies/')
        self.assertIn('golden compute-0', self.row('references', 'golden'))
        self.find('#policies a').click()
        self.assertIn('compute-3', self.row('verdicts', 'compute-3'))
        self.assertIn('no host was asked', self.words())
        self.find('a[href="?all=true"]').click()
        self.assertIn('compute-0', self.words('#verdicts'))
        self.picture('dry-run')

    def test_filter(self) -> None:
        self.go()
        self.find('#filter-name').send_keys('compute-1', Keys.ENTER)
        self.await_text('1 entry')
        self.assertEqual(1, len(self.all('#hosts tbody tr')))


class ChangeTest(BrowserTestCase):
    def test_approve_with_the_keyboard_alone(self) -> None:
        self.go('hosts/compute-7/')
        self.assertIn('! Waits for approval', self.words())
        self.script("document.querySelector('#approve').focus()")
        self.press(Keys.ENTER)
        self.await_text('I have compared this hash')
        hashes = self.facts['hashes']
        self.assertEqual(hashes['compute-7'], self.words('#ek-hash'))
        self.picture('approve')
        self.script("document.querySelector('#ek-hash').scrollIntoView()")
        self.script(
            "document.querySelector('.attestation-tabs li:last-child a')"
            '.focus()'
        )
        self.press(Keys.TAB)
        self.press(Keys.SPACE)
        self.press(Keys.TAB)
        self.press(Keys.ENTER)
        self.await_text('The host compute-7 is approved.')
        self.assertIn('✓ Approved', self.words())

    def test_approval_needs_the_comparison(self) -> None:
        self.go('hosts/compute-5/approve/')
        self.find('form .btn-primary').click()
        self.assertIn('/approve/', self.driver.current_url)
        self.go('hosts/compute-5/')
        self.assertIn('! Waits for approval', self.words())

    def test_create_a_reference(self) -> None:
        self.go('hosts/compute-1/')
        self.find('#learn').click()
        self.assertEqual(
            'compute-1', self.find('#id_host').get_attribute('value')
        )
        self.find('#id_name').send_keys('from-the-panel')
        self.picture('reference')
        self.find('form .btn-primary').click()
        self.await_text('The reference from-the-panel was learned.')
        self.assertIn('compute-1', self.row('references', 'from-the-panel'))

    def test_what_the_service_refuses_is_said(self) -> None:
        self.go('references/create/')
        self.find('#id_name').send_keys('golden')
        self.find('form .btn-primary').click()
        self.assertIn('Nothing was done', self.words('#errors'))

    def test_try_a_policy(self) -> None:
        self.go('policies/try/')
        self.find('#id_document').send_keys(
            'version: 1\nname: tried\nhosts: ["compute-0"]\n'
            'rules: [{boot-components: {pcrs: [4], references: true}}, '
            '{ima: not-appraised}]\n'
        )
        self.find('form .btn-primary').click()
        self.await_text('Judged by the last evidence')
        self.assertEqual(1, len(self.all('#verdicts tbody tr')))
        self.go('policies/')
        self.assertNotIn('tried', self.words('#policies'))


class AccessTest(BrowserTestCase):
    def pages(self) -> tuple[str, ...]:
        return (
            *TABS,
            'hosts/compute-3/',
            'hosts/compute-5/approve/',
            f'migrations/{self.facts["moved"]}/',
            f'servers/{self.facts["servers"][2]}/',
            'policies/production/check/',
            'policies/try/',
            'references/create/',
            'hosts/nowhere/',
        )

    def test_no_barriers(self) -> None:
        """axe's rules: names, labels, order, contrast and others."""
        for path in self.pages():
            with self.subTest(path):
                self.go(path)
                self.assertEqual([], self.barriers())

    def test_keys_reach_everything_in_its_order(self) -> None:
        self.go()
        wanted = self.script(
            "return [...document.querySelectorAll('.attestation a, "
            '.attestation input, .attestation select, .attestation button, '
            ".attestation [tabindex]')].map(e => e.outerHTML)"
        )
        self.script("document.querySelector('.attestation a').focus()")
        reached = []
        for _ in wanted:
            found = self.driver.switch_to.active_element
            reached.append(found.get_attribute('outerHTML'))
            outline = found.value_of_css_property('outline-style')
            self.assertEqual('solid', outline, reached[-1])
            self.press(Keys.TAB)
        self.assertEqual(wanted, reached)

    def test_nothing_is_told_by_colour_alone(self) -> None:
        self.go()
        marks = self.all('.attestation-mark')
        self.assertGreater(len(marks), 10)
        told = {(one.get_attribute('class'), one.text[0]) for one in marks}
        self.assertEqual(len({look for look, _ in told}), len(told))
        for one in marks:
            self.assertGreater(len(one.text), 3)

    def test_no_script_and_no_style_in_the_page(self) -> None:
        for path in self.pages():
            self.go(path)
            self.assertEqual([], self.all('.attestation script'))
            self.assertEqual([], self.all('.attestation [style]'))
            self.assertEqual(
                0,
                self.script(
                    "return [...document.querySelectorAll('.attestation *')]"
                    '.filter(e => [...e.attributes].some(a => '
                    "a.name.startsWith('on'))).length"
                ),
            )

    def test_german(self) -> None:
        self.go()
        self.driver.add_cookie({'name': 'horizon_language', 'value': 'de'})
        self.addCleanup(self.driver.delete_cookie, 'horizon_language')
        self.go()
        self.assertIn('! Wartet auf Zulassung', self.row('hosts', 'compute-5'))
        self.picture('german')
