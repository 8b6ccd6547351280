"""Every pin is exact, the same in pyproject.toml and environment.yml, and installed here."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import version

import pytest
import yaml

from xinstruct_utils.core.paths import REPO

SETTINGS = tomllib.loads((REPO / "pyproject.toml").read_text())
PROJECT = SETTINGS["project"]
CONDA = yaml.safe_load((REPO / "environment.yml").read_text())


def pins(requirements):
    """{name: version} of requirements, all of them exact."""
    found = {}
    for requirement in requirements:
        exact = re.fullmatch(r"([A-Za-z0-9_.-]+)==([A-Za-z0-9.]+)", requirement)
        assert exact, f"{requirement!r} is no exact pin such as 'torch==2.13.0'"
        found[exact[1].lower().replace("_", "-")] = exact[2]
    return found


def of_pip(environment):
    """The pip part of a conda environment."""
    return next(d["pip"] for d in environment["dependencies"] if isinstance(d, dict))


@pytest.mark.parametrize("requirement", ["torch", "torch>=2", "torch==2.*", "torch==2.13.0+cpu",
                                         "torch==2.13.0; x>'3'"])
def test_a_pin_that_is_not_exact_is_found(requirement):
    with pytest.raises(AssertionError, match="no exact pin"):
        pins([requirement])


def test_conda_and_pip_have_the_same_pins():
    extras = PROJECT["optional-dependencies"]
    assert pins(of_pip(CONDA)) == pins([*PROJECT["dependencies"], *extras["dev"], *extras["gpu"]])


def test_a_pin_that_differs_is_found():
    other = [r.replace("torch==2.13.0", "torch==2.12.0") for r in of_pip(CONDA)]
    assert pins(other) != pins(of_pip(CONDA))


def test_every_extra_is_pinned():
    assert {"dev", "gpu", "serve"} <= set(PROJECT["optional-dependencies"])
    assert all(pins(names) for names in PROJECT["optional-dependencies"].values())


def test_what_is_installed_here_is_what_is_pinned():
    wanted = pins([*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]])
    assert {name: version(name).partition("+")[0] for name in wanted} == wanted


def test_conda_has_the_python_that_the_package_wants():
    assert "python=3.11" in CONDA["dependencies"] and PROJECT["requires-python"] == ">=3.11"


def make(*words):
    # Variables of `make test` itself.
    outer = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "VENV", "PYTHON", "RUN", "PROFILE", "LANGS", "SET")
    env = {name: value for name, value in os.environ.items() if name not in outer}
    line = ["make", "--no-print-directory", *words]
    return subprocess.run(line, cwd=REPO, env=env, capture_output=True, text=True)


def test_lint_checks_types_where_every_function_has_them():
    assert "/x/python -m mypy\n" in make("-n", "lint", "PYTHON=/x/python").stdout
    mypy = SETTINGS["tool"]["mypy"]
    assert mypy["check_untyped_defs"] and not mypy.get("ignore_errors")
    checked = " ".join(mypy["files"])
    assert all(f"xinstruct_utils/{room}" in checked for room in ("core", "config", "workflow"))
    for override in mypy["overrides"]:
        assert set(override) == {"module", "disallow_untyped_defs"}, "no module is let off"
    for file in mypy["files"]:
        assert (REPO / file).exists(), file


def test_no_file_of_the_rooms_that_are_checked_is_let_off_as_a_whole():
    rooms = [path for room in ("core", "config", "workflow")
             for path in (REPO / "xinstruct_utils" / room).rglob("*.py")]
    bare = re.compile(r"#\s*type:\s*ignore(?!\[)|#\s*mypy:")
    assert [path.name for path in rooms if bare.search(path.read_text(encoding="utf-8"))] == []


def test_help_is_the_first_target_and_lists_all_others():
    shown = make().stdout
    assert shown == make("help").stdout
    wanted = ("help book test test-slow lab smoke run plan annotate study publish publish-dataset "
              "publish-model bench lint clean small-model atlas-base atlas-opponent install-locked")
    assert [line.split()[0] for line in shown.splitlines()] == wanted.split()


@pytest.mark.parametrize("words", [
    ["clean"], ["clean", "RUN="], ["clean", "RUN=.."], ["clean", "RUN=published"],
    ["clean", "RUN=nobody-made-this"], ["clean", "PROFILE=atlas"]])
def test_clean_removes_nothing_that_was_not_named(words):
    before = sorted((REPO / "papermill_runs").glob("*"))
    made = make(*words, f"PYTHON={sys.executable}")
    assert made.returncode and "error: " in made.stderr
    assert sorted((REPO / "papermill_runs").glob("*")) == before


def test_an_existing_environment_is_used_and_a_missing_one_is_made(tmp_path):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").touch()
    line = f"{tmp_path}/bin/python -m pytest -n 2 "
    assert make("-n", "test", f"VENV={tmp_path}").stdout.startswith(line)
    assert make("-n", "test", "PYTHON=/x/python").stdout.startswith("/x/python -m pytest ")
    assert "pip install" in make("-n", "test", f"VENV={tmp_path}/new").stdout


@pytest.mark.parametrize("gpu, heavy", [(True, "1"), (False, "6")])
def test_heavy_steps_run_one_at_a_time_where_there_are_gpus(tmp_path, monkeypatch, gpu, heavy):
    if gpu:
        (tmp_path / "nvidia-smi").touch(0o755)
    elif shutil.which("nvidia-smi"):
        pytest.skip("this machine has GPUs")
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    line = make("-n", "smoke", "PYTHON=/x/python", "CORES=6").stdout
    assert f"--cores 6 --resources heavy={heavy} " in line
