// An echo over a bus: `echo BUS serve` in one shell, `echo BUS "some text"` in another.
//
//   cc echo.c $(pkg-config --cflags --libs rumpnet) -o echo
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rumpnet.h>

static void check(int ok, const char *what)
{
    if (!ok) {
        perror(what);
        exit(1);
    }
}

static void serve(int s, struct sockaddr_in *at)
{
    check(rump_sys_bind(s, (struct sockaddr *)at, sizeof *at) == 0, "bind");
    check(rump_sys_listen(s, 1) == 0, "listen");
    puts("ready");
    fflush(stdout);
    int c = rump_sys_accept(s, NULL, NULL);
    check(c >= 0, "accept");
    char buf[4096];
    for (ssize_t n; (n = rump_sys_read(c, buf, sizeof buf)) > 0;)
        check(rump_sys_write(c, buf, n) == n, "write");
    rump_sys_close(c);
}

static void ask(int s, struct sockaddr_in *at, const char *text)
{
    check(rump_sys_connect(s, (struct sockaddr *)at, sizeof *at) == 0, "connect");
    check(rump_sys_write(s, text, strlen(text)) == (ssize_t)strlen(text), "write");
    check(rump_sys_shutdown(s, SHUT_WR) == 0, "shutdown");
    char buf[4096];
    for (ssize_t n; (n = rump_sys_read(s, buf, sizeof buf)) > 0;)
        fwrite(buf, 1, n, stdout);
    putchar('\n');
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: %s BUS serve|TEXT\n", argv[0]);
        return 2;
    }
    int serves = strcmp(argv[2], "serve") == 0;
    check(rump_init() == 0, "rump_init");
    check(rump_pub_shmif_create(argv[1], NULL) == 0, "the bus");
    rump_pub_netconfig_ipv4_ifaddr_cidr("shmif0", serves ? "10.0.0.1" : "10.0.0.2", 24);
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons(7) };
    inet_pton(AF_INET, "10.0.0.1", &at.sin_addr);
    int s = rump_sys_socket(AF_INET, SOCK_STREAM, 0);
    check(s >= 0, "socket");
    serves ? serve(s, &at) : ask(s, &at, argv[2]);
    return rump_sys_close(s);
}
