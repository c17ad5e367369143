"""Symbolic names of numbers: our own copies of the IANA registries, never the host's.

The same bytes of a policy mean the same on every host, so neither
/etc/protocols nor /etc/services is read.
"""

from __future__ import annotations

from wfpd.model.fields import (
    ADDRESS_TYPES,
    DIRECTIONS,
    FLAG_BITS,
    FRAGMENTS,
    INTERFACE_TYPES,
    TCP_FLAG_BITS,
    TUNNEL_TYPES,
    Vocabulary,
)

# IANA "Assigned Internet Protocol Numbers", keywords in lower case, by number from 0; "" = none.
_PROTOCOL_WORDS = (
    "hopopt icmp igmp ggp ipv4 st tcp cbt egp igp bbn-rcc-mon nvp-ii pup argus emcon xnet chaos udp mux dcn-meas hmp "
    "prm xns-idp trunk-1 trunk-2 leaf-1 leaf-2 rdp irtp iso-tp4 netblt mfe-nsp merit-inp dccp 3pc idpr xtp ddp "
    "idpr-cmtp tp++ il ipv6 sdrp ipv6-route ipv6-frag idrp rsvp gre dsr bna esp ah i-nlsp swipe narp min-ipv4 tlsp "
    "skip ipv6-icmp ipv6-nonxt ipv6-opts - cftp - sat-expak kryptolan rvd ippc - sat-mon visa ipcv cpnx cphb wsn "
    "pvp br-sat-mon sun-nd wb-mon wb-expak iso-ip vmtp secure-vmtp vines iptm nsfnet-igp dgp tcf eigrp ospfigp "
    "sprite-rpc larp mtp ax.25 ipip micp scc-sp etherip encap - gmtp ifmp pnni pim aris scps qnx a/n ipcomp snp "
    "compaq-peer ipx-in-ip vrrp pgm - l2tp ddx iatp stp srp uti smp sm ptp isis fire crtp crudp sscopmce iplt sps "
    "pipe sctp fc rsvp-e2e-ignore mobility udplite mpls-in-ip manet hip shim6 wesp rohc ethernet aggfrag nsh homa"
).split()

PROTOCOLS: dict[str, int] = {word: number for number, word in enumerate(_PROTOCOL_WORDS) if word != "-"} | {
    # Names in common use for the same numbers.
    "icmpv6": 58,
    "icmp6": 58,
    "ospf": 89,
    "ip-in-ip": 4,
    "udp-lite": 136,
    "ip6": 41,
}

DSCP: dict[str, int] = (
    {f"cs{n}": n << 3 for n in range(8)}
    | {f"af{c}{d}": (c << 3) | (d << 1) for c in range(1, 5) for d in range(1, 4)}
    | {"ef": 46, "le": 1}
)

# IANA "ICMP Type Numbers" and "ICMPv6 type Numbers".
ICMP_TYPES: dict[str, int] = {
    "echo_reply": 0,
    "destination_unreachable": 3,
    "source_quench": 4,
    "redirect": 5,
    "echo_request": 8,
    "router_advertisement": 9,
    "router_solicitation": 10,
    "time_exceeded": 11,
    "parameter_problem": 12,
    "timestamp_request": 13,
    "timestamp_reply": 14,
    "information_request": 15,
    "information_reply": 16,
    "address_mask_request": 17,
    "address_mask_reply": 18,
    "photuris": 40,
    "extended_echo_request": 42,
    "extended_echo_reply": 43,
}
ICMPV6_TYPES: dict[str, int] = {
    "destination_unreachable": 1,
    "packet_too_big": 2,
    "time_exceeded": 3,
    "parameter_problem": 4,
    "echo_request": 128,
    "echo_reply": 129,
    "multicast_listener_query": 130,
    "multicast_listener_report": 131,
    "multicast_listener_done": 132,
    "router_solicitation": 133,
    "router_advertisement": 134,
    "neighbor_solicitation": 135,
    "neighbor_advertisement": 136,
    "redirect": 137,
    "router_renumbering": 138,
    "node_information_query": 139,
    "node_information_response": 140,
    "inverse_neighbor_discovery_solicitation": 141,
    "inverse_neighbor_discovery_advertisement": 142,
    "multicast_listener_report_v2": 143,
    "home_agent_address_discovery_request": 144,
    "home_agent_address_discovery_reply": 145,
    "mobile_prefix_solicitation": 146,
    "mobile_prefix_advertisement": 147,
    "certification_path_solicitation": 148,
    "certification_path_advertisement": 149,
    "multicast_router_advertisement": 151,
    "multicast_router_solicitation": 152,
    "multicast_router_termination": 153,
    "fmipv6": 154,
    "rpl_control": 155,
    "duplicate_address_request": 157,
    "duplicate_address_confirmation": 158,
    "mpl_control": 159,
    "extended_echo_request": 160,
    "extended_echo_reply": 161,
}

# Only for hints: ports are written as numbers.
SERVICES: dict[str, int] = {
    "ftp-data": 20, "ftp": 21, "ssh": 22, "telnet": 23, "smtp": 25, "domain": 53, "dns": 53, "bootps": 67,
    "dhcp": 67, "bootpc": 68, "tftp": 69, "http": 80, "kerberos": 88, "pop3": 110, "sunrpc": 111, "ntp": 123,
    "netbios-ns": 137, "netbios-dgm": 138, "netbios-ssn": 139, "imap": 143, "imap2": 143, "snmp": 161,
    "snmp-trap": 162, "snmptrap": 162, "bgp": 179, "irc": 194, "ldap": 389, "https": 443, "microsoft-ds": 445,
    "smb": 445, "submissions": 465, "isakmp": 500, "ike": 500, "syslog": 514, "rtsp": 554, "submission": 587,
    "ipp": 631, "ldaps": 636, "rsync": 873, "domain-s": 853, "imaps": 993, "pop3s": 995, "socks": 1080,
    "openvpn": 1194, "ms-sql-s": 1433, "l2tp": 1701, "pptp": 1723, "radius": 1812, "mqtt": 1883, "nfs": 2049,
    "mysql": 3306, "rdp": 3389, "ms-wbt-server": 3389, "stun": 3478, "ipsec-nat-t": 4500, "vxlan": 4789,
    "sip": 5060, "sips": 5061, "mdns": 5353, "llmnr": 5355, "postgresql": 5432, "amqp": 5672, "vnc": 5900,
    "geneve": 6081, "redis": 6379, "http-alt": 8080, "wireguard": 51820,
}  # fmt: skip


def vocabulary(name: Vocabulary, family: int) -> dict[str, int]:
    """The names of a field's numbers at a layer of family 4 or 6; they differ for ICMP types only."""
    if name is Vocabulary.ICMP_TYPE:
        return ICMPV6_TYPES if family == 6 else ICMP_TYPES
    return _VOCABULARIES[name]


_VOCABULARIES: dict[Vocabulary, dict[str, int]] = {
    Vocabulary.NONE: {},
    Vocabulary.PROTOCOL: PROTOCOLS,
    Vocabulary.FLAGS: FLAG_BITS,
    Vocabulary.TCP_FLAGS: TCP_FLAG_BITS,
    Vocabulary.DSCP: DSCP,
    Vocabulary.ADDRESS_TYPE: ADDRESS_TYPES,
    Vocabulary.INTERFACE_TYPE: INTERFACE_TYPES,
    Vocabulary.TUNNEL_TYPE: TUNNEL_TYPES,
    Vocabulary.DIRECTION: DIRECTIONS,
    Vocabulary.FRAGMENT: FRAGMENTS,
}
