"""`expect:` of a test file: a verdict, or a mapping of what the packet's line should say."""

from __future__ import annotations

from typing import Any

from wfpd.config import reader
from wfpd.config.layer_names import LAYER_NAMES
from wfpd.config.limits import Limits
from wfpd.config.nodes import Broken, Mapping, Node, Scalar
from wfpd.config.report import Speaker, shown
from wfpd.dataplane import PARSE_STATUS_NAMES, REASON_NAMES
from wfpd.testing.cases import MEMBERS, Expectation

VERDICTS = ("permit", "block")


def read_expectation(speaker: Speaker, node: Node, limits: Limits) -> Expectation | None:
    """What is expected of one packet; None after an error."""
    members: dict[str, Any] = {}
    if isinstance(node, Scalar):
        members["verdict"] = reader.choice(speaker, node, "expect", VERDICTS)
    elif isinstance(node, Mapping):
        reader.known_keys(speaker, node, MEMBERS, "expect")
        for name in MEMBERS:
            if name in node.entries:
                members[name] = _member(speaker, name, node.entries[name], limits)
        if not node.entries:
            speaker.error(node, "expect: nothing is expected", f"some of: {', '.join(MEMBERS)}")
    elif not isinstance(node, Broken):
        speaker.error(
            node, "expect: is a verdict or a mapping", "expect: block, or expect: {verdict: block, filter: x}"
        )
    if not members or None in members.values():
        return None
    return Expectation(members, speaker.at(node))


def _member(speaker: Speaker, name: str, node: Node, limits: Limits) -> Any:
    """Its value; None after an error."""
    if name == "verdict":
        return reader.choice(speaker, node, name, VERDICTS)
    if name == "reason":
        return reader.choice(speaker, node, name, REASON_NAMES)
    if name == "malformed":
        return reader.choice(speaker, node, name, PARSE_STATUS_NAMES)
    if name == "veto":
        return reader.flag(speaker, node, name, False)
    if name == "layer":
        return _layer(speaker, node)
    if name == "callouts":
        names = [reader.name(speaker, item, limits, "callouts") for item in reader.items(node)]
        return None if None in names else names
    if isinstance(node, Scalar) and not node.text:
        speaker.error(node, f"{name}: a name is needed", "expect {reason: no_match} where nothing decides")
        return None
    return reader.name(speaker, node, limits, name)


def _layer(speaker: Speaker, node: Node) -> str | None:
    found = reader.scalar(speaker, node, "layer")
    if found is None or found.text in LAYER_NAMES:
        return None if found is None else found.text
    hint = speaker.report.nearest(found.text, LAYER_NAMES) or "`wfpd layers` lists them"
    speaker.error(node, f"layer: there is no {shown(found.text)}", hint, "FWP_E_LAYER_NOT_FOUND")
    return None
