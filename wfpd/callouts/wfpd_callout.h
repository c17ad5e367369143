/* The interface of compiled callouts, called without the interpreter's lock from several threads at once.
 *
 * A callout is a Python object whose attribute `native` is a capsule named WFPD_CAPSULE that holds a WfpdCallout,
 * which stays valid as long as the capsule.  Structs begin with their size and grow at the end only: a callout that
 * was compiled against an older wfpd goes on working.  The abi changes only where that cannot be.
 */
#ifndef WFPD_CALLOUT_H
#define WFPD_CALLOUT_H

#include <stdint.h>

#include "wfpd_fields.h"

#define WFPD_CALLOUT_ABI 1u
#define WFPD_CAPSULE "wfpd.callout.1"

enum { WFPD_ACTION_NONE = 0, WFPD_ACTION_PERMIT = 1, WFPD_ACTION_BLOCK = 2 };

/* WfpdAnswer.kind.  FAILED: the callout cannot answer; the filter's on_error does, and the failure is counted.
 * Those from NEED_MORE to DEFER are answers at the layer stream only, PEND one at all others. */
enum { WFPD_CONTINUE = 0, WFPD_PERMIT = 1, WFPD_BLOCK = 2, WFPD_FAILED = 3,
       WFPD_NEED_MORE = 4,          /* Decide nothing: called again with these bytes and `required` more. */
       WFPD_DROP_CONNECTION = 5,    /* Has an effect only for a filter of the kind unknown. */
       WFPD_ALLOW_CONNECTION = 6,   /* This and all that follows, both ways: the filter does not call again. */
       WFPD_DEFER = 7,              /* Decide nothing and let nothing pass until resume(). */
       WFPD_PEND = 8,               /* Answer later: the class's method pended() gets the handle. */
       WFPD_ASK_PYTHON = 9 };       /* At any layer: the class's method classify() is called, and answers. */

enum { WFPD_REPLY_NONE = 0, WFPD_REPLY_TCP_RESET = 1, WFPD_REPLY_ICMP_UNREACHABLE = 2 };

enum { WFPD_HOOK_PREROUTING = 0, WFPD_HOOK_INPUT = 1, WFPD_HOOK_FORWARD = 2, WFPD_HOOK_OUTPUT = 3,
       WFPD_HOOK_POSTROUTING = 4 };

enum { WFPD_LAYER_INBOUND_IPPACKET = 0, WFPD_LAYER_INBOUND_TRANSPORT = 1, WFPD_LAYER_INBOUND_ICMP_ERROR = 2,
       WFPD_LAYER_ALE_AUTH_RECV_ACCEPT = 3, WFPD_LAYER_ALE_FLOW_ESTABLISHED = 4, WFPD_LAYER_STREAM_PACKET = 5,
       WFPD_LAYER_STREAM = 6, WFPD_LAYER_DATAGRAM_DATA = 7, WFPD_LAYER_ALE_AUTH_CONNECT = 8,
       WFPD_LAYER_OUTBOUND_ICMP_ERROR = 9, WFPD_LAYER_OUTBOUND_TRANSPORT = 10, WFPD_LAYER_OUTBOUND_IPPACKET = 11,
       WFPD_LAYER_IPFORWARD = 12 };

/* Added to a layer: its discard twin. */
#define WFPD_LAYER_DISCARD 16

/* WfpdCall.fragment. */
enum { WFPD_FRAGMENT_NONE = 0, WFPD_FRAGMENT_FIRST = 1, WFPD_FRAGMENT_LATER = 2 };

/* WfpdCall.stream_flags. */
enum { WFPD_STREAM_EXPEDITED = 1,       /* The packet has the URG flag. */
       WFPD_STREAM_DISCONNECT = 2,      /* The FIN, with no bytes, after all data. */
       WFPD_STREAM_ABORT = 4,           /* An RST, with no bytes. */
       WFPD_STREAM_NO_MORE_DATA = 8,    /* NEED_MORE counts as FAILED. */
       WFPD_STREAM_BUFFER_LIMIT = 16 }; /* As much is kept as may be: the same. */

