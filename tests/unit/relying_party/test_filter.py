# SPDX-License-Identifier: Apache-2.0
"""The scheduler filter on Nova's own objects."""

import inspect
import logging
import pathlib
from unittest import mock

import fixtures
import testtools
from nova import objects
from nova.scheduler import filters, host_manager

from korora_nova import errors, metrics
from korora_nova.relying_party import filter as korora_filter
from korora_nova.relying_party import results, table

objects.register_all()

REQUIRED = {'korora:trusted_host': 'required'}
VTPM = {'hw:tpm_version': '2.0', 'hw:tpm_secret_security': 'host'}


class Decision:
    """Hosts that are trusted; all others are not, or have no result."""

    def __init__(self, trusted):
        self.trusted = trusted
        self.missing = set()
        self.ages = []

    def sift(self, hosts, now, max_age=None):
        self.ages.append(max_age)
        refused = {}
        for host in hosts:
            if host.host not in self.trusted:
                reason = (
                    'RESULT_MISSING'
                    if host.host in self.missing
                    else 'HOST_UNTRUSTED'
                )
                refused.setdefault(reason, []).append(host.host)
        return table.Sifted(
            [host for host in hosts if host.host in self.trusted], refused
        )


class TestFilter(testtools.TestCase):
    def setUp(self):
        super().setUp()
        self.filter = korora_filter.AttestationFilter()
        self.decision = Decision({'h1', 'h2'})
        self.results = mock.create_autospec(results.Results, instance=True)
        self.results.decide.side_effect = lambda: self.decision
        self.results.again.return_value = None
        self.filter._results = self.results
        self.hosts = [
            host_manager.HostState(name, f'node-of-{name}', 'cell')
            for name in ('h1', 'h2', 'h3')
        ]

    def spec(self, extra_specs=None, image=None, hints=None):
        return objects.RequestSpec(
            instance_uuid='6d3cbd36-8a05-4a2c-b6e3-f2e3ec4f5c11',
            flavor=objects.Flavor(extra_specs=extra_specs or {}),
            image=objects.ImageMeta(
                properties=objects.ImageMetaProps(**(image or {}))
            ),
            scheduler_hints=hints or {},
        )

    def passing(self, spec):
        answer = self.filter.filter_all(iter(self.hosts), spec)
        self.assertIsInstance(answer, list)
        return [host.host for host in answer]

    def test_plain_never_asks(self):
        self.results.decide.side_effect = AssertionError
        self.assertEqual(['h1', 'h2', 'h3'], self.passing(self.spec()))

    def test_only_trusted_hosts(self):
        for specs in (REQUIRED, VTPM, {'trust:trusted_host': 'trusted'}):
            self.assertEqual(['h1', 'h2'], self.passing(self.spec(specs)))

    def test_keyed_on_the_host_not_the_node(self):
        self.decision = Decision({'node-of-h1'})
        self.assertEqual([], self.passing(self.spec(REQUIRED)))

    def test_vtpm_of_the_image(self):
        spec = self.spec(
            {'hw:tpm_secret_security': 'host'}, {'hw_tpm_version': '2.0'}
        )
        self.assertEqual(['h1', 'h2'], self.passing(spec))

    def test_no_image(self):
        spec = self.spec(REQUIRED)
        spec.image = None
        self.assertEqual(['h1', 'h2'], self.passing(spec))

    def test_max_age_reaches_the_decision(self):
        self.passing(self.spec({'korora:max_result_age': '7'}))
        self.assertEqual([7], self.decision.ages)

    def test_one_decision_per_request(self):
        self.passing(self.spec(REQUIRED))
        self.assertEqual(1, self.results.decide.call_count)
        self.assertTrue(self.filter.run_filter_for_index(0))
        self.assertFalse(self.filter.run_filter_for_index(1))

    def test_no_host_is_said_of_what_is_new(self):
        old, self.decision = self.decision, Decision(set())
        self.results.again.return_value = old
        lines = self.logged(logging.INFO)
        self.assertEqual(['h1', 'h2'], self.passing(self.spec(REQUIRED)))
        self.results.again.assert_called_once_with(self.decision)
        self.assertEqual(1, len(lines))

    def test_some_hosts_are_enough(self):
        self.passing(self.spec(REQUIRED))
        self.hosts = []
        self.passing(self.spec(REQUIRED))
        self.results.again.assert_not_called()

    def test_service_down_refuses_who_asks(self):
        self.results.decide.side_effect = errors.Unavailable(
            'SERVICE_UNAVAILABLE'
        )
        self.assertEqual([], self.passing(self.spec(REQUIRED)))
        self.assertEqual(['h1', 'h2', 'h3'], self.passing(self.spec()))

    def test_surprises_refuse_who_asks(self):
        self.results.decide.side_effect = ZeroDivisionError
        self.assertEqual([], self.passing(self.spec(REQUIRED)))

    def test_bad_extra_spec_refuses(self):
        spec = self.spec({'korora:max_result_age': 'soon'})
        self.assertEqual([], self.passing(spec))

    def logged(self, level):
        """The lines of this level and above, from now on."""
        lines = []
        handler = logging.Handler(level)
        handler.emit = lambda record: lines.append(record.getMessage())
        logger = korora_filter.LOG.logger
        self.addCleanup(logger.setLevel, logger.level)
        logger.setLevel(level)
        logger.addHandler(handler)
        self.addCleanup(logger.removeHandler, handler)
        return lines

    def test_what_is_counted(self):
        directory = self.useFixture(fixtures.TempDir()).path
        self.addCleanup(metrics.stop)
        metrics.start(directory, metrics.FILTER)
        self.passing(self.spec(REQUIRED))
        self.decision.trusted.clear()
        self.passing(self.spec(REQUIRED))
        self.passing(self.spec())  # not asked for, not counted
        with mock.patch.object(
            self.results,
            'decide',
            side_effect=errors.Unavailable('SERVICE_UNAVAILABLE'),
        ):
            self.passing(self.spec(REQUIRED))
        metrics.write()
        text = pathlib.Path(directory, 'korora-filter-0.prom').read_text()
        for line in (
            'requests_total{outcome="ok",worker="0"} 1.0',
            'requests_total{outcome="none",worker="0"} 1.0',
            'requests_total{outcome="SERVICE_UNAVAILABLE",worker="0"} 1.0',
            'hosts_total{outcome="passed",worker="0"} 2.0',
            'hosts_total{outcome="HOST_UNTRUSTED",worker="0"} 4.0',
            'duration_seconds_count{worker="0"} 3.0',
        ):
            self.assertIn(f'korora_filter_{line}\n', text)

    def test_one_line_for_each_request(self):
        """L2: all refused hosts of a request are one line of the log."""
        self.decision.trusted.clear()
        lines = self.logged(logging.INFO)
        self.assertEqual([], self.passing(self.spec(REQUIRED)))
        self.assertEqual(1, len(lines), 'lines for one request')
        self.assertIn('Passed 0 hosts', lines[0])
        self.assertTrue(lines[0].endswith('refused: 3 HOST_UNTRUSTED'))

    def test_the_line_is_short(self):
        self.hosts = [
            host_manager.HostState(f'h{number}', 'node', 'cell')
            for number in range(5000)
        ]
        self.decision.missing = {f'h{number}' for number in range(1, 4000)}
        lines = self.logged(logging.INFO)
        self.assertEqual(['h1', 'h2'], self.passing(self.spec(REQUIRED)))
        (line,) = lines
        self.assertIn('Passed 2 hosts', line)
        self.assertIn('1001 HOST_UNTRUSTED', line)
        self.assertIn('3997 RESULT_MISSING', line)
        self.assertLess(len(line), 200)

    def test_nothing_is_said_if_all_pass(self):
        self.decision.trusted.add('h3')
        lines = self.logged(logging.INFO)
        self.passing(self.spec(REQUIRED))
        self.passing(self.spec())
        self.assertEqual([], lines)

    def test_names_are_for_debugging(self):
        """One line for each reason, and not of any length."""
        lines = self.logged(logging.DEBUG)
        self.passing(self.spec(REQUIRED))
        _, detail = lines
        self.assertTrue(detail.endswith('[HOST_UNTRUSTED] h3'), detail)
        self.hosts = [
            host_manager.HostState(f'h{number}', 'node', 'cell')
            for number in range(5000)
        ]
        del lines[:]
        self.passing(self.spec(REQUIRED))
        _, detail = lines
        self.assertIn(' h0 h3 h4 ', detail)
        self.assertTrue(detail.endswith(' ...'))
        self.assertLess(len(detail), 1000)

    def test_rebuild(self):
        spec = self.spec(REQUIRED, hints={'_nova_check_type': ['rebuild']})
        self.assertEqual(['h1', 'h2'], self.passing(spec))
        self.filter.RUN_ON_REBUILD = False
        self.assertEqual(['h1', 'h2', 'h3'], self.passing(spec))

    def test_one_by_one(self):
        spec = self.spec(REQUIRED)
        self.assertTrue(self.filter._filter_one(self.hosts[0], spec))
        self.assertFalse(self.filter._filter_one(self.hosts[2], spec))

    def test_nova_finds_it(self):
        loaded = filters.HostFilterHandler().get_matching_classes(
            ['korora_nova.relying_party.filter.AttestationFilter']
        )
        self.assertEqual([korora_filter.AttestationFilter], loaded)

    def test_not_a_generator(self):
        self.assertFalse(
            inspect.isgeneratorfunction(
                korora_filter.AttestationFilter.filter_all
            )
        )
