"""Builds every ext/**/*.pyx.

WFPD_BUILD chooses the mode: release (default), debug (bounds checked, accounts kept), trace
(coverage of .pyx) or sanitize (address and undefined).  Each mode has its own directory under
build/, so switching back and forth recompiles nothing and mixes nothing; the modules of the mode
asked for are copied in place.  A Cython "performance hint" fails the build: it means an implicit
exception check or a forgotten `noexcept` on the packet path.
"""

import contextlib
import os
import pathlib
import re
import sys
import tempfile
import time
from collections.abc import Iterator

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

MODE = os.environ.get("WFPD_BUILD", "release")
JOBS = int(os.environ.get("WFPD_BUILD_JOBS", "2"))
SANITIZERS = "-fsanitize=address,undefined"
ACCOUNTS = ["-DWFPD_DEBUG=1", "-D_GNU_SOURCE=1", "-include", os.path.abspath("ext/wfpd/dataplane/_accounts.h")]
COMPILE = {
    "release": ["-O3"],
    "debug": ["-O1", "-g", *ACCOUNTS],
    "trace": ["-O1", "-DCYTHON_TRACE=1", "-DCYTHON_TRACE_NOGIL=1"],
    "sanitize": ["-O1", "-g", *ACCOUNTS, SANITIZERS, "-fno-sanitize-recover=undefined", "-fno-omit-frame-pointer"],
}
if MODE not in COMPILE:
    sys.exit(f"setup.py: WFPD_BUILD={MODE} is not a build mode; there are {', '.join(COMPILE)}")

DIRECTIVES = {
    "language_level": 3,
    "binding": True,
    "boundscheck": MODE != "release",
    "wraparound": False,
    "cdivision": True,
    "initializedcheck": MODE != "release",
    "auto_pickle": False,
    "linetrace": MODE == "trace",
}
BUILD = pathlib.Path("build", MODE)
# Where the interface of compiled callouts lies, which is installed.
CALLOUTS = str(pathlib.Path("wfpd", "callouts"))
# Coverage of .pyx finds a line only when the generated .c lies beside its source.
GENERATED = pathlib.Path(".") if MODE == "trace" else BUILD / "c"


def extensions() -> list[Extension]:
    """One extension for each .pyx; ext/ mirrors the package."""
    headers = [str(path) for folder in ("ext", "wfpd") for path in sorted(pathlib.Path(folder).rglob("*.h"))]
    return [
        Extension(
            ".".join(path.relative_to("ext").with_suffix("").parts),
            [str(path)],
            include_dirs=[str(path.parent), CALLOUTS],
            depends=headers,
            # Signed overflow wraps: sums of packet lengths and clocks are compared, never assumed.  The loops that
            # Cython writes for range() compare signed with unsigned.
            extra_compile_args=[*COMPILE[MODE], "-fwrapv", "-Wno-sign-compare"],
            extra_link_args=[SANITIZERS] if MODE == "sanitize" else [],
        )
        for path in sorted(pathlib.Path("ext").rglob("*.pyx"))
    ]


@contextlib.contextmanager
def captured_stderr() -> Iterator[list[str]]:
    """Collect what this process and its children write to stderr, then write it there after all."""
    lines: list[str] = []
    sys.stderr.flush()
    saved = os.dup(2)
    with tempfile.TemporaryFile() as sink:
        os.dup2(sink.fileno(), 2)
        try:
            yield lines
        finally:
            sys.stderr.flush()
            os.dup2(saved, 2)
            os.close(saved)
            sink.seek(0)
            text = sink.read().decode(errors="replace")
            lines.extend(text.splitlines())
            sys.stderr.write(text)


def generate() -> list[Extension]:
    """Translate to C.  A hint fails, and takes its .c along so that the next build sees it again."""
    started = time.time()
    with captured_stderr() as lines:
        modules = cythonize(
            extensions(),
            include_path=["ext", "."],
            build_dir=None if MODE == "trace" else str(GENERATED),
            compiler_directives=DIRECTIVES,
            nthreads=JOBS if len(sys.argv) > 1 else 0,
        )
    hints = [line for line in lines if re.match(r"performance hint", line)]
    if DIRECTIVES["boundscheck"]:  # Asked for by the mode, whatever it costs.
        hints = [line for line in hints if "Use boundscheck(False)" not in line]
    if hints:
        for path in (GENERATED / "ext").rglob("*.c"):
            if path.stat().st_mtime >= started - 1:
                path.unlink()
        if os.environ.get("WFPD_HINTS") != "warn":
            sys.exit(f"setup.py: {len(hints)} performance hint(s) of Cython, see above; each is an error here")
    return modules


class ModeBuild(build_ext):
    """build_ext with a directory for each mode, and an in-place copy that never keeps another mode's file."""

    def finalize_options(self) -> None:
        if self.build_temp is None:
            self.build_temp = str(BUILD / "temp")
        if (self.inplace or self.editable_mode) and self.build_lib is None:  # Both build the same once.
            self.build_lib = str(BUILD / "lib")
        self.parallel = self.parallel or JOBS
        super().finalize_options()

    def copy_extensions_to_source(self) -> None:
        kept, self.force = self.force, True  # Without it a file that is merely newer would stay.
        super().copy_extensions_to_source()
        self.force = kept


setup(ext_modules=generate(), cmdclass={"build_ext": ModeBuild})
