"""The guard of the documentation guards: what is dead is found, what is alive is let be."""

from pathlib import Path

import pytest

import check_docs


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "Makefile").write_text("CODE := x\ntest check: setup\n\techo\nsetup:\n")
    (tmp_path / "pyproject.toml").write_text('[project.entry-points."fastgen.commands"]\nserve = "x:y"\n')
    (tmp_path / "other.md").write_text("# One heading, two words\n\n## `code` twice\n\n## `code` twice\n")
    return tmp_path


def problems(project: Path, text: str) -> list[str]:
    document = project / "README.md"
    document.write_text(text)
    return list(check_docs.problems(document, project))


@pytest.mark.parametrize(
    "text",
    [
        "[a](other.md) [b](other.md#one-heading-two-words) [c](other.md#code-twice-1) [d](https://nowhere.example/x)",
        "Type `make test`, or `KEEP=1 make check ARGS=-x`.",
        "```bash\nmake setup     # make the environment\nmake test\n```",
        "We make bread, and fastgen bread, in prose.",
        "`import fastgen` and `fastgen_kernels` are no commands",
        "`devcluster up --nodes 3`, `devcluster kubectl get pods --watch`, the devcluster is up",
    ],
)
def test_what_is_alive_is_let_be(project: Path, text: str) -> None:
    assert problems(project, text) == []


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[a](gone.md)", "gone.md: there is no such file"),
        ("![a](images/gone.png)", "no such file"),
        ("[a](other.md#nothing)", "no heading for #nothing"),
        ("[a](#nothing)", "no heading for #nothing"),
        ("`make tset`", "`make tset`: there is no such target"),
        ("```bash\nmake test tset\n```", "`make tset`"),
        ("`.venv/bin/fastgen swerve model`", "`fastgen swerve`: there is no such command"),
        ("```\n$ fastgen swerve\n```", "`fastgen swerve`"),
        ("`devcluster upp`", "`devcluster upp`: there is no such command"),
        ("`devcluster up --nods 3`", "`devcluster up --nods`"),
        ("`kubectl apply -f examples/gone.yaml`", "examples/gone.yaml: there is no such file"),
    ],
)
def test_what_is_dead_is_named(project: Path, text: str, complaint: str) -> None:
    (found,) = problems(project, text)
    assert complaint in found


def test_an_option_that_a_command_does_not_know_is_named(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check_docs, "command_help", lambda program, command: "--port PORT")
    (found,) = problems(project, "`fastgen serve path --port 1 --prot 2`")
    assert "--prot" in found
