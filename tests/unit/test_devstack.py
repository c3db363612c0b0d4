# SPDX-License-Identifier: Apache-2.0
"""The DevStack plugin against stand-ins of DevStack's functions."""

import pathlib
import subprocess

import fixtures
import testtools

ROOT = pathlib.Path(__file__).resolve().parents[2]
PLUGIN = ROOT / "devstack" / "plugin.sh"

# Each call of a stand-in is one line of output.
STANDINS = r"""
set -eu
say() { local IFS='|'; echo "$*"; }
for f in iniset iniset_multiline setup_develop install_package run_process \
    stop_process write_uwsgi_config remove_uwsgi_config setup_logging \
    configure_keystone_authtoken_middleware get_or_create_role \
    create_service_user get_or_create_service get_or_create_endpoint \
    recreate_database rpc_backend_add_vhost sudo; do
    eval "$f() { say $f \"\$@\"; }"
done
is_service_enabled() { [[ " $ENABLED " == *" $1 "* ]]; }
get_python_exec_prefix() { echo /venv/bin; }
database_connection_url() { echo "mysql+pymysql://db/$1"; }
get_transport_url() { echo "rabbit://bus/$1"; }
iniget() { echo "OldFilter"; }
iniget_multiline() { echo "${AVAILABLE:-}"; }
rm() { say rm "$@"; }
uwsgi() { :; }
which() { echo "/usr/bin/$1"; }
"""


class TestPlugin(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.temp = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        (self.temp / "nova/nova/virt").mkdir(parents=True)

    def run_phase(
        self, *phase: str, enabled: str, **variables: str
    ) -> list[str]:
        """The calls that a phase makes."""
        env = {
            "PATH": "/usr/bin:/bin", "ENABLED": enabled,
            "NOVA_DIR": str(self.temp / "nova"), "NOVA_CONF": "nova.conf",
            "STACK_USER": "stack", "HOST_IP": "192.0.2.1",
            "SERVICE_HOST": "192.0.2.1", "SERVICE_PROTOCOL": "http",
            "SERVICE_PASSWORD": "secret", "REGION_NAME": "R",
            "SERVICE_DOMAIN_NAME": "Default", "SERVICE_PROJECT_NAME": "s",
            "KEYSTONE_SERVICE_URI": "http://k", "KORORA_EK_ROOTS": "",
            "KORORA_TRUSTED_KEYS": "", "KORORA_TCTI": "device:/dev/tpmrm0",
            "ENABLE_DEBUG_LOG_LEVEL": "True", **variables,
        }  # fmt: skip
        done = subprocess.run(
            ["bash", "-c", STANDINS + 'source "$0" "$@"', PLUGIN, *phase],
            env=env, capture_output=True, text=True, cwd="/",
        )  # fmt: skip
        self.assertEqual(0, done.returncode, done.stderr)
        self.assertEqual("", done.stderr)
        return done.stdout.splitlines()

    def test_install_links_the_driver_into_novas_tree(self) -> None:
        calls = self.run_phase(
            "stack", "install", enabled="korora-agent n-cpu"
        )
        self.assertEqual([f"setup_develop|{ROOT}|tpm"], calls)
        link = self.temp / "nova/nova/virt/korora"
        self.assertEqual(ROOT / "nova/virt/korora", link.resolve())
        self.assertTrue((link / "__init__.py").exists())

    def test_a_controller_needs_no_tpm_library(self) -> None:
        self.assertEqual(
            [], self.run_phase("stack", "pre-install", enabled="korora-api")
        )
        self.assertIn(
            f"setup_develop|{ROOT}",
            self.run_phase("stack", "install", enabled="korora-api"),
        )

    def test_the_filter_joins_those_that_are_there(self) -> None:
        calls = self.run_phase("stack", "post-config", enabled="n-sch")
        self.assertIn(
            "iniset|nova.conf|filter_scheduler|enabled_filters|"
            "OldFilter,AttestationFilter", calls,
        )  # fmt: skip
        self.assertIn(
            "iniset_multiline|nova.conf|filter_scheduler|available_filters|"
            "nova.scheduler.filters.all_filters|"
            "korora_nova.relying_party.filter.AttestationFilter", calls,
        )  # fmt: skip
        again = self.run_phase(
            "stack", "post-config", enabled="n-sch", AVAILABLE="one two"
        )
        self.assertIn(
            "iniset_multiline|nova.conf|filter_scheduler|available_filters|"
            "one|two|korora_nova.relying_party.filter.AttestationFilter",
            again,
        )

    def test_the_driver_only_where_an_agent_runs(self) -> None:
        driver = (
            "iniset|nova.conf|DEFAULT|compute_driver|"
            "korora.KororaLibvirtDriver"
        )
        self.assertIn(driver, self.run_phase(
            "stack", "post-config", enabled="n-cpu korora-agent rabbit"
        ))  # fmt: skip
        self.assertNotIn(driver, self.run_phase(
            "stack", "post-config", enabled="n-cpu"
        ))  # fmt: skip

    def test_processes(self) -> None:
        calls = self.run_phase(
            "stack", "extra", enabled="korora-api korora-agent"
        )
        self.assertIn(
            "run_process|korora-agent|/venv/bin/korora-agent "
            "--config-file /etc/korora/agent.conf|root|root", calls,
        )  # fmt: skip
        self.assertEqual(
            ["stop_process|korora-agent", "stop_process|korora-api"],
            self.run_phase("unstack", enabled=""),
        )

    def test_clean_removes_the_link(self) -> None:
        self.run_phase("stack", "install", enabled="n-cpu")
        calls = self.run_phase("clean", enabled="")
        self.assertIn(f"rm|-f|{self.temp}/nova/nova/virt/korora", calls)
        self.assertIn(
            "sudo|rm|-rf|/etc/korora|/var/lib/korora|/run/korora", calls
        )

    def test_options_exist(self) -> None:
        """What the plugin writes into our sections is an option of ours."""
        from oslo_config import cfg

        from korora_nova import conf as options

        conf = cfg.ConfigOpts()
        options.register_attester_opts(conf)
        conf([])
        calls = self.run_phase(
            "stack", "post-config", enabled="korora-agent rabbit"
        )
        sections = ("attester", "handover")
        written = [c.split("|") for c in calls if c.startswith("iniset|")]
        ours = [c for c in written if c[2] in sections]
        self.assertNotEqual([], ours)
        for _, _, section, option, _ in ours:
            self.assertIn(option, conf[section])
