// rumpnet for C. Made of c/src/api by cbindgen; see docs/c.md.
//
// rump_sys_* are as the calls of the same names on Linux: -1 and errno for an error, and so are
// rumpnet_*; rump_init and rump_pub_* return 0 or the error's number. All may be called by any thread.


#ifndef RUMPNET_H
#define RUMPNET_H

#include <poll.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>

struct mmsghdr;


// Ethernet frames travel on a link of callbacks, without the frame check sequence.
#define RUMPNET_ETHERNET 1

// Bare IP packets do. The stack says nothing on it of its own: no ARP, no neighbour discovery, no
// reports of groups.
#define RUMPNET_RAW_IP 2

// A stack. Opaque.
struct rumpnet;

// Takes a frame that leaves: `arg` is the link's, `ns` when it was sent by the stack's clock. It is
// called in the middle of what made the stack send, also by threads of the stack: the only function of
// this library that it may call is rumpnet_inject; all others fail with EDEADLK.
typedef void (*rumpnet_output)(void *arg, uint64_t ns, const void *frame, size_t size);

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// epoll_create1(2), for descriptors made here alone. The host's own epoll takes those, too, and tells EPOLLIN and
// EPOLLOUT; this one tells EPOLLHUP, EPOLLRDHUP, EPOLLERR and EPOLLPRI, too, and waits by the clock of the calling
// thread's stack. The host's poll and epoll may watch the set.
//
// Errors: those of Linux; ENXIO if the thread has no stack.
int rump_sys_epoll_create1(int flags);

// epoll_ctl(2), with EPOLLET and EPOLLONESHOT; EPOLLEXCLUSIVE and EPOLLWAKEUP mean nothing here.
int rump_sys_epoll_ctl(int set, int op, int fd, struct epoll_event *event);

// epoll_wait(2).
int rump_sys_epoll_wait(int set, struct epoll_event *events, int most, int timeout_ms);

// Attaches the stack to the bus in a file, which is made if it is not there. The interface is
// "shmifN", up, and N is written to `number` unless that is NULL. 0, or the error's number.
int rump_pub_shmif_create(const char *path, int *number);

// Takes a tap device of the host, "tapN" by the name there, as the interface "virtN", up; N is written
// to `number` unless that is NULL. 0, or the error's number.
int rump_pub_virtif_create(const char *device,
                           int *number);

// Plans an interface "shmifN" or "virtN"; rump_pub_netconfig_ifsetlinkstr gives it its link.
// 0, or the error's number: EEXIST, EINVAL for a name that is neither.
int rump_pub_netconfig_ifcreate(const char *name);

// Gives a planned interface its link: a "shmifN" the bus in a file, a "virtN" a tap device. It is up
// then. 0, or the error's number: ENXIO if it was not planned, EBUSY if it has one.
int rump_pub_netconfig_ifsetlinkstr(const char *name,
                                    const char *link);

// Takes an interface up. 0, or the error's number: ENXIO if there is none of the name.
int rump_pub_netconfig_ifup(const char *name);

// Takes it down: nothing leaves by it, and what comes is dropped. 0, or the error's number.
int rump_pub_netconfig_ifdown(const char *name);

// Gives an interface an IPv4 address, with its network by a mask: "10.0.0.1", "255.255.255.0". 0, or
// the error's number: EINVAL for text that is none, EEXIST if it has the address.
int rump_pub_netconfig_ipv4_ifaddr(const char *name,
                                   const char *addr,
                                   const char *mask);

// The same, with the bits of its network's prefix.
int rump_pub_netconfig_ipv4_ifaddr_cidr(const char *name, const char *addr, int prefix_bits);

// Gives an interface an IPv6 address. On Ethernet it is checked for duplicates first, which takes a
// second. 0, or the error's number.
int rump_pub_netconfig_ipv6_ifaddr(const char *name, const char *addr, int prefix_bits);

// Adds the default route of IPv4 through a gateway, which is on a network of ours. 0, or the
// error's number: ENETUNREACH if it is not.
int rump_pub_netconfig_ipv4_gw(const char *gateway);

// The same of IPv6; behind a link-local gateway its interface's name stands, as in "fe80::1%shmif0".
int rump_pub_netconfig_ipv6_gw(const char *gateway);

// Lets the time of the calling thread's stack stand still until rumpnet_advance and rumpnet_step move
// it. It begins at 0.
//
// Errors: EBUSY once the stack has started, ENXIO if the thread has none.
int rumpnet_clock_manual(void);

