"""The files of `deploy/` and `compose.yaml` against their schemas, and against what the program does and needs."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from sqlalchemy.engine import make_url
from typer.testing import CliRunner

from bridge.cli import COMMANDS, app
from bridge.cli.init import IMAGE_GROUP
from bridge.config import Config, ConfigError, load
from bridge.shutdown import GRACE_SECONDS
from connectors.testing import HubSpotSandbox

ROOT = Path(__file__).parent.parent
DOCKERFILE = (ROOT / "Dockerfile").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
VERSION = PROJECT["version"]
LOCKS = sorted(ROOT.glob("requirements*.lock"))
CHART = ROOT / "deploy" / "helm" / "leadbridge"
UNIT = ROOT / "deploy" / "systemd" / "leadbridge.service"
MANIFESTS = sorted((ROOT / "deploy" / "kubernetes").glob("*.yaml"))
COMPOSE = [ROOT / "compose.yaml", ROOT / "deploy" / "postgresql" / "compose.yaml"]
KUBERNETES = ("1.29", "1.37")
"""The oldest and the newest version that the manifests are checked against."""
SECRET = "a-secret-of-good-length-{}"

pytestmark = pytest.mark.check
each_manifest = pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)
each_compose = pytest.mark.parametrize("path", COMPOSE, ids=lambda path: path.parent.name)


def documents(path: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(path.read_text()))


def of_kind(path: Path, *kinds: str) -> dict[str, Any]:
    (found,) = (each for each in documents(path) if each["kind"] in kinds)
    return found


def workload(path: Path) -> dict[str, Any]:
    return of_kind(path, "Deployment", "StatefulSet")


def container(path: Path) -> dict[str, Any]:
    (found,) = workload(path)["spec"]["template"]["spec"]["containers"]
    assert isinstance(found, dict)
    return found


def services(path: Path) -> dict[str, dict[str, Any]]:
    found = yaml.safe_load(path.read_text())["services"]
    assert isinstance(found, dict)
    return found


def test_the_first_start_of_compose_needs_no_edit(tmp_path: Path) -> None:
    """The services in their order, with the arguments of the file; ports and the store's folder are the test's."""
    parts = services(COMPOSE[0])
    assert parts["leadbridge"]["depends_on"] == {"init": {"condition": "service_completed_successfully"}}
    assert parts["leadbridge"]["env_file"] == [{"path": ".env", "required": False}]
    assert "127.0.0.1:8081:8081" in parts["leadbridge"]["ports"]
    runner = CliRunner()
    arguments = [str(tmp_path) if each == "/config" else each for each in parts["init"]["command"][1:]]
    first, second = (runner.invoke(app, arguments) for _ in range(2))
    assert (first.exit_code, second.exit_code) == (0, 0)
    assert "the dashboard's token is in" in first.output
    assert "has a configuration already" in second.output
    config = load(tmp_path, {})
    assert config.warnings == ()
    assert config.server.admin_token == (tmp_path / "secrets" / "admin_token").read_text().strip()
    assert config.server.admin_token not in first.output
    settings = yaml.safe_load((tmp_path / "config.yaml").read_text())["destinations"]["crm"]
    (command, crm, option, port) = parts["sandbox"]["command"][1:]
    assert (command, crm, option, settings["base_url"]) == (
        "sandbox",
        settings["connector"],
        "--port",
        f"http://127.0.0.1:{port}",
    )
    assert parts["sandbox"]["network_mode"] == "service:leadbridge"
    assert (tmp_path / "secrets" / "crm_token").read_text().strip() == HubSpotSandbox().access_token
    modes = {each.stat().st_mode & 0o777 for each in [tmp_path / "config.yaml", *(tmp_path / "secrets").iterdir()]}
    assert modes == {0o640}
    group = re.findall(r"^USER \d+:(\d+)$", DOCKERFILE, re.MULTILINE)
    assert [str(IMAGE_GROUP)] == group


def bridges(path: Path) -> Iterator[dict[str, Any]]:
    yield from (each for name, each in services(path).items() if name.startswith("leadbridge"))


def configured(path: Path, folder: Path, environ: Mapping[str, str]) -> Config:
    """Load what the ConfigMap mounts, with the variables of the Secret."""
    for name, text in of_kind(path, "ConfigMap")["data"].items():
        (folder / name).write_text(text)
    return load(folder, environ)


def secrets(path: Path) -> dict[str, str]:
    given = of_kind(path, "Secret")["stringData"]
    return {
        name: value if "://" in value else SECRET.format(number)
        for number, (name, value) in enumerate(given.items(), start=1)
    }


# -- Kubernetes


@pytest.fixture
def kubernetes() -> Any:
    """The schemas, which only `make check` installs."""
    import kubernetes_validate  # type: ignore[import-untyped]

    return kubernetes_validate


@each_manifest
@pytest.mark.parametrize("version", KUBERNETES)
def test_the_manifests_fit_the_schemas(kubernetes: Any, path: Path, version: str) -> None:
    for each in documents(path):
        kubernetes.validate(each, version, strict=True)


def test_a_mistake_would_be_seen(kubernetes: Any) -> None:
    wrong = workload(MANIFESTS[0])
    wrong["spec"]["template"]["spec"]["containers"][0]["readinesProbe"] = {}
    with pytest.raises(kubernetes.ValidationError):
        kubernetes.validate(wrong, KUBERNETES[1], strict=True)


@each_manifest
def test_the_configuration_in_it_is_good(path: Path, tmp_path: Path) -> None:
    assert configured(path, tmp_path, secrets(path)).warnings == ()


@each_manifest
def test_its_placeholders_are_no_secrets(path: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        configured(path, tmp_path, of_kind(path, "Secret")["stringData"])
    paths = {problem.path for problem in refused.value.problems}
    assert paths == {"server.admin_token", "chatbots.acme-website.signing_keys[0]"}
    assert all("placeholder" in str(problem) for problem in refused.value.problems)


@each_manifest
def test_ports_and_probes_are_those_that_the_program_listens_on(path: Path, tmp_path: Path) -> None:
    config = configured(path, tmp_path, secrets(path))
    ports = {each["name"]: each["containerPort"] for each in container(path)["ports"]}
    assert ports == {"webhook": config.server.listen.port, "admin": config.server.admin.port}
    probes = {kind: container(path)[f"{kind}Probe"]["httpGet"] for kind in ("startup", "liveness", "readiness")}
    assert probes["startup"] == probes["liveness"] == {"path": "/healthz", "port": "admin"}
    assert (probes["readiness"]["path"], probes["readiness"]["port"]) in {("/readyz", "admin"), ("/webhook", "webhook")}
    assert config.server.admin_token
    targets = {
        port["name"]: port["targetPort"]
        for each in documents(path)
        if each["kind"] == "Service"
        for port in each["spec"]["ports"]
    }
    assert targets == {"webhook": "webhook", "admin": "admin"}


@each_manifest
def test_the_pod_has_no_rights(path: Path) -> None:
    pod = workload(path)["spec"]["template"]["spec"]
    (user,) = re.findall(r"^USER (\d+):(\d+)$", DOCKERFILE, re.MULTILINE)
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert (str(pod["securityContext"]["runAsUser"]), str(pod["securityContext"]["runAsGroup"])) == user
    assert pod["automountServiceAccountToken"] is False
    assert container(path)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container(path)["resources"]["limits"]["memory"]


@each_manifest
def test_what_is_written_lies_on_a_volume_that_outlives_the_pod(path: Path, tmp_path: Path) -> None:
    store = configured(path, tmp_path, secrets(path)).store
    file = Path(store.spool if store.url.startswith("postgresql:") else make_url(store.url).database or "")
    spec = workload(path)["spec"]
    (volume,) = (each["name"] for each in container(path)["volumeMounts"] if Path(each["mountPath"]) == file.parent)
    claimed = {each["metadata"]["name"] for each in spec.get("volumeClaimTemplates", ())}
    claimed |= {each["name"] for each in spec["template"]["spec"]["volumes"] if "persistentVolumeClaim" in each}
    assert volume in claimed


@each_manifest
def test_selectors_find_the_pods(path: Path) -> None:
    labels = workload(path)["spec"]["template"]["metadata"]["labels"]
    for each in documents(path):
        selector = each["spec"].get("selector") if "spec" in each else None
        if selector:
            assert selector.get("matchLabels", selector) == labels


@each_manifest
def test_a_stop_is_given_the_time_that_it_takes(path: Path) -> None:
    (_, seconds) = container(path)["lifecycle"]["preStop"]["exec"]["command"]
    grace = workload(path)["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    assert grace >= int(seconds) + GRACE_SECONDS + 5


def test_an_embedded_store_is_served_by_one_and_postgresql_by_three() -> None:
    embedded, shared = (workload(path)["spec"] for path in reversed(MANIFESTS))
    assert (embedded["replicas"], embedded["strategy"]) == (1, {"type": "Recreate"})
    assert shared["replicas"] == 3


# -- Helm


def rendered(values: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Render the chart with Helm itself; documents by kind and name."""
    helm = pytest.importorskip("helm_python", reason="Helm's library has no build for this machine")
    with helm.Chart.load(str(CHART)) as chart:
        files = chart.render(dict(values), name="leadbridge", namespace="crm")
    texts = (text for name, text in files.items() if name.endswith(".yaml"))
    found = (each for text in texts for each in yaml.safe_load_all(text) if each)
    return {f"{each['kind']} {each['metadata']['name']}": each for each in found}


