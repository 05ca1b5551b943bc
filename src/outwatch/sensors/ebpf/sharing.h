/* Sockets that another process uses than the one that made them, and those that speak past IP (AF_PACKET). */

/* Count a frame for the process that sends or receives it; the count outlives the socket. */
static __noinline int count_frame(struct sock *sk, u64 size, bool out)
{
	struct owner *owner;
	struct flow flow = {};
	struct peer key = {};
	struct talk *talk, fresh = {};

	owner = notes(sk);
	if (!owner)
		return 0;
	if (!owner->who.id)
		own(&owner->who, netns_of(sk));
	key.socket = owner->who.id;
	key.family = AF_PACKET;
	key.port = out;  /* who listens to frames has opened nothing until it sends one */
	talk = bpf_map_lookup_elem(&talks, &key);
	if (!talk) {
		fresh.id = new_id();
		if (bpf_map_update_elem(&talks, &key, &fresh, BPF_NOEXIST)) {
			miss();
			return 0;
		}
		flow.head.flags = out ? 0 : FLAG_INGRESS;
		begin_flow(&flow, &owner->who, EVENT_OPEN);
		flow.id = fresh.id;
		flow.family = AF_PACKET;
		flow.type = sk->sk_type;
		say(&flow, sizeof(flow), EVENT_OPEN, flow.uid);
		talk = bpf_map_lookup_elem(&talks, &key);
		if (!talk)
			return 0;
	}
	__sync_fetch_and_add(out ? &talk->sent : &talk->received, size);
	talk->last = bpf_ktime_get_boot_ns();
	return 0;
}

/* Name the current process, once, as one more that uses a socket. */
static __noinline void share(const struct who *who, u32 *shared, u16 family)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct flow flow = {};
	struct who user = {};

	if (who->pid == (u32)(bpf_get_current_pid_tgid() >> 32) || !task->mm)
		return;
#pragma unroll
	for (int at = 0; at < SHARED_MOST; at++) {
		if (shared[at] == task->tgid)
			return;
		if (!shared[at]) {
			shared[at] = task->tgid;
			own(&user, who->netns);
			user.id = who->id;
			begin_flow(&flow, &user, EVENT_SHARE);
			flow.family = family;
			say(&flow, sizeof(flow), EVENT_SHARE, flow.uid);
			return;
		}
	}
}

static __noinline int used(struct sock *sk, int size, bool out)
{
	struct stream *stream;
	struct owner *owner;
	u16 family;

	if (!sk || size <= 0)
		return 0;
	family = sk->__sk_common.skc_family;
	if (family == AF_PACKET)
		count_frame(sk, size, out);
	if (family != AF_INET && family != AF_INET6 && family != AF_PACKET)
		return 0;
	if (family != AF_PACKET && sk->sk_protocol == IPPROTO_TCP) {
		stream = stream_of(sk);
		if (stream && stream->who.id && stream->answered)
			share(&stream->who, stream->shared, family);
		return 0;
	}
	owner = bpf_sk_storage_get(&owners, sk, NULL, 0);
	if (owner && owner->who.id && (family == AF_PACKET || owner->answered))  /* else nothing is told of it yet */
		share(&owner->who, owner->shared, family);
	return 0;
}

SEC("tp_btf/sock_send_length")
int socket_sent(u64 *ctx)
{
	return used((struct sock *)ctx[0], (int)ctx[1], 1);
}

SEC("tp_btf/sock_recv_length")
int socket_received(u64 *ctx)
{
	return used((struct sock *)ctx[0], (int)ctx[1], 0);
}
