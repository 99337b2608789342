// What the tests share: checks that say where they failed, and addresses.
#ifndef CHECK_H
#define CHECK_H

// For POLLRDHUP, struct mmsghdr and accept4's relatives.
#define _GNU_SOURCE

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rumpnet.h>

#define CHECK(what)                                                                       \
    do {                                                                                  \
        if (!(what)) {                                                                    \
            fprintf(stderr, "%s:%d: %s (errno %d: %s)\n", __FILE__, __LINE__, #what,      \
                    errno, strerror(errno));                                              \
            exit(1);                                                                      \
        }                                                                                 \
    } while (0)

/// The call fails with this number.
#define FAILS(call, number)                                                               \
    do {                                                                                  \
        errno = 0;                                                                        \
        long got = (long)(call);                                                          \
        if (got != -1 || errno != (number)) {                                             \
            fprintf(stderr, "%s:%d: %s: %ld, errno %d (%s), not %s\n", __FILE__, __LINE__, \
                    #call, got, errno, strerror(errno), #number);                         \
            exit(1);                                                                      \
        }                                                                                 \
    } while (0)

static inline struct sockaddr_in at4(const char *addr, int port)
{
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons(port) };
    CHECK(inet_pton(AF_INET, addr, &at.sin_addr) == 1);
    return at;
}

static inline struct sockaddr_in6 at6(const char *addr, int port)
{
    struct sockaddr_in6 at = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
    CHECK(inet_pton(AF_INET6, addr, &at.sin6_addr) == 1);
    return at;
}

#define SA(at) (struct sockaddr *)&(at), sizeof(at)

#endif
