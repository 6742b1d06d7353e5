"""The commands of a fix for the system's shell: a POSIX shell, or PowerShell on Windows.

The rest of a fix is the same in both: programs, their options, and a comment after #.
"""

import re
import shlex
import sys
from dataclasses import dataclass


@dataclass(frozen=True)
class Shell:
    """Writes the commands of a fix for PowerShell or a POSIX shell."""

    powershell: bool

    def command(self, *words: str) -> str:
        """A program and its arguments, quoted for the shell."""
        if not self.powershell:
            return shlex.join(words)
        quoted = [
            word if re.fullmatch(r"[\w\\/:.=+-]+", word) else "'" + word.replace("'", "''") + "'"
            for word in words
        ]
        call = "& " if quoted[0].startswith("'") else ""  # otherwise it is a string, not a program
        return call + " ".join(quoted)

    def pip(self, *words: str) -> str:
        """The pip of this interpreter, which may differ from `pip` on PATH."""
        return self.command(sys.executable, "-m", "pip", *words)

    def both(self, first: str, second: str) -> str:
        """Two commands, the second after the first; Windows PowerShell 5 has no &&."""
        return f"{first}; {second}" if self.powershell else f"{first} && {second}"

    def set(self, name: str, value: str) -> str:
        """Set an environment variable."""
        return f"$env:{name} = '{value}'" if self.powershell else f"export {name}={value}"

    def unset(self, *names: str) -> str:
        """Unset environment variables."""
        if self.powershell:
            return f"Remove-Item {', '.join(f'Env:{name}' for name in names)}"
        return f"unset {' '.join(names)}"

    def remove(self, *files: str) -> str:
        """Delete files."""
        if self.powershell:
            quoted = ", ".join("'" + file.replace("'", "''") + "'" for file in files)
            return f"Remove-Item -LiteralPath {quoted}"
        return shlex.join(("rm", *files))

    @property
    def reboot(self) -> str:
        """Restart the machine."""
        return "Restart-Computer" if self.powershell else "sudo reboot"

    @property
    def gpu_log(self) -> str:
        """Show the log messages of NVIDIA's driver."""
        if self.powershell:
            return "Get-WinEvent System | Where-Object ProviderName -eq nvlddmkm"
        return "sudo dmesg | grep -i -e xid -e nvrm"

    @property
    def largest_folders(self) -> str:
        """Show the largest folders on the disk."""
        if self.powershell:
            return "start ms-settings:storagesense  # shows what uses the space"
        return "du -xh --max-depth=2 ~ | sort -h | tail  # shows what uses the space"

    @property
    def conda_openmp(self) -> str:
        """Show conda's OpenMP runtimes."""
        if self.powershell:
            return "conda list | Select-String openmp, mkl"
        return "conda list | grep -i -e openmp -e mkl"
