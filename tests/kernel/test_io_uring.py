"""Connections through io_uring: no system call of its own for each, yet the same process and every byte."""

import json
from pathlib import Path

import pytest

from integration.lab import PUBLIC, SERVER, Lab

from .builds import build
from .watch import Watch, done

pytestmark = [pytest.mark.integration, pytest.mark.root]

_SOURCE = r"""
#include <arpa/inet.h>
#include <errno.h>
#include <linux/io_uring.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>
static int ring, polled;
static struct io_uring_params facts;
static char *submissions, *completions;
static struct io_uring_sqe *entries;
#define AT(base, offset) ((_Atomic unsigned *)((base) + (offset)))
/* Hand one request to the kernel, and wait for what became of it. */
static long request(int kind, int file, void *at, unsigned size, unsigned long long more)
{
	unsigned tail = *AT(submissions, facts.sq_off.tail), mask = *AT(submissions, facts.sq_off.ring_mask), head;
	struct io_uring_cqe *done;
	long result;

	memset(&entries[tail & mask], 0, sizeof(*entries));
	entries[tail & mask].opcode = kind;
	entries[tail & mask].fd = file;
	entries[tail & mask].addr = (unsigned long)at;
	entries[tail & mask].len = size;
	entries[tail & mask].off = more;
	*AT(submissions, facts.sq_off.array + 4 * (tail & mask)) = tail & mask;
	atomic_store(AT(submissions, facts.sq_off.tail), tail + 1);
	if (!polled)
		syscall(SYS_io_uring_enter, ring, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0);
	else {
		if (atomic_load(AT(submissions, facts.sq_off.flags)) & IORING_SQ_NEED_WAKEUP)
			syscall(SYS_io_uring_enter, ring, 1, 0, IORING_ENTER_SQ_WAKEUP, NULL, 0);
		syscall(SYS_io_uring_enter, ring, 0, 1, IORING_ENTER_GETEVENTS, NULL, 0);
	}
	head = *AT(completions, facts.cq_off.head);
	while (atomic_load(AT(completions, facts.cq_off.tail)) == head)
		syscall(SYS_io_uring_enter, ring, 0, 1, IORING_ENTER_GETEVENTS, NULL, 0);
	done = (struct io_uring_cqe *)(completions + facts.cq_off.cqes) + (head & *AT(completions, facts.cq_off.ring_mask));
	result = done->res;
	atomic_store(AT(completions, facts.cq_off.head), head + 1);
	return result;
}
static long must(long result, const char *what)
{
	if (result < 0) {
		fprintf(stderr, "%s: %s\n", what, strerror(-result));
		exit(1);
	}
	return result;
}
int main(int count, char **args)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(atoi(args[2]))};
	int kind = atoi(args[3]), size = atoi(args[4]), answer = atoi(args[5]), one;
	char *said = malloc(size + 100), *got = malloc(65536);
	long sent = 0, received = 0, whole;

	polled = atoi(args[6]);
	facts.flags = polled ? IORING_SETUP_SQPOLL : 0;
	facts.sq_thread_idle = 2000;
	ring = syscall(SYS_io_uring_setup, 8, &facts);
	if (ring < 0) {
		printf("\"%s\"\n", strerror(errno));
		return 0;
	}
	submissions = mmap(0, facts.sq_off.array + facts.sq_entries * 4, 3, MAP_SHARED, ring, IORING_OFF_SQ_RING);
	completions = mmap(0, facts.cq_off.cqes + facts.cq_entries * sizeof(struct io_uring_cqe), 3, MAP_SHARED, ring, IORING_OFF_CQ_RING);
	entries = mmap(0, facts.sq_entries * sizeof(*entries), 3, MAP_SHARED, ring, IORING_OFF_SQES);
	one = must(request(IORING_OP_SOCKET, AF_INET, NULL, 0, kind), "socket");
	inet_pton(AF_INET, args[1], &to.sin_addr);
	must(request(IORING_OP_CONNECT, one, &to, 0, sizeof(to)), "connect");
	memset(said, 'i', size + 100);
	whole = kind == SOCK_STREAM ? sprintf(said, "%d %d 0\n", size, answer) : 0;
	said[whole] = 'i';
	whole += size;
	while (sent < whole)
		sent += must(request(IORING_OP_SEND, one, said + sent, whole - sent, 0), "send");
	while (received < answer)
		received += must(request(IORING_OP_RECV, one, got, 65536, 0), "recv");
	must(request(IORING_OP_CLOSE, one, NULL, 0, 0), "close");
	printf("[%ld, %ld]\n", sent, received);
	return 0;
}
"""
"""ADDRESS PORT KIND SIZE ANSWER POLLED: makes a socket, connects, sends, receives and closes, all through one ring."""

_RUN = """
import os, sys
os.execv(sys.argv[1], sys.argv[1:])
"""
STREAM, DATAGRAM = 1, 2


@pytest.mark.parametrize("polled", [0, 1], ids=["by the process", "by the kernel's own thread"])
@pytest.mark.parametrize("talk", [(PUBLIC, 8443, STREAM, 200_000, 90_000), (SERVER, 9001, DATAGRAM, 1001, 501)], ids=["tcp", "udp"])
def test_what_goes_through_io_uring_is_the_process_own_with_every_byte(
    lab: Lab, watch: Watch, folder: Path, talk: tuple[str, int, int, int, int], polled: int
) -> None:
    program = build(folder, "ring", _SOURCE)
    address, port, kind, _, _ = talk
    pid, told = done(lab, _RUN, program, *talk, polled)
    if isinstance(told, str):
        pytest.skip(f"io_uring is not to be had here: {told}")
    (seen,) = watch.of(pid)
    assert (seen["destination"]["ip"], seen["destination"]["port"]) == (address, port)
    assert seen["network"]["transport"] == {STREAM: "tcp", DATAGRAM: "udp"}[kind]
    assert seen["process"]["executable"] == str(program)
    assert seen["outwatch"]["attribution"] == "exact"
    assert [seen["source"]["bytes"], seen["destination"]["bytes"]] == told
    assert "shared_with" not in json.dumps(seen)  # the kernel's thread is no other process
