// What bad arguments give: the numbers that Linux gives.
#include "check.h"

#include <fcntl.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <unistd.h>

static void output(void *arg, uint64_t at, const void *packet, size_t size)
{
    (void)arg, (void)at, (void)packet, (void)size;
}

static void no_stack(void)
{
    FAILS(rump_sys_socket(AF_INET, SOCK_STREAM, 0), ENXIO);
    FAILS(rumpnet_advance(1), ENXIO);
    FAILS(rumpnet_seed(1), ENXIO);
    FAILS(rumpnet_use((struct rumpnet *)&errno), EINVAL);
    FAILS(rumpnet_free(NULL), EINVAL);
    CHECK(rump_pub_netconfig_ifup("shmif0") == ENXIO);
    CHECK(rump_init() == 0 && rump_init() == 0);
    FAILS(rumpnet_clock_manual(), EBUSY);
    FAILS(rumpnet_advance(1), EINVAL);
    FAILS(rumpnet_step(), EINVAL);
}

static void interfaces(void)
{
    CHECK(rump_pub_netconfig_ifcreate(NULL) == EFAULT);
    CHECK(rump_pub_netconfig_ifcreate("eth0") == EINVAL);
    CHECK(rump_pub_netconfig_ifcreate("shmif") == EINVAL);
    CHECK(rump_pub_netconfig_ifcreate("shmif3") == 0);
    CHECK(rump_pub_netconfig_ifcreate("shmif3") == EEXIST);
    CHECK(rump_pub_netconfig_ifup("shmif3") == ENXIO);
    CHECK(rump_pub_netconfig_ifsetlinkstr("shmif4", "/nowhere/bus") == ENXIO);
    CHECK(rump_pub_netconfig_ifsetlinkstr("shmif3", "/nowhere/bus") == ENOENT);
    CHECK(rump_pub_shmif_create("/nowhere/bus", NULL) == ENOENT);
    CHECK(rump_pub_shmif_create(NULL, NULL) == EFAULT);
    CHECK(rump_pub_virtif_create(NULL, NULL) == EFAULT);
    CHECK(rump_pub_virtif_create("", NULL) != 0);
    FAILS(rumpnet_link_callbacks("ip0", 3, 1500, NULL, output, NULL), EINVAL);
    FAILS(rumpnet_link_callbacks("ip0", RUMPNET_RAW_IP, 60, NULL, output, NULL), EINVAL);
    FAILS(rumpnet_link_callbacks("ip0", RUMPNET_RAW_IP, 1500, NULL, NULL, NULL), EFAULT);
    FAILS(rumpnet_link_callbacks(NULL, RUMPNET_RAW_IP, 1500, NULL, output, NULL), EFAULT);
    CHECK(rumpnet_link_callbacks("ip0", RUMPNET_RAW_IP, 1500, NULL, output, NULL) == 0);
    FAILS(rumpnet_link_callbacks("ip0", RUMPNET_RAW_IP, 1500, NULL, output, NULL), EEXIST);
    FAILS(rumpnet_inject("ip1", "E", 1), ENXIO);
    FAILS(rumpnet_inject("ip0", NULL, 1), EFAULT);
    FAILS(rumpnet_inject("ip0", "E", 0), EINVAL);
    CHECK(rumpnet_inject("ip0", "E", 1) == 0);
    CHECK(rump_pub_netconfig_ipv4_ifaddr("ip0", "10.0.0.1", "255.0.255.0") == EINVAL);
    CHECK(rump_pub_netconfig_ipv4_ifaddr("ip0", "10.0.0", "255.255.255.0") == EINVAL);
    CHECK(rump_pub_netconfig_ipv4_ifaddr("ip9", "10.0.0.1", "255.255.255.0") == ENXIO);
    CHECK(rump_pub_netconfig_ipv4_ifaddr("ip0", "10.0.0.1", "255.255.255.0") == 0);
    CHECK(rump_pub_netconfig_ipv4_ifaddr_cidr("ip0", "10.0.0.1", 24) == EEXIST);
    CHECK(rump_pub_netconfig_ipv4_ifaddr_cidr("ip0", "10.0.0.9", 33) == EINVAL);
    CHECK(rump_pub_netconfig_ipv6_ifaddr("ip0", "10.0.0.9", 24) == EINVAL);
    CHECK(rump_pub_netconfig_ipv6_ifaddr("ip0", "fd00::1", 64) == 0);
    CHECK(rump_pub_netconfig_ipv4_gw("192.0.2.1") == ENETUNREACH);
    CHECK(rump_pub_netconfig_ipv4_gw("fd00::2") == EINVAL);
    CHECK(rump_pub_netconfig_ipv4_gw("10.0.0.2") == 0);
    CHECK(rump_pub_netconfig_ipv6_gw("fd00::2") == 0);
    CHECK(rump_pub_netconfig_ifdown("ip0") == 0 && rump_pub_netconfig_ifup("ip0") == 0);
}

