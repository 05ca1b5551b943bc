/*
 * One process whose connections all live equally long.
 * lives ADDRESS PORT COUNT MICROSECONDS RATE opens RATE a second and prints its flows as JSON, with how long each lived (ns).
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MOST_UP = 600, MOST_DOWN = 90 };

struct life {
	int fd, own;
	uint64_t began, ended;
};

static uint64_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000000000ull + time.tv_nsec;
}

static void wait_until(uint64_t when)
{
	struct timespec time = {.tv_sec = when / 1000000000, .tv_nsec = when % 1000000000};

	clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, NULL);
}

static void begin(struct life *life, const struct sockaddr_in *to, int number)
{
	uint32_t up = number % MOST_UP, down = number % MOST_DOWN, header[3] = {htonl(up), htonl(down), 0};
	char said[12 + MOST_UP], answer[MOST_DOWN];
	struct sockaddr_in own;
	socklen_t length = sizeof(own);

	memset(said, 'l', sizeof(said));
	memcpy(said, header, 12);
	life->fd = socket(AF_INET, SOCK_STREAM, 0);
	life->began = now();
	if (connect(life->fd, (const void *)to, sizeof(*to)) || getsockname(life->fd, (void *)&own, &length) ||
	    send(life->fd, said, 12 + up, 0) != 12 + (ssize_t)up ||
	    (down && recv(life->fd, answer, down, MSG_WAITALL) != (ssize_t)down)) {
		perror("lives");
		exit(1);
	}
	life->own = ntohs(own.sin_port);
}

int main(int count, char **args)
{
	struct sockaddr_in to = {.sin_family = AF_INET};
	uint64_t began, length, step;
	struct life *lives;
	int many, next = 0, oldest = 0;

	if (count < 6)
		return 1;
	inet_pton(AF_INET, args[1], &to.sin_addr);
	to.sin_port = htons(atoi(args[2]));
	many = atoi(args[3]);
	length = atoll(args[4]) * 1000;
	step = 1000000000 / atoi(args[5]);
	lives = calloc(many, sizeof(*lives));
	began = now();
	while (oldest < many) {
		uint64_t opens = next < many ? began + next * step : UINT64_MAX;
		uint64_t closes = oldest < next ? lives[oldest].began + length : UINT64_MAX;

		wait_until(opens < closes ? opens : closes);
		if (opens < closes) {
			begin(&lives[next], &to, next);
			next++;
		} else {
			close(lives[oldest].fd);
			lives[oldest++].ended = now();
		}
	}
	for (int number = 0; number < many; number++)
		printf("%s{\"pids\": [%d], \"transport\": \"tcp\", \"own\": %d, \"ip\": \"%s\", \"port\": %s, \"sent\": %d, \"received\": %d, \"lived\": %llu}",
		       number ? ", " : "[", getpid(), lives[number].own, args[1], args[2], 12 + number % MOST_UP, number % MOST_DOWN,
		       (unsigned long long)(lives[number].ended - lives[number].began));
	puts("]");
	return 0;
}
