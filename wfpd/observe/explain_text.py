"""The explanation of a packet for a person: layer by layer, with every filter that had or nearly had a say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from wfpd.observe.explain import callouts_asked

_RED, _GREEN, _DIM, _BOLD, _PLAIN = "\x1b[31;1m", "\x1b[32m", "\x1b[2m", "\x1b[1m", "\x1b[0m"
_ACTION_COLORS = {"block": _RED, "permit": _GREEN}
_REASONS = {
    "no_match": "no filter matched: permitted",
    "filter": "a filter decided",
    "callout": "a callout decided",
    "veto": "a callout vetoed a permit",
    "missing_callout": "a filter's callout is not registered",
    "malformed": "the packet is malformed: on_malformed decided",
    "flow": "the packet belongs to a flow that was authorized before",
    "limit": "the flow table is full",
    "not_ip": "the packet is not IP",
}


def render(document: Mapping[str, Any], color: bool = False) -> str:
    """The whole explanation; plain text unless `color`."""
    return "\n".join(_lines(document, color)) + "\n"


def _lines(document: Mapping[str, Any], color: bool) -> Iterator[str]:
    yield _packet(document["packet"])
    for visit in document["visits"]:
        yield f"hook {visit['hook']}" + ("" if visit["layers"] else ": no layer with filters was visited")
        for layer in visit["layers"]:
            yield ""
            yield from _layer(layer, color)
    yield ""
    for callout in () if document.get("called") else callouts_asked(document):
        yield f"callout {callout} was not called: its answer is taken for granted (--answer {callout}=block)"
    yield _decision(document["decision"], color)


def _end(packet: Mapping[str, Any], end: str) -> str:
    address = packet.get(end, "?")
    if f"{end}_port" not in packet:
        return str(address)
    return f"[{address}]:{packet[f'{end}_port']}" if ":" in address else f"{address}:{packet[f'{end}_port']}"


def _packet(packet: Mapping[str, Any]) -> str:
    if "source" not in packet:
        return f"packet {packet['number']}: {packet['length']} bytes that no address can be read of"
    parts = [f"{packet.get('protocol', 'ip')} {_end(packet, 'source')} -> {_end(packet, 'destination')}"]
    if "tcp_flags" in packet:
        parts.append(packet["tcp_flags"])
    if "icmp_type" in packet:
        parts.append(f"{packet['icmp_type']} code {packet['icmp_code']}")
    parts.append(f"{packet['length']} bytes")
    parts += ["a fragment"] if "fragment" in packet else []
    parts += [f"malformed: {packet['malformed']}"] if "malformed" in packet else []
    return f"packet {packet['number']}: {', '.join(parts)}"


def layer_line(layer: Mapping[str, Any], color: bool = False) -> str:
    """What a layer said, in one line."""
    outcome = _action(layer["action"], color) if layer["action"] != "none" else "nothing stands"
    right = ", right clear" if layer["right"] == "clear" else ""
    by = "" if layer["filter"] is None else f" by {layer['filter']} ({layer['sublayer']})"
    twin = " (tells of the block, changes nothing)" if layer["discard"] else ""
    return f"{_paint(layer['layer'], _BOLD, color)}{twin}: {outcome}{right}{by}"


def _layer(layer: Mapping[str, Any], color: bool) -> Iterator[str]:
    yield layer_line(layer, color)
    for name, value in layer["fields"].items():
        yield _paint(f"    {name} {value}", _DIM, color)
    for sublayer in layer["sublayers"]:
        yield from _sublayer(sublayer, color)


def _sublayer(sublayer: Mapping[str, Any], color: bool) -> Iterator[str]:
    count = f"{sublayer['n_filters']} filter" + ("s" if sublayer["n_filters"] != 1 else "")
    silent = "" if any(item["match"] == "match" for item in sublayer["filters"]) else ": none matches"
    yield f"  sublayer {sublayer['sublayer']} ({sublayer['weight']:#x}), {count}{silent}"
    width = max((len(item["filter"]) for item in sublayer["filters"]), default=0)
    for item in sublayer["filters"]:
        action = _action(_says(item), color) + " " * max(0, 7 - len(_says(item)))
        line = f"    {item['match']:<6}  {action}  {item['filter']:<{width}}  {_story(item)}"
        yield line if item["match"] == "match" else _paint(line, _DIM, color and "\x1b" not in line)
    if sublayer["n_more"]:
        yield f"    and {sublayer['n_more']} more that match behind the end"


def _says(item: Mapping[str, Any]) -> str:
    return item["callout"] or str(item["action"])


def _story(item: Mapping[str, Any]) -> str:
    """What became of one filter."""
    if item["match"] == "near":
        failed = item["failed"]
        late = "" if item["asked"] else " (and stands behind the end)"
        return f"{failed['field']} is {failed['has']}, wants {failed['wants']}{late}"
    if item["match"] == "behind":
        return "matches too, behind the end of its sublayer"
    if item["said"] == "audit":
        return "audit: matches and takes part in nothing"
    answer = "" if item["answer"] is None else f"answers {item['answer']['kind']}: "
    if item["said"] == "continue":
        return f"{answer}continues"
    right = ", right clear" if item["after"]["right"] == "clear" else ""
    if item["veto"]:
        return f"{answer}VETO -> {item['after']['action']}{right}"
    if item["stands"]:
        return f"{answer}-> {item['after']['action']}{right}"
    return f"{answer}{item['said']}, changes nothing: the right is clear ({item['after']['action']} stands)"


def _decision(line: Mapping[str, Any], color: bool) -> str:
    detail = f" ({line['malformed']})" if "malformed" in line else ""
    by = " ".join(str(line[key]) for key in ("layer", "sublayer", "filter") if line[key] is not None)
    reason = _REASONS.get(line["reason"], line["reason"])
    return f"verdict: {_action(line['verdict'], color)}, {reason}{detail}" + (f": {by}" if by else "")


def _action(action: str, color: bool) -> str:
    return _paint(action, _ACTION_COLORS.get(action, ""), color)


def _paint(text: str, code: str, color: bool) -> str:
    return f"{code}{text}{_PLAIN}" if color and code else text
