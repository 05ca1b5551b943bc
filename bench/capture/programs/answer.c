/*
 * Answers calls until its standard input ends, then prints what it counted as JSON.
 *
 * TCP on 8443, MPTCP on 8444 (where the kernel has it): a caller says three numbers (32 bits, network order: how many
 * bytes it will send, how many it wants, flags), sends, and gets, then ends. UDP on 53, 443, 9001 and 9002: back comes
 * what was sent, to whoever sent it.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { AT_ONCE = 1, RESET = 2, MPTCP = 262, PIECE = 256 * 1024 };
enum what { LISTENER, TALK, DATAGRAMS, INPUT };

struct end {
	enum what what;
	int fd;
	uint32_t header[3]; /* up, down, flags */
	uint64_t taken, given;
};

static int events;
static char piece[PIECE];
static unsigned long long connections, received, sent, datagrams, datagram_bytes;

static void watch(enum what what, int fd)
{
	struct end *end = calloc(1, sizeof(*end));
	struct epoll_event wanted = {.events = EPOLLIN, .data.ptr = end};

	if (!end || epoll_ctl(events, EPOLL_CTL_ADD, fd, &wanted))
		exit(1);
	end->what = what;
	end->fd = fd;
}

static void serve(int type, int protocol, int family, int port)
{
	struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
	struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons(port)};
	int fd = socket(family, type | SOCK_NONBLOCK, protocol), one = 1, queue = 256, room = 4 << 20;

	if (fd < 0 && protocol == MPTCP)
		return;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, type == SOCK_DGRAM ? sizeof(room) : 0);
	if (family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, 26 /* IPV6_V6ONLY */, &one, sizeof(one));
	if (bind(fd, family == AF_INET ? (void *)&four : (void *)&six, family == AF_INET ? sizeof(four) : sizeof(six))) {
		perror("bind");
		exit(1);
	}
	if (type == SOCK_STREAM) {
		setsockopt(fd, IPPROTO_TCP, TCP_FASTOPEN, &queue, sizeof(queue));
		listen(fd, 4096);
	}
	watch(type == SOCK_STREAM ? LISTENER : DATAGRAMS, fd);
}

static void hang_up(struct end *end, int reset)
{
	struct linger now = {1, 0};

	if (reset)
		setsockopt(end->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	/* Who lists our files may hold this one for a moment longer than we do: then it would go on to report events. */
	epoll_ctl(events, EPOLL_CTL_DEL, end->fd, NULL);
	close(end->fd);
	free(end);
}

static int wants(const struct end *end)
{
	uint64_t all = sizeof(end->header) + (uint64_t)end->header[0];
	int may = end->taken >= sizeof(end->header) && (end->taken == all || (end->header[2] & AT_ONCE));

	return may && end->given < end->header[1];
}

/* Take and give what can be taken and given now. */
static void go_on(struct end *end)
{
	struct epoll_event wanted = {.data.ptr = end};
	ssize_t size;

	if (end->taken < sizeof(end->header)) {
		size = recv(end->fd, (char *)end->header + end->taken, sizeof(end->header) - end->taken, 0);
		if (size > 0 && (end->taken += size) == sizeof(end->header))
			for (int number = 0; number < 3; number++)
				end->header[number] = ntohl(end->header[number]);
	} else {
		size = recv(end->fd, piece, sizeof(piece), 0);
		end->taken += size > 0 ? size : 0;
	}
	if (!size || (size < 0 && errno != EAGAIN))
		return hang_up(end, 0);
	received += size > 0 ? size : 0;
	if (wants(end)) {
		uint64_t left = end->header[1] - end->given;

		size = send(end->fd, piece, left < PIECE ? left : PIECE, MSG_NOSIGNAL);
		end->given += size > 0 ? size : 0;
		sent += size > 0 ? size : 0;
	}
	if ((end->header[2] & RESET) && end->taken == sizeof(end->header) + (uint64_t)end->header[0] && end->given == end->header[1])
		return hang_up(end, 1);
	wanted.events = EPOLLIN | (wants(end) ? EPOLLOUT : 0);
	epoll_ctl(events, EPOLL_CTL_MOD, end->fd, &wanted);
}

static void echo(int fd)
{
	struct sockaddr_storage who;
	socklen_t length = sizeof(who);
	ssize_t size;

	while ((size = recvfrom(fd, piece, sizeof(piece), 0, (void *)&who, &length)) >= 0) {
		datagrams++;
		datagram_bytes += size;
		if (sendto(fd, piece, size, 0, (void *)&who, length) != size)
			perror("sendto");
		length = sizeof(who);
	}
}

static void turn(struct end *end)
{
	int fd;

	if (end->what == LISTENER)
		while ((fd = accept4(end->fd, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
			connections++;
			watch(TALK, fd);
		}
	else if (end->what == DATAGRAMS)
		echo(end->fd);
	else
		go_on(end);
}

int main(void)
{
	static const int ports[] = {53, 443, 9001, 9002};
	struct epoll_event ready[256];
	int count;

	signal(SIGINT, SIG_IGN);
	events = epoll_create1(0);
	for (int six = 0; six < 2; six++) {
		int family = six ? AF_INET6 : AF_INET;

		serve(SOCK_STREAM, 0, family, 8443);
		serve(SOCK_STREAM, MPTCP, family, 8444);
		for (int number = 0; number < 4; number++)
			serve(SOCK_DGRAM, 0, family, ports[number]);
	}
	watch(INPUT, 0);
	printf("{\"pid\": %d}\n", getpid());
	fflush(stdout);
	while ((count = epoll_wait(events, ready, 256, -1)) >= 0 || errno == EINTR)
		for (int number = 0; number < count; number++) {
			struct end *end = ready[number].data.ptr;

			if (end->what == INPUT) {
				printf("{\"connections\": %llu, \"received\": %llu, \"sent\": %llu, \"datagrams\": %llu, \"datagram_bytes\": %llu}\n",
				       connections, received, sent, datagrams, datagram_bytes);
				return 0;
			}
			turn(end);
		}
	return 1;
}
