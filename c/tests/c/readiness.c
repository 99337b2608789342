// Descriptors of the host that are ready when sockets are: its poll and epoll, dup, a stray close,
// threads that block, two stacks in one process.
#include "check.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <unistd.h>

/// The host's view of a descriptor.
static short host(int fd)
{
    struct pollfd entry = { .fd = fd, .events = POLLIN | POLLOUT };
    CHECK(poll(&entry, 1, 0) >= 0);
    return entry.revents & (POLLIN | POLLOUT);
}

/// Ours.
static short own(int fd, short events)
{
    struct pollfd entry = { .fd = fd, .events = events };
    CHECK(rump_sys_poll(&entry, 1, 0) == (entry.revents != 0));
    return entry.revents;
}

/// Waits by the host's poll, as a program does that holds other files, too.
static void wait_for(int fd, short events)
{
    struct pollfd entry = { .fd = fd };
    while ((entry.revents & events) != events) {
        entry.events = events & ~entry.revents;
        CHECK(poll(&entry, 1, -1) == 1);
        entry.revents |= host(fd);
    }
}

static int connection(int listener, int port, int *client)
{
    struct sockaddr_in to = at4("127.0.0.1", port), peer;
    *client = rump_sys_socket(AF_INET, SOCK_STREAM, 0);
    CHECK(rump_sys_connect(*client, SA(to)) == 0);
    wait_for(listener, POLLIN);
    socklen_t size = sizeof peer;
    int server = rump_sys_accept4(listener, (struct sockaddr *)&peer, &size, SOCK_NONBLOCK);
    CHECK(server >= 0 && size == sizeof peer && peer.sin_family == AF_INET);
    return server;
}

static void readiness(int listener)
{
    int client, server = connection(listener, 80, &client);
    char buf[65536] = { 0 };
    CHECK(host(listener) == 0);
    CHECK(host(server) == POLLOUT && own(server, POLLIN | POLLOUT) == POLLOUT);
    CHECK(rump_sys_write(client, "hello", 5) == 5);
    wait_for(server, POLLIN);
    int waits = -1;
    CHECK(rump_sys_ioctl(server, FIONREAD, &waits) == 0 && waits == 5);
    CHECK(rump_sys_ioctl(server, TIOCOUTQ, &waits) == 0 && waits == 0);
    CHECK(rump_sys_ioctl(server, SIOCATMARK, &waits) == 0 && waits == 0);
    CHECK(own(server, POLLIN) == POLLIN && host(server) == (POLLIN | POLLOUT));
    CHECK(rump_sys_recv(server, buf, sizeof buf, MSG_PEEK) == 5 && host(server) & POLLIN);
    CHECK(rump_sys_read(server, buf, 2) == 2 && host(server) & POLLIN);
    CHECK(rump_sys_read(server, buf, sizeof buf) == 3 && host(server) == POLLOUT);
    FAILS(rump_sys_read(server, buf, sizeof buf), EAGAIN);

    // A full buffer is not writable; when it is read, it is.
    size_t sent = 0;
    for (ssize_t n; (n = rump_sys_send(server, buf, sizeof buf, MSG_NOSIGNAL)) > 0;)
        sent += n;
    CHECK(errno == EAGAIN && !(host(server) & POLLOUT) && !(own(server, POLLOUT) & POLLOUT));
    while (sent > 0) {
        ssize_t n = rump_sys_read(client, buf, sizeof buf);
        CHECK(n > 0);
        sent -= n;
    }
    wait_for(server, POLLOUT);

    // The end is readable, and told apart by our poll.
    CHECK(rump_sys_shutdown(client, SHUT_WR) == 0);
    wait_for(server, POLLIN);
    CHECK(rump_sys_read(server, buf, sizeof buf) == 0 && host(server) & POLLIN);
    CHECK(own(server, POLLIN | POLLRDHUP) == (POLLIN | POLLRDHUP));
    CHECK(rump_sys_close(server) == 0 && rump_sys_close(client) == 0);
}

