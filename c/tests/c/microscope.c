// A stack under a microscope: what it sends, to the byte and to the nanosecond. Prints all of it, for
// whoever compares two runs.
#include "check.h"

#include <fcntl.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdbool.h>

#define MS UINT64_C(1000000)
#define FIN 1
#define SYN 2
#define RST 4
#define PSH 8
#define ACK 16

/// What the stack has sent and nobody has looked at.
struct seen {
    uint64_t at;
    size_t size;
    uint8_t bytes[1600];
};
static struct rumpnet *stack;
static struct seen seen[64];
static int first, after;

static void output(void *arg, uint64_t at, const void *packet, size_t size)
{
    CHECK(arg == seen && after < 64 && size <= sizeof seen[0].bytes);
    // In a callback all but rumpnet_inject is refused.
    FAILS(rump_sys_socket(AF_INET, SOCK_STREAM, 0), EDEADLK);
    FAILS(rumpnet_advance(1), EDEADLK);
    seen[after].at = at;
    seen[after].size = size;
    memcpy(seen[after++].bytes, packet, size);
    printf("%10llu ns:", (unsigned long long)at);
    for (size_t i = 0; i < size; i++)
        printf(" %02x", ((const uint8_t *)packet)[i]);
    putchar('\n');
}

static uint16_t get16(const uint8_t *at) { return at[0] << 8 | at[1]; }
static uint32_t get32(const uint8_t *at) { return (uint32_t)get16(at) << 16 | get16(at + 2); }
static void put16(uint8_t *at, uint16_t value) { at[0] = value >> 8; at[1] = value & 0xff; }
static void put32(uint8_t *at, uint32_t value) { put16(at, value >> 16); put16(at + 2, value & 0xffff); }

static uint32_t sum(const uint8_t *bytes, size_t size, uint32_t from)
{
    for (size_t i = 0; i < size; i++)
        from += i % 2 ? bytes[i] : bytes[i] << 8;
    return from;
}

static uint16_t folded(uint32_t sum)
{
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return ~sum & 0xffff;
}

/// A segment in a packet; `options` a multiple of four bytes. How long it is.
static size_t build(uint8_t *out, const char *from, const char *to, uint16_t id, int src, int dst,
                    uint32_t seq, uint32_t ack, int flags, uint16_t window, const char *options,
                    size_t options_size, const char *data, size_t size)
{
    size_t header = 20 + options_size, whole = 20 + header + size;
    memset(out, 0, whole);
    out[0] = 0x45;
    put16(out + 2, whole);
    put16(out + 4, id);
    out[6] = 0x40; // do not fragment
    out[8] = 64;
    out[9] = IPPROTO_TCP;
    CHECK(inet_pton(AF_INET, from, out + 12) == 1 && inet_pton(AF_INET, to, out + 16) == 1);
    put16(out + 10, folded(sum(out, 20, 0)));
    uint8_t *tcp = out + 20;
    put16(tcp, src);
    put16(tcp + 2, dst);
    put32(tcp + 4, seq);
    put32(tcp + 8, ack);
    tcp[12] = header / 4 << 4;
    tcp[13] = flags;
    put16(tcp + 14, window);
    memcpy(tcp + 20, options, options_size);
    memcpy(tcp + header, data, size);
    uint32_t pseudo = sum(out + 12, 8, IPPROTO_TCP + header + size);
    put16(tcp + 16, folded(sum(tcp, header + size, pseudo)));
    return whole;
}

/// The next packet left at `at` and is this segment of ours, to the byte. The identifier and the window
/// are taken as they are: they are free.
static void expect(uint64_t at, uint32_t seq, uint32_t ack, int flags, const char *options,
                   size_t options_size, const char *data, size_t size)
{
    CHECK(first < after);
    struct seen *got = &seen[first++];
    uint8_t want[1600];
    size_t whole = build(want, "10.0.0.1", "10.0.0.2", get16(got->bytes + 4), 1000, 80, seq, ack, flags,
                         get16(got->bytes + 34), options, options_size, data, size);
    if (got->at != at)
        fprintf(stderr, "it left at %llu, not at %llu\n", (unsigned long long)got->at, (unsigned long long)at);
    CHECK(got->at == at && got->size == whole && memcmp(got->bytes, want, whole) == 0);
}

