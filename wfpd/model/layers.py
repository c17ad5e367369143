"""The filtering layers: WFP's names and GUIDs, the hook that feeds each, its fields.

A layer's *index* is its position in LAYERS (0-31, twins from 16 on); with the family it makes
the *slot* `index * 2 + (family == 6)` that the packet path works with.  Append, never reorder.
"""

from __future__ import annotations

from dataclasses import dataclass

N_SLOTS = 64
"""Slots of layers and families; a discard twin's index is its layer's plus 16."""

TWIN_OFFSET = 16

# Shorthands.
_LA, _RA, _LAT, _DAT = "ip_local_address", "ip_remote_address", "ip_local_address_type", "ip_destination_address_type"
_LP, _RP, _PR = "ip_local_port", "ip_remote_port", "ip_protocol"
_LI, _IT, _TT = "ip_local_interface", "interface_type", "tunnel_type"
_II, _SII = "interface_index", "sub_interface_index"
_F, _C = "flags", "compartment_id"
_IPPACKET = (_LA, _RA, _LAT, _LI, _IT, _TT, _II, _SII, _F, _C)
_TRANSPORT = (_PR, _LA, _RA, _LAT, _LP, _RP, _LI, _IT, _TT, _II, _SII, _F, "current_profile_id",
              "ipsec_security_realm_id", _C)  # fmt: skip
_IDENTITY = ("ale_app_id", "ale_user_id", "ale_package_id", "ale_package_family_name",
             "ale_security_attribute_fqbn_value")  # fmt: skip
_PACKET_EXTENSIONS = ("ip_dscp", "ip_ecn", "ip_ttl", "ip_length", "ip_fragment", "tcp_flags", "tcp_mss",
                      "tcp_window_scale", "tcp_window", "packet_mark", "interface_name",
                      "nexthop_interface_name")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer of both families (or its discard twin)."""

    index: int
    name: str
    """Without family: `inbound_transport`, `inbound_transport_discard`."""
    hook: str
    """input, output or forward: the one hook that serves it."""
    fields: tuple[str, ...]
    """Names of WFP's fields at this layer, then of our extensions."""
    guid_v4: str = ""
    guid_v6: str = ""
    twin: bool = False
    """This is a discard twin."""
    has_twin: bool = False
    served: bool = True
    why_not: str = ""
    """Why the layer cannot be served, where it cannot."""
    aliases: tuple[tuple[str, str], ...] = ()
    """Names that mean another field here: (icmp_type, ip_local_port) at transport and ALE layers."""
    absorb: bool = True
    """Whether BLOCK with ABSORB is legal here (FWPS_CLASSIFY_OUT0)."""

    def slot(self, family: int) -> int:
        """The packet path's number of this layer for family 4 or 6."""
        return self.index * 2 + (1 if family == 6 else 0)

    def full_name(self, family: int) -> str:
        """`inbound_transport_v4`, `inbound_transport_v4_discard`."""
        if self.twin:
            return f"{self.name.removesuffix('_discard')}_v{family}_discard"
        return f"{self.name}_v{family}"


_ICMP_ALIASES = (("icmp_type", _LP), ("icmp_code", _RP))
_AUTH_COMMON_TAIL = ("original_profile_id", "current_profile_id", "reauthorize_reason", "ale_reauth_reason",
                     "original_icmp_type", "interface_quarantine_epoch")  # fmt: skip

