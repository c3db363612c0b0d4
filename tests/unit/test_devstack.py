# SPDX-License-Identifier: Apache-2.0
"""The DevStack plugin against stand-ins of DevStack's functions."""

import pathlib
import subprocess

import fixtures
import testtools

ROOT = pathlib.Path(__file__).resolve().parents[2]
PLUGIN = ROOT / 'devstack' / 'plugin.sh'

# Each call of a stand-in is one line of output.
STANDINS = r"""
set -eu
say() { local IFS='|'; echo "$*"; }
for f in iniset iniset_multiline setup_develop install_package run_process \
    stop_process write_uwsgi_config remove_uwsgi_config setup_logging \
    configure_keystone_authtoken_middleware configure_keystoneauth \
    get_or_create_role create_service_user get_or_create_user \
    get_or_add_user_project_role get_or_create_service \
    get_or_create_endpoint recreate_database rpc_backend_add_vhost \
    wait_for_service restart_service; do
    eval "$f() { say $f \"\$@\"; }"
done
sudo() {
    case "$1" in
        find | grep | env | test) command "$@" ;;
        sed) if [[ "$2" == -n ]]; then echo tss; else say sudo "$@"; fi ;;
        *) say sudo "$@" ;;
    esac
}
install() { say install "$@"; }
echo_summary() { :; }
trueorfalse() { local value=${!2:-$1}; echo "$value"; }
define_plugin() { :; }
enable_service() { :; }
die() { shift; echo "$*" >&2; exit 1; }
get_plugin_packages() { echo gcc swtpm; }
apache_site_config_for() { echo "/sites/$1.conf"; }
is_service_enabled() {
    [[ " $ENABLED " == *" $1 "* ]] || \
        [[ "$1" == korora && " $ENABLED " == *" korora-"* ]]
}
get_python_exec_prefix() { echo "$BIN"; }
database_connection_url() { echo "mysql+pymysql://db/$1"; }
get_transport_url() { echo "rabbit://bus/$1"; }
iniget() { echo "${FILTERS:-OldFilter}"; }
iniget_multiline() { echo "${AVAILABLE:-}"; }
rm() { say rm "$@"; }
uwsgi() { :; }
which() { echo "/usr/bin/$1"; }
source "$PLUGIN_DIR/settings"
"""


