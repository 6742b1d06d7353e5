"""What installs the distributions of mmsent: the one place that a release changes.

They are not on the Python Package Index yet, where anybody may take a free name; so the messages
name the folders of a checkout.
"""

FOLDERS = {"mmsent": "runtime", "mmsent-training": "training", "mmsent-export": "export"}


def install_command(distribution: str, extra: str = "") -> str:
    """What installs a distribution with an extra of it: the command, and where to run it."""
    target = f"./{FOLDERS[distribution]}"
    if extra:
        target = f"'{target}[{extra}]'"
    return f"`pip install {target}` in mmsent's source folder"
