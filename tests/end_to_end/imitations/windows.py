"""Runs commands with the file behaviour of Windows.

python windows.py '[[CODE, PROGRAM, ARGUMENT...], ...]': runs each and compares its exit code.
"""

import builtins
import errno
import fcntl
import json
import os
import sys
import traceback
import types
import warnings


def imitate():
    """Change the os module, and what mmsent's own modules import."""
    for name in ("O_NOFOLLOW", "O_CLOEXEC", "O_NONBLOCK", "O_NOCTTY", "sched_getaffinity"):
        delattr(os, name)
    fsync, replace, unlink = os.fsync, os.replace, os.unlink

    def fsync_what_is_writable(file):
        if fcntl.fcntl(file, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, "Bad file descriptor")
        fsync(file)

    def replace_what_is_closed(source, target, **options):
        for path in (source, target):
            refuse_open(path)
        replace(source, target, **options)

    def unlink_what_is_closed(path, **options):
        refuse_open(path)
        unlink(path, **options)

    def symlink(*arguments, **options):
        error = OSError(errno.EINVAL, "A required privilege is not held by the client")
        error.winerror = 1314
        raise error

    os.fsync, os.symlink = fsync_what_is_writable, symlink
    os.replace = os.rename = replace_what_is_closed
    os.unlink = os.remove = unlink_what_is_closed
    builtins.__import__ = import_as_on_windows(builtins.__import__)
    # Without an encoding, Windows opens files as cp1252.
    warnings.filterwarnings("error", category=EncodingWarning, module=r"mmsent")


def refuse_open(path):
    """Raise what Windows raises for a file that this process has open or mapped."""
    real = os.path.realpath(path)
    with open("/proc/self/maps") as file:
        mapped = any(line.rstrip("\n").endswith(f" {real}") for line in file)
    descriptors = (f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd"))
    if mapped or any(os.path.realpath(descriptor) == real for descriptor in descriptors):
        error = PermissionError(errno.EACCES, "The process cannot access the file", str(path))
        error.winerror = 32
        raise error


def import_as_on_windows(real):
    """Hide fcntl from mmsent, and give it an msvcrt that locks with fcntl."""
    msvcrt = types.ModuleType("msvcrt")
    msvcrt.LK_NBLCK = 2

    def locking(file, mode, length):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise PermissionError(errno.EACCES, "Permission denied") from None

    msvcrt.locking = locking

    def import_(name, globals=None, *arguments, **options):
        if (globals or {}).get("__name__", "").startswith("mmsent"):
            if name == "fcntl":
                raise ModuleNotFoundError("No module named 'fcntl'", name=name)
            if name == "msvcrt":
                return msvcrt
        return real(name, globals, *arguments, **options)

    return import_


def main():
    imitate()
    from mmsent import cli
    from mmsent_export.cli import export

    programs = {"mmsent": cli.cli, "mmsent-infer": cli.infer, "mmsent-export": export}
    for wanted, program, *rest in json.loads(sys.argv[1]):
        sys.argv = [program, *rest]
        print(f"== {program} {' '.join(rest)}".encode("ascii", "replace").decode(), flush=True)
        try:
            cli.run(programs[program])
            code = 0
        except SystemExit as end:
            code = end.code or 0
        except BaseException:
            traceback.print_exc()
            code = "a traceback"
        sys.stdout.flush()
        if code != wanted:
            sys.exit(f"== exit code {code}, not {wanted}")


if __name__ == "__main__":
    main()
