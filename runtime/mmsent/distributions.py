"""How the distributions of mmsent are installed: the one place that a release changes.

They are not on the Python Package Index, where anybody could take an unused name. Messages
therefore name the folders of a checkout.
"""

FOLDERS = {"mmsent": "runtime", "mmsent-training": "training", "mmsent-export": "export"}


def install_command(distribution: str, extra: str = "") -> str:
    """The command that installs a distribution, perhaps with an extra, and where to run it."""
    target = f"./{FOLDERS[distribution]}"
    if extra:
        target = f"'{target}[{extra}]'"
    return f"`pip install {target}` in mmsent's source folder"
