"""The quick reader and the other one make the same of every filter: the same rows, lints and errors."""

from __future__ import annotations

import random
from typing import Any

import pytest

from wfpd.config import Limits, load_policy, schema
from wfpd.config._quick import QuickReader
from wfpd.config.layer_names import FIELD_NAMES, LAYER_NAMES
from wfpd.errors import PolicyError
from wfpd.model.rows import FilterRows

TOP = """version: 1
providers: [{name: p}]
sublayers: [{name: s, weight: 5}]
provider_contexts: [{name: x, data: 1}]
callouts: [{name: c}]
sets:
  a: {type: address, values: [192.0.2.0/24, 2001:db8::/32]}
  n: {type: port, values: [1, 5-9]}
  broken: {type: port, values: [x]}
filters:
"""
LAYERS = ("ipforward", "ipforward_v4", "ipforward_v6", "inbound_transport", "[ipforward_v4, inbound_ippacket]",
          "ale_auth_recv_accept", "inbound_transport_v4_discard")  # fmt: skip
BAD_LAYERS = ("nowhere", "[]", "[ipforward, ipforward_v4]", "{}", "ale_bind_redirect")
EXTRAS = ("sublayer: s", "sublayer: universal", "weight: 7", "weight: {range: 3}", "weight: 0x1000000000000000",
          "weight: 18446744073709551615", "provider: p", "log: true", "metrics: true", "flags: [clear_action_right]",
          "reply: tcp_reset", "on_error: block", "provider_context: x", "description: some words", "mode: audit",
          "enabled: false", "key: {guid}", "description: 'it''s'")  # fmt: skip
BAD_EXTRAS = ("sublayer: gone", "sublayer: inspection", "weight: 18446744073709551616", "weight: 01",
              "weight: {range: 16}",
              "provider: gone", "log: maybe", "unknown: 1", "absorb: true", "description: [x]",
              "key: 00000000-0000-0000-0000-000000000000", "key: 0123", "weight: [1]", "layer: ipforward")  # fmt: skip
ACTIONS = ("block", "permit", "block", "{callout: c}", "{callout: c, kind: inspection}")
ADDRESSES = ("192.0.2.1", "192.0.2.0/24", "192.0.2.1-192.0.2.9", "'2001:db8::/32'", "'::1'", "0.0.0.0/0", "'::/0'",
    "$a",
             "[192.0.2.1, 192.0.2.3, 192.0.2.2, 2001:db8::1]", "{none_of: [$a, 10.0.0.0/8]}", "{equal: empty}",
             "[0.0.0.0-127.255.255.255, 128.0.0.0/1]", "'::ffff:192.0.2.1'")  # fmt: skip
BAD_ADDRESSES = ("192.0.2.1/24", "192.0.2.256", "01.2.3.4", "1.2.3", "192.0.2.9-192.0.2.1", "192.0.2.1-'::1'",
    "fe80::1%0",
                 "192.0.2.0/33", "192.0.2.0/024", "empty", "[]", "$gone", "1.2.3.4/", "-1",
                 "{equal: 1.2.3.4, less: 2.3.4.5}",
                 "''", "1.2.3.4-", "{}", "$n")  # fmt: skip
PORTS = ("22", "0", "65535", "1-5", "[22, 80, 81-90]", "0x16", "{greater: 1024}", "$n", "[$n, 7]", "{none_of: [1, 2]}",
         "[7, {equal: empty}]", "0-65535", "'22'")  # fmt: skip
BAD_PORTS = ("65536", "-1", "022", "ssh", "5-1", "1-65536", "[1, [2]]", "1e3", "empty", "$broken",
             "99999999999999999999999",
             "{not_equal: [1]}", "1-", "-", "+5", "[1, x]")  # fmt: skip
FIELDS = {
    "ip_source_address": (ADDRESSES, BAD_ADDRESSES), "ip_destination_address": (ADDRESSES, BAD_ADDRESSES),
    "ip_source_port": (PORTS, BAD_PORTS), "ip_destination_port": (PORTS, BAD_PORTS),
    "ip_local_port": (PORTS, BAD_PORTS), "ip_local_address": (ADDRESSES, BAD_ADDRESSES),
    "ip_protocol": (("tcp", "17", "[tcp, udp]", "6-17"), ("tpc", "256", "[]")),
    "icmp_type": (("echo_request", "8"), ("nothing", "256")),
    "flags": (("is_loopback", "{flags_none_set: [is_loopback]}"), ("is_lop",)),
    "ip_ttl": (("64", "{less: 5}"), ("256",)), "interface_name": (("eth0", "{starts_with: eth}"), ("''",)),
    "packet_mark": (("1", "4294967295", "0-5"), ("4294967296",)), "ip_dscp": (("ef", "63"), ("64",)),
    "gone": ((), ("1",)), "compartment_id": (("1",), ("x",)),
}  # fmt: skip


