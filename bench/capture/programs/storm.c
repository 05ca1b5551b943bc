/*
 * A loop of connections with both ends in one process, each in a network namespace of its own: connect, accept, say some bytes, end with a reset
 * (so that no port stays in TIME_WAIT).
 * storm NAMESPACE ADDRESS PORT PORTS SECONDS COUNT RATE CORE: the other end is in the namespace at that path, at PORTS ports from PORT on in turn;
 * it begins at the end of its standard input, ends after so many seconds or connections (0: no end by that), makes RATE a second (0: as many as it can), on CORE (-1: any).
 * Prints what it did as JSON.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MOST_PORTS = 64, LEAST = 16, STEPS = 7 };

static uint64_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000000000ull + time.tv_nsec;
}

static void must(int failed, const char *what)
{
	if (failed) {
		perror(what);
		exit(1);
	}
}

static void wait_until(uint64_t when)
{
	struct timespec time = {.tv_sec = when / 1000000000, .tv_nsec = when % 1000000000};

	clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, NULL);
}

/* Connect once and give how many bytes were said. */
static ssize_t once(int listener, const struct sockaddr_in *to, uint64_t number)
{
	static const char said[LEAST + STEPS];
	char heard[LEAST + STEPS];
	struct linger reset = {1, 0};
	size_t size = LEAST + number % STEPS;
	int one = socket(AF_INET, SOCK_STREAM, 0), other;

	must(connect(one, (const void *)to, sizeof(*to)), "connect");
	other = accept(listener, NULL, NULL);
	must(other < 0, "accept");
	must(send(one, said, size, 0) != (ssize_t)size, "send");
	must(recv(other, heard, size, MSG_WAITALL) != (ssize_t)size, "recv");
	setsockopt(one, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	close(one);
	close(other);
	return size;
}

int main(int count, char **args)
{
	struct sockaddr_in to[MOST_PORTS];
	int listeners[MOST_PORTS], own = open("/proc/self/ns/net", O_RDONLY), there, ports;
	uint64_t began, number = 0, sent = 0, most, step, end;
	struct rusage used;
	cpu_set_t cores;

	if (count < 9)
		return 1;
	there = open(args[1], O_RDONLY);
	ports = atoi(args[4]);
	must(there < 0 || setns(there, CLONE_NEWNET), "setns");
	for (int port = 0; port < ports && port < MOST_PORTS; port++) {
		to[port] = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(atoi(args[3]) + port)};
		inet_pton(AF_INET, args[2], &to[port].sin_addr);
		listeners[port] = socket(AF_INET, SOCK_STREAM, 0);
		must(bind(listeners[port], (void *)&to[port], sizeof(to[port])), "bind");
		must(listen(listeners[port], 64), "listen");
	}
	must(setns(own, CLONE_NEWNET), "setns");
	if (atoi(args[8]) >= 0) {
		CPU_ZERO(&cores);
		CPU_SET(atoi(args[8]), &cores);
		sched_setaffinity(0, sizeof(cores), &cores);
	}
	printf("{\"pid\": %d}\n", getpid());
	fflush(stdout);
	while (getchar() != EOF)
		;
	most = atoll(args[6]) ? (uint64_t)atoll(args[6]) : UINT64_MAX;
	step = atoi(args[7]) ? 1000000000 / atoi(args[7]) : 0;
	began = now();
	end = atoll(args[5]) ? began + atoll(args[5]) * 1000000000 : UINT64_MAX;
	while (number < most && now() < end) {
		if (step)
			wait_until(began + number * step);
		sent += once(listeners[number % ports], &to[number % ports], number);
		number++;
	}
	getrusage(RUSAGE_SELF, &used);
	printf("{\"pid\": %d, \"count\": %llu, \"sent\": %llu, \"seconds\": %f, \"cpu\": %f}\n", getpid(), (unsigned long long)number,
	       (unsigned long long)sent, (now() - began) / 1e9,
	       used.ru_utime.tv_sec + used.ru_stime.tv_sec + (used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6);
	return 0;
}