SECRETS = {"secrets": {"LEADBRIDGE_ADMIN_TOKEN": SECRET.format(1)}}
CHARTS = {
    "sqlite": {**SECRETS, "ingress": {"className": "nginx", "host": "leads.example.com", "tlsSecret": "leads-tls"}},
    "postgresql": {"postgresql": True, "existingSecret": "own", "storage": {"className": "ssd", "size": "2Gi"}},
}


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("values", CHARTS.values(), ids=CHARTS)
def test_the_chart_fits_the_schemas(kubernetes: Any, values: Mapping[str, Any], version: str) -> None:
    found = rendered(values)
    assert len(found) > 4
    for each in found.values():
        kubernetes.validate(each, version, strict=True)


@pytest.mark.parametrize("engine", CHARTS)
def test_the_chart_runs_the_pod_of_the_manifest(engine: str) -> None:
    path = next(each for each in MANIFESTS if each.stem == engine)
    kind = workload(path)["kind"]
    found = rendered({**SECRETS, "postgresql": engine == "postgresql"})[f"{kind} leadbridge"]["spec"]
    pods = [found["template"]["spec"], workload(path)["spec"]["template"]["spec"]]
    for pod in pods:
        pod["containers"][0].pop("imagePullPolicy", None)
        for spread in pod.get("topologySpreadConstraints", ()):
            spread.pop("labelSelector")
    assert pods[0] == pods[1]
    assert found["replicas"] == workload(path)["spec"]["replicas"]


