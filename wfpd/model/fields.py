"""The fields a condition may name: WFP's, under WFP's names, and our marked extensions.

A field's id is its position in FIELDS.  It is the index of the field's value in the packet
path's vector (`FieldValues` in `_types.pxd`) and is generated into `_field_ids.pxi`; append,
never reorder.  GUIDs: Windows SDK, as listed in the WFP reference.  Integers, addresses and
ports are in host byte order (wfp "filtering-condition-identifiers").
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field


class DataType(enum.Enum):
    """FWP_DATA_TYPE of a field's value; the member's value is the name shown to users."""

    UINT8 = "uint8"
    UINT16 = "uint16"
    UINT32 = "uint32"
    UINT64 = "uint64"
    BYTE_ARRAY16 = "byte_array16"
    BYTE_BLOB = "byte_blob"
    UNICODE_STRING = "unicode_string"
    SID = "sid"
    TOKEN_INFORMATION = "token_information"

    @property
    def bits(self) -> int:
        """Width in bits of a numeric type; 0 for the others."""
        return _BITS.get(self, 0)

    @property
    def is_integer(self) -> bool:
        """One of FWP's unsigned integer types."""
        return self in (DataType.UINT8, DataType.UINT16, DataType.UINT32, DataType.UINT64)

    @property
    def is_text(self) -> bool:
        """A byte string or text, compared bytewise."""
        return self in (DataType.BYTE_BLOB, DataType.UNICODE_STRING)


_BITS = {
    DataType.UINT8: 8,
    DataType.UINT16: 16,
    DataType.UINT32: 32,
    DataType.UINT64: 64,
    DataType.BYTE_ARRAY16: 128,
}


class Vocabulary(enum.Enum):
    """Which table of symbolic names a field's numbers may be written with."""

    NONE = "none"
    PROTOCOL = "protocol"
    FLAGS = "flags"
    TCP_FLAGS = "tcp_flags"
    DSCP = "dscp"
    ICMP_TYPE = "icmp_type"
    ADDRESS_TYPE = "address_type"
    INTERFACE_TYPE = "interface_type"
    TUNNEL_TYPE = "tunnel_type"
    DIRECTION = "direction"
    FRAGMENT = "fragment"


@dataclass(frozen=True, slots=True)
class Field:
    """One field of the condition schema."""

    id: int
    name: str
    type: DataType
    """Type at a v4 layer, or at both."""
    type_v6: DataType
    """Type at a v6 layer; differs from `type` for addresses only."""
    guid: str = ""
    extension: bool = False
    vocabulary: Vocabulary = Vocabulary.NONE
    aliases: tuple[str, ...] = field(default=())
    """Other names of the same field (Windows gives them the same GUID)."""

    @property
    def is_address(self) -> bool:
        """IPv4 as uint32 at v4 layers, byte_array16 at v6 layers."""
        return self.type is not self.type_v6

    @property
    def is_flags(self) -> bool:
        """A bit field: a list of names or numbers is one mask."""
        return self.vocabulary in (Vocabulary.FLAGS, Vocabulary.TCP_FLAGS)

    def type_for(self, family: int) -> DataType:
        """The type at a layer of `family` (4 or 6)."""
        return self.type_v6 if family == 6 else self.type


_A = "address"
_U8, _U16, _U32, _U64 = DataType.UINT8, DataType.UINT16, DataType.UINT32, DataType.UINT64
_TOKEN, _BLOB, _TEXT, _SID = (
    DataType.TOKEN_INFORMATION,
    DataType.BYTE_BLOB,
    DataType.UNICODE_STRING,
    DataType.SID,
)
_V = Vocabulary