# name, hook, fields, (v4, v6, v4 discard, v6 discard) GUIDs, ICMP names are the ports, absorb legal.
_ROWS: tuple[tuple[str, str, tuple[str, ...], tuple[str, ...], bool, bool], ...] = (
    ("inbound_ippacket", "input", _IPPACKET + _PACKET_EXTENSIONS,
     ("c86fd1bf-21cd-497e-a0bb-17425c885c58", "f52032cb-991c-46e7-971d-2601459a91ca",
      "b5a230d0-a8c0-44f2-916e-991b53ded1f7", "bb24c279-93b4-47a2-83ad-ae1698b50885"), False, True),
    ("inbound_transport", "input", _TRANSPORT + _PACKET_EXTENSIONS,
     ("5926dfc8-e3cf-4426-a283-dc393f5d0f9d", "634a869f-fc23-4b90-b0c1-bf620a36ae6f",
      "ac4a9833-f69d-4648-b261-6dc84835ef39", "2a6ff955-3b2b-49d2-9848-ad9d72dcaab7"), True, True),
    ("inbound_icmp_error", "input",
     ("embedded_protocol", "embedded_remote_address", "embedded_local_address_type", "embedded_local_port",
      "embedded_remote_port", _LA, _RA, "icmp_type", "icmp_code", _LI, _IT, _II, _TT, "ip_arrival_interface",
      "arrival_interface_type", "arrival_interface_index", _SII, "arrival_tunnel_type",
      "arrival_interface_profile_id", "interface_quarantine_epoch", _F, _C) + _PACKET_EXTENSIONS,
     ("61499990-3cb6-4e84-b950-53b94b6964f3", "65f9bdff-3b2d-4e5d-b8c6-c720651fe898",
      "a6b17075-ebaf-4053-a4e7-213c8121ede5", "a6e7ccc0-08fb-468d-a472-9771d5595e09"), False, True),
    ("ale_auth_recv_accept", "input",
     (*_IDENTITY, "ale_remote_user_id", "ale_remote_machine_id", _PR, _LA, _LAT, _RA, _LP, _RP, _LI, _II, _IT, _TT,
      "ip_arrival_interface", "arrival_interface_index", "arrival_interface_type", _SII, "arrival_tunnel_type",
      "ip_nexthop_interface", "nexthop_interface_index", "nexthop_interface_type", "nexthop_sub_interface_index",
      "nexthop_tunnel_type", *_AUTH_COMMON_TAIL, "ale_nap_context", "ale_sio_firewall_system_port", _F, _C),
     ("e1cd9fe7-f4b5-4273-96c0-592e487b8650", "a3b42c97-9f04-4672-b87e-cee9c483257f",
      "9eeaa99b-bd22-4227-919f-0073c63357b1", "89455b97-dbe1-453f-a224-13da895af396"), True, True),
    ("ale_flow_established", "input",
     (*_IDENTITY, "ale_original_app_id", "ale_remote_user_id", "ale_remote_machine_id", _PR, _LA, _LAT, _RA, _LP, _RP,
      _DAT, _LI, _IT, _TT, "direction", _F, _C),
     ("af80470a-5596-4c13-9992-539e6fe57967", "7021d2b3-dfa4-406e-afeb-6afaf7e70efd",
      "146ae4a9-a1d2-4d43-a31a-4c42682b8e4f", "46928636-bbca-4b76-941d-0fa7f5d7d372"), True, False),
    ("stream_packet", "input", (_LA, _RA, _LP, _RP, _LI, _IT, _TT, _II, _SII, "direction", _F, _C)
     + _PACKET_EXTENSIONS,
     ("af52d8ec-cb2d-44e5-ad92-f8dc38d2eb29", "779a8ca3-f099-468f-b5d4-83535c461c02", "", ""), False, True),
    ("stream", "input", (_LA, _LAT, _RA, _LP, _RP, "direction", _F, _C),
     ("3b89653c-c170-49e4-b1cd-e0eeeee19a3e", "47c9137a-7ec4-46b3-b6e4-48e926b1eda4",
      "25c4c2c2-25ff-4352-82f9-c54a4a4726dc", "10a59fc7-b628-4c41-9eb8-cf37d55103cf"), False, False),
    ("datagram_data", "input", (_PR, _LA, _LAT, _RA, _LP, _RP, _LI, _IT, _TT, _II, _SII, "direction", _F, _C)
     + _PACKET_EXTENSIONS,
     ("3d08bf4e-45f6-4930-a922-417098e20027", "fa45fe2f-3cba-4427-87fc-57b9a4b10d00",
      "18e330c6-7248-4e52-aaab-472ed67704fd", "09d1dfe1-9b86-4a42-be9d-8c315b92a5d0"), True, True),
    ("ale_auth_connect", "output",
     (*_IDENTITY, "ale_original_app_id", "ale_remote_user_id", "ale_remote_machine_id", _PR, _LA, _LAT, _RA, _LP, _RP,
      _DAT, _LI, _IT, _TT, _II, _SII, "ip_arrival_interface", "arrival_interface_index", "arrival_interface_type",
      "arrival_tunnel_type", "ip_nexthop_interface", "nexthop_interface_index", "nexthop_interface_type",
      "nexthop_sub_interface_index", "nexthop_tunnel_type", *_AUTH_COMMON_TAIL, "peer_name", "ale_effective_name",
      _F, _C),
     ("c38d57d1-05a7-4c33-904f-7fbceee60e82", "4a72393b-319f-44bc-84c3-ba54dcb3b6b4",
      "d632a801-f5ba-4ad6-96e3-607017d9836a", "c97bc3b8-c9a3-4e33-8695-8e17aad4de09"), True, True),
    ("outbound_icmp_error", "output",
     (_LA, _RA, _LAT, "icmp_type", "icmp_code", _LI, _IT, _TT, _II, _SII, "nexthop_interface_profile_id",
      "interface_quarantine_epoch", _F, _C) + _PACKET_EXTENSIONS,
     ("41390100-564c-4b32-bc1d-718048354d7c", "7fb03b60-7b8d-4dfa-badd-980176fc4e12",
      "b3598d36-0561-4588-a6bf-e955e3f6264b", "65f2e647-8d0c-4f47-b19b-33a4d3f1357c"), False, True),
    ("outbound_transport", "output", (*_TRANSPORT, _DAT) + _PACKET_EXTENSIONS,
     ("09e61aea-d214-46e2-9b21-b26b0b2f28c8", "e1735bde-013f-4655-b351-a49e15762df0",
      "c5f10551-bdb0-43d7-a313-50e211f4d68a", "f433df69-ccbd-482e-b9b2-57165658c3b3"), True, True),
    ("outbound_ippacket", "output", _IPPACKET + _PACKET_EXTENSIONS,
     ("1e5c9fae-8a84-4135-a331-950b54229ecd", "a3b3ab6b-3564-488c-9117-f34e82142763",
      "08e4bcb5-b647-48f3-953c-e5ddbd03937e", "9513d7c4-a934-49dc-91a7-6ccb80cc02e3"), False, True),
    ("ipforward", "forward",
     ("ip_source_address", "ip_destination_address", _DAT, _LI, "ip_forward_interface", "source_interface_index",
      "source_sub_interface_index", "destination_interface_index", "destination_sub_interface_index",
      "ip_physical_arrival_interface", "ip_physical_nexthop_interface", "arrival_interface_profile_id",
      "nexthop_interface_profile_id", _F, _C) + _PACKET_EXTENSIONS
     + (_PR, "ip_source_port", "ip_destination_port", "icmp_type", "icmp_code"),
     ("a82acc24-4ee1-4ee1-b465-fd1d25cb10a4", "7b964818-19c7-493a-b71f-832c3684d28c",
      "9e9ea773-2fae-4210-8f17-34129ef369eb", "31524a5d-1dfe-472f-bb93-518ee945d8a2"), False, False),
)  # fmt: skip

