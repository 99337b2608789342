#!/usr/bin/env python3
"""A stack under a microscope, from Python: a ping, and a connect that nobody answers, with exact times.

    examples/python/microscope.py target/release/librumpnet_c.so
"""

import ctypes
import errno
import os
import socket
import struct
import sys

OUTPUT = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_void_p, ctypes.c_size_t)
RAW_IP = 2


def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def echo_request(src, dst, payload):
    """An IPv4 packet with an ICMP echo request; `payload` has an even length."""
    icmp = struct.pack("!BBHHH", 8, 0, 0, 1, 1) + payload
    icmp = icmp[:2] + struct.pack("!H", checksum(icmp)) + icmp[4:]
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(icmp), 0, 0, 64, 1, 0)
    head += socket.inet_aton(src) + socket.inet_aton(dst)
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + icmp


def main():
    lib = ctypes.CDLL(sys.argv[1], use_errno=True)
    lib.rumpnet_new.restype = ctypes.c_void_p
    for function in (lib.rumpnet_use, lib.rumpnet_free):
        function.argtypes = [ctypes.c_void_p]
    for function in (lib.rumpnet_seed, lib.rumpnet_advance):
        function.argtypes = [ctypes.c_uint64]
    lib.rumpnet_inject.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_size_t]

    def check(result):
        if result != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))

    seen = []

    @OUTPUT
    def output(_arg, ns, packet, size):
        seen.append((ns, ctypes.string_at(packet, size)))

    stack = lib.rumpnet_new()
    check(lib.rumpnet_use(stack))
    check(lib.rumpnet_seed(1))
    check(lib.rumpnet_clock_manual())
    check(lib.rumpnet_link_callbacks(b"ip0", RAW_IP, 1500, None, output, None))
    check(lib.rump_pub_netconfig_ipv4_ifaddr_cidr(b"ip0", b"10.0.0.1", 24))

    request = echo_request("10.0.0.2", "10.0.0.1", b"hello, world")
    check(lib.rumpnet_advance(1_000_000))
    check(lib.rumpnet_inject(b"ip0", request, len(request)))
    [(at, reply)] = seen
    print(f"{at / 1e9:.6f} s: an echo reply with {reply[28:]}")
    seen.clear()

    fd = lib.rump_sys_socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK, 0)
    address = struct.pack("=H", socket.AF_INET) + struct.pack("!H", 80)
    address += socket.inet_aton("10.0.0.2") + bytes(8)
    assert lib.rump_sys_connect(fd, address, len(address)) == -1
    assert ctypes.get_errno() == errno.EINPROGRESS
    check(lib.rumpnet_advance(3_500_000_000))
    for at, packet in seen:
        print(f"{at / 1e9:.6f} s: a SYN to port {struct.unpack('!H', packet[22:24])[0]}")
    check(lib.rump_sys_close(fd))
    check(lib.rumpnet_free(stack))


if __name__ == "__main__":
    main()
