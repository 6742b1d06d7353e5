"""Writes torch-cpu.lock: PyTorch's builds for the CPU, by version and hash, from its own index.

The versions are those of requirements.lock. A wheel's SHA-256 is in its link (PEP 503);
otherwise the wheel is pinned only by its version. If the index can't be reached, the file stays
unchanged, provided that its versions are right.
"""

import re
import sys
import urllib.request
from pathlib import Path
from urllib.parse import unquote

ROOT = Path(__file__).parents[1]
INDEX = "https://download.pytorch.org/whl/cpu"
MACHINES = ("x86_64", "aarch64")
HEAD = "# PyTorch's builds for the CPU, from its own index; `make lock` writes this file.\n"


def main(index: str, versions: Path, output: Path) -> None:
    pins = dict(re.findall(r"^(torch|torchvision)==(\S+)", versions.read_text(), re.MULTILINE))
    try:
        lines = [
            line(name, version, machine, read(f"{index}/{name}/"))
            for name, version in pins.items()
            for machine in MACHINES
        ]
    except OSError as error:
        old = output.read_text() if output.exists() else ""
        if all(f"{name}=={version}" in old for name, version in pins.items()):
            print(f"{index} can't be reached ({error}): {output} stays unchanged", file=sys.stderr)
            return
        sys.exit(f"{index} can't be reached ({error}), and {output} has other versions: run this "
                 "where it can be reached")  # fmt: skip
    output.write_text(HEAD + "".join(lines))


def read(url: str) -> str:
    with urllib.request.urlopen(url, timeout=30) as answer:
        return str(answer.read(), "utf-8")


def line(name: str, version: str, machine: str, page: str) -> str:
    """The requirement for one kind of machine, on Python 3.11."""
    for link in re.findall(r'href="([^"]+)"', page):
        path, _, digest = link.partition("#sha256=")
        wheel = unquote(path.rsplit("/", 1)[-1])
        found = re.fullmatch(
            rf"{name}-({re.escape(version)}(?:\+cpu)?)-cp311-cp311-\S*linux\S*_{machine}\.whl",
            wheel,
        )
        if found:
            pin = f'{name}=={found[1]} ; platform_machine == "{machine}"'
            return f"{pin} --hash=sha256:{digest}\n" if digest else f"{pin}\n"
    sys.exit(f"{name} {version} has no wheel for Python 3.11 on {machine} in this index")


if __name__ == "__main__":
    main(
        sys.argv[1] if len(sys.argv) > 1 else INDEX,
        ROOT / "requirements.lock",
        ROOT / "docker" / "torch-cpu.lock",
    )
