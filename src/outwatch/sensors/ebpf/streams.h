/* TCP: told by the changes of its state. */
#ifndef OUTWATCH_STREAMS_H
#define OUTWATCH_STREAMS_H

#define STREAMS 262144

/* What is known of a socket while it calls, listens or is connected. */
struct stream {
	struct who who;
	struct fold fold;
	u32 named;            /* as an owner's */
	u32 began;            /* the number of the first byte from the side in whose words a name may stand */
	u8 tried;             /* it was this end that began */
	u8 answered;
	u8 told;              /* that it waits for its answer */
	u8 unused;
	u16 family;
	u16 local_port;
	u16 remote_port;
	u16 type;
	u8 local[16];
	u8 remote[16];
	u64 told_sent;
	u64 told_received;
	u32 shared[SHARED_MOST];
};

/* By the address of the kernel's structure, and no notes at the socket itself: those the kernel makes in two pieces and gives back later,
 * for each child that a listener has too, and keeps all of them in as few lists as there are processors.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, STREAMS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, u64);
	__type(value, struct stream);
} streams SEC(".maps");

/* The listener that got the packet which this processor works on, or an earlier one. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, u64);
} called SEC(".maps");

static __always_inline struct stream *stream_of(const void *sk)
{
	u64 key = (u64)sk;

	return bpf_map_lookup_elem(&streams, &key);
}

/* Note a socket that is not known; what finds no room is counted. */
static __always_inline bool note_stream(const void *sk, const struct stream *stream)
{
	u64 key = (u64)sk;

	if (!bpf_map_update_elem(&streams, &key, stream, BPF_NOEXIST))
		return 1;
	if (!bpf_map_lookup_elem(&streams, &key))
		miss();
	return 0;
}

static __always_inline void forget_stream(const void *sk)
{
	u64 key = (u64)sk;

	bpf_map_delete_elem(&streams, &key);
}

/* Note both ends. */
static __always_inline void note_ends(struct stream *stream, const struct sock *sk)
{
	stream->family = sk->__sk_common.skc_family;
	stream->type = sk->sk_type;
	stream->local_port = sk->__sk_common.skc_num;
	if (!stream->local_port)  /* it is given back before the end */
		stream->local_port = bpf_ntohs(BPF_CORE_READ((struct inet_sock *)sk, inet_sport));
	stream->remote_port = bpf_ntohs(sk->__sk_common.skc_dport);
	if (stream->family == AF_INET6) {
		bpf_probe_read_kernel(stream->local, 16, &sk->__sk_common.skc_v6_rcv_saddr);
		bpf_probe_read_kernel(stream->remote, 16, &sk->__sk_common.skc_v6_daddr);
	} else {
		*(u32 *)stream->local = sk->__sk_common.skc_rcv_saddr;
		*(u32 *)stream->remote = sk->__sk_common.skc_daddr;
	}
}

/* Write what is known of a connection. */
static __noinline void stream_flow(struct flow *flow, const struct stream *stream, u8 kind)
{
	begin_flow(flow, &stream->who, kind);
	flow->family = stream->family;
	flow->protocol = IPPROTO_TCP;
	flow->type = stream->type;
	flow->local_port = stream->local_port;
	flow->remote_port = stream->remote_port;
	__builtin_memcpy(flow->local, stream->local, 16);
	__builtin_memcpy(flow->remote, stream->remote, 16);
}

/* As place_of() of that. */
static __always_inline void stream_place(struct place *place, const struct stream *stream, u8 flags, u16 error)
{
	flags |= stream->who.flags;
	place->start = stream->who.start;
	place->pid = stream->who.pid;
	place->netns = stream->who.netns;
	__builtin_memcpy(place->address, stream->remote, 16);
	place->port = flags & FLAG_INGRESS ? stream->local_port : stream->remote_port;
	place->family = stream->family;
	place->protocol = IPPROTO_TCP;
	place->flags = flags & (FLAG_INGRESS | FLAG_FAILED);
	place->unused = 0;
	place->error = error;
}

/* MPTCP sends again on its own account what it fears for, and counts that apart; while this is the only way it takes, its count is this one's. */
static __noinline void count_whole(struct flow *flow, const struct sock *sk)
{
	struct mptcp_subflow_context *subflow = BPF_CORE_READ((struct inet_connection_sock *)sk, icsk_ulp_data);
	struct mptcp_sock *whole = (struct mptcp_sock *)BPF_CORE_READ(subflow, conn);
	u8 others;

	if (!whole || !bpf_core_field_exists(whole->bytes_sent))
		return;
	others = bpf_core_field_exists(whole->pm.extra_subflows) ? BPF_CORE_READ(whole, pm.extra_subflows) : BPF_CORE_READ(whole, pm.subflows);
	if (others)
		return;
	flow->sent = BPF_CORE_READ(whole, bytes_sent);
	flow->received = BPF_CORE_READ(whole, bytes_received);
}

