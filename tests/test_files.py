"""Files that appear whole or not at all, whatever happens on the way."""

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from lrpot.errors import FileError, InputError
from lrpot.files import UNFINISHED, replacing, try_folder

HELD = """
import sys, time
from pathlib import Path
from lrpot.files import replacing
with replacing(Path(sys.argv[1])) as temporary:
    temporary.write_text("half")
    print("ready", flush=True)
    time.sleep(600)
"""


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_what_a_killed_process_leaves_behind_is_removed_by_the_next_write(tmp_path):
    target = tmp_path / "model [1].lrpot"
    target.write_text("old")
    with subprocess.Popen(
        [sys.executable, "-c", HELD, str(target)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "ready\n"
        # As long as the process lives, its file is left alone.
        with replacing(target) as temporary:
            temporary.write_text("new")
        assert len(names(tmp_path)) == 2
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert len(names(tmp_path)) == 2
    with replacing(target) as temporary:
        temporary.write_text("newer")
    assert names(tmp_path) == [target.name]
    assert target.read_text() == "newer"


def test_files_of_others_are_not_removed(tmp_path):
    kept = [".a.txt.backup12", f".b.txt.abcdefgh{UNFINISHED}", f".a.txt.abc{UNFINISHED}"]
    for name in kept:
        (tmp_path / name).write_text("mine")
    with replacing(tmp_path / "a.txt") as temporary:
        temporary.write_text("whole")
    assert names(tmp_path) == sorted([*kept, "a.txt"])


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has a disk that is always full")
def test_a_full_disk_is_told_with_the_path_and_a_device_stays_a_device():
    with (
        pytest.raises(FileError, match=r"Cannot write /dev/full: No space left on device\. Make"),
        replacing("/dev/full") as temporary,
    ):
        temporary.write_text("something")
    assert stat.S_ISCHR(os.stat("/dev/full").st_mode)  # noqa: PTH116


def test_errors_of_the_file_system_are_errors_of_the_user_and_of_the_system(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    for place, words in (
        ("file/a.txt", "(Not a directory|.* not a folder)"),
        ("folder", "Is a dir"),
    ):
        with (
            pytest.raises(FileError, match=rf"Cannot write .*{place}: {words}"),
            replacing(tmp_path / place) as temporary,
        ):
            temporary.write_text("x")
    assert names(tmp_path) == ["file", "folder"]
    assert issubclass(FileError, InputError)
    assert issubclass(FileError, OSError)


def test_a_folder_is_made_and_left_empty_when_it_is_tried(tmp_path):
    try_folder(tmp_path / "a" / "b", 10)
    assert names(tmp_path / "a" / "b") == []


def test_a_folder_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "run").write_text("")
    with pytest.raises(FileError, match=r"Cannot write .*run: .*run is a file, not a folder"):
        try_folder(tmp_path / "run")


def test_a_disk_without_room_is_refused_with_what_is_needed(tmp_path):
    with pytest.raises(FileError, match=r"no room in .*: 1e\+12 MB are needed, .* MB are free"):
        try_folder(tmp_path, 10**18)