static void duplicates(int listener)
{
    int client, server = connection(listener, 80, &client);
    int other = rump_sys_dup(server);
    CHECK(other >= 0 && other != server && rump_sys_close(server) == 0);
    FAILS(rump_sys_write(server, "x", 1), EBADF);
    CHECK(rump_sys_write(other, "hello", 5) == 5);
    int high = rump_sys_fcntl(other, F_DUPFD_CLOEXEC, 500);
    CHECK(high >= 500 && rump_sys_fcntl(high, F_GETFD, 0) == FD_CLOEXEC);
    CHECK(rump_sys_dup2(other, high) == high && rump_sys_fcntl(high, F_GETFD, 0) == 0);
    CHECK(rump_sys_fcntl(high, F_SETFL, 0) == 0 && rump_sys_fcntl(other, F_GETFL, 0) == O_RDWR);
    FAILS(rump_sys_dup2(other, STDERR_FILENO), EBUSY);
    char buf[8];
    CHECK(rump_sys_recv(client, buf, 5, MSG_WAITALL) == 5 && memcmp(buf, "hello", 5) == 0);
    CHECK(rump_sys_close(other) == 0 && rump_sys_close(high) == 0);
    CHECK(rump_sys_read(client, buf, sizeof buf) == 0);
    CHECK(rump_sys_close(client) == 0);
}

static void stray_close(int listener)
{
    int client, server = connection(listener, 80, &client);
    CHECK(close(server) == 0);
    int file = open("/dev/null", O_RDONLY);
    CHECK(file == server);
    // The number is the file's now: our close gives the socket up, and leaves the file alone.
    CHECK(rump_sys_close(server) == 0 && fcntl(file, F_GETFD) == 0 && close(file) == 0);
    char byte;
    CHECK(rump_sys_read(client, &byte, 1) == 0);
    // Where no file but another socket gets the number, the old one is given up.
    int next, server2 = connection(listener, 80, &next);
    CHECK(close(next) == 0);
    int again = rump_sys_socket(AF_INET, SOCK_DGRAM, 0);
    CHECK(again == next);
    wait_for(server2, POLLIN | POLLOUT);
    CHECK(rump_sys_read(server2, &byte, 1) == 0);
    CHECK(rump_sys_close(again) == 0 && rump_sys_close(server2) == 0 && rump_sys_close(client) == 0);
}

static void epolls(int listener)
{
    int client, server = connection(listener, 80, &client), set = epoll_create1(0);
    struct epoll_event event = { .events = EPOLLIN, .data.fd = server };
    CHECK(epoll_ctl(set, EPOLL_CTL_ADD, server, &event) == 0);
    CHECK(epoll_wait(set, &event, 1, 0) == 0);
    CHECK(rump_sys_write(client, "x", 1) == 1);
    CHECK(epoll_wait(set, &event, 1, -1) == 1 && event.data.fd == server);
    CHECK(close(set) == 0 && rump_sys_close(client) == 0 && rump_sys_close(server) == 0);
}