# name, type, GUID, vocabulary, aliases; extensions have no GUID.
_ROWS: tuple[tuple[str, DataType | str, str, Vocabulary, tuple[str, ...]], ...] = (
    ("ip_local_address", _A, "d9ee00de-c1ef-4617-bfe3-ffd8f5a08957", _V.NONE, ()),
    ("ip_remote_address", _A, "b235ae9a-1d64-49b8-a44c-5ff3d9095045", _V.NONE, ()),
    ("ip_source_address", _A, "ae96897e-2e94-4bc9-b313-b27ee80e574d", _V.NONE, ()),
    ("ip_destination_address", _A, "2d79133b-b390-45c6-8699-acaceaafed33", _V.NONE, ()),
    ("ip_local_address_type", _U8, "6ec7f6c4-376b-45d7-9e9c-d337cedcd237", _V.ADDRESS_TYPE, ()),
    ("ip_destination_address_type", _U8, "1ec1b7c9-4eea-4f5e-b9ef-76beaaaf17ee", _V.ADDRESS_TYPE, ()),
    ("ip_protocol", _U8, "3971ef2b-623e-4f9a-8cb1-6e79b806b9a7", _V.PROTOCOL, ()),
    ("ip_local_port", _U16, "0c1ba1af-5765-453f-af22-a8f791ac775b", _V.NONE, ()),
    ("ip_remote_port", _U16, "c35a604d-d22b-4e1a-91b4-68f674ee674b", _V.NONE, ()),
    ("ip_source_port", _U16, "a6afef91-3df4-4730-a214-f5426aebf821", _V.NONE, ()),
    ("ip_destination_port", _U16, "ce6def45-60fb-4a7b-a304-af30a117000e", _V.NONE, ()),
    # At transport and ALE layers icmp_type and icmp_code are names of the port fields; this pair
    # is the ICMP_ERROR layers' own and the extension at ipforward.
    ("icmp_type", _U16, "0c1ba1af-5765-453f-af22-a8f791ac775b", _V.ICMP_TYPE, ()),
    ("icmp_code", _U16, "c35a604d-d22b-4e1a-91b4-68f674ee674b", _V.NONE, ()),
    ("direction", _U32, "8784c146-ca97-44d6-9fd1-19fb1840cbf7", _V.DIRECTION, ()),
    ("flags", _U32, "632ce23b-5167-435c-86d7-e903684aa80c", _V.FLAGS, ()),
    ("ip_local_interface", _U64, "4cd62a49-59c3-4969-b7f3-bda5d32890a4", _V.NONE, ()),
    ("ip_arrival_interface", _U64, "618a9b6d-386b-4136-ad6e-b51587cfb1cd", _V.NONE, ()),
    ("ip_nexthop_interface", _U64, "93ae8f5b-7f6f-4719-98c8-14e97429ef04", _V.NONE, ()),
    ("ip_forward_interface", _U64, "1076b8a5-6323-4c5e-9810-e8d3fc9e6136", _V.NONE, ()),
    ("ip_physical_arrival_interface", _U64, "da50d5c8-fa0d-4c89-b032-6e62136d1e96", _V.NONE, ()),
    ("ip_physical_nexthop_interface", _U64, "f09bd5ce-5150-48be-b098-c25152fb1f92", _V.NONE, ()),
    ("interface_index", _U32, "667fd755-d695-434a-8af5-d3835a1259bc", _V.NONE, ("local_interface_index",)),
    ("sub_interface_index", _U32, "0cd42473-d621-4be3-ae8c-72a348d283e1", _V.NONE, ("arrival_sub_interface_index",)),
    ("arrival_interface_index", _U32, "cc088db3-1792-4a71-b0f9-037d21cd828b", _V.NONE, ()),
    ("nexthop_interface_index", _U32, "138e6888-7ab8-4d65-9ee8-0591bcf6a494", _V.NONE, ()),
    ("nexthop_sub_interface_index", _U32, "ef8a6122-0577-45a7-9aaf-825fbeb4fb95", _V.NONE, ()),
    ("source_interface_index", _U32, "2311334d-c92d-45bf-9496-edf447820e2d", _V.NONE, ()),
    ("source_sub_interface_index", _U32, "055edd9d-acd2-4361-8dab-f9525d97662f", _V.NONE, ()),
    ("destination_interface_index", _U32, "35cf6522-4139-45ee-a0d5-67b80949d879", _V.NONE, ()),
    ("destination_sub_interface_index", _U32, "2b7d4399-d4c7-4738-a2f5-e994b43da388", _V.NONE, ()),
    ("interface_type", _U32, "daf8cd14-e09e-4c93-a5ae-c5c13b73ffca", _V.INTERFACE_TYPE, ("local_interface_type",)),
    ("arrival_interface_type", _U32, "89f990de-e798-4e6d-ab76-7c9558292e6f", _V.INTERFACE_TYPE, ()),
    ("nexthop_interface_type", _U32, "97537c6c-d9a3-4767-a381-e942675cd920", _V.INTERFACE_TYPE, ()),
    ("tunnel_type", _U32, "77a40437-8779-4868-a261-f5a902f1c0cd", _V.TUNNEL_TYPE, ("local_tunnel_type",)),
    ("arrival_tunnel_type", _U32, "511166dc-7a8c-4aa7-b533-95ab59fb0340", _V.TUNNEL_TYPE, ()),
    ("nexthop_tunnel_type", _U32, "72b1a111-987b-4720-99dd-c7c576fa2d4c", _V.TUNNEL_TYPE, ()),
    ("embedded_protocol", _U8, "07784107-a29e-4c7b-9ec7-29c44afafdbc", _V.PROTOCOL, ()),
    ("embedded_remote_address", _A, "77ee4b39-3273-4671-b63b-ab6feb66eeb6", _V.NONE, ()),
    ("embedded_local_address_type", _U8, "4672a468-8a0a-4202-abb4-849e92e66809", _V.ADDRESS_TYPE, ()),
    ("embedded_local_port", _U16, "bfca394d-acdb-484e-b8e6-2aff79757345", _V.NONE, ()),
    ("embedded_remote_port", _U16, "cae4d6a1-2968-40ed-a4ce-547160dda88d", _V.NONE, ()),
    ("reauthorize_reason", _U32, "11205e8c-11ae-457a-8a44-477026dd764a", _V.NONE, ()),
    ("ale_reauth_reason", _U32, "b482d227-1979-4a98-8044-18bbe6237542", _V.NONE, ()),
    ("original_icmp_type", _U16, "076dfdbe-c56c-4f72-ae8a-2cfe7e5c8286", _V.ICMP_TYPE, ()),
    ("interface_quarantine_epoch", _U64, "cce68d5e-053b-43a8-9a6f-33384c28e4f6", _V.NONE, ()),
    ("original_profile_id", _U32, "46ea1551-2255-492b-8019-aabeee349f40", _V.NONE, ()),
    ("current_profile_id", _U32, "ab3033c9-c0e3-4759-937d-5758c65d4ae3", _V.NONE, ()),
    ("arrival_interface_profile_id", _U32, "cdfe6aab-c083-4142-8679-c08f95329c61", _V.NONE, ()),
    ("nexthop_interface_profile_id", _U32, "d7ff9a56-cdaa-472b-84db-d23963c1d1bf", _V.NONE, ()),
    ("ipsec_security_realm_id", _BLOB, "37a57700-5884-4964-92b8-3e704688b0ad", _V.NONE, ()),
    ("compartment_id", _U32, "35a791ab-04ac-4ff2-a6bb-da6cfac71806", _V.NONE, ()),
    ("ale_app_id", _BLOB, "d78e1e87-8644-4ea5-9437-d809ecefc971", _V.NONE, ()),
    ("ale_original_app_id", _BLOB, "0e6cd086-e1fb-4212-842f-8a9f993fb3f6", _V.NONE, ()),
    ("ale_user_id", _TOKEN, "af043a0a-b34d-4f86-979c-c90371af6e66", _V.NONE, ()),
    ("ale_remote_user_id", _TOKEN, "f63073b7-0189-4ab0-95a4-6123cbfab862", _V.NONE, ()),
    ("ale_remote_machine_id", _TOKEN, "1aa47f51-7f93-4508-a271-81abb00c9cab", _V.NONE, ()),
    ("ale_package_id", _SID, "71bc78fa-f17c-4997-a602-6abb261f351c", _V.NONE, ()),
    ("ale_package_family_name", _TOKEN, "", _V.NONE, ()),
    ("ale_security_attribute_fqbn_value", _BLOB, "37a57699-5883-4963-92b8-3e704688b0ad", _V.NONE, ()),
    ("ale_nap_context", _U32, "", _V.NONE, ()),
    ("ale_sio_firewall_system_port", _U32, "b9f4e088-cb98-4efb-a2c7-ad07332643db", _V.NONE,
     ("ale_sio_firewall_socket_property",)),
    ("peer_name", _BLOB, "9b539082-eb90-4186-a6cc-de5b63235016", _V.NONE, ()),
    ("ale_effective_name", _BLOB, "b1277b9a-b781-40fc-9671-e5f1b989f34e", _V.NONE, ()),
    # Extensions.
    ("ip_dscp", _U8, "", _V.DSCP, ()),
    ("ip_ecn", _U8, "", _V.NONE, ()),
    ("ip_ttl", _U8, "", _V.NONE, ()),
    ("ip_length", _U32, "", _V.NONE, ()),
    ("ip_fragment", _U8, "", _V.FRAGMENT, ()),
    ("tcp_flags", _U8, "", _V.TCP_FLAGS, ()),
    ("tcp_mss", _U16, "", _V.NONE, ()),
    ("tcp_window_scale", _U8, "", _V.NONE, ()),
    ("tcp_window", _U16, "", _V.NONE, ()),
    ("packet_mark", _U32, "", _V.NONE, ()),
    ("interface_name", _BLOB, "", _V.NONE, ()),
    ("nexthop_interface_name", _BLOB, "", _V.NONE, ()),
)  # fmt: skip

