"""Why an expected filter did not decide."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.testing.files import result


@pytest.mark.parametrize(("text", "says"), [
    ("proto: udp, dst: '198.51.100.2:9', expect: {filter: web}",
     ["web at ipforward_v4: ip_protocol is udp, wants tcp",
      "web at ipforward_v4: ip_destination_port is 9, wants [80, 443]"]),
    ("expect: {filter: wbe}", ["the policy has no filter wbe; did you mean web?"]),
    ("expect: {filter: zzzzzzz}", ["the policy has no filter zzzzzzz"]),
    ("expect: {filter: ssh}",
     ["ssh is at ale_auth_recv_accept_v4, ale_auth_recv_accept_v6, and the packet does not come there"]),
    ("expect: {filter: tcp}", ["tcp at ipforward_v4: matches, behind the end of its sublayer"]),
    ("proto: udp, expect: {filter: asks}", ["asks at ipforward_v4: matches, and its callout continues"]),
    ("proto: gre, dst: 192.0.2.9, expect: {filter: noted}",
     ["noted at ipforward_v4: matches in audit mode, and takes part in nothing"]),
    ("hook: input, dst: '192.0.2.9:22', expect: {filter: in}",
     ["in at ale_auth_recv_accept_v4: matches, behind the end of its sublayer"]),
])  # fmt: skip
def test_each_way_to_miss_is_told(tmp_path: Path, text: str, says: list[str]) -> None:
    assert result(tmp_path, text).missing == says


def test_what_another_sublayer_took_away_is_told(tmp_path: Path) -> None:
    policy = """\
version: 1
sublayers: [{name: first, weight: 0x9000}]
filters:
  - {name: open, layer: ipforward, sublayer: first, action: permit}
  - {name: shut, layer: ipforward, action: block}
"""
    found = result(tmp_path, "expect: {filter: open}", policy)
    assert found.missing == ["open at ipforward_v4: matches and says permit, and shut stands in the end"]
