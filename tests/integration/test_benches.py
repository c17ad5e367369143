"""Every bench runs and gives every row; never a time."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from bench.__main__ import BENCHES, marks, name_of

ROOT = Path(__file__).resolve().parents[2]
SMALL = {
    "bench_builtin": ["--rounds", "1", "--connections", "2", "--names", "300", "--json"],
    "bench_engine": ["--filters", "200", "--changes", "60", "--json"],
    "bench_callouts": ["--rounds", "1", "--packets", "200", "--filters", "50", "--json"],
    "bench_change": ["--rounds", "1", "--filters", "200", "--changes", "70", "--json"],
    "bench_cache": ["--rounds", "1", "--filters", "50", "--json"],
    "bench_classify": ["100", "--rounds", "1", "--packets", "100"],
    "bench_control": ["--rounds", "1", "--seconds", "0.3", "--attacks", "pipelined,garbage", "--json"],
    "bench_drain": ["--rounds", "1", "--packets", "200", "--filters", "50", "--json"],
    "bench_lints": ["--rounds", "1", "--filters", "50", "100", "--json"],
    "bench_pause": ["--filters", "50", "--rebuilds", "3", "--json"],
    "bench_reading": ["--rounds", "1", "--filters", "50", "--values", "100", "--json"],
    "bench_reassembly": ["--rounds", "1", "--bytes", "200000", "--json"],
    "bench_recorder": ["--rounds", "1", "--packets", "200", "--filters", "50", "--json"],
    "bench_replay": ["--rounds", "1", "--packets", "300", "--pps", "5000", "--filters", "50", "--json"],
    "bench_sets": ["--rounds", "1", "--small", "250", "--large", "1000", "--packets", "50", "--json"],
    "bench_stage": ["--rounds", "1", "--packets", "200", "--filters", "50", "--json"],
    "bench_suricata": [
        "--rounds",
        "1",
        "--connections",
        "20",
        "--names",
        "20",
        "--mirror",
        "http://127.0.0.1:9",
        "--json",
    ],
    "bench_tls": ["--rounds", "1", "--packets", "200", "--names", "50", "--json"],
    "bench_stream": ["--rounds", "1", "--seconds", "1", "--filters", "50", "--json"],
}
TODAY = ["nf-queue.c", "an empty netfilterqueue callback", "netfilterqueue and Scapy"]
pytestmark = pytest.mark.usefixtures("needs_root")


def start(module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`python -m bench.MODULE`, to its end."""
    return subprocess.run(
        [sys.executable, "-m", module, *arguments], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def run(module: str, *arguments: str) -> str:
    """What `python -m bench.MODULE` prints."""
    done = start(module, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def tables(module: str) -> list[dict[str, Any]]:
    """The tables of a bench with small settings, each row with a cell for each column."""
    found: list[dict[str, Any]] = json.loads(run(f"bench.{module}", *SMALL[module]))
    assert all(len(row) == len(table["columns"]) for table in found for row in table["rows"])
    return found


def firsts(table: dict[str, Any]) -> list[str]:
    return [row[0] for row in table["rows"]]


def test_server_names_are_timed_beside_the_script() -> None:
    (table,) = tables("bench_tls")
    assert firsts(table) == ["wfpd", "an empty netfilterqueue callback", "netfilterqueue and Scapy"]
    assert all(float(row[1].replace(",", "")) > 0 for row in table["rows"])


def test_no_bench_is_without_a_small_setting() -> None:
    assert sorted(SMALL) == sorted(path.stem for path in (ROOT / "bench").glob("bench_*.py"))


def test_classification_has_a_line_for_each_shape_and_writes_a_table_and_a_plot(tmp_path: Path) -> None:
    lines = run("bench.bench_classify", *SMALL["bench_classify"], "--write", str(tmp_path)).splitlines()
    names = {"access", "firewall", "chain", "ports", "applications", "masks", "ranges", "nests", "same", "mean"}
    assert {line.split()[0] for line in lines} == names
    assert "access (5-tuple v4)" in (tmp_path / "classification-figures.md").read_text()
    texts = [
        item.text for item in ElementTree.parse(tmp_path / "classification.svg").iter() if item.tag.endswith("text")
    ]
    assert {"5-tuple v4, linear scan in C", "applications, 4 sublayers", "100"} <= set(texts)


def test_packets_are_timed_under_each_attack_beside_none() -> None:
    packets, answers = tables("bench_control")
    assert firsts(packets) == firsts(answers) == ["pipelined", "garbage"]
    assert all(float(cell) > 0 for row in packets["rows"] for cell in row[1:6])
    assert all(float(row[2]) >= float(row[1]) > 0 for row in answers["rows"])


def test_pauses_are_told_with_and_without_rebuilds_and_callouts() -> None:
    (table,) = tables("bench_pause")
    assert [name.rpartition(", ")[2] for name in firsts(table)] == ["no rebuild", "3 rebuilds"] * 2
    assert all(float(row[1].replace(",", "")) > 0 for row in table["rows"])


def test_a_stage_is_measured_beside_none_and_compares_every_packet() -> None:
    (table,) = tables("bench_stage")
    assert firsts(table) == ["no stage", "no flow sampled", "every packet staged"]
    assert [row[4] for row in table["rows"]] == ["-", "0 of 400", "400 of 400"]
    assert all(float(row[1].replace(",", "")) > 0 for row in table["rows"])


def test_the_cache_is_measured_with_and_without_for_each_traffic() -> None:
    (table,) = tables("bench_cache")
    kinds = ("hit", "miss", "every other", "three in four")
    assert firsts(table) == [f"IPv{family}, {kind}" for family in (4, 6) for kind in kinds]


def test_sets_of_every_shape_are_compared_by_time_and_size() -> None:
    (table,) = tables("bench_sets")
    rows = {row[0]: dict(zip(table["columns"], row, strict=True)) for row in table["rows"]}
    named = {f"IPv{family} {shape}" for family in (4, 6) for shape in ("spread", "clumped", "nested")} | {"texts"}
    assert set(rows) == {f"{name}, {traffic}" for name in named for traffic in ("hits", "misses", "both")}
    for name, row in rows.items():
        assert float(row["bytes an entry"]) <= (40 if "IPv6" in name else 12 if "IPv4" in name else 24)


def test_callouts_shipped_are_timed_beside_scapy_and_lists_of_both_sizes() -> None:
    callouts, parsers, lists = tables("bench_builtin")
    assert {"TLS server names", "DNS names", "rate limit by source", "silent drop"} <= set(firsts(callouts))
    assert firsts(parsers) == ["ClientHello", "DNS query", "HTTP request"]
    assert firsts(lists) == ["300", "300"]
    assert all(
        float(cell.replace(",", "")) > 0 for table in (callouts, parsers) for row in table["rows"] for cell in row[1:]
    )


def test_lints_have_a_row_for_each_size_and_find_what_was_put_there() -> None:
    (table,) = tables("bench_lints")
    assert firsts(table) == [f"{shape}, {count} filters" for shape in ("access", "firewall") for count in (50, 100)]
    assert all(int(row[-2]) > 0 and row[-1] == "0" for row in table["rows"])


def test_lints_of_published_sets_are_checked_one_by_one(tmp_path: Path) -> None:
    every, tcp, icmp = "0.0.0.0/0\t0 : 65535", "0x06/0xFF", "0x01/0xFF"
    lines = (f"@192.0.2.0/24\t{every}\t0 : 1023\t{tcp}", f"@0.0.0.0/0\t{every}\t1024 : 65535\t0x00/0x00",
             f"@192.0.2.8/32\t{every}\t80 : 8080\t{tcp}", f"@192.0.2.9/32\t{every}\t7 : 7\t{icmp}")  # fmt: skip
    (tmp_path / "few.rules").write_text("\n".join(lines) + "\n")
    found = json.loads(run("bench.bench_lints", "--filters", "50", "--rounds", "1", "--sets", str(tmp_path), "--json"))
    assert found[1]["rows"] == [["few", "4", "1", "1", "0", "0"]]


def test_reading_has_a_row_for_each_way() -> None:
    assert all(table["rows"] for table in tables("bench_reading"))


def test_the_engine_adds_and_deletes_one_by_one_and_all_together() -> None:
    single, together = tables("bench_engine")
    assert list(dict.fromkeys(firsts(single))) == ["add", "delete"]
    assert single["rows"][0][2] == "60"
    assert firsts(together) == ["read and check", "commit"]


def test_changing_has_a_row_for_each_step_and_each_place_beside_the_base() -> None:
    steps, places = tables("bench_change")
    assert list(dict.fromkeys(firsts(steps))) == ["pack one filter", "add", "remove"]
    assert firsts(places)[:4] == ["nothing", "1 fresh", "64 fresh", "256 folded"] and len(places["rows"]) == 6


def test_draining_has_every_case_and_every_contender() -> None:
    bars, others, sizes = tables("bench_drain")
    assert firsts(bars) == ["forward, everything permitted", "forward, 10 % blocked", "input, every layer, flows"]
    assert set(firsts(others)) == {"limit", "wfpd", "wfpd, a Python callout on every packet", *TODAY}
    assert firsts(sizes) == ["0", "500"]


def test_callouts_are_measured_beside_none_the_limit_and_an_empty_callback() -> None:
    (table,) = tables("bench_callouts")
    ours = ["no callout", "compiled", "compiled, with a time budget", "compiled, asks Python about all", "Python"]
    assert firsts(table) == ["limit", *ours, "an empty netfilterqueue callback"]
    assert [row[4] != "-" for row in table["rows"]] == [False, False, True, False, False, True, False]


def test_reassembly_is_measured_by_the_byte_for_each_size_and_way() -> None:
    (table,) = tables("bench_reassembly")
    assert {row[0] for row in table["rows"]} == {"in order", "swapped", "twice"}
    assert all(float(cell.replace(",", "")) > 0 for row in table["rows"] for cell in row[1:])


def test_the_recorder_is_measured_permitted_blocked_and_where_every_block_is_new() -> None:
    (table,) = tables("bench_recorder")
    assert firsts(table) == ["forward, everything permitted", "forward, 10 % blocked", "forward, all blocked, all new"]


def test_replaying_loses_nothing_without_a_queue_and_counts_what_each_contender_decided() -> None:
    (table,) = tables("bench_replay")
    rows = {row[0]: dict(zip(table["columns"], row, strict=True)) for row in table["rows"]}
    assert set(rows) == {"no queue", "wfpd", *TODAY}
    assert {row["offered"] for row in rows.values()} == {"300"}
    assert rows["wfpd"]["lost"] == "0"
    assert 0 < int(rows["wfpd"]["decided"]) <= 300


def test_a_stream_passes_through_every_contender() -> None:
    (table,) = tables("bench_stream")
    assert set(firsts(table)) == {"no queue", "wfpd", *TODAY[:2]}


def test_suricata_is_compared_where_it_was_fetched_before() -> None:
    # The suite fetches nothing: `make bench-suricata` does.
    done = start("bench.bench_suricata", *SMALL["bench_suricata"])
    if done.returncode:
        assert done.returncode == 3 and "SURICATA CANNOT BE HAD HERE" in done.stderr, done.stderr
        return
    (table,) = json.loads(done.stdout)
    assert firsts(table) == ["wfpd, tls_names", "Suricata"]
    assert [0.9 < float(row[3]) < 1 for row in table["rows"]] == [True, True]


def test_it_is_said_loudly_where_suricata_cannot_be_had(tmp_path: Path) -> None:
    unreachable = start("bench.bench_suricata", "--mirror", "http://127.0.0.1:9", "--root", str(tmp_path / "none"))
    (tmp_path / "other" / "usr" / "bin").mkdir(parents=True)
    (tmp_path / "other" / "usr" / "bin" / "suricata").write_text("no program")
    another = start("bench.bench_suricata", "--root", str(tmp_path / "other"))
    for done, why in ((unreachable, "http://127.0.0.1:9"), (another, "has no Suricata 7")):
        assert (done.returncode, done.stdout) == (3, "")
        assert "SURICATA CANNOT BE HAD HERE: NOTHING WAS COMPARED" in done.stderr and why in done.stderr
    assert not (tmp_path / "none").exists()


def test_a_bench_has_its_place_in_the_document_or_it_is_said_why_not() -> None:
    text = (ROOT / "docs" / "benchmarks.md").read_text()
    inside = set(re.findall(r"^<!-- (bench_\w+): begin -->$", text, re.MULTILINE))
    assert inside == {name_of(module) for module in BENCHES}
    for name in inside:
        assert [text.count(mark) for mark in marks(name)] == [1, 1]
        assert re.search(rf"<!-- {name}: begin -->\n\n20\d\d-\d\d-\d\d: .*load [\d.]+ at the start.*\n\n## ", text)
    why = (ROOT / "bench" / "README.md").read_text().partition("Not among them:")[2]
    apart = re.findall(r"`(bench_\w+)\.py`", why)
    assert sorted([*apart, *inside]) == sorted(SMALL)


def test_one_bench_is_measured_again_and_only_its_place_changes(tmp_path: Path) -> None:
    document = tmp_path / "page"
    before = (ROOT / "docs" / "benchmarks.md").read_text()
    document.write_text(before)
    run("bench", "bench_reassembly", "--rounds", "1", "--document", str(document))
    begin, end = marks("bench_reassembly")
    texts = [text.split(begin) for text in (before, document.read_text())]
    (head, old), (same, new) = texts
    assert same == head and new.split(end)[1] == old.split(end)[1]
    assert "medians of 1 rounds" in new.split(end)[0] and "medians of 9 rounds" in old.split(end)[0]
    refused = start("bench", "bench_nothing", "--document", str(document))
    assert refused.returncode == 2 and "bench_nothing is none of bench_drain," in refused.stderr