/// Our own epoll: levels, edges, once, fair, and hang-ups told apart.
static void own_epolls(int listener)
{
    int client, server = connection(listener, 80, &client), set = rump_sys_epoll_create1(EPOLL_CLOEXEC);
    char buf[8];
    struct epoll_event event = { .events = EPOLLIN | EPOLLRDHUP, .data.u64 = 7 }, got[4];
    CHECK(set >= 0 && rump_sys_epoll_ctl(set, EPOLL_CTL_ADD, server, &event) == 0);
    CHECK(rump_sys_epoll_wait(set, got, 4, 0) == 0 && host(set) == 0);
    CHECK(rump_sys_write(client, "x", 1) == 1);
    CHECK(rump_sys_epoll_wait(set, got, 4, -1) == 1 && got[0].events == EPOLLIN && got[0].data.u64 == 7);
    CHECK(rump_sys_epoll_wait(set, got, 4, 0) == 1 && host(set) == POLLIN);
    // By edges once, and again when something comes.
    event.events |= EPOLLET;
    CHECK(rump_sys_epoll_ctl(set, EPOLL_CTL_MOD, server, &event) == 0);
    CHECK(rump_sys_epoll_wait(set, got, 4, 0) == 1 && rump_sys_epoll_wait(set, got, 4, 0) == 0);
    CHECK(rump_sys_write(client, "y", 1) == 1);
    CHECK(rump_sys_epoll_wait(set, got, 4, -1) == 1);
    CHECK(rump_sys_read(server, buf, sizeof buf) == 2);
    // Once, until it is asked for again.
    event.events = EPOLLOUT | EPOLLONESHOT;
    CHECK(rump_sys_epoll_ctl(set, EPOLL_CTL_MOD, server, &event) == 0);
    CHECK(rump_sys_epoll_wait(set, got, 4, 0) == 1 && rump_sys_epoll_wait(set, got, 4, 0) == 0);
    // Two that are ready have their turns.
    event.events = EPOLLOUT;
    CHECK(rump_sys_epoll_ctl(set, EPOLL_CTL_MOD, server, &event) == 0);
    event.data.u64 = 8;
    CHECK(rump_sys_epoll_ctl(set, EPOLL_CTL_ADD, client, &event) == 0);
    CHECK(rump_sys_epoll_wait(set, got, 1, 0) == 1 && rump_sys_epoll_wait(set, got + 1, 1, 0) == 1);
    CHECK(got[0].data.u64 + got[1].data.u64 == 15);
    CHECK(rump_sys_epoll_ctl(set, EPOLL_CTL_DEL, client, NULL) == 0);
    FAILS(rump_sys_epoll_ctl(set, EPOLL_CTL_DEL, client, NULL), ENOENT);
    FAILS(rump_sys_epoll_ctl(set, EPOLL_CTL_ADD, server, &event), EEXIST);
    event.events = EPOLLRDHUP;
    CHECK(rump_sys_epoll_ctl(set, EPOLL_CTL_MOD, server, &event) == 0);
    CHECK(rump_sys_close(client) == 0);
    CHECK(rump_sys_epoll_wait(set, got, 4, -1) == 1 && got[0].events == EPOLLRDHUP);
    // One that is closed leaves.
    CHECK(rump_sys_close(server) == 0 && rump_sys_epoll_wait(set, got, 4, 0) == 0);
    CHECK(rump_sys_close(set) == 0);
    FAILS(rump_sys_close(set), EBADF);
}

static void *echo(void *arg)
{
    int s = *(int *)arg;
    char buf[100];
    for (ssize_t n; (n = rump_sys_read(s, buf, sizeof buf)) > 0;)
        CHECK(rump_sys_write(s, buf, n) == n);
    return NULL;
}

/// Calls that block sleep, side by side.
static void threads(int listener)
{
    pthread_t all[4];
    int clients[4], servers[4];
    for (int i = 0; i < 4; i++) {
        servers[i] = connection(listener, 80, &clients[i]);
        CHECK(rump_sys_fcntl(servers[i], F_SETFL, 0) == 0);
        CHECK(pthread_create(&all[i], NULL, echo, &servers[i]) == 0);
    }
    for (int round = 0; round < 20; round++)
        for (int i = 0; i < 4; i++) {
            char buf[16] = "";
            CHECK(rump_sys_write(clients[i], "ping pong", 9) == 9);
            CHECK(rump_sys_recv(clients[i], buf, 9, MSG_WAITALL) == 9 && strcmp(buf, "ping pong") == 0);
        }
    struct pollfd entries[4];
    for (int i = 0; i < 4; i++)
        entries[i] = (struct pollfd){ .fd = clients[i], .events = POLLIN };
    CHECK(rump_sys_poll(entries, 4, 0) == 0);
    CHECK(rump_sys_write(clients[2], "x", 1) == 1);
    CHECK(rump_sys_poll(entries, 4, -1) == 1 && entries[2].revents == POLLIN);
    fd_set in, out;
    struct timeval none = { 0, 0 };
    FD_ZERO(&in);
    FD_SET(clients[1], &in);
    FD_SET(clients[2], &in);
    out = in;
    CHECK(rump_sys_select(clients[3] + 1, &in, &out, NULL, NULL) == 3);
    CHECK(!FD_ISSET(clients[1], &in) && FD_ISSET(clients[2], &in) && FD_ISSET(clients[1], &out));
    FD_CLR(clients[2], &in);
    FD_SET(clients[1], &in);
    CHECK(rump_sys_select(clients[3] + 1, &in, NULL, NULL, &none) == 0 && !FD_ISSET(clients[1], &in));
    for (int i = 0; i < 4; i++) {
        CHECK(rump_sys_shutdown(clients[i], SHUT_WR) == 0 && pthread_join(all[i], NULL) == 0);
        CHECK(rump_sys_close(clients[i]) == 0 && rump_sys_close(servers[i]) == 0);
    }
}

enum { STREAM = 4 << 20 };

