"""The command teaches, and says what is wrong with what it is told."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from fastgen_devcluster.cli import COMMANDS, main
from fastgen_devcluster.commands.kubectl import split
from fastgen_devcluster.commands.logs import Printer
from fastgen_devcluster.state import ROOT_VARIABLE, claim, cluster_folder


@pytest.fixture(autouse=True)
def _own_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ROOT_VARIABLE, str(tmp_path / "clusters"))


def said(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    """Exit status, and everything that was printed."""
    try:
        status = main(list(words))
    except SystemExit as end:
        status = int(end.code or 0)
    out, err = capsys.readouterr()
    return status, out + err


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    status, text = said(capsys, "--help")
    assert status == 0
    for command in COMMANDS:
        assert f"    {command.name} " in text


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_every_command_explains_itself(capsys: pytest.CaptureFixture[str], command: object) -> None:
    status, text = said(capsys, command.name, "--help")  # type: ignore[attr-defined]
    assert status == 0
    assert command.description in text  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        ([], 2, "required: COMMAND"),
        (["upp"], 2, "invalid choice: 'upp'"),
        (["up", "--nodes", "900"], 2, "nodes=900: allowed are 0 to 50"),
        (["up", "--name", "A b"], 2, "'A b' cannot name a cluster"),
        (["up", "--host-path", "/models"], 2, "PATH=FOLDER"),
        (["up", "--fore"], 2, "unrecognized arguments: --fore"),
        (["address", "llama"], 2, "'llama' is not NAMESPACE/SERVICE[:PORT]"),
        (["kubectl", "get", "pods"], 1, "cluster 'dev' is not up; `devcluster up --name dev` starts it"),
        (["logs", "--name", "other", "etcd"], 1, "cluster 'other' is not up"),
        (["restart", "etcd"], 1, "cluster 'dev' is not up"),
        (["down"], 0, "there is no cluster 'dev'"),
        (["down", "--all", "--name", "x"], 2, "--name or --all, not both"),
        (["status"], 1, "no cluster is up"),
        (["status", "--name", "x"], 1, "cluster 'x' is not up"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_done_is_said(
    capsys: pytest.CaptureFixture[str], words: list[str], status: int, says: str
) -> None:
    got, text = said(capsys, *words)
    assert (got, says in text) == (status, True), text


def test_with_two_clusters_one_has_to_say_which(capsys: pytest.CaptureFixture[str]) -> None:
    with claim(cluster_folder("one")), claim(cluster_folder("two")):
        assert said(capsys, "kubectl", "get", "pods") == (
            2,
            "devcluster: several clusters are up (one, two); say which with --name\n",
        )


def test_status_and_down_clear_away_what_a_dead_cluster_left(capsys: pytest.CaptureFixture[str]) -> None:
    for words, status in ((["status"], 1), (["down", "--name", "old"], 0), (["down", "--all"], 0)):
        claim(cluster_folder("old")).close()
        got, text = said(capsys, *words)
        assert got == status
        assert "cleared away what was left of cluster 'old'" in text
        assert not cluster_folder("old").path.exists()


@pytest.mark.parametrize(
    ("words", "ours", "kubectls"),
    [
        ("kubectl get pods -n x", "kubectl", "get pods -n x"),
        ("kubectl -n x get pods", "kubectl", "-n x get pods"),
        ("kubectl --name big -n x get pods --name y", "kubectl --name big", "-n x get pods --name y"),
        ("kubectl --name=big get pods", "kubectl --name=big", "get pods"),
        ("kubectl --help", "kubectl --help", ""),
        ("kubectl get --help", "kubectl", "get --help"),
        ("helm --name big list -A", "helm --name big", "list -A"),
        ("helm install x --name-template y", "helm", "install x --name-template y"),
        ("kubectl", "kubectl", ""),
        ("logs kubectl", "logs kubectl", ""),
    ],
)
def test_what_follows_kubectl_is_kubectls(words: str, ours: str, kubectls: str) -> None:
    mine, passed_on = split(words.split())
    assert (list(mine), list(passed_on)) == (ours.split(), kubectls.split())


def test_a_log_is_followed_over_restarts_and_when_it_is_cut_short(tmp_path: Path) -> None:
    out, first, second = io.BytesIO(), tmp_path / "0.log", tmp_path / "1.log"
    printer = Printer(out)
    for path, text in ((first, "one\n"), (first, "one\ntwo\n"), (second, "three\n"), (second, "4\n"), (second, "4\n")):
        path.write_text(text)
        printer.print_new(path)
    assert out.getvalue() == b"one\ntwo\nthree\n4\n"