class TestPlugin(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.temp = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        (self.temp / 'nova/nova/virt').mkdir(parents=True)
        manage = self.temp / 'bin/korora-manage'
        manage.parent.mkdir()
        manage.write_text('#!/bin/sh\necho "manage|$*"\n')
        manage.chmod(0o755)
        (self.temp / 'qemu.conf').touch()

    def run_bash(
        self, *phase: str, enabled: str, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        env = {
            'PATH': '/usr/bin:/bin',
            'ENABLED': enabled,
            'NOUNSET': '',
            'PLUGIN_DIR': str(PLUGIN.parent),
            'BIN': str(self.temp / 'bin'),
            'NOVA_DIR': str(self.temp / 'nova'),
            'NOVA_CONF': 'nova.conf',
            'QEMU_CONF': str(self.temp / 'qemu.conf'),
            'TEMPEST_CONFIG': 'tempest.conf',
            'SERVICE_TIMEOUT': '60',
            'STACK_USER': 'stack',
            'HOST_IP': '192.0.2.1',
            'SERVICE_HOST': '192.0.2.1',
            'SERVICE_PROTOCOL': 'http',
            'SERVICE_PASSWORD': 'secret',
            'REGION_NAME': 'R',
            'SERVICE_DOMAIN_NAME': 'Default',
            'SERVICE_PROJECT_NAME': 's',
            'KEYSTONE_SERVICE_URI': 'http://k',
            'SYSTEMD_DIR': '/units',
            'DATA_DIR': str(self.temp),
            'ENABLE_DEBUG_LOG_LEVEL': 'True',
            **variables,
        }
        return subprocess.run(
            ['bash', '-c', STANDINS + 'source "$0" "$@"', PLUGIN, *phase],
            env=env,
            capture_output=True,
            text=True,
            cwd='/',
        )

    def run_phase(
        self, *phase: str, enabled: str, **variables: str
    ) -> list[str]:
        """The calls that a phase makes."""
        done = self.run_bash(*phase, enabled=enabled, **variables)
        self.assertEqual(0, done.returncode, done.stderr)
        self.assertEqual('', done.stderr)
        return done.stdout.splitlines()

    def refusal(self, enabled: str, **variables: str) -> str:
        """The sentence with which stack.sh ends before it installs."""
        done = self.run_bash(
            'stack', 'pre-install', enabled=enabled, **variables
        )
        self.assertEqual(1, done.returncode)
        self.assertEqual('', done.stdout)
        return done.stderr

    def test_ends_early_without_a_key_manager(self) -> None:
        self.assertIn(
            'enable_plugin barbican',
            self.refusal('korora-api', KORORA_TPM='swtpm'),
        )
        for enabled, manager in (
            ('korora-api barbican', 'barbican'),
            ('korora-api', 'external'),
        ):
            self.assertEqual(
                ['install_package|gcc|swtpm'],
                self.run_phase(
                    'stack',
                    'pre-install',
                    enabled=enabled,
                    KORORA_TPM='swtpm',
                    KORORA_KEY_MANAGER=manager,
                ),
            )

    def test_ends_early_without_a_tpm_or_who_vouches_for_it(self) -> None:
        both = 'korora-api korora-agent barbican'
        self.assertIn(
            'no TPM at /nowhere',
            self.refusal(
                both, KORORA_TCTI='device:/nowhere', KORORA_EK_ROOTS='/x'
            ),
        )
        self.assertIn(
            'KORORA_EK_ROOTS',
            self.refusal(both, KORORA_TCTI='device:/dev/null'),
        )
        self.assertIn('device or swtpm', self.refusal(both, KORORA_TPM='x'))

    def test_a_subnode_ends_early_without_the_handout(self) -> None:
        self.assertIn(
            'korora-handout',
            self.refusal('korora-agent', KORORA_TPM='swtpm'),
        )

    def test_install_links_the_driver_into_novas_tree(self) -> None:
        calls = self.run_phase(
            'stack', 'install', enabled='korora-agent n-cpu'
        )
        self.assertEqual([f'setup_develop|{ROOT}|tpm'], calls)
        link = self.temp / 'nova/nova/virt/korora'
        self.assertEqual(ROOT / 'nova/virt/korora', link.resolve())
        self.assertTrue((link / '__init__.py').exists())
        self.assertIn(
            f'rm|-f|{link}', self.run_phase('unstack', enabled='korora-api')
        )

    def test_a_controller_needs_no_tpm_library(self) -> None:
        self.assertIn(
            f'setup_develop|{ROOT}',
            self.run_phase('stack', 'install', enabled='korora-api'),
        )

    def test_nothing_where_nothing_is_enabled(self) -> None:
        for phase in (('stack', 'install'), ('unstack',), ('clean',)):
            self.assertEqual([], self.run_phase(*phase, enabled='n-cpu'))

    def test_the_filter_joins_those_that_are_there_once(self) -> None:
        enabled = 'n-sch korora-api'
        calls = self.run_phase('stack', 'post-config', enabled=enabled)
        self.assertIn(
            'iniset|nova.conf|filter_scheduler|enabled_filters|'
            'OldFilter,AttestationFilter',
            calls,
        )
        ours = 'korora_nova.relying_party.filter.AttestationFilter'
        self.assertIn(
            'iniset_multiline|nova.conf|filter_scheduler|available_filters|'
            f'nova.scheduler.filters.all_filters|{ours}',
            calls,
        )
        self.assertIn(
            'iniset_multiline|nova.conf|filter_scheduler|available_filters|'
            f'one|two|{ours}',
            self.run_phase(
                'stack', 'post-config', enabled=enabled, AVAILABLE='one two'
            ),
        )
        again = self.run_phase(
            'stack',
            'post-config',
            enabled=enabled,
            FILTERS='OldFilter,AttestationFilter',
            AVAILABLE=f'one {ours}',
        )
        self.assertEqual(
            [], [call for call in again if 'filter_scheduler' in call]
        )

    def test_the_driver_only_where_an_agent_runs(self) -> None:
        driver = (
            'iniset|nova.conf|DEFAULT|compute_driver|'
            'korora.KororaLibvirtDriver'
        )
        compute = self.run_phase(
            'stack',
            'post-config',
            enabled='n-cpu korora-api korora-agent rabbit',
        )
        self.assertIn(driver, compute)
        for option in (
            'swtpm_enabled|True',
            'swtpm_user|tss',
            'swtpm_group|tss',
            'live_migration_inbound_addr|192.0.2.1',
        ):
            self.assertIn(f'iniset|nova.conf|libvirt|{option}', compute)
        self.assertNotIn(
            driver,
            self.run_phase('stack', 'post-config', enabled='n-cpu korora-api'),
        )

    def test_streams_end_at_the_attested_host(self) -> None:
        """QEMU finds what the agent has, and libvirtd starts without it."""
        streams = '/etc/pki/qemu/korora'
        qemu_conf = self.temp / 'qemu.conf'

        def stacked() -> list[str]:
            return self.run_phase(
                'stack',
                'post-config',
                enabled='n-cpu korora-api korora-agent rabbit',
            )

        calls = stacked()
        for wanted in (
            'manage|--config-file /etc/korora/korora.conf keys create tls',
            'iniset|/etc/korora/agent.conf|attester|migration_tls_dir|'
            f'{streams}',
            f'sudo|ln|-sfn|korora.00000000|{streams}',
            f'sudo|tee|-a|{qemu_conf}',
        ):
            self.assertIn(wanted, calls)
        self.assertLess(
            calls.index(f'sudo|ln|-sfn|korora.00000000|{streams}'),
            calls.index('restart_service|libvirtd'),
        )
        self.assertEqual([], [one for one in calls if 'transition' in one])
        qemu_conf.write_text(f'migrate_tls_x509_cert_dir = "{streams}"\n')
        self.assertNotIn('restart_service|libvirtd', stacked())
        line = '/^migrate_tls_x509_cert_dir = .*korora/d'
        self.assertIn(
            f'sudo|sed|-i|{line}|{qemu_conf}',
            self.run_phase('clean', enabled='korora-agent'),
        )

    def test_the_agents_user_has_one_role(self) -> None:
        calls = self.run_phase('stack', 'post-config', enabled='korora-api')
        self.assertEqual(
            [
                'get_or_create_user|korora-agent|secret|Default',
                'get_or_add_user_project_role|attester|korora-agent|s|Default|'
                'Default',
            ],
            [
                c
                for c in calls
                if 'korora-agent|s' in c
                or c.startswith('create_service_user|korora-agent')
            ],
        )

    def test_database_keys_and_state_are_made_anew_together(self) -> None:
        calls = self.run_phase('stack', 'post-config', enabled='korora-api')
        wanted = [
            'stop_process|korora-agent',
            'sudo|rm|-rf|/var/lib/korora',
            'recreate_database|korora',
            'sudo|rm|-rf|/etc/korora/private|/etc/korora/keys.json',
            'manage|--config-file /etc/korora/korora.conf keys create',
        ]
        self.assertEqual(wanted, [call for call in calls if call in wanted])

    def test_a_subnode_forgets_when_the_keys_are_new(self) -> None:
        handout = self.temp / 'korora-handout'
        handout.mkdir()
        (handout / 'keys.json').write_text('new')
        pinned = self.temp / 'etc/keys.json'
        pinned.parent.mkdir()
        forget = 'sudo|rm|-rf|/var/lib/korora'

        def stacked() -> list[str]:
            return self.run_phase(
                'stack',
                'post-config',
                enabled='korora-agent',
                KORORA_CONF_DIR=str(pinned.parent),
            )

        self.assertIn(forget, stacked())
        pinned.write_text('new')
        self.assertNotIn(forget, stacked())

    def test_only_certificates_become_roots(self) -> None:
        given = self.temp / 'given'
        given.mkdir()
        certificate = '-----BEGIN CERTIFICATE-----\n'
        for name, text in (
            ('ca.pem', certificate),
            ('signkey.pem', 'BEGIN PRIVATE KEY'),
            ('both.pem', certificate + 'BEGIN PRIVATE KEY'),
            ('maker.der', '\x30'),
            ('list.crl', 'x'),
            ('serial', '1'),
        ):
            (given / name).write_text(text)
        target = self.temp / 'etc/ek-roots'
        target.mkdir(parents=True)
        (target / 'standing.pem').touch()
        calls = self.run_phase(
            'stack',
            'post-config',
            enabled='korora-api',
            KORORA_EK_ROOTS=str(given),
            KORORA_CONF_DIR=str(target.parent),
        )
        self.assertIn(f'sudo|rm|-rf|{target}', calls)
        taken = {
            pathlib.Path(call.rpartition('|')[2]).name
            for call in calls
            if call.startswith('sudo|install|-o|stack|-m|0644|-t')
        }
        self.assertEqual({'ca.pem', 'maker.der', 'list.crl'}, taken)

    def test_large_bodies_are_buffered(self) -> None:
        self.assertIn(
            'iniset|/etc/korora/korora-uwsgi.ini|uwsgi|post-buffering|65536',
            self.run_phase('stack', 'post-config', enabled='korora-api'),
        )

    def test_processes(self) -> None:
        calls = self.run_phase(
            'stack', 'extra', enabled='korora-api korora-agent'
        )
        self.assertIn(
            f'run_process|korora-agent|{self.temp}/bin/korora-agent '
            '--config-file /etc/korora/agent.conf|root|root|'
            'PYTHONDONTWRITEBYTECODE=1',
            calls,
        )
        self.assertIn(
            'wait_for_service|60|http://192.0.2.1/attestation', calls
        )
        self.assertEqual(
            [
                'stop_process|korora-enforcer',
                'stop_process|korora-agent',
                'stop_process|korora-api',
                'stop_process|korora-tpm',
            ],
            self.run_phase('unstack', enabled='korora-agent'),
        )

    def test_responses_are_off_unless_enabled(self) -> None:
        for phase in ('post-config', 'extra'):
            for enabled in (False, True):
                calls = self.run_phase(
                    'stack',
                    phase,
                    enabled='korora-api'
                    + (' korora-enforcer' if enabled else ''),
                )
                found = [
                    call
                    for call in calls
                    if 'enforcer' in call and 'stop_process' not in call
                ]
                self.assertEqual(enabled, bool(found), found)
        calls = self.run_phase(
            'stack', 'post-config', enabled='korora-api korora-enforcer'
        )
        self.assertIn(
            'iniset|/etc/korora/enforcer.conf|response|dry_run|True', calls
        )
        self.assertIn('create_service_user|korora-enforcer|admin', calls)

    def test_clean_removes_what_was_made(self) -> None:
        calls = self.run_phase('clean', enabled='korora-api')
        self.assertIn(
            'sudo|rm|-f|/sites/korora-api.conf|'
            '/var/run/uwsgi/korora-api.socket',
            calls,
        )
        self.assertIn(
            'sudo|rm|-rf|/etc/korora|/var/lib/korora|'
            f'{self.temp}/korora-tpm|{self.temp}/korora-handout|'
            '/units/devstack@korora-agent.service.d|/run/korora',
            calls,
        )

    def test_options_exist(self) -> None:
        """What the plugin writes into our sections is an option of ours."""
        from oslo_config import cfg

        from korora_nova import conf as options
        from korora_tempest_plugin import config as tempest

        conf = cfg.ConfigOpts()
        options.register_attester_opts(conf)
        options.register_verifier_opts(conf)
        options.register_response_opts(conf)
        conf.register_opts(tempest.OPTIONS, tempest.GROUP)
        conf([])
        enabled = (
            'korora-agent korora-api korora-enforcer korora-tpm tempest rabbit'
        )
        calls = [
            call.split('|')
            for phase in ('post-config', 'test-config')
            for call in self.run_phase('stack', phase, enabled=enabled)
        ]
        sections = (
            'attester',
            'handover',
            'verifier',
            'attestation',
            'response',
        )
        ours = [c for c in calls if c[0] == 'iniset' and c[2] in sections]
        self.assertEqual(set(sections), {call[2] for call in ours})
        for _, _, section, option, _ in ours:
            self.assertIn(option, conf[section])