static void sysctls(void)
{
    char text[16];
    size_t size = sizeof text;
    CHECK(rumpnet_sysctl("net.ipv4.tcp_sack", text, &size, "0") == 0);
    CHECK(strcmp(text, "1") == 0 && size == 2);
    size = 1;
    FAILS(rumpnet_sysctl("net.ipv4.tcp_sack", text, &size, NULL), ENOMEM);
    CHECK(size == 2);
    CHECK(rumpnet_sysctl("net.ipv4.tcp_sack", text, &size, NULL) == 0 && strcmp(text, "0") == 0);
    FAILS(rumpnet_sysctl("net.ipv4.no_such", text, &size, NULL), ENOENT);
    FAILS(rumpnet_sysctl("net.ipv4.tcp_sack", NULL, NULL, "maybe"), EINVAL);
    FAILS(rumpnet_sysctl(NULL, NULL, NULL, "1"), EFAULT);
    FAILS(rumpnet_sysctl("net.ipv4.tcp_sack", text, NULL, NULL), EFAULT);
    FAILS(rumpnet_sysctl("net.ipv4.tcp_sack", NULL, NULL, NULL), EINVAL);
}

/// Every call with a descriptor that is none, or not one of ours.
static void descriptors(int fd)
{
    struct sockaddr_in to = at4("10.0.0.1", 9);
    struct msghdr message = { 0 };
    socklen_t size = sizeof to;
    int value = 1;
    FAILS(rump_sys_bind(fd, SA(to)), EBADF);
    FAILS(rump_sys_listen(fd, 1), EBADF);
    FAILS(rump_sys_accept(fd, NULL, NULL), EBADF);
    FAILS(rump_sys_accept4(fd, NULL, NULL, 0), EBADF);
    FAILS(rump_sys_connect(fd, SA(to)), EBADF);
    FAILS(rump_sys_shutdown(fd, SHUT_RD), EBADF);
    FAILS(rump_sys_getsockname(fd, (struct sockaddr *)&to, &size), EBADF);
    FAILS(rump_sys_getpeername(fd, (struct sockaddr *)&to, &size), EBADF);
    FAILS(rump_sys_getsockopt(fd, SOL_SOCKET, SO_TYPE, &value, &size), EBADF);
    FAILS(rump_sys_setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &value, sizeof value), EBADF);
    FAILS(rump_sys_read(fd, &value, 1), EBADF);
    FAILS(rump_sys_readv(fd, NULL, 0), EBADF);
    FAILS(rump_sys_recv(fd, &value, 1, 0), EBADF);
    FAILS(rump_sys_recvfrom(fd, &value, 1, 0, NULL, NULL), EBADF);
    FAILS(rump_sys_recvmsg(fd, &message, 0), EBADF);
    FAILS(rump_sys_recvmmsg(fd, NULL, 0, 0, NULL), EBADF);
    FAILS(rump_sys_write(fd, "x", 1), EBADF);
    FAILS(rump_sys_writev(fd, NULL, 0), EBADF);
    FAILS(rump_sys_send(fd, "x", 1, 0), EBADF);
    FAILS(rump_sys_sendto(fd, "x", 1, 0, SA(to)), EBADF);
    FAILS(rump_sys_sendmsg(fd, &message, 0), EBADF);
    FAILS(rump_sys_sendmmsg(fd, NULL, 0, 0), EBADF);
    FAILS(rump_sys_fcntl(fd, F_GETFL, 0), EBADF);
    FAILS(rump_sys_ioctl(fd, FIONREAD, &value), EBADF);
    FAILS(rump_sys_dup(fd), EBADF);
    FAILS(rump_sys_dup2(fd, 9), EBADF);
    FAILS(rump_sys_close(fd), EBADF);
    struct pollfd entry = { .fd = fd, .events = POLLIN };
    CHECK(rump_sys_poll(&entry, 1, 0) == (fd < 0 ? 0 : 1));
    CHECK(entry.revents == (fd < 0 ? 0 : POLLNVAL));
}

