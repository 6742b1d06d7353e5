"""Files on systems without some feature: warnings, waiting and refusals."""

import errno
import json
import logging
import os
import signal

import pytest

from mmsent.errors import InputError, Interrupted, Shortage
from mmsent.files import atomic, destination, lock
from mmsent.files.atomic import atomic_path, replace, warn_once
from mmsent.files.console import readable, to_json
from mmsent.files.destination import check_empty, check_folder, find_file, is_stream, open_stream
from mmsent.files.interrupt import stop_on_signals
from mmsent.files.lock import locked
from mmsent.files.machine import available_cores, memory_limit
from mmsent.files.progress import Progress, counted, per_second
from mmsent.files.shortage import raise_shortage

UNSUPPORTED = [errno.ENOSYS, errno.EINVAL, errno.ENOTSUP]


@pytest.fixture(autouse=True)
def _fresh():
    warn_once.cache_clear()


@pytest.fixture
def devices(tmp_path, monkeypatch):
    """A folder that replaces /dev, so that no test can overwrite a real device."""
    folder = tmp_path / "dev"
    folder.mkdir()
    (folder / "fd").symlink_to("/proc/self/fd")
    monkeypatch.setattr(destination, "_DEVICES", folder)
    return folder


def write(path, text="new"):
    with atomic_path(path) as part:
        part.write_text(text)


def fail_with(number):
    def fail(*arguments):
        raise OSError(number, os.strerror(number))

    return fail


# Destinations


@pytest.mark.parametrize("target", ["store/real.csv", "store/none.csv", "absolute", "chain"])
def test_a_link_is_followed(tmp_path, target):
    (tmp_path / "store").mkdir()
    real = tmp_path / "store" / ("none.csv" if "none" in target else "real.csv")
    if real.name == "real.csv":
        real.write_text("old")
    (tmp_path / "chain.csv").symlink_to("store/real.csv")
    link = tmp_path / "sub.csv"
    link.symlink_to({"absolute": str(real), "chain": "chain.csv"}.get(target, target))
    with atomic_path(link) as part:
        assert part.parent == real.parent  # a rename does not cross file systems
        part.write_text("new")
    assert link.is_symlink()
    assert real.read_text() == "new"
    assert [path.name for path in real.parent.iterdir()] == [real.name]


