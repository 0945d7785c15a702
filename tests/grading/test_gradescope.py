"""The scripts for Gradescope in docs/grading.md, in folders laid out as Gradescope's."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from instructor.assignment import points_of_checks
from instructor.grading.sandbox import why_no_sandbox
from project import ROOT, code_cell, notebook_of, small_environment

# What Gradescope documents for results.json, of a whole and of each test.
FIELDS = {"score", "execution_time", "output", "output_format", "test_output_format"}
FIELDS |= {"test_name_format", "visibility", "stdout_visibility", "extra_data", "tests"}
TEST_FIELDS = {"score", "max_score", "status", "name", "name_format", "number", "output"}
TEST_FIELDS |= {"output_format", "tags", "visibility", "extra_data"}


def script_of(name):
    """The script of this name in docs/grading.md."""
    text = (ROOT / "docs" / "grading.md").read_text()
    [script] = re.findall(rf"(?s)```sh\n(#!/usr/bin/env bash\n# {name}: .*?)```", text)
    return script


@pytest.fixture
def autograder(tmp_path):
    """The folder /autograder: the project in source/vae, a submission, and room for results."""
    folder = tmp_path / "autograder"
    (folder / "source").mkdir(parents=True)
    (folder / "source" / "vae").symlink_to(ROOT)
    (folder / "results").mkdir()
    notebook = notebook_of("exit()")
    notebook.cells.insert(0, code_cell("", "check-gaussian"))
    (folder / "submission").mkdir()
    (folder / "submission" / "my work.ipynb").write_text(json.dumps(notebook))
    (folder / "submission" / "vae_helpers.py").write_text((ROOT / "vae_helpers.py").read_text())
    return folder


def run(script, autograder, **environment):
    """Run a script with /autograder in this place, and this Python for the virtual environment."""
    text = script.replace("/autograder/", f"{autograder}/")
    text = text.replace(".venv/bin/python", sys.executable)
    command = ["bash", "-c", text]
    env = small_environment(VAE_EPOCHS="1", **environment)
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=300)


def without_bubblewrap(folder):
    """A PATH on which bubblewrap does not start, as in Gradescope's containers."""
    (folder / "bwrap").write_text("#!/bin/sh\necho not permitted >&2\nexit 1\n")
    (folder / "bwrap").chmod(0o755)
    return f"{folder}{os.pathsep}{os.environ['PATH']}"


@pytest.mark.parametrize("sandbox", [True, False], ids=["sandbox", "no sandbox"])
def test_a_submission_gets_its_results(sandbox, autograder, tmp_path):
    if sandbox and why_no_sandbox():
        pytest.skip(why_no_sandbox())
    path = os.environ["PATH"] if sandbox else without_bubblewrap(tmp_path)
    result = run(script_of("run_autograder"), autograder, PATH=path)
    assert result.returncode == 0, result.stdout + result.stderr
    assert ("NO SANDBOX" in result.stdout) == (not sandbox)
    [file] = (autograder / "results").iterdir()
    assert file.name == "results.json"
    results = json.loads(file.read_text())
    assert set(results) <= FIELDS
    assert {field for test in results["tests"] for field in test} <= TEST_FIELDS
    points = points_of_checks()
    scores = {test["name"]: test["score"] for test in results["tests"] if test["score"]}
    first = {id: points[id] for id in ("check-bernoulli", "check-gaussian")}
    assert scores == first and results["score"] == sum(first.values())
    assert {test["status"] for test in results["tests"]} == {"passed", "failed"}


def test_what_could_not_be_graded_leaves_no_results(autograder):
    for name in ("ada", "bo"):
        (autograder / "submission" / name).mkdir()
        (autograder / "submission" / name / "vae_assignment.ipynb").write_text("{}")
    (autograder / "submission" / "my work.ipynb").unlink()
    result = run(script_of("run_autograder"), autograder)
    assert result.returncode == 1 and "not graded: notebooks lie in folders" in result.stdout
    assert not [*(autograder / "results").iterdir()]


def test_the_image_is_built_from_the_projects_requirements():
    script = script_of("setup.sh")
    assert "requirements.txt" in script and Path(ROOT, "requirements.txt").is_file()
    assert subprocess.run(["bash", "-n", "-c", script]).returncode == 0
