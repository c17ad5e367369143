"""The values of a layer's fields.

Only fields that a loaded filter names are computed, each once a visit; `flags`, `direction` and
`reauthorize_reason` mean something else at each layer and are computed for each.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from ._host cimport HostInterface, HostTable, host_address_type, host_interface
from ._parse cimport FRAGMENT_NONE, PARSE_OK, PacketView
from ._types cimport *

cdef extern from *:
    """
    #define wfpd_ctz64 __builtin_ctzll
    """
    unsigned int wfpd_ctz64(uint64_t x) noexcept nogil

# FWP_CONDITION_FLAG_* (Microsoft, "Filtering Condition Flags").
cdef enum:
    FLAG_IS_LOOPBACK = 0x1
    FLAG_IS_REAUTHORIZE = 0x4
    FLAG_IS_FRAGMENT = 0x20
    FLAG_REQUIRES_ALE_CLASSIFY = 0x100
    FLAG_IS_REASSEMBLED = 0x400

cdef uint64_t _VOLATILE[2]
_VOLATILE[0] = 0
_VOLATILE[1] = 0
for _field in (FIELD_FLAGS, FIELD_DIRECTION, FIELD_REAUTHORIZE_REASON, FIELD_ALE_REAUTH_REASON):
    _VOLATILE[_field >> 6] |= (<uint64_t>1) << (_field & 63)


cdef uint64_t _flags(const ValueContext* context) noexcept nogil:
    cdef uint64_t flags = 0
    cdef uint8_t layer = context.layer
    if context.loopback and layer not in (LAYER_DATAGRAM_DATA, LAYER_STREAM_PACKET, LAYER_IPFORWARD):
        flags |= FLAG_IS_LOOPBACK
    if layer == LAYER_INBOUND_IPPACKET and context.view.fragment != FRAGMENT_NONE:
        flags |= FLAG_IS_FRAGMENT
    if layer == LAYER_INBOUND_IPPACKET and context.reassembled:
        flags |= FLAG_IS_REASSEMBLED
    if layer == LAYER_INBOUND_TRANSPORT and context.needs_authorization:
        flags |= FLAG_REQUIRES_ALE_CLASSIFY
    if context.reauthorizing and (layer == LAYER_ALE_AUTH_CONNECT or layer == LAYER_ALE_AUTH_RECV_ACCEPT):
        flags |= FLAG_IS_REAUTHORIZE
    return flags


cdef void _address(const PacketView* view, bint source, FieldValues* values, unsigned int field) noexcept nogil:
    if source:
        value_set128(values, field, view.source_hi, view.source_lo)
    else:
        value_set128(values, field, view.destination_hi, view.destination_lo)


cdef void _address_type(const ValueContext* context, bint source, FieldValues* values, unsigned int field) noexcept nogil:
    cdef const PacketView* view = context.view
    if source:
        value_set(values, field, host_address_type(context.host, view.family, view.source_hi, view.source_lo))
    else:
        value_set(values, field, host_address_type(context.host, view.family, view.destination_hi, view.destination_lo))


cdef void _port(const ValueContext* context, bint local, FieldValues* values, unsigned int field) noexcept nogil:
    # ICMP: the local port is the type, the remote port the code, in both directions, as in WFP.
    cdef const PacketView* view = context.view
    if view.has_icmp_type:
        if local:
            value_set(values, field, view.icmp_type)
        elif view.has_icmp:
            value_set(values, field, view.icmp_code)
    elif local == (context.outbound != 0):
        if view.has_source_port:
            value_set(values, field, view.source_port)
    elif view.has_ports:
        value_set(values, field, view.destination_port)


cdef void _interface(const ValueContext* context, uint32_t index, FieldValues* values, unsigned int field) noexcept nogil:
    cdef const HostInterface* interface
    if index == 0:
        return
    if field in (FIELD_INTERFACE_TYPE, FIELD_ARRIVAL_INTERFACE_TYPE, FIELD_NEXTHOP_INTERFACE_TYPE):
        interface = host_interface(context.host, index)
        if interface != NULL:
            value_set(values, field, interface.type)
    elif field in (FIELD_TUNNEL_TYPE, FIELD_ARRIVAL_TUNNEL_TYPE, FIELD_NEXTHOP_TUNNEL_TYPE):
        interface = host_interface(context.host, index)
        if interface != NULL:
            value_set(values, field, interface.tunnel)
    else:
        value_set(values, field, index)


cdef void _interface_name(const ValueContext* context, uint32_t index, FieldValues* values, unsigned int field) noexcept nogil:
    cdef const HostInterface* interface
    if context.interface_name != NULL and field == FIELD_INTERFACE_NAME:
        value_set_text(values, field, context.interface_name, context.interface_name_length)
        return
    interface = host_interface(context.host, index)
    if interface != NULL:
        value_set_text(values, field, interface.name, interface.name_length)


cdef void _embedded(const ValueContext* context, FieldValues* values, unsigned int field) noexcept nogil:
    # The quoted packet is one of ours that went out: its source is the local end.
    cdef const PacketView* view = context.view
    if not view.has_quoted:
        return
    if field == FIELD_EMBEDDED_PROTOCOL:
        value_set(values, field, view.quoted_protocol)
    elif field == FIELD_EMBEDDED_REMOTE_ADDRESS and view.quoted_has_addresses:
        value_set128(values, field, view.quoted_destination_hi, view.quoted_destination_lo)
    elif field == FIELD_EMBEDDED_LOCAL_ADDRESS_TYPE and view.quoted_has_addresses:
        value_set(values, field, host_address_type(context.host, view.family, view.quoted_source_hi, view.quoted_source_lo))
    elif view.quoted_has_ports and field in (FIELD_EMBEDDED_LOCAL_PORT, FIELD_EMBEDDED_REMOTE_PORT):
        value_set(values, field,
                  view.quoted_source_port if field == FIELD_EMBEDDED_LOCAL_PORT else view.quoted_destination_port)


cdef void _tcp(const PacketView* view, FieldValues* values, unsigned int field) noexcept nogil:
    if not view.has_tcp:
        return
    if field == FIELD_TCP_FLAGS:
        value_set(values, field, view.tcp_flags)
    elif field == FIELD_TCP_WINDOW:
        if view.has_tcp_window:
            value_set(values, field, view.tcp_window)
    elif field == FIELD_TCP_MSS:
        if view.has_mss:
            value_set(values, field, view.tcp_mss)
    elif view.has_window_scale:
        value_set(values, field, view.tcp_window_scale)


cdef void _ip(const PacketView* view, FieldValues* values, unsigned int field) noexcept nogil:
    if not view.has_addresses:
        return
    if field == FIELD_IP_DSCP:
        value_set(values, field, view.dscp)
    elif field == FIELD_IP_ECN:
        value_set(values, field, view.ecn)
    elif field == FIELD_IP_TTL:
        value_set(values, field, view.ttl)
    elif field == FIELD_IP_LENGTH:
        value_set(values, field, view.length)
    else:
        value_set(values, field, view.fragment)


cdef void _layer_own(const ValueContext* context, FieldValues* values, unsigned int field) noexcept nogil:
    if field == FIELD_FLAGS:
        value_set(values, field, _flags(context))
    elif field == FIELD_DIRECTION:
        # The packet's at datagram_data and stream_packet, the connection's at flow_established and stream.
        if context.layer == LAYER_ALE_FLOW_ESTABLISHED or context.layer == LAYER_STREAM:
            value_set(values, field, 0 if context.flow_outbound else 1)
        else:
            value_set(values, field, 0 if context.outbound else 1)
    else:
        value_set(values, field, context.reauthorizing)


cdef void _forward_ports(const PacketView* view, FieldValues* values, unsigned int field) noexcept nogil:
    if field == FIELD_IP_SOURCE_PORT:
        if view.has_source_port:
            value_set(values, field, view.source_port)
    elif field == FIELD_IP_DESTINATION_PORT:
        if view.has_ports:
            value_set(values, field, view.destination_port)
    elif field == FIELD_ICMP_TYPE:
        if view.has_icmp_type:
            value_set(values, field, view.icmp_type)
    elif view.has_icmp:
        value_set(values, field, view.icmp_code)


cdef void _addresses(const ValueContext* context, FieldValues* values, unsigned int field) noexcept nogil:
    cdef bint outbound = context.outbound != 0
    if not context.view.has_addresses:
        return  # Cut by the snap length within the fixed header.
    if field == FIELD_IP_LOCAL_ADDRESS:
        _address(context.view, outbound, values, field)
    elif field == FIELD_IP_REMOTE_ADDRESS:
        _address(context.view, not outbound, values, field)
    elif field == FIELD_IP_SOURCE_ADDRESS:
        _address(context.view, True, values, field)
    elif field == FIELD_IP_DESTINATION_ADDRESS:
        _address(context.view, False, values, field)
    elif field == FIELD_IP_LOCAL_ADDRESS_TYPE:
        _address_type(context, outbound, values, field)
    else:
        _address_type(context, False, values, field)


cdef void _links(const ValueContext* context, FieldValues* values, unsigned int field) noexcept nogil:
    # At ipforward the local interface is the arrival interface; elsewhere the packet's own.
    cdef bint leaves = context.outbound != 0 and context.layer != LAYER_IPFORWARD
    cdef uint32_t own = context.out_interface if leaves else context.in_interface
    cdef uint32_t arrival = 0 if leaves else context.in_interface
    if field in (FIELD_SUB_INTERFACE_INDEX, FIELD_NEXTHOP_SUB_INTERFACE_INDEX, FIELD_SOURCE_SUB_INTERFACE_INDEX,
                 FIELD_DESTINATION_SUB_INTERFACE_INDEX):
        return  # Linux has no sub-interfaces.
    if field == FIELD_INTERFACE_NAME:
        _interface_name(context, own, values, field)
    elif field == FIELD_NEXTHOP_INTERFACE_NAME:
        _interface_name(context, context.out_interface, values, field)
    elif field in (FIELD_IP_ARRIVAL_INTERFACE, FIELD_ARRIVAL_INTERFACE_INDEX, FIELD_ARRIVAL_INTERFACE_TYPE,
                   FIELD_ARRIVAL_TUNNEL_TYPE, FIELD_SOURCE_INTERFACE_INDEX):
        _interface(context, arrival, values, field)
    elif field in (FIELD_IP_NEXTHOP_INTERFACE, FIELD_NEXTHOP_INTERFACE_INDEX, FIELD_NEXTHOP_INTERFACE_TYPE,
                   FIELD_NEXTHOP_TUNNEL_TYPE, FIELD_IP_FORWARD_INTERFACE, FIELD_DESTINATION_INTERFACE_INDEX):
        _interface(context, context.out_interface, values, field)
    elif field == FIELD_IP_PHYSICAL_ARRIVAL_INTERFACE:
        _interface(context, context.physical_in if context.physical_in else arrival, values, field)
    elif field == FIELD_IP_PHYSICAL_NEXTHOP_INTERFACE:
        _interface(context, context.physical_out if context.physical_out else context.out_interface, values, field)
    else:
        _interface(context, own, values, field)


cdef void _fill(const ValueContext* context, FieldValues* values, unsigned int field) noexcept nogil:
    cdef const PacketView* view = context.view
    if field <= FIELD_IP_DESTINATION_ADDRESS_TYPE:
        _addresses(context, values, field)
    elif field == FIELD_IP_PROTOCOL:
        if view.has_protocol:
            value_set(values, field, view.protocol)
    elif field == FIELD_IP_LOCAL_PORT or field == FIELD_IP_REMOTE_PORT:
        _port(context, field == FIELD_IP_LOCAL_PORT, values, field)
    elif field <= FIELD_ICMP_CODE:
        _forward_ports(view, values, field)
    elif field == FIELD_FLAGS or field == FIELD_DIRECTION:
        _layer_own(context, values, field)
    elif field <= FIELD_NEXTHOP_TUNNEL_TYPE:
        _links(context, values, field)
    elif field <= FIELD_EMBEDDED_REMOTE_PORT:
        _embedded(context, values, field)
    elif field == FIELD_REAUTHORIZE_REASON or field == FIELD_ALE_REAUTH_REASON:
        _layer_own(context, values, field)
    elif field == FIELD_ORIGINAL_ICMP_TYPE:
        if view.has_icmp and context.layer in (LAYER_ALE_AUTH_CONNECT, LAYER_ALE_AUTH_RECV_ACCEPT):
            value_set(values, field, context.flow_icmp_type)
    elif field == FIELD_COMPARTMENT_ID:
        if context.host != NULL and context.host.compartment:
            value_set(values, field, context.host.compartment)
    elif FIELD_IP_DSCP <= field <= FIELD_IP_FRAGMENT:
        _ip(view, values, field)
    elif FIELD_TCP_FLAGS <= field <= FIELD_TCP_WINDOW:
        _tcp(view, values, field)
    elif field == FIELD_PACKET_MARK:
        if context.has_mark:
            value_set(values, field, context.mark)
    elif field == FIELD_INTERFACE_NAME or field == FIELD_NEXTHOP_INTERFACE_NAME:
        _links(context, values, field)


cdef void values_fill(const ValueContext* context, const uint64_t* needed, uint64_t* done,
                      FieldValues* values) noexcept nogil:
    cdef unsigned int word
    cdef uint64_t missing
    cdef unsigned int bit
    for word in range(2):
        missing = needed[word] & (~done[word] | _VOLATILE[word])
        done[word] |= missing
        # Every missing field is cleared first, so that an EMPTY one reads as zero.
        while missing:
            bit = wfpd_ctz64(missing)
            missing &= missing - 1
            value_clear(values, word * 64 + bit)
            _fill(context, values, word * 64 + bit)
