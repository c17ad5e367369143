"""`wfpd new-callout`: a project with a callout that works."""

from __future__ import annotations

import argparse

from wfpd.cli.parser import Commands
from wfpd.cli.printing import DONE, print_json


def add(commands: Commands) -> None:
    """Add the parser."""
    made = commands.add(
        "new-callout",
        write_project,
        "write a project with a working callout, its policy, tests and bench",
        "Makes the directory NAME here. Exit 2: NAME cannot be one, 3: it exists already, or cannot be made.",
        as_json=True,
    )
    made.add_argument("name", metavar="NAME", help="lower-case words joined by -: of the directory and the package")
    made.add_argument("--native", action="store_true", help="a compiled one, in Cython")


def write_project(arguments: argparse.Namespace) -> int:
    """`wfpd new-callout`."""
    from pathlib import Path

    from wfpd.testing.project import Project

    project = Project(arguments.name, arguments.native)
    project.check()
    files = project.write(Path(arguments.name))
    if arguments.json:
        print_json({"directory": arguments.name, "package": project.package, "class": project.class_name,
                    "native": project.native, "files": files})  # fmt: skip
        return DONE
    print(*(f"{arguments.name}/{path}" for path in files), sep="\n")
    first = "pip install --no-build-isolation --no-deps . && pytest" if project.native else "pytest"
    print(f"\n{project.package}:{project.class_name} is ready: cd {arguments.name} && {first}")
    return DONE