// Adds an interface whose frames go to `output`, and come by rumpnet_inject. `medium` is
// RUMPNET_ETHERNET or RUMPNET_RAW_IP; `mtu` the largest IP packet in bytes; `mac` our address on
// Ethernet, six bytes, or NULL for 02:00:00:00:00:01. It is up.
//
// Errors: EINVAL for a medium or an MTU that is none, EEXIST for a name that is taken, EFAULT for a
// NULL name or output.
//
// `output` may be called with `arg`, on any thread, until the stack is given up.
int rumpnet_link_callbacks(const char *name,
                           int medium,
                           uint32_t mtu,
                           const uint8_t *mac,
                           rumpnet_output output,
                           void *arg);

// Puts a frame, or on a raw-IP link a packet, before the stack, as if it came by the interface of
// that name. By a clock that the program moves it has been processed when the call returns, and
// what it brought about has been sent; in a callback, when the call returns that the callback is in.
//
// Errors: ENXIO if there is no such link of callbacks, EINVAL for an empty frame, EMSGSIZE for one that is
// longer than any, ENOBUFS if the stack has not taken those before.
int rumpnet_inject(const char *name,
                   const void *frame,
                   size_t size);

// Lets `ns` nanoseconds pass for the calling thread's stack: every timer fires at its own time, and
// so does the end of every call's patience. Time does not go on before calls that woke on other
// threads have returned or block again.
//
// Errors: EINVAL if the stack's clock is the host's.
int rumpnet_advance(uint64_t ns);

// What the time of the calling thread's stack is, in nanoseconds.
//
// Errors: EINVAL if its clock is the host's.
int rumpnet_now(uint64_t *ns);

// When the next timer fires, in nanoseconds by the stack's clock.
//
// Errors: ENOENT if there is none; as rumpnet_now.
int rumpnet_next_timer(uint64_t *ns);

// Lets the time come that the next timer is for.
//
// Errors: ENOENT if there is none; EINVAL if the stack's clock is the host's.
int rumpnet_step(void);

// setsockopt(2), with the levels, names and values of Linux.
int rump_sys_setsockopt(int fd, int level, int name, const void *value, socklen_t len);

// getsockopt(2).
int rump_sys_getsockopt(int fd, int level, int name, void *value, socklen_t *len);

// ioctl(2): FIONREAD (of a stream the bytes that wait to be read, else the size of the next message), TIOCOUTQ
// (the bytes that are not acknowledged yet), SIOCATMARK, FIONBIO; each takes an int.
//
// Errors: those of Linux; ENOTTY for any other request.
int rump_sys_ioctl(int fd,
                   unsigned long request,
                   void *arg);

// poll(2), of descriptors made here alone: others get POLLNVAL. The host's own poll takes both, and
// tells POLLIN and POLLOUT; this one tells POLLHUP, POLLRDHUP, POLLERR and POLLPRI, too, and waits by the
// clock of the stack of the first descriptor, without any by that of the calling thread's.
int rump_sys_poll(struct pollfd *fds,
                  nfds_t number_of,
                  int timeout_ms);

// select(2), of descriptors made here alone; as rump_sys_poll. What is left of the time-out is not written.
//
// Errors: EBADF for a descriptor that was not made here, EINVAL for a negative or too large number, and for a
// time-out that is none.
int rump_sys_select(int number_of,
                    fd_set *readable,
                    fd_set *writable,
                    fd_set *urgent,
                    struct timeval *timeout);

// socket(2) in the calling thread's stack: AF_INET and AF_INET6; SOCK_STREAM, SOCK_DGRAM and
// SOCK_RAW, with SOCK_NONBLOCK and SOCK_CLOEXEC. The descriptor is one of the host, which its poll
// and epoll may watch; everything else is for the functions here.
//
// Errors: those of Linux; ENXIO if the thread has no stack.
int rump_sys_socket(int domain, int type_, int protocol);

// close(2), of a socket or an epoll set. What the socket still has to deliver is delivered.
int rump_sys_close(int fd);

// bind(2).
int rump_sys_bind(int fd, const struct sockaddr *addr, socklen_t len);

// listen(2).
int rump_sys_listen(int fd, int backlog);

// accept(2).
int rump_sys_accept(int fd, struct sockaddr *addr, socklen_t *len);

// accept4(2), with SOCK_NONBLOCK and SOCK_CLOEXEC.
int rump_sys_accept4(int fd, struct sockaddr *addr, socklen_t *len, int flags);

// connect(2).
int rump_sys_connect(int fd, const struct sockaddr *addr, socklen_t len);

// shutdown(2).
int rump_sys_shutdown(int fd, int how);

// getsockname(2).
int rump_sys_getsockname(int fd, struct sockaddr *addr, socklen_t *len);

// getpeername(2).
int rump_sys_getpeername(int fd, struct sockaddr *addr, socklen_t *len);