def a_filter(rng: random.Random, number: int, bad: float) -> str:
    """One filter in a random layout; a share of its parts is wrong."""

    def one(good: Any, wrong: Any) -> str:
        choice: str = rng.choice(wrong if wrong and (not good or rng.random() < bad) else good)
        return choice.replace("{guid}", f"00000000-0000-0000-0000-{number + 1 if rng.random() >= bad else 7:012}")

    name = f"f{number}" if rng.random() >= bad else rng.choice(("f1", "''", '"é"', "x" * 129, "[a]"))
    layer, action = one(LAYERS, BAD_LAYERS), one(ACTIONS, ("drop", "{}", "1"))
    lines = [f"name: {name}", f"layer: {layer}", f"action: {action}"]
    extras = {
        extra.split(":")[0]: extra for extra in (one(EXTRAS, BAD_EXTRAS) for _ in range(rng.choice((0, 0, 1, 2, 3))))
    }
    if action != "block" and rng.random() >= bad:
        extras.pop("reply", None)
    lines += extras.values()
    known = [LAYER_NAMES[word][0].index for word in layer.strip("[]").split(", ") if word in LAYER_NAMES]
    fields = [
        field
        for field in rng.sample(list(FIELDS), rng.randint(0, 6))
        if rng.random() < bad or (FIELDS[field][0] and all(field in FIELD_NAMES[index] for index in known))
    ]
    if "ip_local_port" in fields and "icmp_type" in fields and rng.random() >= bad:
        fields.remove("icmp_type")
    if fields or rng.random() < bad:
        values = {field: one(*FIELDS[field]) for field in fields}
        if rng.random() < 0.5:
            lines.append("when: {" + ", ".join(f"{field}: {value}" for field, value in values.items()) + "}")
        else:
            lines.append("when:" + "".join(f"\n      {field}: {value}" for field, value in values.items()))
    rng.shuffle(lines)
    return "  - " + "\n    ".join(lines) + "\n"


def outcome(path: str, limits: Limits) -> Any:
    try:
        policy = load_policy(path, limits=limits)
    except PolicyError as error:
        return error.problems
    return tuple(policy.filters), policy.lints


class Nothing:
    """No list is one of these."""


@pytest.mark.parametrize("bad", [0.0, 0.002, 0.1])
@pytest.mark.parametrize("seed", range(6))
def test_both_readers_say_the_same(policies: Any, monkeypatch: pytest.MonkeyPatch, seed: int, bad: float) -> None:
    rng = random.Random(f"{seed} {bad}")
    limits = Limits(filters=rng.choice((100_000, 150)), condition_values=rng.choice((65536, 3)), name_length=128)
    top = TOP if bad > 0.01 else TOP.replace("  broken: {type: port, values: [x]}\n", "")
    if not bad:
        limits = Limits()
    path = policies.write("p.yaml", top + "".join(a_filter(rng, number, bad) for number in range(120)))
    quick = outcome(path, limits)
    monkeypatch.setattr(schema, "Items", Nothing)
    assert quick == outcome(path, limits)
    if not bad:
        assert len(quick) == 2, quick
        filters, lints = quick
        assert len(filters) > 120 and lints


def test_what_was_seen_before_is_not_read_by_the_other_reader(policies: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    left = []
    read = QuickReader.read

    class Counting:
        def __init__(self, *arguments: Any) -> None:
            self.quick = QuickReader(*arguments)

        def read(self, speaker: Any, items: Any, other: Any) -> None:
            read(self.quick, speaker, items, lambda *item: (left.append(item), other(*item)))

    monkeypatch.setattr(schema, "QuickReader", Counting)
    rows = "".join(
        f"  - {{name: f{number}, layer: ipforward, action: block, weight: {number}, when: {{ip_protocol: tcp,"
        f" ip_source_address: [10.0.{number}.0/24, 192.0.2.1], ip_destination_port: {{greater: {number}}}}}}}\n"
        for number in range(100)
    )
    policy = policies.load("version: 1\nfilters:\n" + rows)
    assert len(policy.filters) == 200 and isinstance(policy.filters, FilterRows)
    assert len(left) == 1  # The first with a weight below 2^60, which is noted for the lint.


def test_a_name_that_is_taken_is_told_where_it_stands(policies: Any) -> None:
    rows = "".join(f"  - {{name: f{number % 99}, layer: ipforward, action: block}}\n" for number in range(100))
    problem = policies.error("version: 1\nfilters:\n" + rows)
    assert (problem.location.line, problem.message) == (102, 'the name "f0" is taken')


def test_a_key_is_compared_with_those_of_all_filters(policies: Any) -> None:
    first = policies.load("version: 1\nfilters:\n  - {name: f, layer: ipforward_v4, action: block}\n").filters[0].key
    head = "version: 1\nfilters:\n  - {name: f, layer: ipforward_v4, action: block}\n"
    problem = policies.error(head + f"  - {{name: g, layer: ipforward_v4, action: block, key: {first}}}\n")
    assert problem.message == f'key: {first} is the key of filter "f"'
