/* Sockets that another process uses than the one that made them, and those that speak past IP (AF_PACKET). */

/* Count a frame for the process that sends or receives it; the count outlives the socket. */
static __always_inline void count_frame(struct sock *sk, u64 size, bool out)
{
	struct owner *owner;
	struct flow flow = {};
	struct peer key = {};
	struct talk *talk, fresh = {};

	owner = notes(sk);
	if (!owner)
		return;
	if (!owner->id)
		own(owner);
	key.socket = owner->id;
	key.family = AF_PACKET;
	key.port = out;  /* who listens to frames has opened nothing until it sends one */
	talk = bpf_map_lookup_elem(&talks, &key);
	if (!talk) {
		fresh.id = new_id();
		if (bpf_map_update_elem(&talks, &key, &fresh, BPF_NOEXIST)) {
			miss();
			return;
		}
		begin(&flow.head, sizeof(flow), EVENT_OPEN);
		flow.head.flags = owner->flags | (out ? 0 : FLAG_INGRESS);
		flow.id = fresh.id;
		flow.socket = owner->id;
		flow.start = owner->start;
		flow.cgroup = owner->cgroup;
		flow.pid = owner->pid;
		flow.uid = owner->uid;
		flow.netns = sk->__sk_common.skc_net.net->ns.inum;
		flow.family = AF_PACKET;
		flow.type = sk->sk_type;
		__builtin_memcpy(flow.comm, owner->comm, 16);
		say(&flow, sizeof(flow), EVENT_OPEN, flow.uid);
		talk = bpf_map_lookup_elem(&talks, &key);
		if (!talk)
			return;
	}
	__sync_fetch_and_add(out ? &talk->sent : &talk->received, size);
	talk->last = bpf_ktime_get_boot_ns();
}

static __always_inline void used(struct sock *sk, int size, bool out)
{
	u32 pid = bpf_get_current_pid_tgid() >> 32;
	struct task_struct *task = bpf_get_current_task_btf();
	struct owner *owner;
	struct flow flow = {};
	u16 family;

	if (!sk || size <= 0)
		return;
	family = sk->__sk_common.skc_family;
	if (family == AF_PACKET)
		count_frame(sk, size, out);
	if (family != AF_INET && family != AF_INET6 && family != AF_PACKET)
		return;
	owner = bpf_sk_storage_get(&owners, sk, NULL, 0);
	if (!owner || owner->pid == pid || !task->mm)
		return;
	if (!owner->id || (family != AF_PACKET && !owner->answered))
		return;  /* nothing is told of it yet */
#pragma unroll
	for (int at = 0; at < SHARED_MOST; at++) {
		if (owner->shared[at] == pid)
			return;
		if (!owner->shared[at]) {
			owner->shared[at] = pid;
			begin(&flow.head, sizeof(flow), EVENT_SHARE);
			flow.id = flow.socket = owner->id;
			flow.pid = pid;
			flow.start = task->group_leader->start_boottime;
			flow.uid = (u32)bpf_get_current_uid_gid();
			flow.cgroup = bpf_get_current_cgroup_id();
			flow.netns = sk->__sk_common.skc_net.net->ns.inum;
			flow.family = family;
			bpf_get_current_comm(flow.comm, 16);
			say(&flow, sizeof(flow), EVENT_SHARE, flow.uid);
			return;
		}
	}
}

SEC("tp_btf/sock_send_length")
int socket_sent(u64 *ctx)
{
	used((struct sock *)ctx[0], (int)ctx[1], 1);
	return 0;
}

SEC("tp_btf/sock_recv_length")
int socket_received(u64 *ctx)
{
	used((struct sock *)ctx[0], (int)ctx[1], 0);
	return 0;
}
