"""The light image (Dockerfile, target `operator`) holds what requirements-operator.lock names and no more.

Here the real command runs in a process that cannot import anything else the environment has.
"""

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from waiting import eventually

ROOT = Path(__file__).resolve().parents[2]

RUN_WITHOUT = """
import sys
missing = set(sys.argv[1].split(","))

class OfTheImage:
    def __init__(self, finder):
        self._finder = finder

    def __getattr__(self, name):
        return getattr(self._finder, name)

    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in missing else self._finder.find_spec(name, path, target)

sys.meta_path[:] = [OfTheImage(finder) for finder in sys.meta_path]
from fastgen_server.cli import main
sys.exit(main(sys.argv[2:]))
"""


def locked(file: str) -> set[str]:
    return set(re.findall(r"^([a-z0-9][a-z0-9._-]*)==", (ROOT / file).read_text(), re.MULTILINE))


@pytest.fixture(scope="module")
def light() -> list[str]:
    """The start of a command line for `fastgen` with only the light image's packages."""
    inside = locked("requirements-operator.lock")
    absent = locked("requirements.lock") - inside
    missing = {
        module
        for module, distributions in packages_distributions().items()
        if all(re.sub(r"[-_.]+", "-", name).lower() in absent for name in distributions)
    }
    assert {"torch", "transformers", "tokenizers", "numpy", "msgspec", "google"} <= missing
    return [sys.executable, "-c", RUN_WITHOUT, ",".join(sorted(missing))]


def test_the_locks_of_the_images_hold_the_tested_versions() -> None:
    tested = set(re.findall(r"^\S+==\S+", (ROOT / "requirements.lock").read_text(), re.MULTILINE))
    for file in ("requirements-operator.lock", "requirements-serving.lock", "requirements-build.lock"):
        assert set(re.findall(r"^\S+==\S+", (ROOT / file).read_text(), re.MULTILINE)) <= tested


@pytest.mark.parametrize("arguments", [["--help"], ["balance", "--help"], ["operator", "--help"]], ids=" ".join)
def test_help_needs_nothing_heavy(light: list[str], arguments: list[str]) -> None:
    done = subprocess.run([*light, *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert arguments[0].strip("-") in done.stdout


def test_the_balancer_runs_and_ends_with_the_light_image_alone(light: list[str], tmp_path: Path) -> None:
    address_file = tmp_path / "address.json"
    arguments = ["balance", "--replica", "http=127.0.0.1:9,grpc=127.0.0.1:9", "--host", "127.0.0.1"]
    arguments += ["--port", "0", "--grpc-port", "0", "--address-file", str(address_file), "--linger-seconds", "0"]
    with subprocess.Popen([*light, *arguments], stderr=subprocess.PIPE, text=True) as process:
        try:
            eventually(lambda: address_file.exists() or process.poll() is not None, timeout_seconds=30)
            assert process.poll() is None, process.communicate()[1]
            http = json.loads(address_file.read_text())["http"]
            with urllib.request.urlopen(f"http://{http}/metrics", timeout=10) as response:
                assert "fastgen_balancer_" in response.read().decode()
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=30) == 0
        finally:
            process.kill()


def test_the_operator_runs_with_the_light_image_alone_until_it_needs_a_cluster(
    light: list[str], tmp_path: Path
) -> None:
    environment = {**os.environ, "KUBECONFIG": str(tmp_path / "none")}
    command = [*light, "operator", "--port", "0", "--log-format", "text"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)
    assert done.returncode != 0
    assert "listening on" in done.stderr + done.stdout
    assert "no way to a cluster is known" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_operators_image_runs_the_operator_unless_told_otherwise() -> None:
    last = (ROOT / "Dockerfile").read_text().partition("FROM base AS operator\n")[2].partition("\nFROM ")[0]
    assert last.strip().endswith('ENTRYPOINT ["fastgen"]\nCMD ["operator"]')


def test_what_the_light_image_cannot_do_says_what_to_install(light: list[str]) -> None:
    done = subprocess.run([*light, "serve", "/models/llama"], check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert 'pip install "fastgen-serving[engine,server,bench]"' in done.stderr
    assert "Traceback" not in done.stderr
