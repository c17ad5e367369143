"""Bytes to PacketView: the one place where packet headers are read."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

# The names shown to users are these in lower case without PARSE_ (`_parse.parse_status_name`).
# Order is the exported label's order: append only.
cdef enum ParseStatus:
    PARSE_OK = 0
    # In the IP header or the extension header chain: on_malformed decides at once.
    PARSE_NOT_IP                    # Version nibble neither 4 nor 6: not malformed, "not_ip".
    PARSE_TRUNCATED_IP              # Fewer bytes than the fixed IP header, and not a cut capture.
    PARSE_BAD_HEADER_LENGTH         # IPv4 IHL < 5 or beyond the packet.
    PARSE_BAD_TOTAL_LENGTH          # IPv4 total length < header, or more than there is.
    PARSE_BAD_PAYLOAD_LENGTH        # IPv6 payload length beyond what there is (no jumbogram option).
    PARSE_BAD_IP_CHECKSUM           # Only where asked for.
    PARSE_BAD_IP_OPTION             # An IPv4 option's length is 0, 1 or beyond the header.
    PARSE_BAD_EXTENSION_HEADER      # Truncated or overlong IPv6 extension header.
    PARSE_TOO_MANY_EXTENSION_HEADERS
    PARSE_BAD_FRAGMENT              # Beyond 65,535, or a non-last fragment not a multiple of 8.
    N_PARSE_IP_STATUSES             # Below here: the IP part is good.
    # Above IP: layers that need only IP are classified.
    PARSE_TINY_FRAGMENT = N_PARSE_IP_STATUSES   # First fragment without the whole transport header (RFC 1858, 3128, 7112).
    PARSE_OVERLAPPING_FRAGMENT      # TCP fragment at offset 1 (RFC 1858): would rewrite the flags.
    PARSE_TRUNCATED_TRANSPORT       # Shorter than the transport's fixed header.
    PARSE_BAD_TCP_HEADER_LENGTH     # Data offset < 5 or beyond the packet.
    PARSE_BAD_TCP_OPTION
    PARSE_BAD_UDP_LENGTH            # < 8, or beyond the IP payload (0 is legal with jumbograms only).
    PARSE_BAD_TRANSPORT_CHECKSUM    # Only where asked for.
    N_PARSE_STATUSES

cdef enum FragmentKind:
    FRAGMENT_NONE = 0
    FRAGMENT_FIRST = 1              # Offset 0 with more to come.
    FRAGMENT_LATER = 2              # Offset above 0.

# What is known of one packet.  Offsets count from the first byte of the IP header.  Members
# after a group's flag are valid only if the flag is set.
cdef struct PacketView:
    const uint8_t* data             # First byte of the IP header.
    uint32_t captured               # Bytes at `data`.
    uint32_t length                 # Whole IP packet by its header, in bytes (jumbogram: by its option).
    uint8_t status                  # ParseStatus; PARSE_OK or >= N_PARSE_IP_STATUSES: the IP part below is valid.
    uint8_t family                  # 4 or 6.
    uint8_t truncated               # The copy is shorter than the packet: missing fields are EMPTY, not malformed.
    uint8_t has_addresses           # The fixed IP header is in the copy; else only family and length are known.
    uint8_t fragment                # FragmentKind; an IPv6 atomic fragment (RFC 6946) is FRAGMENT_NONE.
    uint64_t source_hi              # IPv6: first 8 bytes as a big-endian number; IPv4: 0.
    uint64_t source_lo              # IPv6: last 8 bytes; IPv4: the address.  Host order.
    uint64_t destination_hi
    uint64_t destination_lo
    uint8_t dscp                    # 0-63.
    uint8_t ecn                     # 0-3.
    uint8_t ttl                     # TTL or hop limit.
    uint8_t has_protocol            # Not for a later IPv6 fragment whose header names another extension header.
    uint8_t protocol                # Upper-layer protocol, behind extension headers.
    uint32_t transport_offset       # Of the upper-layer header; 0 if it is not in this packet or not in the copy.
    uint8_t has_source_port         # TCP, UDP, UDP-Lite, SCTP, DCCP, and the first port is in the copy.
    uint8_t has_ports               # Both are.
    uint8_t has_icmp_type           # ICMP under IPv4, ICMPv6 under IPv6, and the type is in the copy.
    uint8_t has_icmp                # Type and code are.
    uint8_t has_icmp_id             # Echo request or reply with its identifier.
    uint8_t is_icmp_error           # ICMP 3, 4, 5, 11, 12; ICMPv6 1-4 (types below 128).
    uint16_t source_port            # Host order.
    uint16_t destination_port
    uint8_t icmp_type
    uint8_t icmp_code
    uint16_t icmp_id
    uint8_t has_tcp                 # The TCP header up to its flags is in the copy.
    uint8_t has_tcp_window          # And the window behind them.
    uint8_t tcp_flags               # CWR ECE URG ACK PSH RST SYN FIN, high to low.
    uint16_t tcp_window             # Unscaled.
    uint32_t tcp_sequence
    uint32_t tcp_acknowledgment
    uint8_t has_mss
    uint8_t has_window_scale
    uint8_t tcp_window_scale
    uint16_t tcp_mss
    uint32_t payload_offset         # First byte after the transport header; 0 if unknown or not in the copy.
    uint32_t payload_length         # By the headers, not by the copy.
    # Packet quoted by an ICMP error; its direction is the original's.
    uint8_t has_quoted              # Family, addresses and protocol of the quoted packet are known.
    uint8_t quoted_has_addresses    # Addresses alone are known: the quote breaks off in its extension headers.
    uint8_t quoted_has_ports
    uint8_t quoted_protocol
    uint16_t quoted_source_port
    uint16_t quoted_destination_port
    uint64_t quoted_source_hi
    uint64_t quoted_source_lo
    uint64_t quoted_destination_hi
    uint64_t quoted_destination_lo

cdef enum ParseFlags:
    PARSE_VERIFY_CHECKSUMS = 1      # IP and transport checksums; never for packets with checksums not filled in.
    PARSE_WHOLE_LENGTH_KNOWN = 2    # `original` is the packet's length on the wire: a shorter copy is truncated.

# Read the IP packet at data[0:captured].  `original` is its length before any cut (= captured
# if it was not cut; NFQA_CAP_LEN or the capture's wire length otherwise).  Fills `view` wholly,
# never reads past `captured`, allocates nothing.  Returns view.status.
cdef ParseStatus parse_packet(const uint8_t* data, uint32_t captured, uint32_t original, unsigned int flags,
                              PacketView* view) noexcept nogil

cpdef str parse_status_name(int status)