/* What the functions of a WfpdCall return. */
enum { WFPD_OK = 0,
       WFPD_REFUSED_NOT_WHOLE = 1,  /* Writing: the copy is cut; the class says `modifies = True`, or a proxy is needed. */
       WFPD_REFUSED_TOO_LONG = 2,   /* Writing: the packet has more than 65,531 bytes. */
       WFPD_REFUSED_LENGTH = 3,     /* Writing: another length of a TCP, GSO or fragmented packet, or of TCP's payload. */
       WFPD_REFUSED_IDENTITY = 4,   /* Writing: addresses, protocol, ports, ICMP type, code or identifier, fragment fields. */
       WFPD_REFUSED_MALFORMED = 5,  /* Writing: no well-formed IP packet, before or afterwards. */
       WFPD_REFUSED_FRAGMENT = 6,   /* Writing: more than the IP header of a fragment. */
       WFPD_REFUSED_ROUTED = 7,     /* Writing: a source route that is not at its end. */
       WFPD_REFUSED_OUTSIDE = 8,    /* Writing: bytes beyond the packet's end. */
       WFPD_REFUSED_NO_BUFFER = 9,  /* Writing: nothing is written here. */
       WFPD_REFUSED_PARAMETER = 10, /* Contexts: no such layer, the value 0, or there is no flow_delete. */
       WFPD_REFUSED_NO_FLOW = 11,   /* Contexts: no flow is kept for this packet. */
       WFPD_REFUSED_EXISTS = 12,    /* Contexts: the callout has one there; it has to be removed first. */
       WFPD_REFUSED_FULL = 13,      /* Contexts: there are too many. */
       WFPD_REFUSED_NOT_FOUND = 14, /* Contexts: there is none to remove. */
       WFPD_REFUSED_NO_CALLOUT = 15 };  /* Contexts: no callout of this name is registered. */

