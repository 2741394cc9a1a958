"""Code is loaded only from folders that nobody else can have written; what a run writes is its user's alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sendopt import errors
from sendopt.process import private

OTHER = 12345  # a user id that is neither ours nor root's
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_the_folder_of_kernels_is_made_for_this_user_alone(home):
    folder = private.own_folder("numba-1")
    assert folder == home / ".cache/sendopt/numba-1"
    assert folder.stat().st_mode & 0o777 == folder.parent.stat().st_mode & 0o777 == 0o700
    assert private.own_folder("numba-1") == folder


def test_it_lies_where_the_user_keeps_caches(home, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "elsewhere"))
    assert private.own_folder("numba-1") == home / "elsewhere/sendopt/numba-1"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # ignored, as the specification has it
    assert private.own_folder("numba-1") == home / ".cache/sendopt/numba-1"


@pytest.mark.parametrize("mode", [0o777, 0o775, 0o722, 0o1777])
@pytest.mark.parametrize("planted", [".cache/sendopt/numba-1", ".cache/sendopt", ".cache", "."])
def test_a_folder_that_others_can_write_is_not_used(home, planted, mode):
    (home / ".cache/sendopt/numba-1").mkdir(parents=True)
    (home / planted).chmod(mode)
    expected = home / ".cache/sendopt/numba-1" if mode == 0o1777 and planted != ".cache/sendopt/numba-1" else None
    if os.geteuid() != 0:
        expected = None  # only root's sticky folders can be relied on
    assert private.own_folder("numba-1") == expected


@AS_ROOT
@pytest.mark.parametrize(
    "planted", [".cache/sendopt/numba-1/kernel.nbi", ".cache/sendopt/numba-1", ".cache/sendopt", "."]
)
def test_what_belongs_to_another_user_is_not_used(home, planted):
    (home / ".cache/sendopt/numba-1").mkdir(parents=True)
    (home / ".cache/sendopt/numba-1/kernel.nbi").write_bytes(b"planted")
    os.chown(home / planted, OTHER, OTHER)
    assert private.own_folder("numba-1") is None


@pytest.mark.parametrize("planted", ["kernel.nbi", "below/kernel.nbi"])
def test_a_kernel_that_others_can_write_is_not_used(home, planted):
    kernel = private.own_folder("numba-1") / planted
    kernel.parent.mkdir(exist_ok=True)
    kernel.write_bytes(b"planted")
    kernel.chmod(0o666)
    assert private.own_folder("numba-1") is None


@pytest.mark.parametrize("link", ["sendopt", "sendopt/numba-1", "sendopt/numba-1/kernel.nbi"])
def test_a_symbolic_link_is_not_used(home, link):
    place = home / ".cache" / link
    place.parent.mkdir(parents=True)
    target = home / "planted"
    target.mkdir()
    place.symlink_to(target)
    assert private.own_folder("numba-1") is None


@pytest.mark.parametrize("name", [".cache", ".cache/sendopt", ".cache/sendopt/numba-1"])
def test_a_file_in_the_way_means_no_folder(home, name):
    (home / name).parent.mkdir(parents=True, exist_ok=True)
    (home / name).write_text("")
    assert private.own_folder("numba-1") is None


def test_a_missing_home_means_no_folder(monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", "/proc/no-such-home")
    assert private.own_folder("numba-1") is None


KERNELS = """
import numba
from sendopt import compiled
from sendopt.compiled import entry


@entry
def one(x):
    return x + 1


assert one(1) == 2
print(compiled.cache_folder(), sum(one.stats.cache_misses.values()))
"""


@pytest.mark.parametrize("planted", ["neither", "beside the source", "in the home"])
def test_kernels_work_without_a_cache_where_no_folder_can_be_trusted(tmp_path, planted):
    """An installation that is its own, so that what lies beside the source can be planted too."""
    package = tmp_path / "installed/sendopt"
    for name in ("allocation/prices", "allocation/audit", "allocation/reasons", "propensity/forest", "process"):
        (package / name).mkdir(parents=True)
    for name in ("compiled.py", "process/private.py"):
        (package / name).write_bytes((Path(errors.__file__).parent / name).read_bytes())
    empty = ("__init__.py", "process/__init__.py", "audit/user_rules.py", "audit/search.py", "reasons/windows.py")
    for name in empty:
        (package / ("allocation" if name.split("/")[0] in ("audit", "reasons") else "") / name).write_text("")
    (tmp_path / "use.py").write_text(KERNELS)
    home = tmp_path / "home"
    (home / ".cache").mkdir(parents=True)
    (package / "__pycache__").mkdir()
    (package / "__pycache__").chmod(0o755 if planted in ("neither", "in the home") else 0o777)
    (home / ".cache").chmod(0o777 if planted == "in the home" else 0o755)
    environment = {**os.environ, "HOME": str(home), "PYTHONPATH": str(package.parent), "TMPDIR": str(tmp_path)}
    environment.pop("XDG_CACHE_HOME", None)

    def used():
        done = subprocess.run(
            [sys.executable, str(tmp_path / "use.py")], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.split()[0]

    first = used()
    if planted == "beside the source":
        assert Path(first).is_relative_to(home / ".cache/sendopt")
        (home / ".cache").chmod(0o777)
        assert used() == "None"
        assert not list(tmp_path.glob("numba-*")), "nothing in the folder that everybody shares"
    else:
        assert Path(first).is_relative_to(package / "__pycache__")


def test_what_a_run_makes_is_private_to_its_user(tmp_path):
    before = os.umask(0o022)
    try:
        private.keep_private()
        (tmp_path / "folder").mkdir()
        (tmp_path / "folder/file").write_text("")
        subprocess.run([sys.executable, "-c", "open('child', 'w')"], cwd=tmp_path, check=True)
    finally:
        os.umask(before)
    modes = {name: (tmp_path / name).stat().st_mode & 0o777 for name in ("folder", "folder/file", "child")}
    assert modes == {"folder": 0o700, "folder/file": 0o600, "child": 0o600}


def test_a_folder_that_was_open_is_closed_and_that_is_told_once(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data").chmod(0o755)
    (sentence,) = private.tighten(str(tmp_path / "data"), str(tmp_path / "out"), "s3a://bucket/data")
    assert str(tmp_path / "data") in sentence
    assert "was open to others (mode 0755)" in sentence
    assert [(tmp_path / name).stat().st_mode & 0o777 for name in ("data", "out")] == [0o700, 0o700]
    assert private.tighten(str(tmp_path / "data"), str(tmp_path / "out")) == []


def test_a_folder_that_cannot_be_closed_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    (sentence,) = private.tighten(str(tmp_path / "file/data"))
    assert "could not be made private" in sentence