static void say(uint32_t seq, uint32_t ack, int flags, uint16_t window, const char *options,
                size_t options_size, const char *data)
{
    uint8_t packet[1600];
    size_t size = build(packet, "10.0.0.2", "10.0.0.1", 7, 80, 1000, seq, ack, flags, window, options,
                        options_size, data, strlen(data));
    CHECK(rumpnet_inject("ip0", packet, size) == 0);
}

static uint64_t now(void)
{
    uint64_t ns;
    CHECK(rumpnet_now(&ns) == 0);
    return ns;
}

/// The time-out of a connection, in nanoseconds.
static uint64_t rto(int s)
{
    struct tcp_info info;
    socklen_t size = sizeof info;
    CHECK(rump_sys_getsockopt(s, IPPROTO_TCP, TCP_INFO, &info, &size) == 0 && size == sizeof info);
    CHECK(info.tcpi_state == TCP_ESTABLISHED);
    return info.tcpi_rto * UINT64_C(1000);
}

static void *receive(void *arg)
{
    static char buf[16];
    int s = *(int *)arg;
    ssize_t size = rump_sys_recv(s, buf, sizeof buf - 1, 0);
    CHECK(size >= 0);
    buf[size] = 0;
    return buf;
}

static void *time_out(void *arg)
{
    static uint64_t woke_at;
    char byte;
    // The stack that a thread uses is its own affair; a descriptor's is known.
    FAILS(rump_sys_recv(*(int *)arg, &byte, 1, 0), EAGAIN);
    CHECK(rumpnet_use(stack) == 0);
    woke_at = now();
    return &woke_at;
}

/// Waits until the stack has a timer at `at`: until a thread blocks in a call whose time is over then.
static void wait_for_timer(uint64_t at)
{
    uint64_t next = 0;
    while (rumpnet_next_timer(&next) != 0 || next != at)
        sched_yield();
}

static const uint32_t PEER_ISS = 0x1000;

/// Connects: SYN, its answer after 100 ms, and the acknowledgement. Our first sequence number.
static uint32_t connects(int s)
{
    struct sockaddr_in us = at4("10.0.0.1", 1000), peer = at4("10.0.0.2", 80);
    CHECK(rump_sys_bind(s, SA(us)) == 0);
    FAILS(rump_sys_connect(s, SA(peer)), EINPROGRESS);
    CHECK(after == 1);
    uint32_t iss = get32(seen[0].bytes + 24);
    expect(0, iss, 0, SYN, "\x02\x04\x05\xb4", 4, "", 0);
    CHECK(rumpnet_advance(100 * MS) == 0 && now() == 100 * MS && first == after);
    say(PEER_ISS, iss + 1, SYN | ACK, 1000, "\x02\x04\x05\xb4", 4, "");
    expect(100 * MS, iss + 1, PEER_ISS + 1, ACK, "", 0, "", 0);
    CHECK(rump_sys_connect(s, SA(peer)) == 0);
    return iss + 1;
}

/// Data that nobody acknowledges go again at exactly the RTO, twice as late the next time.
static uint32_t goes_again(int s, uint32_t una)
{
    uint64_t sent_at = now(), wait = rto(s), next;
    CHECK(rump_sys_write(s, "hello", 5) == 5);
    expect(sent_at, una, PEER_ISS + 1, PSH | ACK, "", 0, "hello", 5);
    CHECK(rumpnet_next_timer(&next) == 0 && next == sent_at + wait);
    CHECK(rumpnet_advance(wait - 1) == 0 && first == after);
    CHECK(rumpnet_advance(1) == 0);
    expect(sent_at + wait, una, PEER_ISS + 1, PSH | ACK, "", 0, "hello", 5);
    CHECK(rumpnet_step() == 0);
    expect(sent_at + 3 * wait, una, PEER_ISS + 1, PSH | ACK, "", 0, "hello", 5);
    CHECK(first == after);
    return una + 5;
}