// fcntl(2): F_GETFL and F_SETFL with O_NONBLOCK, F_GETFD and F_SETFD, F_DUPFD and F_DUPFD_CLOEXEC.
int rump_sys_fcntl(int fd, int command, long arg);

// dup(2): another descriptor of the same socket, which shares all but FD_CLOEXEC with it.
int rump_sys_dup(int fd);

// dup2(2), onto a number that is free, or is a descriptor of ours.
//
// Errors: those of Linux; EBUSY if the number is another file's, which is left alone.
int rump_sys_dup2(int fd, int to);

// Makes the stack that all threads use which have chosen none with rumpnet_use; more than one call
// does no more. 0, or the error's number.
int rump_init(void);

// Makes another stack. It starts with the first call that needs it, so that rumpnet_seed and
// rumpnet_clock_manual can come before. To be given up with rumpnet_free.
struct rumpnet *rumpnet_new(void);

// Lets the calling thread use a stack: for sockets and interfaces that it makes from now on. NULL:
// the one of rump_init. Descriptors stay with the stack that they were made in.
//
// Errors: EINVAL if there is no such stack.
int rumpnet_use(struct rumpnet *stack);

// Gives a stack up, and closes its descriptors. What its connections have not delivered gets some
// seconds more, unless its clock is moved by hand. Its callbacks are not called any more afterwards, once
// the calls have returned in which other threads block on its sockets.
//
// Errors: EINVAL if there is no such stack, EDEADLK out of a callback.
int rumpnet_free(struct rumpnet *stack);

// Gives the calling thread's stack the seed of everything random: sequence numbers, ports, keys.
// Without it the host's entropy is taken.
//
// Errors: EBUSY once the stack has started, ENXIO if the thread has none.
int rumpnet_seed(uint64_t seed);

// Reads and sets what Linux calls `name`, as "net.ipv4.tcp_sack"; values are text. What it was is
// written to `old`, with a zero behind it, if that is not NULL: `*old_size` is the room there, and
// becomes the size. It becomes `value`, if that is not NULL.
//
// Errors: ENOENT for an unknown name, EACCES for what cannot be set, EINVAL for a value that it
// cannot have, ENOMEM if the room is too small (`*old_size` says how much it takes), EFAULT.
int rumpnet_sysctl(const char *name, char *old, size_t *old_size, const char *value);

// write(2). A broken pipe raises no signal, here and in what follows: it is the error EPIPE.
ssize_t rump_sys_write(int fd, const void *data, size_t size);

// send(2).
ssize_t rump_sys_send(int fd, const void *data, size_t size, int flags);

// sendto(2).
ssize_t rump_sys_sendto(int fd,
                        const void *data,
                        size_t size,
                        int flags,
                        const struct sockaddr *to,
                        socklen_t to_len);

// writev(2).
ssize_t rump_sys_writev(int fd, const struct iovec *vector, int number_of);

// sendmsg(2), with the control messages IP_TTL, IP_TOS, IP_PKTINFO, IPV6_HOPLIMIT, IPV6_TCLASS and
// IPV6_PKTINFO.
ssize_t rump_sys_sendmsg(int fd, const struct msghdr *message, int flags);

// read(2).
ssize_t rump_sys_read(int fd, void *data, size_t size);

// recv(2).
ssize_t rump_sys_recv(int fd, void *data, size_t size, int flags);

// recvfrom(2).
ssize_t rump_sys_recvfrom(int fd,
                          void *data,
                          size_t size,
                          int flags,
                          struct sockaddr *from,
                          socklen_t *from_len);

// readv(2).
ssize_t rump_sys_readv(int fd, const struct iovec *vector, int number_of);

// recvmsg(2), with the control messages IP_TTL, IP_TOS, IP_PKTINFO, IPV6_HOPLIMIT, IPV6_TCLASS and
// IPV6_PKTINFO, as the options IP_RECVTTL, IP_RECVTOS, IP_PKTINFO, IPV6_RECVHOPLIMIT, IPV6_RECVTCLASS and
// IPV6_RECVPKTINFO ask for them.
ssize_t rump_sys_recvmsg(int fd,
                         struct msghdr *message,
                         int flags);

// sendmmsg(2).
int rump_sys_sendmmsg(int fd, struct mmsghdr *messages, unsigned int number_of, int flags);

// recvmmsg(2), with MSG_WAITFORONE. A time-out is not taken: `timeout` is NULL.
//
// Errors: those of Linux; EOPNOTSUPP for a time-out.
int rump_sys_recvmmsg(int fd,
                      struct mmsghdr *messages,
                      unsigned int number_of,
                      int flags,
                      struct timespec *timeout);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* RUMPNET_H */
