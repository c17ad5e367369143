"""Host facts: which kind of address the packet path takes an address for."""

from __future__ import annotations

import ipaddress

import pytest

from wfpd.dataplane._host import Host


@pytest.fixture
def host() -> Host:
    return Host(
        interfaces=[(2, b"eth0", 6, False, 0), (1, b"lo", 24, True, 0)],
        broadcast4=[int(ipaddress.ip_address("192.0.2.255"))],
        anycast6=[int(ipaddress.ip_address("2001:db8::"))],
    )


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("0.0.0.0", 0), ("192.0.2.1", 1), ("192.0.2.255", 4), ("255.255.255.255", 4), ("224.0.0.1", 3), ("::", 0),
        ("2001:db8::1", 1), ("2001:db8::", 2), ("ff02::1", 3),
    ],
)  # fmt: skip
def test_an_address_has_the_type_that_the_kernel_routes_it_by(host: Host, address: str, kind: int) -> None:
    value = ipaddress.ip_address(address)
    assert host.address_type(value.version, int(value)) == kind
