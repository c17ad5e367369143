"""Conditions under construction."""

from wfpd.config.drafts import Draft
from wfpd.config.sets import SetTable
from wfpd.model.conditions import Atom, Op, Term
from wfpd.model.fields import FIELD
from wfpd.model.policy import ValueSet

PORT = FIELD["ip_local_port"]
ADDRESS = FIELD["ip_local_address"]
TABLE = SetTable(
    [ValueSet("a", "address", ((1, 2),)), ValueSet("p", "port", ((1, 2),)), ValueSet("q", "port", ((2, 5),))]
)


def test_a_set_without_values_of_the_family_takes_no_part():
    draft = Draft()
    draft.sets.append("a")
    assert draft.finish(ADDRESS, 4, TABLE).terms == (Term((Atom(Op.IN_SET, set="a"),)),)
    assert draft.finish(ADDRESS, 6, TABLE).terms == ()


def test_values_in_several_sets_count_once():
    draft = Draft()
    draft.sets += ["p", "q"]
    draft.add_range(5, 8)
    assert draft.finish(PORT, 4, TABLE).specificity == 255 * 13 // 16


def test_a_range_backwards_is_nothing():
    draft = Draft()
    draft.add_range(2, 1)
    assert draft.finish(PORT, 4, TABLE).terms == ()


def test_a_list_is_as_specific_as_its_least_specific_entry():
    draft = Draft()
    draft.add_range(1, 1)
    draft.add_mask(Op.ALL_SET, 3, 16)
    assert draft.finish(PORT, 4, TABLE).specificity == 255 * 2 // 16