FLAGS_AT_FORWARD_EXTENSIONS = frozenset({_PR, "ip_source_port", "ip_destination_port", "icmp_type", "icmp_code"})
"""Fields that WFP has elsewhere and that are extensions at ipforward."""


def _build() -> tuple[Layer, ...]:
    layers: list[Layer] = []
    twins: list[Layer] = []
    for index, (name, hook, fields, guids, icmp_are_ports, absorb) in enumerate(_ROWS):
        aliases = _ICMP_ALIASES if icmp_are_ports else ()
        layers.append(
            Layer(index, name, hook, fields, guids[0], guids[1], False, bool(guids[2]), aliases=aliases, absorb=absorb)
        )
        if guids[2]:
            twins.append(
                Layer(index + TWIN_OFFSET, f"{name}_discard", hook, fields, guids[2], guids[3], True, False,
                      aliases=aliases, absorb=False)
            )  # fmt: skip
    return tuple(layers + twins)


LAYERS: tuple[Layer, ...] = _build()
LAYER: dict[str, Layer] = {layer.name: layer for layer in LAYERS}
BY_SLOT: dict[int, tuple[Layer, int]] = {layer.slot(family): (layer, family) for layer in LAYERS for family in (4, 6)}


def slot_name(slot: int) -> str:
    """`inbound_transport_v4` for a slot of the packet path."""
    layer, family = BY_SLOT[slot]
    return layer.full_name(family)