static void sockets(void)
{
    FAILS(rump_sys_socket(AF_UNIX, SOCK_STREAM, 0), EAFNOSUPPORT);
    FAILS(rump_sys_socket(AF_INET, 9, 0), EINVAL);
    FAILS(rump_sys_socket(AF_INET, SOCK_STREAM | 0x100, 0), EINVAL);
    FAILS(rump_sys_socket(AF_INET, SOCK_SEQPACKET, 0), ESOCKTNOSUPPORT);
    FAILS(rump_sys_socket(AF_INET, SOCK_STREAM, IPPROTO_UDP), EPROTONOSUPPORT);
    FAILS(rump_sys_socket(AF_INET, SOCK_DGRAM, IPPROTO_TCP), EPROTONOSUPPORT);
    FAILS(rump_sys_socket(AF_INET, SOCK_STREAM, -1), EINVAL);

    int s = rump_sys_socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    CHECK(s >= 0 && rump_sys_fcntl(s, F_GETFD, 0) == FD_CLOEXEC);
    CHECK(rump_sys_fcntl(s, F_GETFL, 0) == (O_RDWR | O_NONBLOCK));
    FAILS(rump_sys_fcntl(s, 12345, 0), EINVAL);
    FAILS(rump_sys_fcntl(s, F_DUPFD, -1), EINVAL);
    struct sockaddr_in here = at4("10.0.0.1", 80), away = at4("10.9.9.9", 80);
    struct sockaddr_in6 six = at6("fd00::1", 80);
    FAILS(rump_sys_bind(s, NULL, 16), EFAULT);
    FAILS(rump_sys_bind(s, (struct sockaddr *)&here, 4), EINVAL);
    FAILS(rump_sys_bind(s, (struct sockaddr *)&here, 4096), EINVAL);
    FAILS(rump_sys_bind(s, SA(six)), EAFNOSUPPORT);
    FAILS(rump_sys_bind(s, SA(away)), EADDRNOTAVAIL);
    FAILS(rump_sys_connect(s, NULL, 16), EFAULT);
    FAILS(rump_sys_connect(s, SA(six)), EAFNOSUPPORT);
    FAILS(rump_sys_accept(s, NULL, NULL), EINVAL);
    FAILS(rump_sys_recv(s, NULL, 1, 0), EFAULT);
    char byte;
    FAILS(rump_sys_recv(s, &byte, 1, 0), ENOTCONN);
    FAILS(rump_sys_send(s, "x", 1, 0), EPIPE);
    FAILS(rump_sys_shutdown(s, 7), EINVAL);
    FAILS(rump_sys_shutdown(s, SHUT_RD), ENOTCONN);
    socklen_t size = sizeof here;
    FAILS(rump_sys_getpeername(s, (struct sockaddr *)&here, &size), ENOTCONN);
    FAILS(rump_sys_getsockname(s, NULL, &size), EFAULT);
    FAILS(rump_sys_getsockname(s, (struct sockaddr *)&here, NULL), EFAULT);
    size = -1;
    FAILS(rump_sys_getsockname(s, (struct sockaddr *)&here, &size), EINVAL);
    CHECK(rump_sys_bind(s, SA(here)) == 0);
    FAILS(rump_sys_bind(s, SA(here)), EINVAL);
    CHECK(rump_sys_listen(s, 5) == 0);
    FAILS(rump_sys_accept(s, NULL, NULL), EAGAIN);
    FAILS(rump_sys_accept4(s, NULL, NULL, 1), EINVAL);
    FAILS(rump_sys_ioctl(s, FIONREAD, &size), EINVAL);
    FAILS(rump_sys_accept(s, (struct sockaddr *)&here, NULL), EFAULT);
    int other = rump_sys_socket(AF_INET, SOCK_STREAM, 0);
    FAILS(rump_sys_bind(other, SA(here)), EADDRINUSE);
    CHECK(rump_sys_close(other) == 0);

    // A short room gets a part of an address, and hears how long it is.
    struct sockaddr_in name = at4("0.0.0.0", 0);
    size = 4;
    CHECK(rump_sys_getsockname(s, (struct sockaddr *)&name, &size) == 0 && size == sizeof name);
    CHECK(name.sin_port == htons(80) && name.sin_addr.s_addr == 0);
    CHECK(rump_sys_close(s) == 0);
    FAILS(rump_sys_close(s), EBADF);
}

