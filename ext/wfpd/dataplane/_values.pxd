"""PacketView and host facts to the values of one layer; absent is not zero."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from ._host cimport HostTable
from ._parse cimport PacketView
from ._types cimport FieldValues

# What values need to know beside the packet.
cdef struct ValueContext:
    const PacketView* view
    const HostTable* host           # NULL in replay.
    uint8_t layer                   # LayerIndex (of the layer, for a twin too).
    uint8_t outbound                # The local end is the source.
    uint8_t loopback
    uint8_t has_mark
    uint8_t reassembled             # No longer a fragment, was one.
    uint8_t flow_outbound           # Direction of the flow.
    uint8_t needs_authorization     # Inbound packet that will go to ale_auth_recv_accept.
    uint8_t reauthorizing           # The reasons: POLICY_CHANGE 1, CLASSIFY_COMPLETION 16; 0: it is none.
    uint8_t flow_icmp_type          # Of the message that made the flow; of no meaning unless the packet is ICMP.
    uint32_t mark
    uint32_t in_interface
    uint32_t out_interface
    uint32_t physical_in
    uint32_t physical_out
    uint32_t interface_name_length
    const uint8_t* interface_name   # Replay; NULL: ask the host table.

# Fill the fields of `needed` that `values` lacks; fields whose meaning differs from layer to
# layer are written anew each time.  `done` holds the fields already computed in this visit.
cdef void values_fill(const ValueContext* context, const uint64_t* needed, uint64_t* done,
                      FieldValues* values) noexcept nogil