def test_links_in_a_ring_are_refused(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(InputError, match="link to itself"):
        write(tmp_path / "a")


@pytest.mark.parametrize("place", ["dev/null", "dev/new.csv", "dev/block/8", "link", "folder"])
def test_system_files_are_refused(devices, tmp_path, place):
    (devices / "null").touch()
    (devices / "block").mkdir()
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("dev/null")
    before = sorted(tmp_path.rglob("*"))
    for use in (find_file, is_stream, write):
        with pytest.raises(InputError, match="not a regular file"):
            use(tmp_path / place)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("place", ["dev", "dev/new", "dev/new/run", "link"])
def test_the_systems_folders_are_refused(devices, tmp_path, place):
    (tmp_path / "link").symlink_to("dev")
    for use in (check_folder, check_empty):
        with pytest.raises(InputError, match="belongs to the system"):
            use(tmp_path / place)


def test_shared_memory_is_an_ordinary_folder(devices):
    (devices / "shm").mkdir()
    check_empty(devices / "shm" / "run")
    write(devices / "shm" / "out.csv")
    assert (devices / "shm" / "out.csv").read_text() == "new"


@pytest.mark.parametrize("name", ["stdout", "link", "fd"])
def test_a_descriptor_is_a_stream(devices, tmp_path, name):
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    (devices / "stdout").symlink_to(f"/proc/self/fd/{writer}")
    (tmp_path / "link").symlink_to(devices / "stdout")
    path = {"link": tmp_path / "link", "fd": devices / "fd" / str(writer)}.get(name)
    path = path or devices / "stdout"
    with os.fdopen(reader, "rb") as file, os.fdopen(writer, "wb"):
        assert is_stream(path)
        with pytest.raises(InputError, match="is a stream"):
            write(path)
        with open_stream(path) as stream:
            stream.write(b"row")
        assert file.read(3) == b"row"
    assert (devices / "stdout").is_symlink()


def test_a_descriptor_that_this_process_opened_is_refused(devices, tmp_path):
    """If stdout is closed, the next file to be opened gets number 1 and would be overwritten."""
    with open(tmp_path / "precious", "w+") as file:
        (devices / "stdout").symlink_to(f"/proc/self/fd/{file.fileno()}")
        with pytest.raises(InputError, match="is not open"):
            open_stream(devices / "stdout")


def test_parent_folders_are_made_and_removed_on_failure(tmp_path):
    write(tmp_path / "a" / "b" / "out.csv")
    with pytest.raises(ZeroDivisionError), atomic_path(tmp_path / "c" / "d" / "out.csv"):
        raise ZeroDivisionError
    assert {path.name for path in tmp_path.iterdir()} == {"a"}


# Locks, syncs, renames


@pytest.mark.parametrize("number", [*UNSUPPORTED, errno.ENOLCK])
def test_missing_locks_are_reported_once(tmp_path, monkeypatch, caplog, number):
    monkeypatch.setattr(lock.fcntl, "flock", fail_with(number))
    for _ in range(2):
        with locked(tmp_path / "lock", "busy"):
            pass
    (message,) = caplog.messages
    assert str(tmp_path / "lock") in message
    assert os.strerror(number) in message
    assert not (tmp_path / "lock").exists()


def test_any_other_lock_error_names_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(lock.fcntl, "flock", fail_with(errno.EIO))
    with pytest.raises(OSError) as error, locked(tmp_path / "lock", "busy"):
        pass
    assert error.value.filename == str(tmp_path / "lock")


@pytest.mark.parametrize("number", UNSUPPORTED)
def test_missing_sync_is_reported_once(tmp_path, monkeypatch, caplog, number):
    monkeypatch.setattr(os, "fsync", fail_with(number))
    for name in "ab":
        write(tmp_path / name)
    (message,) = caplog.messages
    assert "can't sync" in message
    assert {path.name for path in tmp_path.iterdir()} == {"a", "b"}


def test_a_sync_error_names_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", fail_with(errno.ENOSPC))
    with pytest.raises(OSError) as error:
        write(tmp_path / "a")
    assert error.value.filename == str(tmp_path / "a")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("times", [1, 3, 100])
def test_a_file_in_use_is_retried(tmp_path, monkeypatch, times):
    """A virus scanner on Windows, for example, keeps a new file open for a second."""
    real, tries, slept = os.replace, [], []

    def refuse(source, target):
        tries.append(target)
        if len(tries) <= times:
            error = PermissionError(errno.EACCES, "in use")
            error.winerror = 32
            raise error
        real(source, target)

    monkeypatch.setattr(os, "replace", refuse)
    monkeypatch.setattr(atomic.time, "sleep", slept.append)
    if times == 100:
        with pytest.raises(PermissionError, match="another program has it open") as error:
            write(tmp_path / "out.csv")
        assert error.value.filename == str(tmp_path / "out.csv")
        assert 1 < sum(slept) < 10
    else:
        write(tmp_path / "out.csv")
        assert (tmp_path / "out.csv").read_text() == "new"


def test_a_folder_without_permission_is_not_retried(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "replace", fail_with(errno.EACCES))
    monkeypatch.setattr(atomic.time, "sleep", lambda _: pytest.fail("it waited"))
    with pytest.raises(PermissionError):
        replace(tmp_path / "a", tmp_path / "b")


# Limits of a process

CORES = {
    "v2 root": ("0::/", {"cpu.max": "150000 100000"}, 2),
    "v2 below": ("0::/a/b", {"a/cpu.max": "200000 100000", "a/b/cpu.max": "max 100000"}, 2),
    "v2 lowest": ("0::/a/b", {"a/cpu.max": "100000 100000", "a/b/cpu.max": "300000 100000"}, 1),
    "v2 hybrid": ("3:memory:/\n0::/a", {"unified/a/cpu.max": "300000 100000"}, 3),
    "v2 half": ("0::/", {"cpu.max": "20000 100000"}, 1),
    "v2 none": ("0::/", {"cpu.max": "max 100000"}, 8),
    "v1": ("4:cpu,cpuacct:/a", {"cpu,cpuacct/a": (300000, 100000)}, 3),
    "v1 parent": ("4:cpu,cpuacct:/a/b", {"cpu,cpuacct/a": (200000, 100000)}, 2),
    "v1 link": ("4:cpu:/a", {"cpu/a": (100000, 100000), "cpu": (-1, 100000)}, 1),
    "v1 container": ("4:cpu:/docker/1a2b", {"cpu": (400000, 100000)}, 4),
    "v1 none": ("4:cpu:/a", {"cpu/a": (-1, 100000)}, 8),
    "elsewhere": ("4:pids:/a\n0::/../b", {"a/cpu.max": "100000 100000"}, 8),
    "damaged": ("0::/\nnonsense", {"cpu.max": "many 0"}, 8),
    "nothing": ("", {}, 8),
}


@pytest.mark.parametrize("name", CORES)
def test_the_lowest_quota_on_the_path(tmp_path, monkeypatch, name):
    cgroup, files, wanted = CORES[name]
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    put(tmp_path, "proc/self/cgroup", f"{cgroup}\n")
    for path, content in files.items():
        if isinstance(content, tuple):
            for file, number in zip(("cpu.cfs_quota_us", "cpu.cfs_period_us"), content):
                put(tmp_path, f"sys/fs/cgroup/{path}/{file}", f"{number}\n")
        else:
            put(tmp_path, f"sys/fs/cgroup/{path}", f"{content}\n")
    assert available_cores(tmp_path) == wanted


def put(root, path, content):
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(content)


@pytest.mark.parametrize(
    ("cgroup", "files", "wanted"),
    [
        ("0::/a/b", {"a/memory.max": "1000", "a/b/memory.max": "max"}, 1000),
        ("0::/a/b", {"a/memory.max": "1000", "a/b/memory.max": "700"}, 700),
        ("2:memory:/x", {"memory/x/memory.limit_in_bytes": "500"}, 500),
        ("2:memory:/x", {"memory/memory.limit_in_bytes": "600"}, 600),
        ("2:cpu:/x", {"memory/x/memory.limit_in_bytes": "500"}, None),
    ],
)
def test_the_lowest_limit_of_memory(tmp_path, cgroup, files, wanted):
    put(tmp_path, "proc/self/cgroup", f"{cgroup}\n")
    for path, content in files.items():
        put(tmp_path, f"sys/fs/cgroup/{path}", content)
    assert memory_limit(tmp_path) == wanted


def chained(error, cause):
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "what"),
    [
        (MemoryError(), "memory"),
        (chained(ValueError("broken"), MemoryError()), "memory"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "memory"),
        (OSError("out of memory error when reading image file"), "memory"),
        (RuntimeError("std::bad_alloc"), "memory"),
        (RuntimeError("[ONNXRuntimeError] : 1 : FAIL : bad allocation"), "memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), "memory"),
        (ImportError("libtorch_cpu.so: failed to map segment from shared object"), "memory"),
        (RuntimeError("can't start new thread"), "thread"),
        (RuntimeError("pthread_create failed, error code: 11"), "thread"),
        (OSError(errno.EAGAIN, "Resource temporarily unavailable"), "thread"),
        (Exception("ThreadPoolBuildError { kind: IOError(Os { code: 11 }) }"), "thread"),
        (OSError(errno.EMFILE, "Too many open files"), "more files"),
        (OSError(errno.ENFILE, "Too many open files in system"), "more files"),
    ],
)
def test_lack_of_resources_differs_from_bad_input(error, what):
    with pytest.raises(Shortage, match=what):
        raise_shortage(error)


