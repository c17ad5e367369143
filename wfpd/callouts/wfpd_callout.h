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

/* WfpdAnswer.kind.  FAILED: the callout cannot answer; the filter's on_error does, and the failure is counted. */
enum { WFPD_CONTINUE = 0, WFPD_PERMIT = 1, WFPD_BLOCK = 2, WFPD_FAILED = 3 };

enum { WFPD_REPLY_NONE = 0, WFPD_REPLY_TCP_RESET = 1, WFPD_REPLY_ICMP_UNREACHABLE = 2 };

enum { WFPD_HOOK_PREROUTING = 0, WFPD_HOOK_INPUT = 1, WFPD_HOOK_FORWARD = 2, WFPD_HOOK_OUTPUT = 3,
       WFPD_HOOK_POSTROUTING = 4 };

enum { WFPD_LAYER_INBOUND_IPPACKET = 0, WFPD_LAYER_INBOUND_TRANSPORT = 1, WFPD_LAYER_INBOUND_ICMP_ERROR = 2,
       WFPD_LAYER_ALE_AUTH_RECV_ACCEPT = 3, WFPD_LAYER_ALE_FLOW_ESTABLISHED = 4, WFPD_LAYER_STREAM_PACKET = 5,
       WFPD_LAYER_STREAM = 6, WFPD_LAYER_DATAGRAM_DATA = 7, WFPD_LAYER_ALE_AUTH_CONNECT = 8,
       WFPD_LAYER_OUTBOUND_ICMP_ERROR = 9, WFPD_LAYER_OUTBOUND_TRANSPORT = 10, WFPD_LAYER_OUTBOUND_IPPACKET = 11,
       WFPD_LAYER_IPFORWARD = 12 };

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
    uint64_t filter_context;    /* What the callout has given the filter; 0: nothing. */
    uint64_t flow_id;           /* 0: the packet belongs to no flow yet. */
    uint64_t flow_context;      /* What the callout has given the flow; 0: nothing. */
    uint64_t now_ns;            /* CLOCK_MONOTONIC of the packet's receipt; in replay the capture's clock. */
    const uint8_t *stream;      /* Layer stream: the data in order, else NULL. */
    uint64_t stream_offset;     /* Of its first byte in the direction's data. */
    uint32_t stream_length;     /* In bytes. */
    uint8_t stream_direction;
    uint8_t stream_flags;
    uint16_t reserved2;
    void *host;                 /* wfpd's own. */
    /* A field of the layer, computed when asked for: 1, and its value in the two halves (WFPD_FIELD_*: integers and
     * IPv4 addresses in `lo`, host order; of a text the address of its bytes in `hi`, its length in `lo`).
     * 0: the field is EMPTY, or not the layer's; the halves are left alone.  Either may be NULL. */
    int (*value)(const struct WfpdCall *call, uint32_t field, uint64_t *hi, uint64_t *lo);
} WfpdCall;

/* Filled with WFPD_CONTINUE and zeros before the call.  An answer that cannot be given counts as WFPD_FAILED. */
typedef struct WfpdAnswer {
    uint32_t size;              /* Of this struct, in bytes. */
    uint8_t kind;
    uint8_t clear_right;        /* 1: a hard permit or block. */
    uint8_t absorb;             /* With WFPD_BLOCK, where the layer allows it: a silent drop, without a reply. */
    uint8_t reply;              /* With WFPD_BLOCK. */
} WfpdAnswer;

typedef struct WfpdCallout {
    uint32_t abi;               /* WFPD_CALLOUT_ABI */
    uint32_t size;              /* sizeof(WfpdCallout) */
    void *state;
    /* Must return, must not raise, and may be called by several threads at once. */
    void (*classify)(void *state, const WfpdCall *call, WfpdAnswer *answer);
    /* A flow with a context has ended.  NULL: not wanted. */
    void (*flow_delete)(void *state, uint64_t flow_id, uint64_t context);
} WfpdCallout;

#endif
