/* What is there already, and what open connections have carried. */
/* Tell whether a thread is the one that its process is known by: the first, or any if that has ended. */
static __always_inline bool speaks(struct task_struct *task)
{
	return task->pid == task->tgid || !BPF_CORE_READ(task, group_leader, mm);
}

/* Apart from that of the ring: a program that is executed may come between. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct program);
} shown SEC(".maps");

/* Who runs already. */
SEC("iter/task")
int running(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	struct program *program;
	u32 zero = 0;

	if (!task || !task->mm || !speaks(task))
		return 0;
	program = bpf_map_lookup_elem(&shown, &zero);
	if (!program)
		return 0;
	identify(program, task);
	program->cgroup = 0;
	begin(&program->head, __builtin_offsetof(struct program, args), EVENT_EXEC);
	bpf_seq_write(ctx->meta->seq, program, __builtin_offsetof(struct program, args));
	return 0;
}

/* What there is already: each socket that some process holds is told once, and its owner noted. */
SEC("iter/task_file")
int existing(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct flow flow = {};
	struct owner *owner, noted = {};
	struct socket *socket;
	struct sock *sk;
	u16 family;
	u8 state;

	if (!task || !file || !speaks(task))
		return 0;
	socket = bpf_sock_from_file(file);
	if (!socket)
		return 0;
	sk = socket->sk;
	if (!sk)
		return 0;
	family = sk->__sk_common.skc_family;
	if (family != AF_INET && family != AF_INET6)
		return 0;
	if (settings.once) {
		owner = &noted;
		owner->id = file->f_inode->i_ino;
	} else {
		owner = notes(sk);
		if (!owner || owner->id)
			return 0;
		owner->id = new_id();
	}
	owner->named = NAMED_ENOUGH;
	owner->pid = task->tgid;
	owner->start = task->group_leader->start_boottime;
	owner->uid = task->cred->uid.val;
	owner->flags = FLAG_EXISTING;
	owner->netns = sk->__sk_common.skc_net.net->ns.inum;
	bpf_probe_read_kernel(owner->comm, 16, task->comm);
	state = sk->__sk_common.skc_state;
	if (sk->sk_protocol == IPPROTO_TCP) {
		if (state == TCP_LISTEN)
			flow.head.flags = FLAG_LISTENS;
		else if (state == TCP_CLOSE)
			return 0;
		if (state != TCP_LISTEN) {
			count_stream(&flow, sk);
			owner->answered = state != TCP_SYN_SENT;
			owner->tried = 1;
		}
	} else {
		owner->flags = 0;
		if (!sk->__sk_common.skc_dport)
			return 0;
		owner->answered = owner->claimed = 1;
		owner->family = family;
		owner->peer_port = bpf_ntohs(sk->__sk_common.skc_dport);
		if (family == AF_INET6)
			bpf_probe_read_kernel(owner->peer, 16, &sk->__sk_common.skc_v6_daddr);
		else
			bpf_probe_read_kernel(owner->peer, 4, &sk->__sk_common.skc_daddr);
		flow.head.flags = FLAG_EXISTING;
	}
	head(&flow, sk, owner, EVENT_TOTAL);
	if (bpf_seq_write(ctx->meta->seq, &flow, sizeof(flow)))
		owner->id = 0;  /* no room: the kernel shows this socket again */
	return 0;
}

#define LONG 1000000000   /* nanoseconds that a connection may live and still be counted with others */

/* Set when the watch ends: what is open then is never over. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, u32);
} ends SEC(".maps");

/* What every open connection has carried since it was told last. */
SEC("iter/bpf_sk_storage_map")
int totals(struct bpf_iter__bpf_sk_storage_map *ctx)
{
	struct owner *owner = ctx->value;
	struct sock *sk = ctx->sk;
	struct flow flow = {};
	u64 now = bpf_ktime_get_boot_ns(), id;
	u32 zero = 0, *last;

	if (!owner || !sk)
		return 0;
	id = *(volatile u64 *)&owner->id;  /* gone once it is over, perhaps at this moment */
	if (!id)
		return 0;
	if (!owner->answered) {
		if (owner->told || sk->sk_protocol != IPPROTO_TCP || sk->__sk_common.skc_state != TCP_SYN_SENT)
			return 0;
		if (!unfolds(owner))
			return 0;
		head(&flow, sk, owner, EVENT_OPEN);
		flow.id = flow.socket = id;
		owner->told = !bpf_seq_write(ctx->meta->seq, &flow, sizeof(flow));
		return 0;
	}
	if (sk->sk_protocol == IPPROTO_TCP) {
		if (sk->__sk_common.skc_state == TCP_LISTEN)
			return 0;
		count_stream(&flow, sk);
	} else {
		flow.sent = owner->sent;
		flow.received = owner->received;
	}
	if (owner->folded && !owner->unfolded) {
		last = bpf_map_lookup_elem(&ends, &zero);
		if ((!(last && *last) && (id >> 10) + LONG > now) || !unfolds(owner))
			return 0;
	} else if (flow.sent == owner->told_sent && flow.received == owner->told_received) {
		return 0;
	}
	head(&flow, sk, owner, EVENT_TOTAL);
	flow.id = flow.socket = id;
	if (*(volatile u64 *)&owner->id != id)
		return 0;
	if (sk->sk_protocol != IPPROTO_TCP) {
		flow.family = owner->family;
		flow.remote_port = owner->peer_port;
		__builtin_memcpy(flow.remote, owner->peer, 16);
	}
	if (bpf_seq_write(ctx->meta->seq, &flow, sizeof(flow)))
		return 0;
	owner->told_sent = flow.sent;
	owner->told_received = flow.received;
	return 0;
}

/* The same for datagrams to further peers. */
SEC("iter/bpf_map_elem")
int talk_totals(struct bpf_iter__bpf_map_elem *ctx)
{
	struct peer *key = ctx->key;
	struct talk *talk = ctx->value;
	struct flow flow = {};

	if (!key || !talk)
		return 0;
	begin(&flow.head, sizeof(flow), EVENT_TOTAL);
	flow.id = talk->id;
	flow.socket = key->socket;
	flow.sent = talk->sent;
	flow.received = talk->received;
	flow.start = talk->last;
	flow.family = key->family;
	flow.remote_port = key->port;
	__builtin_memcpy(flow.remote, key->address, 16);
	bpf_seq_write(ctx->meta->seq, &flow, sizeof(flow));
	return 0;
}

/* Connections that were counted together. */
SEC("iter/bpf_map_elem")
int burst_totals(struct bpf_iter__bpf_map_elem *ctx)
{
	struct gathered *burst = ctx->value;
	struct burst told = {};

	if (!ctx->key || !burst)
		return 0;
	told.flow = burst->flow;
	told.flow.head.size = sizeof(told);
	told.flow.head.kind = EVENT_BURST;
	told.flow.head.time = burst->last;
	told.count = burst->count;
	bpf_seq_write(ctx->meta->seq, &told, sizeof(told));
	return 0;
}