@pytest.mark.parametrize(
    "error",
    [
        ValueError("broken"),
        OSError(errno.ENOSPC, "No space left on device"),
        ImportError("x.so: cannot allocate memory in static TLS block"),
        chained(InputError("the image is too large"), None),
    ],
)
def test_other_errors_are_not_changed(error):
    raise_shortage(error)


# Signals


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_ignored_signal_stays_ignored(number):
    before = signal.signal(number, signal.SIG_IGN)
    try:
        with stop_on_signals("go on") as stoppable:
            for _ in stoppable(range(3)):
                os.kill(os.getpid(), number)
            assert signal.getsignal(number) == signal.SIG_IGN
        assert signal.getsignal(number) == signal.SIG_IGN
    finally:
        signal.signal(number, before)


def test_the_other_signal_still_stops():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with stop_on_signals("go on") as stoppable:
            items = stoppable(range(3))
            next(items)
            os.kill(os.getpid(), signal.SIGTERM)
            with pytest.raises(Interrupted, match="SIGTERM"):
                next(items)
    finally:
        signal.signal(signal.SIGINT, before)


# Words


def test_invalid_utf8_is_shown_as_a_replacement_character():
    path = os.fsdecode(b"caf\xe9/x")
    assert readable(path) == "caf\ufffd/x"
    shown = to_json({"folder": path, "text": "a\U0001f600\\ud800"})
    assert shown.isascii()
    assert json.loads(shown) == {"folder": "caf\ufffd/x", "text": "a\U0001f600\\ud800"}


@pytest.mark.parametrize(
    ("count", "wanted"),
    [(0, "working: 0 pairs in "), (1, "working: 1 pair in "), (2, "working: 2 pairs in ")],
)
def test_numbers_of_things(caplog, count, wanted):
    with caplog.at_level(logging.INFO, "mmsent"), Progress("working", None, "pairs") as progress:
        for _ in range(count):
            progress.update()
    assert caplog.messages[0].startswith(wanted)
    assert ("a second" in caplog.messages[0]) == bool(count)
    assert counted(count, "epochs") == ("1 epoch" if count == 1 else f"{count} epochs")


@pytest.mark.parametrize(
    ("count", "seconds", "wanted"),
    [(1, 8, "0.12"), (1, 4000, "0.00025"), (99, 10, "9.9"), (100, 10, "10"), (12345, 10, "1234")],
)
def test_a_slow_rate_is_not_zero(count, seconds, wanted):
    assert per_second(count, seconds) == wanted
