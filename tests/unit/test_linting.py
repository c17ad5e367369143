"""The lints: every example of the docs, and what they keep quiet about."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import wfpd.linting
from wfpd import cli
from wfpd.config import load_policy
from wfpd.linting import Linted, check_lints, lint_policy

DOCS = Path(__file__).resolve().parents[2] / "docs" / "lints.md"
EXAMPLES = re.findall(
    r"^```yaml\n(.*?)^```\n\n(?:    wfpd check (.*?) policy\.yaml\n\n)?^```\n(.*?)^```\n", DOCS.read_text(), re.M | re.S
)
Write = Callable[[str], str]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes policy.yaml into the working directory."""
    monkeypatch.chdir(tmp_path)

    def put(text: str) -> str:
        path = Path("policy.yaml")
        path.write_text(text)
        path.chmod(0o600)
        return str(path)

    return put


def linted(path: str, **limits: Any) -> Linted:
    return lint_policy(load_policy(path, trust="warn"), **limits)


def names(path: str) -> list[tuple[str, str]]:
    """(lint, filter) of all that is said."""
    return [(item.lint, item.problem.subject.removeprefix("filter ").strip('"')) for item in linted(path).lints]


def test_the_docs_have_an_example_of_every_lint() -> None:
    listed = set(re.findall(r"^\| `([a-z-]+)` \|", DOCS.read_text(), re.M)) - {wfpd.linting.READING}
    assert {name for *_, said in EXAMPLES for name in re.findall(r"\(([a-z-]+)\)$", said, re.M)} == listed


