/* Sees who opens and closes connections, and which programs processes run.
 *
 * Copyright the outwatch founders; licensed GPL-2.0-only OR MIT, because the helpers that read kernel memory are for GPL programs.
 */
#include "core.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include "event.h"

#define TCP_ESTABLISHED 1
#define TCP_SYN_SENT 2
#define TCP_SYN_RECV 3
#define TCP_CLOSE 7
#define TCP_LISTEN 10
#define SOCK_STREAM 1
#define SOCK_DGRAM 2
#define SOCK_RAW 3
#define AF_INET 2
#define AF_INET6 10
#define AF_PACKET 17
#define IPPROTO_TCP 6
#define IPPROTO_UDP 17
#define IPPROTO_SCTP 132
#define IPPROTO_UDPLITE 136
#define SOCK_DONE 1       /* a FIN has come: it counts as a received byte */

char LICENSE[] SEC("license") = "Dual MIT/GPL";

/* Set before the programs are loaded. */
const volatile struct {
	u32 storm;            /* connections of one process to one place in a second from which on they are counted together; 0: never */
	u32 names;            /* copy bytes in which names stand */
	u64 quarter;          /* of the ring, in bytes */
	u64 look;             /* the time of a single look, if nothing is to be followed: sockets need no notes then */
} settings = { 2000, 1, 1 << 20, 0 };

#include "told.h"
#include "owners.h"
#include "bursts.h"
#include "streams.h"
#include "names.h"
#include "datagrams.h"
#include "sharing.h"
#include "processes.h"
#include "pictures.h"
