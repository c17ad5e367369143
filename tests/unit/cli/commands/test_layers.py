import json

from tests.unit.cli.answering import Daemon
from wfpd import cli
from wfpd.observe.layers_doc import layers_json


def test_layers_are_listed_from_the_schema(capsys) -> None:
    assert cli.main(["layers", "--json"]) == 0
    layers = {layer["name"]: layer for layer in json.loads(capsys.readouterr().out)["layers"]}
    assert layers["inbound_transport"]["has_twin"]
    fields = {field["name"]: field for field in layers["ipforward"]["fields"]}
    assert fields["ip_ttl"]["status"] == "extension"
    assert (fields["source_sub_interface_index"]["status"], bool(fields["source_sub_interface_index"]["why"])) == (
        "empty", True)  # fmt: skip
    assert all(layer["served"] or layer["why_not"] for layer in layers.values())


def test_the_table_of_layers_names_every_layer_of_the_schema(capsys) -> None:
    assert cli.main(["layers"]) == 0
    table = capsys.readouterr().out
    assert all(layer["name"] in table for layer in layers_json())
    assert "ip_ttl" in table and "empty: " in table


def test_the_layers_of_the_running_policy_have_their_filters(daemon: Daemon, path: str, capsys) -> None:
    daemon.objects["layers"] = [{"name": "ipforward", "hooks": ["forward"], "n_filters": 3, "served": True,
                                 "default_sublayer": "universal"}]  # fmt: skip
    assert cli.main(["layers", "list", "--socket", path]) == 0
    assert capsys.readouterr().out.splitlines()[1].split() == ["ipforward", "forward", "3", "universal", "yes"]
    assert cli.main(["layers", "--json", "list", "--socket", path]) == 0
    assert json.loads(capsys.readouterr().out) == {"objects": daemon.objects["layers"]}


def test_one_layer_is_shown_with_its_filters_and_fields(daemon: Daemon, path: str, capsys) -> None:
    daemon.objects["layers"] = [
        layer | {"n_filters": 3, "filters": {family["name"]: 3 for family in layer["families"]}}
        for layer in layers_json()
    ]
    for name in ("ipforward", "ipforward_v6"):
        assert cli.main(["layers", "show", name, "--socket", path]) == 0
        said = capsys.readouterr().out.splitlines()
        assert said[0] == "ipforward  (ipforward_v4 ipforward_v6; fed by forward)"
        assert "  filters: ipforward_v4 3, ipforward_v6 3" in said
        assert any(line.split()[:1] == ["ip_ttl"] for line in said)
    assert cli.main(["layers", "show", "rpc_um", "--socket", path]) == 0
    assert capsys.readouterr().out.startswith("rpc_um  (fed by nothing)\n  NOT SERVED: ")
    assert cli.main(["layers", "show", "ipforward_discard", "--json", "--socket", path]) == 0
    assert json.loads(capsys.readouterr().out)["discard"]
    assert cli.main(["layers", "show", "nowhere", "--socket", path]) == 1
    assert 'there is no layer "nowhere"' in capsys.readouterr().err