@pytest.mark.parametrize(("text", "options", "said"), EXAMPLES)
def test_an_example_of_the_docs_is_what_is_printed(
    text: str, options: str, said: str, write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(text)
    given = options.split() or ["--login", "none"]
    assert cli.main(["check", *given, path]) == 0
    printed = capsys.readouterr().out
    assert "".join(re.findall(r"^lint: .*\n(?:  hint: .*\n)?", printed, re.M)) == said
    assert cli.main(["check", "--strict", *given, path]) == 1
    capsys.readouterr()
    assert cli.main(["check", "--json", *given, path]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [item["lint"] for item in document["lints"]] == re.findall(r"\(([a-z-]+)\)$", said, re.M)
    for item in document["lints"]:
        assert all(f'"{name}"' in item["message"] for name in item["filters"])


HEAD = "version: 1\nattach: [{hook: input}, {hook: output}, {hook: forward}]\nfilters:\n"


def test_a_filter_of_both_families_has_to_be_shadowed_in_both(write: Write) -> None:
    one = "  - {name: wide, layer: ipforward_v6, action: block, weight: {range: 9}}\n"
    other = "  - {name: wide4, layer: ipforward_v4, action: block, weight: {range: 9}}\n"
    both = "  - {name: web, layer: ipforward, action: permit, when: {ip_protocol: tcp}}\n"
    assert names(write(HEAD + one + both)) == []
    assert names(write(HEAD + one + other + both)) == [("shadowed", "web")]
    v4 = "  - {name: web, layer: ipforward, action: permit, when: {ip_source_address: 192.0.2.1}}\n"
    assert names(write(HEAD + other + v4)) == [("shadowed", "web")]  # In the family in which it can match at all.


def test_a_filter_of_several_layers_is_told_of_for_each_of_them(write: Write) -> None:
    wide = "  - {name: wide, layer: inbound_transport, action: block, weight: {range: 9}}\n"
    two = "  - {name: two, layer: [inbound_transport, outbound_transport], action: permit, when: {ip_protocol: tcp}}\n"
    (lint,) = linted(write(HEAD + wide + two)).lints
    assert "inbound_transport_v4 and inbound_transport_v6:" in lint.problem.message and lint.others == ("wide",)


def test_layers_of_flows_are_fed_by_either_end(write: Write) -> None:
    text = "  - {name: a, layer: ale_auth_connect, action: block}\n"
    assert names(write(HEAD.replace("{hook: output}, {hook: forward}", "") + text)) == []
    assert names(write(HEAD.replace("{hook: input}, {hook: output}, ", "") + text)) == [("unfed-layer", "a")]
    packet = "  - {name: a, layer: inbound_ippacket, action: block}\n"
    assert names(write("version: 1\nattach: [{hook: prerouting}]\nfilters:\n" + packet)) == []


def test_many_filters_of_an_unfed_layer_are_one_lint(write: Write) -> None:
    some = "".join(
        f"  - {{name: a{n}, layer: ipforward, action: block, when: {{ip_protocol: {n}}}}}\n" for n in range(5)
    )
    (lint,) = linted(write(HEAD.replace(", {hook: forward}", "") + some)).lints
    assert lint.problem.message.endswith("(4 more filters there)")


def test_a_family_that_is_left_out_is_told_of_for_filters_of_that_family_only(write: Write) -> None:
    head = "version: 1\nattach: [{hook: forward, families: [v4]}]\nfilters:\n"
    both = "  - {name: a, layer: ipforward, action: block, when: {ip_protocol: 1}}\n"
    six = "  - {name: b, layer: ipforward_v6, action: block, when: {ip_protocol: 6}}\n"
    assert names(write(head + both)) == []
    for text in (both + six, six):
        (lint,) = linted(write(head + text)).lints
        assert (lint.lint, lint.problem.subject) == ("unfed-layer", 'filter "b"')
        assert "ipforward_v6: attach leaves out IPv6" in lint.problem.message


@pytest.mark.parametrize(("layers", "found"), [
    (("ale_auth_recv_accept",), ["idle-callout"]), (("ale_flow_established",), ["idle-callout"]),
    (("ale_auth_connect", "ale_flow_established"), []), ((), []),
])  # fmt: skip
@pytest.mark.parametrize("more", ["", ", mode: audit"])
def test_a_connection_limit_needs_a_filter_that_counts_and_one_that_refuses(
    write: Write, layers: tuple[str, ...], found: list[str], more: str
) -> None:
    use = "wfpd.callouts.builtin.connection_limit:ConnectionLimit"
    text = f"version: 1\ncallouts: [{{name: few, use: '{use}', options: {{most: 3}}}}]\nfilters:\n"
    text += "  - {name: own, layer: ipforward, action: block, when: {ip_protocol: 6}}\n"
    for layer in layers:
        text += f"  - {{name: {layer}, layer: {layer}, action: {{callout: few}}{more}, when: {{ip_local_port: 22}}}}\n"
    assert [lint for lint, _ in names(write(text))] == ([] if more else found)


@pytest.mark.parametrize(
    ("member", "idle"), [("log: true", False), ("absorb: true", True), ("mode: audit", True), ("enabled: false", True)]
)
def test_a_discard_layer_is_reached_by_blocks_that_tell_of_themselves(write: Write, member: str, idle: bool) -> None:
    block = f"  - {{name: a, layer: inbound_transport, action: block, {member}}}\n"
    tell = "  - {name: tell, layer: inbound_transport_discard, action: permit}\n"
    assert names(write(HEAD + block + tell)) == ([("idle-discard", "tell")] if idle else [])


def test_what_is_not_decided_is_counted_and_listed(write: Write) -> None:
    some = "".join(
        f"  - {{name: a{n}, layer: ipforward_v4, action: block, when: {{ip_protocol: {n}}}}}\n" for n in range(5)
    )
    wide = "  - {name: all, layer: ipforward_v4, action: permit, weight: 1, when: {ip_protocol: 0-4}}\n"
    path = write(HEAD + some + wide)
    assert [lint.lint for lint in linted(path).lints if lint.lint == "shadowed"] == ["shadowed"]
    found = linted(path, work_each=2)
    assert [(item.lint, item.problem.subject) for item in found.undecided] == [("shadowed", 'filter "all"')]
    assert "shadowed" not in {lint.lint for lint in found.lints} and found.notes[0].startswith(
        "not decided for 1 filter"
    )


def test_a_lint_that_fails_is_a_note_and_takes_nothing_else_along(
    write: Write, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("no idea")

    path = write("version: 1\nattach: [{hook: input}]\nfilters:\n  - {name: a, layer: ipforward, action: block}\n")
    monkeypatch.setattr(wfpd.linting, "shadows", broken)
    assert cli.main(["check", path]) == 0
    assert "some lints are missing" in (printed := capsys.readouterr().out) and "(unfed-layer)" in printed
    monkeypatch.setattr(wfpd.linting, "bare_snapshot", broken)
    assert cli.main(["check", path]) == 0 and "no lints: " in capsys.readouterr().out


def test_only_reading_is_left_without_lints(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(
        "version: 1\nattach: [{hook: forward}]\n"
        "filters:\n  - {name: a, layer: inbound_transport, action: block, when: {ip_local_port: 1}}\n"
    )
    found = check_lints(load_policy(path, trust="warn"), b"", only_read=True)
    assert [lint.lint for lint in found.lints] == ["reading"] and "ip_protocol" in str(found.lints[0])
    assert cli.main(["check", "--no-lints", path]) == 0
    assert "(unfed-layer)" not in capsys.readouterr().out


def test_a_login_that_is_none_is_a_usage_error(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(HEAD + "  - {name: a, layer: ipforward, action: block}\n")
    assert cli.main(["check", "--login", "nowhere", path]) == 2
    assert "is no address" in capsys.readouterr().err