/* Bytes of the application: what was sent again does not count, nor does the FIN. */
static __always_inline void count_stream(struct flow *flow, struct sock *sk)
{
	struct tcp_sock *tcp = bpf_skc_to_tcp_sock(sk);

	if (!tcp)
		return;
	flow->sent = tcp->bytes_sent - tcp->bytes_retrans;
	flow->received = tcp->bytes_received;
	if (flow->received && (sk->__sk_common.skc_flags >> SOCK_DONE & 1))
		flow->received--;
	if (bpf_core_field_exists(tcp->is_mptcp) && tcp->is_mptcp)
		count_whole(flow, sk);
}

/* The same where only the address of the socket is known. */
static __always_inline void count_stream_at(struct flow *flow, const struct sock *sk)
{
	struct tcp_sock *tcp = (struct tcp_sock *)sk;

	flow->sent = BPF_CORE_READ(tcp, bytes_sent) - BPF_CORE_READ(tcp, bytes_retrans);
	flow->received = BPF_CORE_READ(tcp, bytes_received);
	if (flow->received && (BPF_CORE_READ(sk, __sk_common.skc_flags) >> SOCK_DONE & 1))
		flow->received--;
	if (bpf_core_field_exists(tcp->is_mptcp) && BPF_CORE_READ(tcp, is_mptcp))
		count_whole(flow, sk);
}

/* A connection is over. It may be told alone, or with others like it. */
static __noinline int stream_over(struct flow *flow, struct stream *stream)
{
	struct place place;
	bool folds;

	flow->head.flags = stream->answered ? 0 : FLAG_FAILED;
	stream_place(&place, stream, flow->head.flags, flow->error);
	if (!stream->answered && !stream->told && !(stream->who.flags & FLAG_EXISTING))
		stream->fold.folded = is_storm(&place);
	folds = keeps_folded(&stream->fold);
	if (!(folds && gather_more(&place, flow->sent, flow->received))) {
		stream_flow(flow, stream, EVENT_CLOSE);
		stream->who.id = 0;  /* before its end is told: nothing is told of it afterwards */
		if (!(folds && gather(&place, flow)))
			say(flow, sizeof(*flow), EVENT_CLOSE, flow->uid);
	}
	stream->who.id = 0;
	return 0;
}

/* The kernel did not tell that a connection had ended, and another socket takes its place: it is told now, with the bytes that are known
 * of it. False if nothing stood there.
 */
static __noinline bool stream_gives_way(const struct sock *sk)
{
	struct stream *stale = stream_of(sk);
	struct flow flow = {};

	if (!stale)
		return 0;
	if (stale->who.id && (stale->answered || stale->tried)) {
		flow.sent = stale->told_sent;
		flow.received = stale->told_received;
		untold();
		stream_over(&flow, stale);
	}
	forget_stream(sk);
	return 1;
}

/* A process calls or listens. A call is told when it is answered or over, or by stream_totals() if neither comes soon. */
static __noinline bool stream_begins(struct sock *sk, bool tried)
{
	struct stream fresh = {};

	own(&fresh.who, netns_of(sk));
	fresh.tried = tried;
	note_ends(&fresh, sk);
	return note_stream(sk, &fresh);
}

/* A listener's child, made while the kernel works on a packet for the listener: it belongs to the listener's owner, not to the task
 * that happens to run here.
 */
static __noinline bool stream_inherits(struct sock *sk)
{
	struct stream fresh = {}, *parent;
	u32 none = 0;
	u64 *listener = bpf_map_lookup_elem(&called, &none);

	parent = listener ? bpf_map_lookup_elem(&streams, listener) : NULL;
	if (parent && !parent->tried && !parent->answered && parent->local_port == sk->__sk_common.skc_num &&
	    parent->who.netns == netns_of(sk))
		fresh.who = parent->who;
	fresh.who.id = new_id();
	fresh.who.flags = (fresh.who.flags & FLAG_KERNEL) | FLAG_INGRESS;
	fresh.who.netns = netns_of(sk);
	fresh.named = NAMED_ENOUGH;
	return note_stream(sk, &fresh);
}

static __always_inline bool stream_starts(struct sock *sk, int now)
{
	return now == TCP_SYN_RECV ? stream_inherits(sk) : stream_begins(sk, now == TCP_SYN_SENT);
}

