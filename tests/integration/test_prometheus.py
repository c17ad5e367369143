"""A real Prometheus scrapes the daemon, and promtool finds nothing to say."""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.parse
import urllib.request
from pathlib import Path

from tests.integration.netns import Network, wait_until
from tests.integration.running import Wfpd

CONFIG = """global: {scrape_interval: 1s}
scrape_configs:
  - job_name: wfpd
    static_configs: [{targets: ["127.0.0.1:9477"]}]
"""
BLOCK_23 = "  - {name: no-telnet, layer: ipforward, action: block, when: {ip_protocol: udp, ip_destination_port: 23}}"


def query(expression: str) -> list[float]:
    url = "http://127.0.0.1:19090/api/v1/query?" + urllib.parse.urlencode({"query": expression})
    with urllib.request.urlopen(url, timeout=5) as answer:
        document = json.load(answer)
    assert document["status"] == "success"
    return [float(row["value"][1]) for row in document["data"]["result"]]


def test_prometheus_reads_what_was_counted_and_promtool_is_content(net: Network, tmp_path: Path) -> None:
    assert shutil.which("prometheus") and shutil.which("promtool"), "the package prometheus is not installed"
    wfpd = Wfpd(net, tmp_path)
    wfpd.write(BLOCK_23)
    wfpd.start()
    (tmp_path / "prometheus.yml").write_text(CONFIG)
    net.popen(
        net.router,
        ["prometheus", f"--config.file={tmp_path}/prometheus.yml", f"--storage.tsdb.path={tmp_path}/tsdb",
         "--web.listen-address=127.0.0.1:19090"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    net.send_udp(net.client, 11, 64, 23)

    def scraped(expression: str, value: float) -> bool:
        try:
            return net.router.call(query, expression) == [value]
        except OSError:
            return False

    assert wait_until(lambda: scraped('sum(wfpd_packets_total{verdict="block"})', 11), 30.0, 0.2)
    assert wait_until(lambda: scraped("wfpd_enforcing", 1), 10.0, 0.2)
    text = net.router.call(wfpd._scrape)
    checked = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    assert checked.returncode == 0 and checked.stdout + checked.stderr == ""
