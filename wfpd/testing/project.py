"""`wfpd new-callout`: a project with a working callout, its policy, tests and bench."""

from __future__ import annotations

import keyword
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from wfpd.errors import ControlError, UsageError

TEMPLATES = Path(__file__).parent / "templates"
MOST_LETTERS = 64
TAKEN = frozenset({"wfpd", "pytest", "scapy", "setuptools", "tests", "bench"})
"""Packages of others that a project of this name would hide."""
_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_PATH = 'sys.path.insert(0, str(HERE / "src"))\n'
_INSTALL = {
    False: "    pip install -e '.[testing]'           # or nothing: the tests and the bench find `src`",
    True: "    pip install --no-build-isolation --no-deps .    # compiles it; Cython and wfpd are there already",
}

_HALVES = """
Compiled code decides most of them without the interpreter, and asks Python about the datagrams that have the word."""


@dataclass(frozen=True, slots=True)
class Project:
    """What is to be written."""

    name: str
    native: bool = False

    @property
    def package(self) -> str:
        """The name that Python imports."""
        return self.name.replace("-", "_")

    @property
    def class_name(self) -> str:
        """Of the callout."""
        return "".join(part.capitalize() for part in self.name.split("-"))

    def check(self) -> None:
        """UsageError for a name that cannot be one."""
        if len(self.name) > MOST_LETTERS or not _NAME.fullmatch(self.name):
            raise UsageError(
                f"{self.name[:MOST_LETTERS]!r} is no name of a project",
                hint=f"lower-case letters and digits, words joined by -, at most {MOST_LETTERS} characters: my-callout",
            )
        for word in (self.package, self.class_name):
            if keyword.iskeyword(word):
                raise UsageError(f"{self.name!r}: {word} is a word of Python's own")
        if self.package in sys.stdlib_module_names or self.package in TAKEN:
            raise UsageError(f"{self.name!r}: there is a module {self.package} already, which it would hide")

    def files(self) -> dict[str, str]:
        """Contents by path."""
        source = f"src/{self.package}"
        native = "native-" if self.native else ""
        named = {
            ".gitignore": "gitignore", "README.md": "README.md", "pyproject.toml": f"{native}pyproject.toml",
            "policy.yaml": "policy.yaml", "tests/test_packets.py": "test_packets.py",
            "tests/test_stream.py": "test_stream.py", "tests/test_live.py": "test_live.py",
            "bench/bench_callout.py": "bench_callout.py",
        }  # fmt: skip
        if self.native:
            named |= {"setup.py": "setup.py", f"{source}/__init__.py": "native-init.py",
                      f"{source}/_callout.pyx": "callout.pyx", "tests/test_halves.py": "test_halves.py"}  # fmt: skip
        else:
            named[f"{source}/__init__.py"] = "callout.py"
        return {path: self._filled(name) for path, name in named.items()}

    def _filled(self, name: str) -> str:
        text = (TEMPLATES / f"{name}.tmpl").read_text(encoding="utf-8")
        words = {
            "NAME": self.name, "PACKAGE": self.package, "CLASS": self.class_name,
            "PATH": "" if self.native else _PATH, "BUILD": _INSTALL[self.native],
            "HALVES": _HALVES if self.native else "",
            "SOURCE": f"src/{self.package}/" + ("_callout.pyx" if self.native else "__init__.py"),
        }  # fmt: skip
        for word, value in words.items():
            text = text.replace(f"@{word}@", value)
        return text

    def write(self, directory: Path, told: Callable[[str], object] = lambda path: None) -> list[str]:
        """Make `directory` with all files, or nothing; their paths.  ControlError where that cannot be."""
        try:
            directory.mkdir()
        except FileExistsError:
            raise ControlError(f"{directory} exists already: nothing is written", hint="choose another name") from None
        except OSError as error:
            raise ControlError(f"cannot make {directory}: {error.strerror}") from error
        try:
            for path, text in self.files().items():
                target = directory / path
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(text, encoding="utf-8")
                told(path)
        except BaseException as error:
            shutil.rmtree(directory, ignore_errors=True)
            if isinstance(error, OSError):
                raise ControlError(f"cannot write {directory}: {error.strerror}") from error
            raise
        return sorted(self.files())
