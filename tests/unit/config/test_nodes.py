"""Nodes keep what was written and where."""

from wfpd.config.nodes import Mapping, Scalar, Sequence, is_nothing


def test_a_mapping_tells_where_its_keys_stand():
    mapping = Mapping(1, 1)
    mapping.add(Scalar("a", 2, 3, True), Scalar("x", 2, 6, True))
    mapping.add(Scalar("b", 4_000_000, 70_000, True), Scalar("y", 4, 6, True))
    assert (mapping.key("a").line, mapping.key("a").column) == (2, 3)
    assert (mapping.key("b").line, mapping.key("b").column) == (4_000_000, 70_000)


def test_only_a_plain_empty_scalar_is_nothing():
    assert is_nothing(Scalar("", 1, 1, True))
    assert not is_nothing(Scalar("", 1, 1, False))
    assert not is_nothing(Scalar("x", 1, 1, True))
    assert not is_nothing(Sequence(1, 1))
