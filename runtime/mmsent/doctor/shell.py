"""The commands of a fix in the language of the system's shell: POSIX's, or PowerShell on Windows.

The rest of a fix reads the same in both: programs, their options, and a comment after #.
"""

import re
import shlex
import sys
from dataclasses import dataclass


@dataclass(frozen=True)
class Shell:
    """How the shell of a system, PowerShell or a POSIX one, writes what a fix needs."""

    powershell: bool

    def command(self, *words: str) -> str:
        """A program and its arguments, quoted where the shell needs that."""
        if not self.powershell:
            return shlex.join(words)
        quoted = [
            word if re.fullmatch(r"[\w\\/:.=+-]+", word) else "'" + word.replace("'", "''") + "'"
            for word in words
        ]
        call = "& " if quoted[0].startswith("'") else ""  # else it is a text, not a program
        return call + " ".join(quoted)

    def pip(self, *words: str) -> str:
        """The pip of this interpreter, whatever `pip` on PATH belongs to."""
        return self.command(sys.executable, "-m", "pip", *words)

    def both(self, first: str, second: str) -> str:
        """Two commands, the second after the first; Windows PowerShell 5 has no &&."""
        return f"{first}; {second}" if self.powershell else f"{first} && {second}"

    def set(self, name: str, value: str) -> str:
        """Give an environment variable a value."""
        return f"$env:{name} = '{value}'" if self.powershell else f"export {name}={value}"

    def unset(self, *names: str) -> str:
        """Take environment variables away."""
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
        """Show what NVIDIA's driver told the system."""
        if self.powershell:
            return "Get-WinEvent System | Where-Object ProviderName -eq nvlddmkm"
        return "sudo dmesg | grep -i -e xid -e nvrm"

    @property
    def largest_folders(self) -> str:
        """Show what takes the space on the disk."""
        if self.powershell:
            return "start ms-settings:storagesense  # shows what takes the space"
        return "du -xh --max-depth=2 ~ | sort -h | tail  # shows what takes the space"

    @property
    def conda_openmp(self) -> str:
        """Show conda's OpenMP runtimes."""
        if self.powershell:
            return "conda list | Select-String openmp, mkl"
        return "conda list | grep -i -e openmp -e mkl"
