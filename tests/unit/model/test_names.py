"""Names of numbers: our copies of the registries."""

import pytest

from wfpd.model.fields import Vocabulary
from wfpd.model.names import DSCP, ICMP_TYPES, ICMPV6_TYPES, PROTOCOLS, SERVICES, vocabulary


@pytest.mark.parametrize(
    ("name", "number"),
    [("hopopt", 0), ("icmp", 1), ("tcp", 6), ("udp", 17), ("dccp", 33), ("ipv6", 41), ("gre", 47), ("esp", 50),
     ("ah", 51),
     ("ipv6-icmp", 58), ("icmpv6", 58), ("ipv6-opts", 60), ("cftp", 62), ("sat-expak", 64), ("ipcv", 71), ("eigrp", 88),
     ("ospfigp", 89), ("ospf", 89), ("ipip", 94), ("etherip", 97), ("gmtp", 100), ("pim", 103), ("ipcomp", 108),
     ("vrrp", 112),
     ("l2tp", 115), ("sctp", 132), ("udplite", 136), ("manet", 138), ("hip", 139), ("shim6", 140), ("rohc", 142),
     ("ethernet", 143), ("nsh", 145), ("homa", 146)],
)  # fmt: skip
def test_protocols_have_their_iana_numbers(name, number):
    assert PROTOCOLS[name] == number


def test_dscp_names():
    assert DSCP == {
        "cs0": 0, "cs1": 8, "cs2": 16, "cs3": 24, "cs4": 32, "cs5": 40, "cs6": 48, "cs7": 56,
        "af11": 10, "af12": 12, "af13": 14, "af21": 18, "af22": 20, "af23": 22,
        "af31": 26, "af32": 28, "af33": 30, "af41": 34, "af42": 36, "af43": 38, "ef": 46, "le": 1,
    }  # fmt: skip


@pytest.mark.parametrize("vocabulary_name", list(Vocabulary))
@pytest.mark.parametrize("family", [4, 6])
def test_every_vocabulary_has_names_in_lower_case_that_are_no_numbers(vocabulary_name, family):
    for name in vocabulary(vocabulary_name, family):
        assert name == name.lower() and not name.isdigit()


def test_numbers_fit_their_fields():
    assert all(0 <= n <= 255 for table in (PROTOCOLS, ICMP_TYPES, ICMPV6_TYPES) for n in table.values())
    assert all(0 < n <= 65535 for n in SERVICES.values())
