/* The limit: receive with recvmmsg, accept everything with one batch verdict, do nothing else.
 *
 * limit_loop() serves a bound queue until `n` packets have been accepted, or a verdict is refused.
 * Compiled and called by bench_drain.py. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <poll.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum { MAX_BATCH = 1024, SLOT = 66112 };

void limit_loop(int fd, uint16_t queue, uint64_t n, unsigned batch) {
    static struct mmsghdr headers[MAX_BATCH];
    static struct iovec vectors[MAX_BATCH];
    uint8_t *bytes = malloc((size_t)MAX_BATCH * SLOT);
    if (!bytes || batch > MAX_BATCH)
        return;
    for (unsigned i = 0; i < batch; i++) {
        vectors[i] = (struct iovec){bytes + (size_t)i * SLOT, SLOT};
        headers[i].msg_hdr = (struct msghdr){.msg_iov = &vectors[i], .msg_iovlen = 1};
    }
    uint64_t done = 0;
    while (done < n) {
        int got = recvmmsg(fd, headers, batch, MSG_DONTWAIT, NULL);
        if (got <= 0) {
            struct pollfd wait = {fd, POLLIN, 0};
            poll(&wait, 1, -1);
            continue;
        }
        /* nlmsghdr 16, nfgenmsg 4, then NFQA_PACKET_HDR first: the id is at 24. */
        uint32_t id;
        memcpy(&id, (uint8_t *)vectors[got - 1].iov_base + 24, 4);
        uint32_t verdict[8] = {32, 0x0303 | 1 << 16, 0, 0, (uint32_t)htons(queue) << 16, 12 | 2 << 16, htonl(1), id};
        if (send(fd, verdict, sizeof verdict, 0) < 0)
            break;
        done += got;
    }
    free(bytes);
}
