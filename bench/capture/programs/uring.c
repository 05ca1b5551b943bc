/*
 * One call over io_uring, by bare system calls: connect, send and receive are all done by the ring.
 * uring ADDRESS PORT UP DOWN [SQPOLL] prints its flow as JSON; exit code 2: the kernel refuses a ring.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <linux/io_uring.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { ENTRIES = 8, PIECE = 64 * 1024 };

struct ring {
	int fd, polled;
	unsigned *sq_tail, *sq_mask, *sq_array, *sq_flags, *cq_head, *cq_tail, *cq_mask;
	struct io_uring_sqe *sqes;
	struct io_uring_cqe *cqes;
};

static void *map(int fd, size_t size, off_t what)
{
	void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, what);

	if (at == MAP_FAILED) {
		perror("mmap");
		exit(1);
	}
	return at;
}

static struct ring open_ring(int polled)
{
	struct io_uring_params how = {.flags = polled ? IORING_SETUP_SQPOLL : 0, .sq_thread_idle = 1000};
	struct ring ring = {.fd = syscall(SYS_io_uring_setup, ENTRIES, &how), .polled = polled};
	char *sq, *cq;

	if (ring.fd < 0) {
		perror("io_uring_setup");
		exit(2);
	}
	sq = map(ring.fd, how.sq_off.array + how.sq_entries * sizeof(unsigned), IORING_OFF_SQ_RING);
	cq = map(ring.fd, how.cq_off.cqes + how.cq_entries * sizeof(struct io_uring_cqe), IORING_OFF_CQ_RING);
	ring.sqes = map(ring.fd, how.sq_entries * sizeof(struct io_uring_sqe), IORING_OFF_SQES);
	ring.sq_tail = (unsigned *)(sq + how.sq_off.tail);
	ring.sq_mask = (unsigned *)(sq + how.sq_off.ring_mask);
	ring.sq_flags = (unsigned *)(sq + how.sq_off.flags);
	ring.sq_array = (unsigned *)(sq + how.sq_off.array);
	ring.cq_head = (unsigned *)(cq + how.cq_off.head);
	ring.cq_tail = (unsigned *)(cq + how.cq_off.tail);
	ring.cq_mask = (unsigned *)(cq + how.cq_off.ring_mask);
	ring.cqes = (struct io_uring_cqe *)(cq + how.cq_off.cqes);
	return ring;
}

/* Hand one piece of work in, wait for it, and give its result. */
static int done(struct ring *ring, struct io_uring_sqe work)
{
	unsigned tail = *ring->sq_tail, slot = tail & *ring->sq_mask, head = *ring->cq_head;
	unsigned how = IORING_ENTER_GETEVENTS;
	int result;

	ring->sqes[slot] = work;
	ring->sq_array[slot] = slot;
	__atomic_store_n(ring->sq_tail, tail + 1, __ATOMIC_SEQ_CST);
	if (ring->polled && (__atomic_load_n(ring->sq_flags, __ATOMIC_SEQ_CST) & IORING_SQ_NEED_WAKEUP))
		how |= IORING_ENTER_SQ_WAKEUP;
	while (__atomic_load_n(ring->cq_tail, __ATOMIC_ACQUIRE) == head) {
		if (syscall(SYS_io_uring_enter, ring->fd, !ring->polled, 1, how, NULL, 0) < 0) {
			perror("io_uring_enter");
			exit(1);
		}
	}
	result = ring->cqes[head & *ring->cq_mask].res;
	__atomic_store_n(ring->cq_head, head + 1, __ATOMIC_RELEASE);
	if (result < 0) {
		fprintf(stderr, "operation %d: %s\n", work.opcode, strerror(-result));
		exit(1);
	}
	return result;
}

static uint64_t all(struct ring *ring, int opcode, int fd, char *piece, uint64_t size)
{
	uint64_t count = 0;

	while (count < size) {
		uint64_t left = size - count;
		int some = done(ring, (struct io_uring_sqe){.opcode = opcode, .fd = fd, .addr = (uintptr_t)piece, .len = left < PIECE ? left : PIECE});

		if (!some)
			break;
		count += some;
	}
	return count;
}

int main(int count, char **args)
{
	static char piece[PIECE];
	struct sockaddr_in to = {.sin_family = AF_INET}, own;
	uint32_t up, down;
	socklen_t length = sizeof(own);
	uint64_t sent, received;
	struct ring ring;
	int fd;

	if (count < 5)
		return 1;
	inet_pton(AF_INET, args[1], &to.sin_addr);
	to.sin_port = htons(atoi(args[2]));
	up = atoi(args[3]);
	down = atoi(args[4]);
	ring = open_ring(count > 5);
	fd = socket(AF_INET, SOCK_STREAM, 0);
	done(&ring, (struct io_uring_sqe){.opcode = IORING_OP_CONNECT, .fd = fd, .addr = (uintptr_t)&to, .off = sizeof(to)});
	getsockname(fd, (void *)&own, &length);
	memcpy(piece, (uint32_t[3]){htonl(up), htonl(down), 0}, 12);
	sent = all(&ring, IORING_OP_SEND, fd, piece, 12);
	sent += all(&ring, IORING_OP_SEND, fd, piece, up);
	received = all(&ring, IORING_OP_RECV, fd, piece, down);
	done(&ring, (struct io_uring_sqe){.opcode = IORING_OP_CLOSE, .fd = fd});
	printf("[{\"pids\": [%d], \"transport\": \"tcp\", \"own\": %d, \"ip\": \"%s\", \"port\": %s, \"sent\": %llu, \"received\": %llu}]\n",
	       getpid(), ntohs(own.sin_port), args[1], args[2], (unsigned long long)sent, (unsigned long long)received);
	return 0;
}