static __noinline int stream_answered(struct sock *sk, struct stream *stream)
{
	struct place place;
	struct flow flow = {};
	u8 kind = stream->tried ? EVENT_STATE : EVENT_OPEN;

	note_ends(stream, sk);
	stream->answered = 1;
	if (!stream->told && !(stream->who.flags & FLAG_EXISTING)) {
		stream_place(&place, stream, 0, 0);
		stream->fold.folded = is_storm(&place);
		if (stream->fold.folded)
			return 0;
	}
	stream_flow(&flow, stream, kind);
	say(&flow, sizeof(flow), kind, flow.uid);
	return 0;
}

static __noinline int stream_ends(struct sock *sk, struct stream *stream, int before)
{
	struct flow flow = {};

	count_stream(&flow, sk);
	flow.error = sk->sk_err;
	if (!stream->answered)
		note_ends(stream, sk);
	if (before != TCP_SYN_SENT && before != TCP_SYN_RECV)
		stream->answered = 1;
	stream_over(&flow, stream);
	forget_stream(sk);
	return 0;
}

static __noinline int sctp_accepted(struct sock *sk);

static __noinline int tcp_state(u64 *ctx)
{
	struct sock *sk = (struct sock *)ctx[0];
	int before = (int)ctx[1], now = (int)ctx[2];
	struct stream *stream;

	if (sk->sk_protocol == IPPROTO_SCTP && now == TCP_ESTABLISHED)
		return sctp_accepted(sk);
	if (sk->sk_protocol != IPPROTO_TCP)  /* MPTCP has sockets of its own below it */
		return 0;
	if (now == TCP_LISTEN || now == TCP_SYN_SENT || now == TCP_SYN_RECV) {
		if (!stream_starts(sk, now) && stream_gives_way(sk))
			stream_starts(sk, now);
		return 0;
	}
	stream = stream_of(sk);
	if (!stream || !stream->who.id)
		return 0;
	if (now == TCP_ESTABLISHED)
		return stream_answered(sk, stream);
	if (before != TCP_LISTEN)
		return stream_ends(sk, stream, before);
	stream->who.id = 0;
	forget_stream(sk);
	return 0;
}

/* Take note that a listener gets a packet. */
static __always_inline void is_called(const struct bpf_sock *sk)
{
	u32 none = 0;
	u64 *listener = bpf_map_lookup_elem(&called, &none);

	if (listener)
		*listener = (u64)sk;
}

/* Most changes of state are of no interest. */
static __always_inline bool matters(const u64 *ctx, bool owned)
{
	int before = (int)ctx[1], now = (int)ctx[2];

	if (now != TCP_ESTABLISHED && now != TCP_CLOSE && now != TCP_SYN_SENT && now != TCP_LISTEN && (now != TCP_SYN_RECV || before != TCP_LISTEN))
		return 0;
	return !((struct sock *)ctx[0])->sk_lock.owned != owned;
}

/* The kernel does not enter a program on a processor where it runs already. A process that connects or hangs up holds its socket and
 * may be interrupted by packets for others, whose sockets nobody holds: each of the two has a program of its own.
 */
SEC("tp_btf/inet_sock_set_state")
int tcp_held(u64 *ctx)
{
	return matters(ctx, 1) ? tcp_state(ctx) : 0;
}

SEC("tp_btf/inet_sock_set_state")
int tcp_free(u64 *ctx)
{
	return matters(ctx, 0) ? tcp_state(ctx) : 0;
}

/* Tell whether a change of state was not seen yet. */
static __noinline bool is_left(const u64 *ctx)
{
	const struct stream *stream = stream_of((void *)ctx[0]);
	int now = (int)ctx[2];

	if (now == TCP_CLOSE)
		return stream && stream->who.id;
	if (now == TCP_ESTABLISHED)
		return stream && !stream->answered;
	if (!stream || !stream->who.id || stream->answered)
		return 1;
	if (now == TCP_SYN_RECV)
		return !(stream->who.flags & FLAG_INGRESS);
	return stream->tried != (now == TCP_SYN_SENT) || stream->who.pid != bpf_get_current_pid_tgid() >> 32;
}

/* Newer kernels let another process go on while a program runs, and do not enter the program for what that one does. So there is a second
 * of each, which comes after the first and does what that left.
 */
SEC("tp_btf/inet_sock_set_state")
int tcp_held_again(u64 *ctx)
{
	return matters(ctx, 1) && is_left(ctx) ? tcp_state(ctx) : 0;
}

SEC("tp_btf/inet_sock_set_state")
int tcp_free_again(u64 *ctx)
{
	return matters(ctx, 0) && is_left(ctx) ? tcp_state(ctx) : 0;
}

#endif
