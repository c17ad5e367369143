"""Single values: text in, value or BadValue out."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wfpd.config.scalars import BadValue, address, address_range, address_text, guid, integer, integer_range


@given(st.integers(0, 2**64 - 1))
def test_every_integer_is_read_back(number):
    assert integer(str(number)) == integer(hex(number)) == number


@given(st.text(alphabet="0123456789abcdefx_+- .", max_size=8))
def test_an_integer_is_decimal_or_hexadecimal_and_nothing_else(text):
    decimal = text.isdigit() and (text == "0" or text[0] != "0")
    hexadecimal = text[:2] == "0x" and len(text) > 2 and all(letter in "0123456789abcdef" for letter in text[2:])
    if decimal or hexadecimal:
        assert integer(text) == int(text, 0)
    else:
        with pytest.raises(BadValue):
            integer(text)


@pytest.mark.parametrize("text", ["٣", "１", "0x", "", " 1", "1 ", "1\n"])
def test_other_digits_and_spaces_are_no_integers(text):
    with pytest.raises(BadValue):
        integer(text)


@given(st.ip_addresses())
def test_every_address_is_read_as_the_standard_library_reads_it(value):
    assert address(str(value)) == (value.version, int(value))
    assert address(address_text(value.version, int(value))) == (value.version, int(value))


@given(st.ip_addresses(), st.integers(0, 128))
def test_prefixes_are_read_as_the_standard_library_reads_them(value, length):
    text = f"{value}/{length}"
    try:
        network = ipaddress.ip_network(text)
    except ValueError:
        with pytest.raises(BadValue):
            address_range(text)
    else:
        assert address_range(text) == (network.version, int(network[0]), int(network[-1]))


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1-2", ("1", "2")), ("0x1-0xff", ("0x1", "0xff")), ("1-", None), ("-1", None), ("a-b", None), ("1-2-3", None)],
)
def test_ranges_of_integers(text, expected):
    assert integer_range(text) == expected


def test_guids_may_stand_in_braces():
    text = "c38d57d1-05a7-4c33-904f-7fbceee60e82"
    assert str(guid(text)) == str(guid(f"{{{text.upper()}}}")) == text