/* One indication; valid, with all that it points to, until classify() returns. */
typedef struct WfpdCall {
    uint32_t size;              /* Of this struct, in bytes: members beyond it are not there. */
    uint8_t hook;
    uint8_t layer;
    uint8_t family;             /* 4 or 6. */
    uint8_t outbound;           /* 1: the local end is the source. */
    uint8_t action;             /* So far. */
    uint8_t right;              /* 1: FWPS_RIGHT_ACTION_WRITE is set; else only a veto has an effect. */
    uint8_t discard;            /* 1: at the layer's discard twin, the packet is blocked already. */
    uint8_t has_protocol;
    uint8_t protocol;
    uint8_t truncated;          /* 1: `captured` is less than the packet. */
    uint16_t reserved;
    const uint8_t *packet;      /* First byte of the IP header.  Read only. */
    uint32_t captured;          /* Bytes at `packet`. */
    uint32_t original;          /* Length of the IP packet, in bytes. */
    uint32_t transport_offset;  /* From `packet`, in bytes; 0: not in the copy. */
    uint32_t payload_offset;    /* The same of what follows the transport header; 0: unknown, or not in the copy. */
    uint32_t payload_length;    /* By the headers, in bytes; may reach beyond the copy. */
    uint32_t filter;            /* Number of the calling filter in the running policy. */
    uint64_t filter_context;    /* What notify() has set for the filter, where it is a number; 0: nothing. */
    uint64_t flow_id;           /* Also of a flow that this packet is about to make; 0: no flow is kept. */
    uint64_t flow_context;      /* What this callout keeps with the flow for this layer; 0: nothing. */
    uint64_t now_ns;            /* CLOCK_MONOTONIC of the packet's receipt; in replay the capture's clock. */
    const uint8_t *stream;      /* Layer stream: the bytes that this callout has not decided; NULL without bytes. */
    uint64_t stream_offset;     /* Of the first, from the first after the SYN or the first that was seen. */
    uint32_t stream_length;     /* In bytes. */
    uint8_t stream_direction;   /* 0: what the local end receives, 1: what it sends. */
    uint8_t stream_flags;       /* WFPD_STREAM_* */
    uint16_t reserved2;
    void *host;                 /* wfpd's own. */
    /* A field of the layer, computed when asked for: 1, and its value in the two halves (WFPD_FIELD_*: integers and
     * IPv4 addresses in `lo`, host order; of a text the address of its bytes in `hi`, its length in `lo`).
     * 0: the field is EMPTY, or not the layer's; the halves are left alone.  Either may be NULL. */
    int (*value)(const struct WfpdCall *call, uint32_t field, uint64_t *hi, uint64_t *lo);
    uint32_t stream_missed;     /* Bytes that passed this callout by since its last call. */
    uint32_t reserved3;
    /* Keep a value above 0 with the flow, for this callout at a layer (WFPD_LAYER_*, of the packet's family).  It comes
     * back as flow_context, and in flow_delete when the flow has ended or the value was removed. */
    int (*set_flow_context)(const struct WfpdCall *call, uint32_t layer, uint64_t value);
    int (*remove_flow_context)(const struct WfpdCall *call, uint32_t layer);
    /* WFPD_OK where the packet can be written; what a write changes may still be refused. */
    int (*writable)(const struct WfpdCall *call);
    /* The packet has these bytes at `offset` from its first; lengths and checksums are set, always in full.  Refused,
     * it is as it was.  The members about the packet are then those of the packet as it is now; pointers into it from
     * before are of no use. */
    int (*write)(const struct WfpdCall *call, uint32_t offset, const uint8_t *bytes, uint32_t n);
    /* The packet becomes these bytes, from the IP header on; as write(). */
    int (*replace)(const struct WfpdCall *call, const uint8_t *bytes, uint32_t n);
    uint32_t in_interface;      /* Index of the interface that it came in by; 0: none, or unknown. */
    uint32_t out_interface;     /* The same of the one that it goes out by. */
    uint32_t compartment;       /* The network namespace, by its inode; 0: unknown. */
    uint8_t ale_classify_required;  /* 1: the packet goes on to an authorizing layer. */
    uint8_t fragment;           /* WFPD_FRAGMENT_*; an IPv6 fragment that is the whole packet is none. */
    uint16_t reserved4;
    uint64_t streams;           /* Layer stream: what resume() is given beside flow_id; else 0. */
    /* After WFPD_DEFER: the callouts are asked again when the peer sends again, as it does.  1: they will be, or are
     * being asked; 0: nothing is deferred.  Both numbers may be kept, and this be called by any thread at any time: also
     * before classify() has returned, and when flow and policy are gone. */
    int (*resume)(uint64_t streams, uint64_t flow_id);
    /* As the two without `_of`, for the callout of this name (zero-terminated) in the running policy, compiled or in
     * Python: the value is its flow context, and its flow_delete is called with it. */
    int (*set_flow_context_of)(const struct WfpdCall *call, const char *who, uint32_t layer, uint64_t value);
    int (*remove_flow_context_of)(const struct WfpdCall *call, const char *who, uint32_t layer);
    /* Data of the filter's provider context: JSON without spaces, UTF-8, zero-terminated; NULL: it has none. */
    const char *provider_context;
    uint32_t provider_context_length;   /* In bytes, without the zero. */
    uint8_t injected;           /* 1: the packet's mark says that wfpd has injected it. */
    uint8_t reserved5[3];
} WfpdCall;

/* Filled with WFPD_CONTINUE and zeros before the call.  An answer that cannot be given counts as WFPD_FAILED. */
typedef struct WfpdAnswer {
    uint32_t size;              /* Of this struct, in bytes. */
    uint8_t kind;
    uint8_t clear_right;        /* 1: a hard permit or block. */
    uint8_t absorb;             /* With WFPD_BLOCK, where the layer allows it: a silent drop, without a reply. */
    uint8_t reply;              /* With WFPD_BLOCK. */
    uint32_t required;          /* With WFPD_NEED_MORE: further bytes that are needed; 0 counts as 1. */
    uint32_t enforced;          /* Layer stream: leading bytes that a permit or block is for; 0: all. */
    uint8_t one_side;           /* With WFPD_REPLY_TCP_RESET: only the sender is reset, the flow is not cut. */
    uint8_t reserved[3];
} WfpdAnswer;

typedef struct WfpdCallout {
    uint32_t abi;               /* WFPD_CALLOUT_ABI */
    uint32_t size;              /* sizeof(WfpdCallout) */
    void *state;
    /* Must return, must not raise, and may be called by several threads at once. */
    void (*classify)(void *state, const WfpdCall *call, WfpdAnswer *answer);
    /* A flow with a context has ended, or the context was removed.  Called by some thread, without the interpreter's
     * lock, once for each context.  NULL: the callout keeps none. */
    void (*flow_delete)(void *state, uint64_t flow_id, uint64_t context);
} WfpdCallout;

#endif