@pytest.mark.parametrize("values", CHARTS.values(), ids=CHARTS)
def test_the_configuration_of_the_chart_is_good_with_a_chatbot(values: Mapping[str, Any], tmp_path: Path) -> None:
    for name, text in rendered(values)["ConfigMap leadbridge"]["data"].items():
        (tmp_path / name).write_text(text)
    chatbots = yaml.safe_load(of_kind(MANIFESTS[0], "ConfigMap")["data"]["config.yaml"])
    parts = {key: value for key, value in chatbots.items() if key in {"destinations", "chatbots"}}
    (tmp_path / "acme.yaml").write_text(yaml.safe_dump(parts))
    database = {"DATABASE_URL": "postgresql://leadbridge:Abc123@db/leadbridge"} if "postgresql" in values else {}
    config = load(tmp_path, {**secrets(MANIFESTS[1]), **database})
    assert (config.warnings, config.store.spool) == ((), "/data/spool.db")
    assert config.store.url.startswith("postgresql:" if database else "sqlite:////data/")


@pytest.mark.parametrize(
    ("values", "reason"), [({}, "set secrets"), ({**SECRETS, "postgresq": True}, "postgresq")], ids=["secrets", "typo"]
)
def test_the_chart_refuses_mistakes(values: Mapping[str, Any], reason: str) -> None:
    helm = pytest.importorskip("helm_python")
    with pytest.raises(helm.HelmError, match=reason):
        rendered(values)


def test_the_chart_has_the_version_of_the_program() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["version"] == chart["appVersion"] == VERSION


# -- systemd


def test_the_unit_is_good() -> None:
    text = UNIT.read_text()
    (command,) = re.findall(r"^ExecStart=\S+/leadbridge (\w+)", text, re.MULTILINE)
    (stop,) = re.findall(r"^TimeoutStopSec=(\d+)", text, re.MULTILINE)
    assert command in COMMANDS
    assert int(stop) >= GRACE_SECONDS + 5
    if shutil.which("systemd-analyze"):
        checked = subprocess.run(["systemd-analyze", "verify", UNIT], capture_output=True, text=True, check=False)
        said = [line for line in checked.stderr.splitlines() if "is not executable" not in line]
        assert not said, "the program is not installed here; nothing else is wrong"


# -- what the repository's host reads


