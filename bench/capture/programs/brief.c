/*
 * Processes that live about a millisecond: each connects, says some bytes, takes the answer and is gone.
 * brief ADDRESS PORT COUNT prints their flows as JSON, with how long each process lived (ns, from fork to its end).
 * "brief - ADDRESS PORT NUMBER" is such a process; it tells its port on descriptor 9.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { TOLD = 9, MOST_UP = 700, MOST_DOWN = 300 };

static uint64_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000000000ull + time.tv_nsec;
}

static int live(const char *address, const char *port, int number)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(atoi(port))}, own;
	uint32_t up = number % MOST_UP, down = number % MOST_DOWN, header[3] = {htonl(up), htonl(down), 0};
	char said[12 + MOST_UP], answer[MOST_DOWN];
	socklen_t length = sizeof(own);
	int one = socket(AF_INET, SOCK_STREAM, 0);

	memset(said, 's', sizeof(said));
	memcpy(said, header, 12);
	inet_pton(AF_INET, address, &to.sin_addr);
	if (connect(one, (void *)&to, sizeof(to)) || getsockname(one, (void *)&own, &length))
		return 1;
	if (send(one, said, 12 + up, 0) != 12 + (ssize_t)up || (down && recv(one, answer, down, MSG_WAITALL) != (ssize_t)down))
		return 1;
	return write(TOLD, &own.sin_port, sizeof(own.sin_port)) != sizeof(own.sin_port);
}

int main(int count, char **args)
{
	int told[2], many, status;

	if (count < 4)
		return 1;
	if (args[1][0] == '-')
		return live(args[2], args[3], atoi(args[4]));
	many = atoi(args[3]);
	if (pipe(told) || dup2(told[1], TOLD) != TOLD)
		return 1;
	for (int number = 0; number < many; number++) {
		char mark[16];
		uint16_t port;
		uint64_t began;
		pid_t child;

		snprintf(mark, sizeof(mark), "%d", number);
		began = now();
		child = fork();
		if (!child) {
			execl(args[0], args[0], "-", args[1], args[2], mark, NULL);
			_exit(127);
		}
		if (waitpid(child, &status, 0) != child || status || read(told[0], &port, sizeof(port)) != sizeof(port))
			return 1;
		printf("%s{\"pids\": [%d], \"transport\": \"tcp\", \"own\": %d, \"ip\": \"%s\", \"port\": %s, \"sent\": %d, \"received\": %d, \"lived\": %llu}",
		       number ? ", " : "[", child, ntohs(port), args[1], args[2], 12 + number % MOST_UP, number % MOST_DOWN,
		       (unsigned long long)(now() - began));
	}
	puts("]");
	return 0;
}
