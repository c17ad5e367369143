"""Builds every ext/**/*.pyx.  WFPD_BUILD = release (default), debug, trace or sanitize."""

import os
import pathlib

from Cython.Build import cythonize
from setuptools import Extension, setup

MODE = os.environ.get("WFPD_BUILD", "release")
FLAGS = {
    "release": ["-O3"],
    "debug": ["-O1", "-g", "-DWFPD_DEBUG=1"],
    "trace": ["-O1", "-DCYTHON_TRACE=1", "-DCYTHON_TRACE_NOGIL=1"],
    "sanitize": ["-O1", "-g", "-fsanitize=address,undefined", "-fno-omit-frame-pointer"],
}[MODE]
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


def extensions() -> list[Extension]:
    found = []
    for path in sorted(pathlib.Path("ext").rglob("*.pyx")):
        name = ".".join(path.relative_to("ext").with_suffix("").parts)
        found.append(
            Extension(name, [str(path)], include_dirs=["ext/wfpd/dataplane"], extra_compile_args=[*FLAGS, "-fwrapv"],
                      extra_link_args=["-fsanitize=address,undefined"] if MODE == "sanitize" else [])
        )
    return found


setup(
    ext_modules=cythonize(
        extensions(),
        include_path=["ext"],
        build_dir=None if MODE == "trace" else "build/c",
        compiler_directives=DIRECTIVES,
    )
)