def fits(schema: str, path: Path) -> "subprocess.CompletedProcess[str]":
    """Check a file by a schema that check-jsonschema brings along, without the net."""
    return subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, str(path)],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("schema", "name"),
    [
        ("vendor.github-workflows", "workflows/ci.yml"),
        ("vendor.github-issue-forms", "ISSUE_TEMPLATE/fault.yml"),
        ("vendor.github-issue-forms", "ISSUE_TEMPLATE/idea.yml"),
        ("vendor.github-issue-config", "ISSUE_TEMPLATE/config.yml"),
    ],
)
def test_the_files_of_the_host_fit_their_schemas(schema: str, name: str) -> None:
    checked = fits(schema, ROOT / ".github" / name)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_a_mistake_in_the_workflow_would_be_seen(tmp_path: Path) -> None:
    text = (ROOT / ".github/workflows/ci.yml").read_text()
    wrong = tmp_path / "ci.yml"
    wrong.write_text(text.replace("runs-on:", "run-on:", 1))
    assert fits("vendor.github-workflows", wrong).returncode == 1


def test_the_workflow_runs_all_checks_and_builds_for_both_processors() -> None:
    jobs = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())["jobs"]
    steps = [step for job in jobs.values() for step in job["steps"]]
    (command,) = [step["run"] for step in steps if "run" in step]
    assert (ROOT / command.removeprefix("bash ")).exists()
    (built,) = [step["with"] for step in steps if step.get("uses", "").startswith("docker/build-push-action@")]
    assert built["platforms"].split(",") == ["linux/amd64", "linux/arm64"]
    assert (ROOT / built["context"] / "Dockerfile").exists()


# -- compose


@each_compose
def test_the_compose_files_fit_the_schema(path: Path) -> None:
    checked = fits("vendor.compose-spec", path)
    assert checked.returncode == 0, checked.stdout + checked.stderr


@each_compose
def test_the_container_has_no_rights_and_time_to_stop(path: Path) -> None:
    for each in bridges(path):
        assert each["read_only"] is True
        assert each["cap_drop"] == ["ALL"]
        assert each["security_opt"] == ["no-new-privileges:true"]
        assert int(each["stop_grace_period"].removesuffix("s")) >= GRACE_SECONDS + 5
        assert each["mem_limit"]


@each_compose
def test_what_is_built_and_mounted_is_there(path: Path) -> None:
    for each in services(path).values():
        assert (path.parent / each.get("build", "x") / "Dockerfile").exists() or "build" not in each
        for volume in each.get("volumes", ()):
            source = volume.split(":")[0]
            # ./config of one machine is the user's own.
            assert not source.startswith(".") or (path.parent / source).exists() or path == COMPOSE[0]


@each_compose
def test_each_process_has_a_place_of_its_own_for_what_it_writes(path: Path) -> None:
    places = [volume.split(":")[0] for each in bridges(path) for volume in each["volumes"] if volume.endswith(":/data")]
    assert len(places) == len(set(places)) == len(list(bridges(path)))
    assert set(places) <= set(yaml.safe_load(path.read_text())["volumes"])


def test_the_proxy_knows_all_processes() -> None:
    proxied = re.findall(r"leadbridge[\w-]*(?=:8080)", (COMPOSE[1].parent / "Caddyfile").read_text())
    assert proxied == [name for name in services(COMPOSE[1]) if name.startswith("leadbridge")]
    assert len(proxied) == 3


def test_the_configuration_of_several_processes_is_good(tmp_path: Path) -> None:
    shared = COMPOSE[1].parent / "config" / "bridge.yaml"
    (tmp_path / "bridge.yaml").write_text(shared.read_text())
    chatbots = yaml.safe_load(of_kind(MANIFESTS[0], "ConfigMap")["data"]["config.yaml"])
    chatbots = {key: value for key, value in chatbots.items() if key in {"destinations", "chatbots"}}
    (tmp_path / "acme.yaml").write_text(yaml.safe_dump(chatbots))

    config = load(tmp_path, {**secrets(MANIFESTS[0]), "DB_PASSWORD": "Abc123"})

    assert config.warnings == ()
    database = services(COMPOSE[1])["db"]["environment"]
    assert config.store.url == (f"postgresql://{database['POSTGRES_USER']}:Abc123@db/{database['POSTGRES_DB']}")
    assert Path(config.store.spool).parent == Path("/data")


# -- both


@pytest.mark.parametrize("document", ["security.md", "operate/deploy.md"])
def test_what_the_documents_name_is_there(document: str) -> None:
    text = (ROOT / "docs" / document).read_text()
    named = re.findall(r"`((?:tests|deploy)/[\w/.]+|compose\.yaml)(?:::(\w+))?`", text)
    assert len(named) > 4
    for file, test in named:
        assert (ROOT / file).exists(), f"{document} names {file}"
        assert not test or f"def {test}(" in (ROOT / file).read_text(), f"{file} has no {test}"
    commands = {each.split("`")[0] for each in re.findall(r"`leadbridge (\w+)", text)}
    assert commands <= {*COMMANDS, "erase", "backfill"}


