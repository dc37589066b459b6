"""Files: whole or not there, marked with their format, and under names that no user can choose."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dichroic import store
from dichroic.store import Format, StoreError, file_names, load_arrays, load_json, save_arrays, save_json, whole

FORM = Format("thing", 3)


@pytest.mark.parametrize("folder", [False, True])
def test_what_fails_leaves_what_was_there(tmp_path, folder):
    def put(content, error=None):
        with whole(tmp_path / "x") as temporary:
            if folder:
                temporary.mkdir()
            (temporary / "part" if folder else temporary).write_text(content)
            if error is not None:
                raise error

    def found():
        return (tmp_path / "x" / "part" if folder else tmp_path / "x").read_text()

    put("old")
    for error in (OSError("no space left on device"), KeyboardInterrupt()):
        with pytest.raises(type(error)):
            put("new", error)
        assert found() == "old"
    put("new")
    assert found() == "new"
    assert os.listdir(tmp_path) == ["x"]


@pytest.mark.parametrize("failing", [1, 2])
def test_a_folder_is_replaced_or_kept_whatever_rename_fails(tmp_path, monkeypatch, failing):
    def put(content):
        with whole(tmp_path / "x") as temporary:
            temporary.mkdir()
            (temporary / "part").write_text(content)

    put("old")
    real, calls = os.replace, []

    def replace(*arguments):
        calls.append(arguments)
        if len(calls) == failing:
            raise OSError("the disk is gone")
        real(*arguments)

    monkeypatch.setattr(store.os, "replace", replace)
    with pytest.raises(OSError, match="gone"):
        put("new")
    monkeypatch.undo()
    store.tidy(tmp_path)
    assert (tmp_path / "x" / "part").read_text() == "old"
    assert os.listdir(tmp_path) == ["x"]


def test_what_a_killed_process_left_is_removed_by_the_next_that_writes(tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    for name in ("x", "y"):
        (tmp_path / f".{name}.{ended.pid}.tmp").mkdir()
    (tmp_path / f".x.{os.getppid()}.tmp").touch()  # of one that is alive
    store.write(tmp_path / "x", "new")
    assert set(os.listdir(tmp_path)) == {"x", f".y.{ended.pid}.tmp", f".x.{os.getppid()}.tmp"}
    store.tidy(tmp_path)
    assert os.listdir(tmp_path) == ["x"]


def test_everything_reaches_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(store.os, "fsync", lambda file: seen.append(os.readlink(f"/proc/self/fd/{file}")))
    real = os.replace
    monkeypatch.setattr(store.os, "replace", lambda a, b: (seen.append("rename"), real(a, b)))
    store.write(tmp_path / "x", "new")
    assert [os.path.basename(name) for name in seen] == [f".x.{os.getpid()}.tmp", "rename", tmp_path.name]


ARRAYS = {
    "a": np.arange(6.0).reshape(2, 3),
    "number": np.float32(2.5),
    "mask": np.array([True]),
    "none": np.zeros((0, 2)),
}


def test_arrays_come_back_with_their_description(tmp_path):
    content = {"name": "å", "values": [0.1 + 0.2, 1e-300], "nothing": None}
    save_arrays(tmp_path / "x", ARRAYS, content, FORM)
    arrays, again = load_arrays(tmp_path / "x", FORM)
    assert again == content
    for name, x in ARRAYS.items():
        assert (arrays[name].shape, arrays[name].dtype) == (np.shape(x), x.dtype)
        np.testing.assert_array_equal(arrays[name], x)


def test_no_bit_changes_unseen(tmp_path):
    save_arrays(tmp_path / "x", ARRAYS, {"scale": 2.5}, FORM)
    whole_file = (tmp_path / "x").read_bytes()
    for position in range(len(whole_file)):
        changed = bytearray(whole_file)
        changed[position] ^= 4
        (tmp_path / "x").write_bytes(changed)
        try:
            arrays, content = load_arrays(tmp_path / "x", FORM)
        except StoreError as error:
            assert str(tmp_path / "x") in str(error) and "\n" not in str(error)
        else:  # in white space between the parts
            assert content == {"scale": 2.5} and all(np.array_equal(arrays[k], x) for k, x in ARRAYS.items())
    for length in range(len(whole_file)):
        (tmp_path / "x").write_bytes(whole_file[:length])
        with pytest.raises(StoreError):
            load_arrays(tmp_path / "x", FORM)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[]", "it holds a list"),
        ("{", "is damaged"),
        ("[" * 100_000, "is damaged"),
        ("{}", "is not a thing"),
        ('{"format": 99}', "is not a thing"),
        ('{"format": "thing", "version": 4}', "has format version 4; this version of dichroic reads up to 3"),
        ('{"format": "thing", "version": "3"}', "is not a thing"),
        ("\udcff", "is damaged"),
    ],
)
def test_other_files_are_refused_in_a_sentence(tmp_path, text, words):
    (tmp_path / "x").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(StoreError, match=words):
        load_json(tmp_path / "x", FORM)
    with pytest.raises(FileNotFoundError):
        load_json(tmp_path / "y", FORM)


@pytest.mark.parametrize("read", [load_json, load_arrays])
def test_pipes_and_devices_are_not_read(tmp_path, read):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    for name in ("pipe", "zero"):
        with pytest.raises(StoreError, match="neither a file nor a folder"):
            read(tmp_path / name, FORM)


def test_descriptions_carry_their_version(tmp_path):
    save_json(tmp_path / "x", {"a": 1}, FORM)
    assert json.loads((tmp_path / "x").read_text()) == {"format": "thing", "version": 3, "a": 1}
    assert load_json(tmp_path / "x", FORM) == {"a": 1}
    (tmp_path / "x").write_text('{"a": 1}')
    assert load_json(tmp_path / "x", Format("thing", 3, unmarked=True)) == {"a": 1}


NAMES = st.lists(
    st.text(min_size=1, max_size=60) | st.sampled_from(["dust (a)", "dust [a]", "x", "X", "0_x", "é", "e"])
)


@given(NAMES.map(lambda names: list(dict.fromkeys(names))))
def test_names_become_files_of_their_own_that_name_nothing_else(names):
    found = file_names(names)
    assert list(found) == names
    assert len({stem.casefold() for stem in found.values()}) == len(names)
    for stem in found.values():
        assert stem.isascii() and 0 < len(stem) < 60 and not set(stem) & set('/\\.:*?"<>| \0')


def test_plain_names_stay_as_they_are():
    assert list(file_names(["sky", "star_2", "dust (a)", "dust [a]", "Sky"]).values()) == [
        "0_sky",
        "star_2",
        "2_dust_a_",
        "3_dust_a_",
        "4_Sky",
    ]


def test_where_nothing_can_be_written_is_said_before(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="nothing can be written there"):
        store.claim(tmp_path / "file" / "x")
    store.claim(tmp_path / "new" / "x")
    assert os.listdir(tmp_path / "new") == []


def test_no_file_takes_the_place_of_a_folder(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "x").write_text("kept")
    for name in (tmp_path / "run", "", "/"):
        with pytest.raises(IsADirectoryError, match="no file takes the place of"):
            store.claim(name)
    with pytest.raises(IsADirectoryError, match="no file takes the place of"):
        store.write(tmp_path / "run", "x")
    assert [(file.name, file.read_text()) for file in tmp_path.rglob("*") if file.is_file()] == [("x", "kept")]


def test_a_lock_is_one_process_s_and_leaves_what_is_there(tmp_path):
    with store.locked(tmp_path / "a"), pytest.raises(BlockingIOError):
        store.locked(tmp_path / "a")
    with store.locked(tmp_path / "a"):
        pass
    (tmp_path / "mine").write_text("kept")
    (tmp_path / "b").symlink_to(tmp_path / "mine")
    with pytest.raises(OSError, match="b"):
        store.locked(tmp_path / "b")
    assert (tmp_path / "mine").read_text() == "kept"
    os.mkfifo(tmp_path / "c")
    with store.locked(tmp_path / "c"):  # and does not wait for whoever writes into it
        pass


def test_devices_and_pipes_are_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for write in (lambda path: store.write(path, "x"), store.claim):
        with pytest.raises(OSError, match="neither a file nor a folder"):
            write(tmp_path / "pipe")
    assert (tmp_path / "pipe").is_fifo() and [path.name for path in tmp_path.iterdir()] == ["pipe"]


def test_names_that_an_operating_system_keeps_for_itself():
    assert file_names(["con", "sky", "NUL", "Com1"]) == {"con": "0_con", "sky": "sky", "NUL": "2_NUL", "Com1": "3_Com1"}
