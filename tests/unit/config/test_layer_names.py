"""Names of layers and of their fields."""

from wfpd.config.layer_names import FIELD_NAMES, LAYER_NAMES, layers_with, why_unserved
from wfpd.model.fields import FIELD, Vocabulary
from wfpd.model.layers import LAYER, LAYERS


def test_every_layer_has_its_three_names():
    for layer in LAYERS:
        assert LAYER_NAMES[layer.name] == (layer, (4, 6))
        assert LAYER_NAMES[layer.full_name(4)] == (layer, (4,))
        assert LAYER_NAMES[layer.full_name(6)] == (layer, (6,))


def test_the_icmp_names_are_the_ports_where_windows_has_it_so():
    names = FIELD_NAMES[LAYER["inbound_transport"].index]
    assert names["icmp_type"] == (FIELD["ip_local_port"], Vocabulary.ICMP_TYPE)
    assert names["icmp_code"] == (FIELD["ip_remote_port"], Vocabulary.NONE)
    assert FIELD_NAMES[LAYER["ipforward"].index]["icmp_type"] == (FIELD["icmp_type"], Vocabulary.ICMP_TYPE)


def test_layers_that_have_a_field_are_served_and_no_twins():
    assert layers_with("ip_source_address") == ["ipforward"]
    assert "inbound_transport" in layers_with("icmp_type") and "stream" not in layers_with("ip_protocol")


def test_a_layer_of_windows_that_is_not_served_says_why():
    assert why_unserved("ale_auth_listen_v4_discard") and why_unserved("rpc_um")
    assert why_unserved("no_such_layer") == "" and why_unserved("ipforward_v4") == ""