static void datagrams(void)
{
    int s = rump_sys_socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    struct sockaddr_in here = at4("10.0.0.1", 9);
    struct sockaddr_in6 six = at6("fd00::1", 9);
    CHECK(rump_sys_bind(s, SA(here)) == 0);
    FAILS(rump_sys_listen(s, 1), EOPNOTSUPP);
    FAILS(rump_sys_accept(s, NULL, NULL), EOPNOTSUPP);
    FAILS(rump_sys_send(s, "x", 1, 0), EDESTADDRREQ);
    FAILS(rump_sys_sendto(s, "x", 1, 0, SA(six)), EAFNOSUPPORT);
    FAILS(rump_sys_sendto(s, "x", 1, 0, (struct sockaddr *)&here, 3), EINVAL);
    FAILS(rump_sys_sendto(s, NULL, 1, 0, SA(here)), EFAULT);
    static char large[70000];
    FAILS(rump_sys_sendto(s, large, sizeof large, 0, SA(here)), EMSGSIZE);
    char buf[8];
    FAILS(rump_sys_recv(s, buf, sizeof buf, 0), EAGAIN);
    FAILS(rump_sys_recv(s, buf, sizeof buf, MSG_ERRQUEUE), EAGAIN);

    // Scattered, cut, and with what goes beside it.
    struct iovec parts[2] = { { "hel", 3 }, { "lo", 2 } };
    int on = 1, ttl = 9;
    CHECK(rump_sys_setsockopt(s, IPPROTO_IP, IP_RECVTTL, &on, sizeof on) == 0);
    CHECK(rump_sys_setsockopt(s, IPPROTO_IP, IP_PKTINFO, &on, sizeof on) == 0);
    CHECK(rump_sys_setsockopt(s, IPPROTO_IP, IP_RECVTOS, &on, sizeof on) == 0);
    char control[CMSG_SPACE(sizeof ttl)] = { 0 };
    struct msghdr message = { .msg_name = &here, .msg_namelen = sizeof here, .msg_iov = parts,
                              .msg_iovlen = 2, .msg_control = control,
                              .msg_controllen = sizeof control };
    struct cmsghdr *entry = CMSG_FIRSTHDR(&message);
    entry->cmsg_level = IPPROTO_IP;
    entry->cmsg_type = IP_TTL;
    entry->cmsg_len = CMSG_LEN(sizeof ttl);
    memcpy(CMSG_DATA(entry), &ttl, sizeof ttl);
    CHECK(rump_sys_sendmsg(s, &message, 0) == 5);
    entry->cmsg_len = 4000;
    FAILS(rump_sys_sendmsg(s, &message, 0), EINVAL);
    message.msg_iovlen = 5000;
    FAILS(rump_sys_sendmsg(s, &message, 0), EMSGSIZE);
    FAILS(rump_sys_sendmsg(s, NULL, 0), EFAULT);
    FAILS(rump_sys_writev(s, parts, 5000), EINVAL);
    FAILS(rump_sys_writev(s, NULL, 1), EFAULT);
    FAILS(rump_sys_writev(s, parts, -1), EINVAL);

    int waits = -1, off = 0;
    CHECK(rump_sys_ioctl(s, FIONREAD, &waits) == 0 && waits == 5);
    FAILS(rump_sys_ioctl(s, FIONREAD, NULL), EFAULT);
    FAILS(rump_sys_ioctl(s, TCGETS, &waits), ENOTTY);
    CHECK(rump_sys_ioctl(s, FIONBIO, &off) == 0 && rump_sys_fcntl(s, F_GETFL, 0) == O_RDWR);
    CHECK(rump_sys_ioctl(s, FIONBIO, &on) == 0);
    struct sockaddr_in from;
    char beside[256];
    struct iovec room = { buf, 4 };
    struct msghdr got = { .msg_name = &from, .msg_namelen = sizeof from, .msg_iov = &room,
                          .msg_iovlen = 1, .msg_control = beside, .msg_controllen = sizeof beside };
    CHECK(rump_sys_recvmsg(s, &got, MSG_TRUNC) == 5);
    CHECK(memcmp(buf, "hell", 4) == 0 && got.msg_flags == MSG_TRUNC);
    CHECK(got.msg_namelen == sizeof from && from.sin_port == htons(9));
    int found = 0;
    for (entry = CMSG_FIRSTHDR(&got); entry; entry = CMSG_NXTHDR(&got, entry)) {
        CHECK(entry->cmsg_level == IPPROTO_IP);
        if (entry->cmsg_type == IP_TTL)
            found |= 1 * (memcmp(CMSG_DATA(entry), &ttl, sizeof ttl) == 0);
        if (entry->cmsg_type == IP_PKTINFO) {
            struct in_pktinfo info;
            memcpy(&info, CMSG_DATA(entry), sizeof info);
            found |= 2 * (info.ipi_addr.s_addr == here.sin_addr.s_addr);
        }
        if (entry->cmsg_type == IP_TOS)
            found |= 4 * (*CMSG_DATA(entry) == 0 && entry->cmsg_len == CMSG_LEN(1));
    }
    CHECK(found == 7);

    // Many at once.
    struct mmsghdr many[3] = { 0 };
    for (int i = 0; i < 3; i++) {
        many[i].msg_hdr.msg_iov = parts;
        many[i].msg_hdr.msg_iovlen = 2;
        many[i].msg_hdr.msg_name = &here;
        many[i].msg_hdr.msg_namelen = sizeof here;
    }
    CHECK(rump_sys_sendmmsg(s, many, 3, 0) == 3 && many[2].msg_len == 5);
    char rooms[4][8];
    struct iovec places[4];
    struct mmsghdr back[4] = { 0 };
    for (int i = 0; i < 4; i++) {
        places[i] = (struct iovec){ rooms[i], 8 };
        back[i].msg_hdr.msg_iov = &places[i];
        back[i].msg_hdr.msg_iovlen = 1;
    }
    CHECK(rump_sys_recvmmsg(s, back, 4, 0, NULL) == 3 && back[2].msg_len == 5);
    CHECK(memcmp(rooms[2], "hello", 5) == 0);
    FAILS(rump_sys_recvmmsg(s, back, 4, MSG_WAITFORONE, NULL), EAGAIN);
    CHECK(rump_sys_ioctl(s, FIONREAD, &waits) == 0 && waits == 0);
    CHECK(rump_sys_close(s) == 0);

    int both = rump_sys_socket(AF_INET6, SOCK_DGRAM, 0);
    FAILS(rump_sys_bind(both, SA(here)), EAFNOSUPPORT);
    CHECK(rump_sys_sendto(both, "x", 1, 0, SA(here)) == 1);
    CHECK(rump_sys_sendto(both, "x", 1, 0, SA(six)) == 1);
    CHECK(rump_sys_close(both) == 0);
}