/// A peer that shuts its window is asked, at exactly the RTO, whether it has opened it.
static void asks_a_shut_window(int s, uint32_t una)
{
    say(PEER_ISS + 1, una, ACK, 0, "", 0, "");
    uint64_t wait = rto(s), shut_at = now();
    CHECK(rump_sys_write(s, "more", 4) == 4 && first == after);
    CHECK(rumpnet_advance(wait - 1) == 0 && first == after);
    CHECK(rumpnet_advance(1) == 0);
    expect(shut_at + wait, una, PEER_ISS + 1, ACK, "", 0, "m", 1);
    // It has, and gets what waits at once.
    say(PEER_ISS + 1, una, ACK, 1000, "", 0, "");
    expect(shut_at + wait, una, PEER_ISS + 1, PSH | ACK, "", 0, "more", 4);
    say(PEER_ISS + 1, una + 4, ACK, 1000, "", 0, "");
    CHECK(first == after);
}

/// Calls that block on other threads wake in the stack's time.
static void wakes_threads(int s, uint32_t una)
{
    pthread_t thread;
    void *result;
    // What timers are left find nothing to do.
    while (rumpnet_step() == 0)
        CHECK(first == after);
    CHECK(errno == ENOENT && rump_sys_fcntl(s, F_SETFL, 0) == 0);
    struct timeval patience = { .tv_sec = 2 };
    CHECK(rump_sys_setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) == 0);
    uint64_t began = now();
    CHECK(pthread_create(&thread, NULL, time_out, &s) == 0);
    wait_for_timer(began + 2000 * MS);
    CHECK(rumpnet_advance(2000 * MS) == 0);
    CHECK(pthread_join(thread, &result) == 0 && *(uint64_t *)result == began + 2000 * MS);

    CHECK(pthread_create(&thread, NULL, receive, &s) == 0);
    wait_for_timer(began + 4000 * MS);
    say(PEER_ISS + 1, una, PSH | ACK, 1000, "", 0, "wake up");
    CHECK(pthread_join(thread, &result) == 0 && strcmp(result, "wake up") == 0);
    CHECK(now() == began + 2000 * MS);
}

int main(void)
{
    stack = rumpnet_new();
    CHECK(stack != NULL && rumpnet_use(stack) == 0);
    CHECK(rumpnet_seed(42) == 0 && rumpnet_clock_manual() == 0);
    CHECK(rumpnet_link_callbacks("ip0", RUMPNET_RAW_IP, 1500, NULL, output, seen) == 0);
    CHECK(rump_pub_netconfig_ipv4_ifaddr_cidr("ip0", "10.0.0.1", 24) == 0);
    CHECK(rump_pub_netconfig_ipv6_ifaddr("ip0", "fd00::1", 64) == 0);
    FAILS(rumpnet_clock_manual(), EBUSY);
    // Bare segments: no options but the MSS, no probe before its time.
    const char *off[] = { "tcp_timestamps", "tcp_sack", "tcp_window_scaling", "tcp_ecn" };
    for (int i = 0; i < 4; i++) {
        char name[64];
        snprintf(name, sizeof name, "net.ipv4.%s", off[i]);
        CHECK(rumpnet_sysctl(name, NULL, NULL, "0") == 0);
    }
    int s = rump_sys_socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    CHECK(s >= 0);
    uint32_t una = connects(s);
    una = goes_again(s, una);
    asks_a_shut_window(s, una);
    wakes_threads(s, una + 4);
    CHECK(rump_sys_close(s) == 0);
    CHECK(rumpnet_free(stack) == 0);
    return 0;
}
