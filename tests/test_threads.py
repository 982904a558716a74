"""A program's threads sleep while they wait, and are as many as its container has cores."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from infinitemesh import threads
from infinitemesh.threads import container_cores, share_processor


@pytest.mark.parametrize(
    ("limit", "cores"),
    [("max 100000\n", None), ("200000 100000\n", 2), ("150000 100000\n", 2), ("5000 100000\n", 1)],
)
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has cgroups")
def test_a_containers_share_of_the_cores(limit, cores, tmp_path: Path):
    (tmp_path / "cpu.max").write_text(limit)
    assert container_cores(tmp_path / "cpu.max") == cores


def test_without_a_container_there_is_no_limit(tmp_path: Path):
    assert container_cores(tmp_path / "none") is None


@pytest.mark.parametrize(("share", "expected"), [(None, None), (1, "1"), (10_000, None)])
def test_threads_are_limited_only_by_a_smaller_share(share, expected, monkeypatch):
    monkeypatch.setattr(threads, "container_cores", lambda: share)
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    environment: dict[str, str] = {}
    share_processor(environment)
    assert environment.get("OMP_NUM_THREADS") == expected
    assert environment["OMP_WAIT_POLICY"] == "PASSIVE"


def test_what_the_user_set_stays(monkeypatch):
    monkeypatch.setattr(threads, "container_cores", lambda: 1)
    chosen = {"OMP_WAIT_POLICY": "ACTIVE", "OMP_NUM_THREADS": "7"}
    environment = dict(chosen)
    share_processor(environment)
    assert environment == chosen


def test_asking_imports_nothing_heavy():
    code = "import sys; import infinitemesh.threads; print('torch' in sys.modules, 'numpy' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.split() == ["False", "False"]