static int number(int s, int level, int name)
{
    int value = -7;
    socklen_t size = sizeof value;
    CHECK(rump_sys_getsockopt(s, level, name, &value, &size) == 0 && size == sizeof value);
    return value;
}

static void options(void)
{
    int s = rump_sys_socket(AF_INET, SOCK_STREAM, 0), on = 1;
    socklen_t size = sizeof on;
    FAILS(rump_sys_getsockopt(s, SOL_SOCKET, SO_TYPE, NULL, &size), EFAULT);
    FAILS(rump_sys_getsockopt(s, SOL_SOCKET, SO_TYPE, &on, NULL), EFAULT);
    FAILS(rump_sys_getsockopt(s, SOL_SOCKET, 12345, &on, &size), ENOPROTOOPT);
    FAILS(rump_sys_getsockopt(s, 12345, 1, &on, &size), ENOPROTOOPT);
    FAILS(rump_sys_setsockopt(s, SOL_SOCKET, 12345, &on, sizeof on), ENOPROTOOPT);
    FAILS(rump_sys_setsockopt(s, SOL_SOCKET, SO_REUSEADDR, NULL, sizeof on), EFAULT);
    FAILS(rump_sys_setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &on, 2), EINVAL);
    FAILS(rump_sys_setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &on, -1), EINVAL);
    FAILS(rump_sys_setsockopt(s, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on), ENOPROTOOPT);
    size = 2;
    on = 0;
    CHECK(rump_sys_getsockopt(s, SOL_SOCKET, SO_TYPE, &on, &size) == 0 && size == 2 && on == 1);

    CHECK(number(s, SOL_SOCKET, SO_TYPE) == SOCK_STREAM);
    CHECK(number(s, SOL_SOCKET, SO_DOMAIN) == AF_INET);
    CHECK(number(s, SOL_SOCKET, SO_PROTOCOL) == IPPROTO_TCP);
    CHECK(number(s, SOL_SOCKET, SO_ERROR) == 0);
    CHECK(number(s, SOL_SOCKET, SO_ACCEPTCONN) == 0);
    struct { int level, name, value; } each[] = {
        { SOL_SOCKET, SO_REUSEADDR, 1 }, { SOL_SOCKET, SO_KEEPALIVE, 1 },
        { IPPROTO_TCP, TCP_NODELAY, 1 }, { IPPROTO_TCP, TCP_CORK, 1 },
        { IPPROTO_TCP, TCP_KEEPIDLE, 77 }, { IPPROTO_TCP, TCP_KEEPINTVL, 7 },
        { IPPROTO_TCP, TCP_KEEPCNT, 3 }, { IPPROTO_TCP, TCP_SYNCNT, 4 },
        { IPPROTO_TCP, TCP_USER_TIMEOUT, 1234 }, { IPPROTO_IP, IP_TTL, 9 },
        { IPPROTO_IP, IP_TOS, 16 }, { SOL_SOCKET, SO_RCVLOWAT, 100 },
    };
    for (size_t i = 0; i < sizeof each / sizeof each[0]; i++) {
        int value = each[i].value;
        CHECK(rump_sys_setsockopt(s, each[i].level, each[i].name, &value, sizeof value) == 0);
        CHECK(number(s, each[i].level, each[i].name) == value);
    }
    int much = 300;
    FAILS(rump_sys_setsockopt(s, IPPROTO_IP, IP_TTL, &much, sizeof much), EINVAL);
    struct linger linger = { 1, 5 };
    CHECK(rump_sys_setsockopt(s, SOL_SOCKET, SO_LINGER, &linger, sizeof linger) == 0);
    FAILS(rump_sys_setsockopt(s, SOL_SOCKET, SO_LINGER, &linger, 4), EINVAL);
    memset(&linger, 0, sizeof linger);
    size = sizeof linger;
    CHECK(rump_sys_getsockopt(s, SOL_SOCKET, SO_LINGER, &linger, &size) == 0);
    CHECK(linger.l_onoff == 1 && linger.l_linger == 5);
    struct timeval time = { 3, 500000 }, bad = { 0, 1000000 };
    CHECK(rump_sys_setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time) == 0);
    FAILS(rump_sys_setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &bad, sizeof bad), EDOM);
    memset(&time, 0, sizeof time);
    size = sizeof time;
    CHECK(rump_sys_getsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &time, &size) == 0);
    CHECK(time.tv_sec == 3 && time.tv_usec == 500000);
    CHECK(rump_sys_setsockopt(s, IPPROTO_TCP, TCP_CONGESTION, "reno", 4) == 0);
    char name[16];
    size = sizeof name;
    CHECK(rump_sys_getsockopt(s, IPPROTO_TCP, TCP_CONGESTION, name, &size) == 0);
    CHECK(size == 16 && strcmp(name, "reno") == 0);
    FAILS(rump_sys_setsockopt(s, IPPROTO_TCP, TCP_CONGESTION, "none", 4), ENOENT);
    struct ip_mreq group = { .imr_multiaddr = at4("239.1.1.1", 0).sin_addr,
                             .imr_interface = at4("10.0.0.1", 0).sin_addr };
    int u = rump_sys_socket(AF_INET, SOCK_DGRAM, 0);
    FAILS(rump_sys_setsockopt(u, IPPROTO_IP, IP_ADD_MEMBERSHIP, &group, 4), EINVAL);
    CHECK(rump_sys_setsockopt(u, IPPROTO_IP, IP_ADD_MEMBERSHIP, &group, sizeof group) == 0);
    CHECK(rump_sys_setsockopt(u, IPPROTO_IP, IP_DROP_MEMBERSHIP, &group, sizeof group) == 0);
    FAILS(rump_sys_setsockopt(u, IPPROTO_IP, IP_DROP_MEMBERSHIP, &group, sizeof group), EADDRNOTAVAIL);
    struct ip_mreq_source wanted = { .imr_multiaddr = group.imr_multiaddr,
                                     .imr_interface = group.imr_interface,
                                     .imr_sourceaddr = at4("10.0.0.9", 0).sin_addr };
    FAILS(rump_sys_setsockopt(u, IPPROTO_IP, IP_ADD_SOURCE_MEMBERSHIP, &wanted, 8), EINVAL);
    CHECK(rump_sys_setsockopt(u, IPPROTO_IP, IP_ADD_SOURCE_MEMBERSHIP, &wanted, sizeof wanted) == 0);
    CHECK(rump_sys_setsockopt(u, IPPROTO_IP, IP_DROP_SOURCE_MEMBERSHIP, &wanted, sizeof wanted) == 0);
    struct group_source_req any = { 0 };
    struct sockaddr_in member = at4("239.1.1.1", 0), origin = at4("10.0.0.9", 0);
    memcpy(&any.gsr_group, &member, sizeof member);
    memcpy(&any.gsr_source, &origin, sizeof origin);
    CHECK(rump_sys_setsockopt(u, IPPROTO_IP, IP_MULTICAST_IF, &group.imr_interface, 4) == 0);
    struct in_addr by = { 0 };
    size = sizeof by;
    CHECK(rump_sys_getsockopt(u, IPPROTO_IP, IP_MULTICAST_IF, &by, &size) == 0 && size == 4);
    CHECK(by.s_addr == group.imr_interface.s_addr);
    FAILS(rump_sys_setsockopt(u, IPPROTO_IP, MCAST_JOIN_SOURCE_GROUP, &any, 20), EINVAL);
    // The default route leads to the group.
    CHECK(rump_sys_setsockopt(u, IPPROTO_IP, MCAST_JOIN_SOURCE_GROUP, &any, sizeof any) == 0);
    CHECK(rump_sys_setsockopt(u, IPPROTO_IP, MCAST_LEAVE_SOURCE_GROUP, &any, sizeof any) == 0);
    FAILS(rump_sys_setsockopt(u, IPPROTO_IP, MCAST_LEAVE_SOURCE_GROUP, &any, sizeof any), EINVAL);
    CHECK(rump_sys_close(u) == 0 && rump_sys_close(s) == 0);
}

