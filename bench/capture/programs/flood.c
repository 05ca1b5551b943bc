/*
 * As much as goes through one TCP stream, or as many UDP packets of 64 bytes; both ends in one process, the receiving one in a namespace of its own.
 * flood tcp|udp NAMESPACE ADDRESS PORT SECONDS prints as JSON what was sent and received, the seconds and the processor time of both ends,
 * and what was sent in each tenth of a second.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { PIECE = 128 * 1024, SMALL = 64, TENTHS = 600 };

static volatile int over;
static uint64_t received;

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec + time.tv_nsec / 1e9;
}

static void must(int failed, const char *what)
{
	if (failed) {
		perror(what);
		exit(1);
	}
}

/* Keep the two ends apart, and where they are: else where they happen to run decides what goes through. */
static void stay_on(int core)
{
	cpu_set_t cores;

	CPU_ZERO(&cores);
	CPU_SET(core, &cores);
	sched_setaffinity(0, sizeof(cores), &cores);
}

static void *take(void *argument)
{
	static char piece[PIECE];
	int fd = *(int *)argument;
	ssize_t size;

	stay_on(1);
	while ((size = recv(fd, piece, sizeof(piece), 0)) > 0 || !over)
		received += size > 0 ? size : 0;
	return NULL;
}

int main(int count, char **args)
{
	static char piece[PIECE];
	struct sockaddr_in to = {.sin_family = AF_INET};
	struct timeval patience = {.tv_usec = 200000};
	int own = open("/proc/self/ns/net", O_RDONLY), there, tcp, server, one, taker;
	uint64_t sent = 0, pieces = 0, before = 0;
	static uint64_t tenths[TENTHS];
	double tenth;
	int told = 0;
	struct rusage used;
	pthread_t thread;
	double began, seconds;

	if (count < 6)
		return 1;
	tcp = !strcmp(args[1], "tcp");
	there = open(args[2], O_RDONLY);
	inet_pton(AF_INET, args[3], &to.sin_addr);
	to.sin_port = htons(atoi(args[4]));
	must(there < 0 || setns(there, CLONE_NEWNET), "setns");
	server = socket(AF_INET, tcp ? SOCK_STREAM : SOCK_DGRAM, 0);
	must(setsockopt(server, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int)), "setsockopt");
	must(bind(server, (void *)&to, sizeof(to)), "bind");
	must(tcp && listen(server, 1), "listen");
	must(setns(own, CLONE_NEWNET), "setns");
	one = socket(AF_INET, tcp ? SOCK_STREAM : SOCK_DGRAM, 0);
	must(connect(one, (void *)&to, sizeof(to)), "connect");
	taker = tcp ? accept(server, NULL, NULL) : server;
	setsockopt(taker, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	stay_on(0);
	pthread_create(&thread, NULL, take, &taker);
	seconds = atof(args[5]);
	tenth = began = now();
	while (now() - began < seconds) {
		for (int turn = 0; turn < (tcp ? 8 : 256); turn++) {
			ssize_t size = send(one, piece, tcp ? PIECE : SMALL, 0);

			must(size < 0, "send");
			sent += size;
			pieces++;
		}
		if (now() - tenth >= 0.1 && told < TENTHS) {
			tenths[told++] = (pieces - before) / (now() - tenth);
			before = pieces;
			tenth = now();
		}
	}
	seconds = now() - began;
	over = 1;
	close(one);
	pthread_join(thread, NULL);
	getrusage(RUSAGE_SELF, &used);
	printf("{\"sent\": %llu, \"received\": %llu, \"pieces\": %llu, \"seconds\": %f, \"cpu\": %f, \"tenths\": [", (unsigned long long)sent,
	       (unsigned long long)received, (unsigned long long)pieces, seconds,
	       used.ru_utime.tv_sec + used.ru_stime.tv_sec + (used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6);
	for (int at = 0; at < told; at++)
		printf("%s%llu", at ? ", " : "", (unsigned long long)tenths[at]);
	puts("]}");
	return 0;
}
