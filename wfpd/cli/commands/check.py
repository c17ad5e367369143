"""`wfpd check`: what is wrong with a policy."""

from __future__ import annotations

import argparse
import textwrap
from typing import TYPE_CHECKING

from wfpd.cli.parser import Commands
from wfpd.cli.printing import DEFAULT_POLICY, DONE, NO, must_open, print_json
from wfpd.errors import PolicyError, Problem

if TYPE_CHECKING:
    from wfpd.linting import Lint
    from wfpd.netfilter.conflicts import Finding


def add(commands: Commands) -> None:
    """Add the parser."""
    check = commands.add(
        "check",
        check_policy,
        "check a policy file",
        "Reports every error with its line; changes nothing. Exit 1: it does not load, or --strict and a lint.",
        as_json=True,
    )
    check.add_argument("policy", nargs="?", metavar="FILE", help=f"policy file (default: {DEFAULT_POLICY})")
    check.add_argument("--policy", dest="policy_option", metavar="FILE", help=argparse.SUPPRESS)
    check.add_argument("--strict", action="store_true", help="lints are errors: exit 1")
    check.add_argument("--stats", action="store_true", help="show how large each layer's search table is")
    check.add_argument("--no-lints", action="store_true", help="leave out the lints that need the policy's tables")
    check.add_argument("--login", metavar="ADDRESS[:PORT]|none", help="where a login comes from that has to live on, "
                       "and its port here (default: this SSH session)")  # fmt: skip


def check_policy(arguments: argparse.Namespace) -> int:
    """`wfpd check`."""
    from dataclasses import asdict

    from wfpd.checking import check
    from wfpd.linting import check_lints
    from wfpd.observe.table_sizes import describe_tables

    path = arguments.policy or arguments.policy_option or DEFAULT_POLICY
    must_open(path)
    try:
        checked = check(path, stats=arguments.stats)
    except PolicyError as error:
        if not arguments.json:
            raise
        errors = [_problem_json(problem) for problem in error.problems]
        print_json({"ok": False, "errors": errors, "lints": [], "undecided": [], "rules": None, "others": [],
                    "notes": []})  # fmt: skip
        return NO
    policy = checked.policy
    linted = check_lints(policy, checked.packed, arguments.login, arguments.no_lints)
    notes, lints = [*checked.notes, *linted.notes], linted.lints
    failed = arguments.strict and bool(lints)
    if arguments.json:
        print_json({"ok": not failed, "errors": [], "lints": [_lint_json(lint) for lint in lints],
                     "undecided": [_lint_json(lint) for lint in linted.undecided],
                     "filters": len(policy.filters), "hash": policy.hash, "files": policy.files,
                     "rules": checked.rules, "others": [_finding_json(f) for f in checked.others],
                     "notes": notes,
                     **({"tables": [asdict(item) for item in checked.tables]} if arguments.stats else {})})  # fmt: skip
        return NO if failed else DONE
    if checked.rules:
        print(f"rules that `wfpd run` would install:\n{textwrap.indent(checked.rules.rstrip(), '  ')}")
    if arguments.stats:
        print("search tables:", *(f"  {line}" for line in describe_tables(checked.tables)), sep="\n")
    for prefix, lines in (("other", checked.others), ("note", notes), ("lint", lints)):
        for line in lines:
            print(f"{prefix}: {line}")
    print(f"{path}: {'refused (--strict)' if failed else 'ok'}, {len(policy.filters)} engine filters, "
          f"{len(lints)} lints, hash {policy.hash[:12]}")  # fmt: skip
    return NO if failed else DONE


def _problem_json(problem: Problem) -> dict[str, object]:
    return {"file": problem.location.file, "line": problem.location.line, "column": problem.location.column,
            "object": problem.subject, "message": problem.message, "hint": problem.hint,
            "code": problem.code}  # fmt: skip


def _lint_json(lint: Lint) -> dict[str, object]:
    return _problem_json(lint.problem) | {"lint": lint.lint, "filters": lint.others}


def _finding_json(finding: Finding) -> dict[str, str]:
    return {"kind": finding.kind.value, "where": finding.where, "text": finding.text, "owner": finding.owner,
            "hint": finding.hint}  # fmt: skip
