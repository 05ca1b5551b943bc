/*
 * Datagrams in batches: sendmmsg and recvmmsg on a connected UDP socket, in step with the one who answers.
 * batch ADDRESS PORT BATCHES prints its flow as JSON. Each batch holds 32 datagrams of 1 to 32 times 20 bytes.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MANY = 32, STEP = 20 };

int main(int count, char **args)
{
	static char out[MANY][MANY * STEP], in[MANY][MANY * STEP];
	struct sockaddr_in to = {.sin_family = AF_INET}, own;
	struct mmsghdr sending[MANY] = {0}, receiving[MANY] = {0};
	struct iovec from[MANY], into[MANY];
	struct timeval patience = {.tv_sec = 5};
	socklen_t length = sizeof(own);
	unsigned long long sent = 0, received = 0;
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	if (count < 4)
		return 1;
	inet_pton(AF_INET, args[1], &to.sin_addr);
	to.sin_port = htons(atoi(args[2]));
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	if (connect(fd, (void *)&to, sizeof(to)))
		return 1;
	getsockname(fd, (void *)&own, &length);
	for (int number = 0; number < MANY; number++) {
		from[number] = (struct iovec){out[number], (number + 1) * STEP};
		into[number] = (struct iovec){in[number], sizeof(in[number])};
		sending[number].msg_hdr = (struct msghdr){.msg_iov = &from[number], .msg_iovlen = 1};
		receiving[number].msg_hdr = (struct msghdr){.msg_iov = &into[number], .msg_iovlen = 1};
	}
	for (int batch = atoi(args[3]); batch; batch--) {
		int some = sendmmsg(fd, sending, MANY, 0), got = 0;

		for (int number = 0; number < some; number++)
			sent += sending[number].msg_len;
		while (got < some) {
			int more = recvmmsg(fd, receiving, some - got, 0, NULL);

			if (more <= 0)
				return 1;
			for (int number = 0; number < more; number++)
				received += receiving[number].msg_len;
			got += more;
		}
	}
	printf("[{\"pids\": [%d], \"transport\": \"udp\", \"own\": %d, \"ip\": \"%s\", \"port\": %s, \"sent\": %llu, \"received\": %llu}]\n",
	       getpid(), ntohs(own.sin_port), args[1], args[2], sent, received);
	return 0;
}