static void epolls(void)
{
    struct epoll_event event = { .events = EPOLLIN };
    FAILS(rump_sys_epoll_create1(1), EINVAL);
    int set = rump_sys_epoll_create1(0), s = rump_sys_socket(AF_INET, SOCK_DGRAM, 0);
    FAILS(rump_sys_epoll_ctl(set, EPOLL_CTL_ADD, s, NULL), EFAULT);
    FAILS(rump_sys_epoll_ctl(set, EPOLL_CTL_ADD, 9999, &event), EBADF);
    FAILS(rump_sys_epoll_ctl(set, EPOLL_CTL_MOD, s, &event), ENOENT);
    FAILS(rump_sys_epoll_ctl(set, EPOLL_CTL_ADD, set, &event), EINVAL);
    FAILS(rump_sys_epoll_ctl(set, 9, s, &event), EINVAL);
    FAILS(rump_sys_epoll_ctl(s, EPOLL_CTL_ADD, s, &event), EINVAL);
    FAILS(rump_sys_epoll_ctl(9999, EPOLL_CTL_ADD, s, &event), EBADF);
    FAILS(rump_sys_epoll_wait(set, &event, 0, 0), EINVAL);
    FAILS(rump_sys_epoll_wait(set, NULL, 1, 0), EFAULT);
    FAILS(rump_sys_epoll_wait(s, &event, 1, 0), EINVAL);
    FAILS(rump_sys_epoll_wait(-1, &event, 1, 0), EBADF);
    FAILS(rump_sys_read(set, &event, 1), EBADF);
    CHECK(rump_sys_close(set) == 0 && rump_sys_close(s) == 0);
}

int main(void)
{
    no_stack();
    interfaces();
    sysctls();
    int file = open("/dev/null", O_RDONLY);
    descriptors(-1);
    descriptors(9999);
    descriptors(file);
    sockets();
    datagrams();
    options();
    epolls();
    FAILS(rump_sys_poll(NULL, 1, 0), EFAULT);
    fd_set set;
    FD_ZERO(&set);
    FD_SET(file, &set);
    struct timeval bad = { -1, 0 };
    FAILS(rump_sys_select(file + 1, &set, NULL, NULL, NULL), EBADF);
    FAILS(rump_sys_select(-1, NULL, NULL, NULL, NULL), EINVAL);
    FAILS(rump_sys_select(5000, NULL, NULL, NULL, NULL), EINVAL);
    FAILS(rump_sys_select(0, NULL, NULL, NULL, &bad), EINVAL);
    CHECK(close(file) == 0);
    return 0;
}
