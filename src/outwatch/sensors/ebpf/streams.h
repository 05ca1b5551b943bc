/* TCP: told by the changes of its state. */
/* Bytes of the application: what was sent again does not count, nor does the FIN. */
static __always_inline void count_stream(struct flow *flow, struct sock *sk)
{
	struct tcp_sock *tcp = bpf_skc_to_tcp_sock(sk);
	struct mptcp_subflow_context *subflow;
	struct mptcp_sock *whole = NULL;
	u8 others;

	if (!tcp)
		return;
	flow->sent = tcp->bytes_sent - tcp->bytes_retrans;
	flow->received = tcp->bytes_received;
	if (flow->received && (sk->__sk_common.skc_flags >> SOCK_DONE & 1))
		flow->received--;
	if (!bpf_core_field_exists(tcp->is_mptcp) || !tcp->is_mptcp || !bpf_core_field_exists(whole->bytes_sent))
		return;
	/* MPTCP sends again on its own account what it fears for; while this is the only way it takes, its count is this one's. */
	subflow = BPF_CORE_READ((struct inet_connection_sock *)sk, icsk_ulp_data);
	whole = (struct mptcp_sock *)BPF_CORE_READ(subflow, conn);
	if (!whole)
		return;
	others = bpf_core_field_exists(whole->pm.extra_subflows) ? BPF_CORE_READ(whole, pm.extra_subflows) : BPF_CORE_READ(whole, pm.subflows);
	if (others)
		return;
	flow->sent = BPF_CORE_READ(whole, bytes_sent) - BPF_CORE_READ(whole, bytes_retrans);
	flow->received = BPF_CORE_READ(whole, bytes_received);
}

static __noinline int tcp_state(u64 *ctx)
{
	struct sock *sk = (struct sock *)ctx[0];
	int before = (int)ctx[1], now = (int)ctx[2];
	struct owner *owner;
	struct flow flow = {};

	if (sk->sk_protocol != IPPROTO_TCP)  /* MPTCP has sockets of its own below it */
		return 0;
	if (now == TCP_LISTEN) {  /* what is accepted inherits this */
		owner = notes(sk);
		if (owner)
			own(owner);
		return 0;
	}
	if (now == TCP_SYN_SENT) {
		owner = notes(sk);
		if (!owner)
			return 0;
		own(owner);
		owner->tried = 1;  /* told when it is answered or over, or by totals() if neither comes soon */
		return 0;
	}
	owner = bpf_sk_storage_get(&owners, sk, NULL, 0);
	if (now == TCP_ESTABLISHED && before == TCP_SYN_RECV && !(owner && owner->tried)) {
		/* Not the task that happens to run here: the owner of the listener, if it was seen. */
		owner = notes(sk);
		if (!owner)
			return 0;
		owner->id = new_id();
		owner->flags = (owner->flags & FLAG_KERNEL) | FLAG_INGRESS;
		owner->answered = 1;
		owner->told = owner->folded = owner->unfolded = owner->over = 0;
		__builtin_memset(owner->shared, 0, sizeof(owner->shared));
		owner->named = NAMED_ENOUGH;
		owner->told_sent = owner->told_received = 0;
		head(&flow, sk, owner, EVENT_OPEN);
		owner->folded = is_storm(&flow);
		if (!owner->folded)
			say(&flow, sizeof(flow), EVENT_OPEN, flow.uid);
		return 0;
	}
	if (!owner || !owner->id)
		return 0;
	if (now == TCP_ESTABLISHED) {
		owner->answered = 1;
		head(&flow, sk, owner, EVENT_STATE);
		owner->folded = !owner->told && is_storm(&flow);
		if (!owner->folded)
			say(&flow, sizeof(flow), EVENT_STATE, flow.uid);
		return 0;
	}
	if (before == TCP_LISTEN) {
		owner->id = 0;
		return 0;
	}
	count_stream(&flow, sk);
	if (!owner->answered && !owner->tried) {  /* a caller that went away before it was accepted; its data came with its SYN */
		owner->id = new_id();
		owner->flags = (owner->flags & FLAG_KERNEL) | FLAG_INGRESS;
	}
	flow.error = sk->sk_err;
	flow.head.flags = owner->answered ? 0 : FLAG_FAILED;
	head(&flow, sk, owner, EVENT_CLOSE);
	if (!owner->answered && !owner->told)
		owner->folded = is_storm(&flow);
	if (!(keeps_folded(owner) && gather(&flow)))
		say(&flow, sizeof(flow), EVENT_CLOSE, flow.uid);
	owner->id = 0;  /* cheaper than to delete it now: the kernel does when it frees the socket */
	owner->answered = owner->tried = 0;
	return 0;
}

/* Most changes of state are of no interest. */
static __always_inline bool matters(const u64 *ctx, bool owned)
{
	int now = (int)ctx[2];

	if (now != TCP_ESTABLISHED && now != TCP_CLOSE && now != TCP_SYN_SENT && now != TCP_LISTEN)
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
