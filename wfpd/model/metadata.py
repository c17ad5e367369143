"""Metadata fields (FWPS_METADATA_FIELD_*) by layer ("Metadata Fields at Each Filtering Layer")."""

from __future__ import annotations

_ENDPOINT = "transport_endpoint_handle"
_CONTROL = ("transport_control_data", "remote_scope_id")
_SIZES = ("ip_header_size", "transport_header_size")
_PROCESS = ("process_path", "token", "process_id")
_RECV_ACCEPT = ("flow_handle", *_SIZES, *_PROCESS, "compartment_id", "completion_handle", _ENDPOINT,
                "parent_endpoint_handle", "packet_direction", "icmp_id_and_sequence")  # fmt: skip

METADATA: dict[str, tuple[str, ...]] = {
    "inbound_ippacket": ("ip_header_size", "compartment_id", "fragment_data"),
    "outbound_ippacket": (*_SIZES, "compartment_id", "fragment_data", "path_mtu"),
    "ipforward": ("compartment_id", "source_interface_index", "destination_interface_index"),
    "inbound_transport": ("flow_handle", *_SIZES, "compartment_id", _ENDPOINT, "ale_classify_required",
                          "icmp_id_and_sequence"),
    "outbound_transport": ("flow_handle", "transport_header_size", "compartment_id", _ENDPOINT, *_CONTROL,
                           "icmp_id_and_sequence", "transport_header_include_header"),
    "stream": ("flow_handle",),
    "datagram_data": ("flow_handle", *_SIZES, "compartment_id", _ENDPOINT, *_CONTROL, "icmp_id_and_sequence"),
    "stream_packet": ("flow_handle", *_SIZES, "compartment_id", _ENDPOINT, *_CONTROL),
    "inbound_icmp_error": (*_SIZES, "compartment_id", _ENDPOINT),
    "outbound_icmp_error": ("transport_header_size", "compartment_id", _ENDPOINT, *_CONTROL),
    "ale_auth_recv_accept": _RECV_ACCEPT,
    "ale_auth_connect": (*(name for name in _RECV_ACCEPT if name != "ip_header_size"), "remote_scope_id",
                         "original_destination", "local_redirect_target_pid"),
    "ale_flow_established": ("flow_handle", *_PROCESS, _ENDPOINT, "parent_endpoint_handle", "icmp_id_and_sequence"),
}  # fmt: skip


def metadata_of(layer: str) -> tuple[str, ...]:
    """The names at a layer, given without its family; a discard layer adds `discard_reason`."""
    if layer.endswith("_discard"):
        return (*METADATA[layer.removesuffix("_discard")], "discard_reason")
    return METADATA[layer]