_EXTENSIONS = frozenset(
    "ip_dscp ip_ecn ip_ttl ip_length ip_fragment tcp_flags tcp_mss tcp_window_scale tcp_window "
    "packet_mark interface_name nexthop_interface_name".split()
)


def _make(id_: int, row: tuple[str, DataType | str, str, Vocabulary, tuple[str, ...]]) -> Field:
    name, type_, guid, vocabulary, aliases = row
    if isinstance(type_, str):
        low, high = DataType.UINT32, DataType.BYTE_ARRAY16
    else:
        low = high = type_
    return Field(id_, name, low, high, guid, name in _EXTENSIONS, vocabulary, aliases)


FIELDS: tuple[Field, ...] = tuple(_make(index, row) for index, row in enumerate(_ROWS))
FIELD: dict[str, Field] = {item.name: item for item in FIELDS}
FIELD_ALIASES: dict[str, str] = {alias: item.name for item in FIELDS for alias in item.aliases}

# Bits of the `flags` field (FWP_CONDITION_FLAG_*).
FLAG_BITS: dict[str, int] = {
    "is_loopback": 0x1,
    "is_ipsec_secured": 0x2,
    "is_reauthorize": 0x4,
    "is_wildcard_bind": 0x8,
    "is_raw_endpoint": 0x10,
    "is_fragment": 0x20,
    "is_fragment_group": 0x40,
    "is_ipsec_natt_reclassify": 0x80,
    "requires_ale_classify": 0x100,
    "is_implicit_bind": 0x200,
    "is_reassembled": 0x400,
    "is_name_app_specified": 0x4000,
    "is_promiscuous": 0x8000,
    "is_auth_fw": 0x10000,
    "is_reclassify": 0x20000,
    "is_outbound_pass_thru": 0x40000,
    "is_inbound_pass_thru": 0x80000,
    "is_connection_redirected": 0x100000,
    "is_proxy_connection": 0x200000,
    "is_appcontainer_loopback": 0x400000,
    "is_non_appcontainer_loopback": 0x800000,
    "is_reserved": 0x1000000,
    "is_honoring_policy_authorize": 0x2000000,
}
TCP_FLAG_BITS = {"fin": 1, "syn": 2, "rst": 4, "psh": 8, "ack": 16, "urg": 32, "ece": 64, "cwr": 128}
ADDRESS_TYPES = {"unspecified": 0, "unicast": 1, "anycast": 2, "multicast": 3, "broadcast": 4}
INTERFACE_TYPES = {"ethernet": 6, "ppp": 23, "loopback": 24, "wifi": 71, "tunnel": 131, "other": 1}
TUNNEL_TYPES = {"none": 0, "other": 1, "direct": 2, "6to4": 11, "isatap": 13, "teredo": 14, "ip_https": 15}
DIRECTIONS = {"outbound": 0, "inbound": 1}
FRAGMENTS = {"none": 0, "first": 1, "later": 2}