# WFP layers that nothing on Linux can feed yet, and why; a filter naming one is an error that says so.
_LATER = "not served yet"
UNSERVED_LAYERS: dict[str, str] = {
    "ale_resource_assignment": f"bind() is no packet; {_LATER} (needs a cgroup hook)",
    "ale_auth_listen": f"listen() is no packet; {_LATER} (needs a cgroup hook)",
    "ale_resource_release": f"releasing a port is no packet; {_LATER}",
    "ale_endpoint_closure": f"closing a socket is no packet; {_LATER}",
    "ale_connect_redirect": f"redirection is {_LATER}",
    "ale_bind_redirect": f"redirection is {_LATER}",
    "name_resolution_cache": f"name resolution is {_LATER}",
    "outbound_network_connection_policy": f"connection policy is {_LATER}",
    "inbound_mac_frame_ethernet": "NFQUEUE sees IP packets only",
    "outbound_mac_frame_ethernet": "NFQUEUE sees IP packets only",
    "inbound_mac_frame_native": "NFQUEUE sees IP packets only",
    "outbound_mac_frame_native": "NFQUEUE sees IP packets only",
    "ingress_vswitch_ethernet": f"overlays are {_LATER}",
    "egress_vswitch_ethernet": f"overlays are {_LATER}",
    "ingress_vswitch_transport": f"overlays are {_LATER}",
    "egress_vswitch_transport": f"overlays are {_LATER}",
    "rpc_um": "user-mode RPC layers have no Linux counterpart",
    "rpc_epmap": "user-mode RPC layers have no Linux counterpart",
    "rpc_ep_add": "user-mode RPC layers have no Linux counterpart",
    "rpc_proxy_conn": "user-mode RPC layers have no Linux counterpart",
    "rpc_proxy_if": "user-mode RPC layers have no Linux counterpart",
    "ipsec_km_demux": "user-mode IPsec layers have no Linux counterpart",
    "ipsec": "user-mode IPsec layers have no Linux counterpart",
    "ikeext": "user-mode IPsec layers have no Linux counterpart",
    "km_authorization": "user-mode IPsec layers have no Linux counterpart",
}

# Fields that no Linux source can fill, at every layer: the value is EMPTY, and why.
EMPTY_FIELDS: dict[str, str] = {
    "sub_interface_index": "Linux has no sub-interface",
    "nexthop_sub_interface_index": "Linux has no sub-interface",
    "source_sub_interface_index": "Linux has no sub-interface",
    "destination_sub_interface_index": "Linux has no sub-interface",
    "current_profile_id": "Linux has no network category",
    "original_profile_id": "Linux has no network category",
    "arrival_interface_profile_id": "Linux has no network category",
    "nexthop_interface_profile_id": "Linux has no network category",
    "ipsec_security_realm_id": "Windows only",
    "interface_quarantine_epoch": "Windows only",
    "ale_app_id": "identity is not served yet",
    "ale_original_app_id": "identity is not served yet",
    "ale_user_id": "identity is not served yet",
    "ale_remote_user_id": "needs IPsec authentication",
    "ale_remote_machine_id": "needs IPsec authentication",
    "ale_package_id": "Windows only",
    "ale_package_family_name": "Windows only",
    "ale_security_attribute_fqbn_value": "Windows only",
    "ale_nap_context": "Windows only",
    "ale_sio_firewall_system_port": "Windows only",
    "peer_name": "name resolution is not observed yet",
    "ale_effective_name": "name resolution is not observed yet",
}

_TCP_FIELDS = ("tcp_flags", "tcp_mss", "tcp_window_scale", "tcp_window")


def why_empty(layer: Layer, field: str) -> str:
    """Why no packet has the field at this layer; "" where one may."""
    if field in EMPTY_FIELDS:
        return EMPTY_FIELDS[field]
    place = layer.name.removesuffix("_discard")
    if field in _TCP_FIELDS and place in ("inbound_icmp_error", "outbound_icmp_error", "datagram_data"):
        return "no TCP packet comes to this layer"
    if field == "nexthop_interface_name" and place in ("inbound_ippacket", "inbound_transport", "inbound_icmp_error"):
        return "an inbound packet has no next hop"
    return ""