def test_the_image_has_every_dependency_and_every_extra() -> None:
    pinned = set(re.findall(r"^([\w-]+)==", (ROOT / "requirements.lock").read_text(), re.MULTILINE))
    wanted = [
        *PROJECT["dependencies"],
        *(each for extra in PROJECT["optional-dependencies"].values() for each in extra),
    ]
    assert {re.split(r"[\[>]", each)[0] for each in wanted} <= pinned


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.name)
def test_a_lock_names_hashes_and_no_address(path: Path) -> None:
    text = path.read_text()
    assert "://" not in text
    assert all(block.count("--hash=") for block in re.split(r"\n(?=\w)", text.strip()))


@pytest.mark.parametrize("path", [*MANIFESTS, *COMPOSE], ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_the_image_is_of_this_version(path: Path) -> None:
    assert set(re.findall(r"image: leadbridge:(\S+)", path.read_text())) == {VERSION}


def test_the_base_image_is_pinned_by_one_command(tmp_path: Path) -> None:
    for name in ("Makefile", "Dockerfile"):
        (tmp_path / name).write_text((ROOT / name).read_text())
    docker = tmp_path / "docker"
    docker.write_text('#!/bin/sh\nprintf "sha256:%064d\\n" "$(cat number)"\n')
    docker.chmod(0o755)
    before = re.findall(r"^FROM (\S+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    for number in ("1", "2"):
        (tmp_path / "number").write_text(number)
        environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
        subprocess.run(["make", "base"], cwd=tmp_path, env=environment, check=True, capture_output=True)
        found = re.findall(r"^FROM (\S+)( AS build)?$", (tmp_path / "Dockerfile").read_text(), re.MULTILINE)
        pinned = f"python:3.13-slim@sha256:{int(number):064}"
        assert found == [(pinned, " AS build"), (pinned, "")]
    assert {each.partition("@")[0] for each in before} == {"python:3.13-slim"}


def test_an_audit_fails_on_a_finding(tmp_path: Path) -> None:
    """The tools' exit status is the target's, and every lock of the image is looked at."""
    (tmp_path / "Makefile").write_text((ROOT / "Makefile").read_text())
    (tmp_path / "requirements-audit.lock").touch()
    tools = tmp_path / ".audit" / "bin"
    tools.mkdir(parents=True)
    (tmp_path / ".audit" / ".ready").touch()
    tool = tools / "pip-audit"
    tool.write_text('#!/bin/sh\necho "$@" >> asked\ncase "$*" in *build.lock) exit 1;; esac\n')
    tool.chmod(0o755)
    done = subprocess.run(["make", "audit"], cwd=tmp_path, check=False, capture_output=True)
    assert done.returncode != 0
    asked = (tmp_path / "asked").read_text()
    for lock in ("requirements.lock", "requirements-dev.lock", "requirements-check.lock", "requirements-build.lock"):
        assert lock in asked


def test_the_source_distribution_builds_its_own_image(tmp_path: Path) -> None:
    built = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", str(tmp_path)],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as content:
        names = {name.partition("/")[2] for name in content.getnames()}
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)
    needed = {each for line in copied for each in line.split()}
    assert needed, built.stdout
    for each in needed | {"Dockerfile", ".dockerignore", "Makefile", "bridge/py.typed", "connectors/py.typed"}:
        assert each in names or any(name.startswith(f"{each}/") for name in names), each


def test_a_release_is_built_from_a_commit_only(tmp_path: Path) -> None:
    """`make release` itself takes minutes; here is its first step."""
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "release", tmp_path / ".ci" / "release")
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    done = subprocess.run([tmp_path / ".ci" / "release"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "not committed" in done.stderr
    assert not (tmp_path / "dist").exists()


def test_the_label_of_the_image_has_the_version_of_the_program() -> None:
    assert re.findall(r'image\.version="([^"]+)"', DOCKERFILE) == [VERSION]


def test_windows_is_refused_in_one_sentence() -> None:
    code = "import sys; sys.platform = 'win32'; import bridge.cli"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "Windows is not supported" in done.stderr


def test_no_tracked_file_is_large() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    sizes = {name: (ROOT / name).stat().st_size for name in listed.split("\0") if name and (ROOT / name).is_file()}
    assert len(sizes) > 100
    assert {name: size for name, size in sizes.items() if size > 500_000 and not name.endswith(".lock")} == {}