static void *write_all(void *arg)
{
    static char buf[50000];
    int s = *(int *)arg;
    for (size_t sent = 0; sent < STREAM;) {
        size_t left = STREAM - sent < sizeof buf ? STREAM - sent : sizeof buf;
        ssize_t n = rump_sys_write(s, buf, left);
        if (n < 0) {
            CHECK(errno == EAGAIN);
            wait_for(s, POLLOUT);
        } else
            sent += n;
    }
    return NULL;
}

/// Who waits by the host's poll alone misses nothing: a stream arrives whole.
static void streams(int listener)
{
    pthread_t writer;
    static char buf[30000];
    int client, server = connection(listener, 80, &client);
    CHECK(rump_sys_fcntl(client, F_SETFL, O_NONBLOCK) == 0);
    CHECK(pthread_create(&writer, NULL, write_all, &client) == 0);
    for (size_t got = 0; got < STREAM;) {
        ssize_t n = rump_sys_read(server, buf, sizeof buf);
        if (n < 0) {
            CHECK(errno == EAGAIN);
            wait_for(server, POLLIN);
        } else
            got += n;
    }
    CHECK(pthread_join(writer, NULL) == 0);
    CHECK(rump_sys_close(client) == 0 && rump_sys_close(server) == 0);
}

/// Two stacks do not notice each other: both have 127.0.0.1:80.
static void two_stacks(int listener)
{
    struct rumpnet *other = rumpnet_new();
    CHECK(other != NULL && rumpnet_use(other) == 0);
    int s = rump_sys_socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in at = at4("127.0.0.1", 80);
    FAILS(rump_sys_connect(s, SA(at)), ECONNREFUSED);
    int own_listener = rump_sys_socket(AF_INET, SOCK_STREAM, 0);
    CHECK(rump_sys_bind(own_listener, SA(at)) == 0 && rump_sys_listen(own_listener, 1) == 0);
    CHECK(host(own_listener) == 0 && host(listener) == 0);
    CHECK(rumpnet_use(NULL) == 0);
    CHECK(rumpnet_free(other) == 0);
    // Its descriptors went with it.
    FAILS(rump_sys_listen(own_listener, 1), EBADF);
    CHECK(fcntl(own_listener, F_GETFD) == -1 && errno == EBADF);
    FAILS(rumpnet_use(other), EINVAL);
    FAILS(rumpnet_free(other), EINVAL);
}

/// Answers a datagram out of the callback that got it, by sending it back.
static void mirror(void *arg, uint64_t at, const void *packet, size_t size)
{
    uint8_t back[1600];
    CHECK(at > 0 && size <= sizeof back);
    memcpy(back, packet, size);
    memcpy(back + 12, (uint8_t *)packet + 16, 4);
    memcpy(back + 16, (uint8_t *)packet + 12, 4);
    CHECK(rumpnet_inject(arg, back, size) == 0);
}

/// The stack's own threads call back, too, and what is injected there is taken.
static void callbacks(void)
{
    char name[] = "ip0";
    CHECK(rumpnet_link_callbacks(name, RUMPNET_RAW_IP, 1500, NULL, mirror, name) == 0);
    CHECK(rump_pub_netconfig_ipv4_ifaddr(name, "10.0.0.1", "255.255.255.0") == 0);
    int s = rump_sys_socket(AF_INET, SOCK_DGRAM, 0);
    struct sockaddr_in here = at4("10.0.0.1", 9), there = at4("10.0.0.2", 9);
    CHECK(rump_sys_bind(s, SA(here)) == 0 && rump_sys_sendto(s, "echo", 4, 0, SA(there)) == 4);
    char buf[8];
    CHECK(rump_sys_recv(s, buf, sizeof buf, 0) == 4 && memcmp(buf, "echo", 4) == 0);
    CHECK(rump_sys_close(s) == 0);
}

int main(void)
{
    CHECK(rump_init() == 0);
    int listener = rump_sys_socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in at = at4("127.0.0.1", 80);
    CHECK(rump_sys_bind(listener, SA(at)) == 0 && rump_sys_listen(listener, 8) == 0);
    readiness(listener);
    duplicates(listener);
    stray_close(listener);
    epolls(listener);
    own_epolls(listener);
    threads(listener);
    streams(listener);
    two_stacks(listener);
    callbacks();
    CHECK(rump_sys_close(listener) == 0);
    return 0;
}
