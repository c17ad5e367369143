import ipaddress

import pytest

from wfpd.observe.community_id import community_id, flow_number


def packed(text: str) -> bytes:
    return ipaddress.ip_address(text).packed


# Published examples of the specification.
@pytest.mark.parametrize(
    ("source", "destination", "protocol", "ports", "icmp", "expected"),
    [
        ("128.232.110.120", "66.35.250.204", 6, (34855, 80), None, "1:LQU9qZlK+B5F3KDmev6m5PMibrg="),
        ("66.35.250.204", "128.232.110.120", 6, (80, 34855), None, "1:LQU9qZlK+B5F3KDmev6m5PMibrg="),
        ("192.168.1.52", "8.8.8.8", 17, (54585, 53), None, "1:d/FP5EW3wiY1vCndhwleRRKHowQ="),
        ("192.168.0.89", "192.168.0.1", 1, None, (8, 0), "1:X0snYXpgwiv9TZtqg64sgzUn6Dk="),
        ("192.168.0.1", "192.168.0.89", 1, None, (0, 0), "1:X0snYXpgwiv9TZtqg64sgzUn6Dk="),
    ],
)
def test_published_examples(source, destination, protocol, ports, icmp, expected) -> None:
    assert community_id(packed(source), packed(destination), protocol, ports, icmp) == expected


def test_one_way_icmp_keeps_its_direction() -> None:
    a, b = packed("192.0.2.1"), packed("192.0.2.2")
    assert community_id(a, b, 1, None, (3, 1)) != community_id(b, a, 1, None, (3, 1))


def test_flow_numbers_fit_in_53_bits_and_depend_on_the_key() -> None:
    a, b = packed("192.0.2.1"), packed("192.0.2.2")
    number = flow_number(a, b, 6, (1, 2))
    assert 0 < number < 2**53
    assert number == flow_number(b, a, 6, (2, 1))
    assert number != flow_number(a, b, 6, (1, 2), b"key")
