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

/* Note a TCP socket that is there already, and write what is known of it; false if it is known, or none that is told. */
static __always_inline bool existing_stream(struct flow *flow, struct sock *sk, struct task_struct *task, u64 inode)
{
	struct stream fresh = {};
	u8 state = sk->__sk_common.skc_state;

	if (state == TCP_CLOSE)
		return 0;
	fresh.who.id = settings.look ? inode : new_id();
	held_by(&fresh.who, task, sk);
	fresh.who.flags = FLAG_EXISTING;
	fresh.named = NAMED_ENOUGH;
	note_ends(&fresh, sk);
	if (state == TCP_LISTEN) {
		flow->head.flags = FLAG_LISTENS;
	} else {
		count_stream(flow, sk);
		fresh.answered = state != TCP_SYN_SENT;
		fresh.tried = 1;
	}
	if (!settings.look && !note_stream(sk, &fresh))
		return 0;
	stream_flow(flow, &fresh, EVENT_TOTAL);
	return 1;
}

/* The same for others. */
static __always_inline bool existing_other(struct flow *flow, struct sock *sk, struct task_struct *task, u64 inode)
{
	struct owner *owner, noted = {};

	if (settings.look) {
		owner = &noted;
		owner->who.id = inode;
	} else {
		owner = notes(sk);
		if (!owner || owner->who.id)
			return 0;
		owner->who.id = new_id();
	}
	held_by(&owner->who, task, sk);
	owner->named = NAMED_ENOUGH;
	if (!sk->__sk_common.skc_dport)
		return 0;
	owner->answered = owner->claimed = 1;
	owner->family = sk->__sk_common.skc_family;
	owner->peer_port = bpf_ntohs(sk->__sk_common.skc_dport);
	if (owner->family == AF_INET6)
		bpf_probe_read_kernel(owner->peer, 16, &sk->__sk_common.skc_v6_daddr);
	else
		bpf_probe_read_kernel(owner->peer, 4, &sk->__sk_common.skc_daddr);
	flow->head.flags = FLAG_EXISTING;
	begin_flow(flow, &owner->who, EVENT_TOTAL);
	other_flow(flow, sk, owner);
	return 1;
}

/* What there is already: each socket that some process holds is told once, and its owner noted. */
SEC("iter/task_file")
int existing(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct flow flow = {};
	struct owner *owner;
	struct socket *socket;
	struct sock *sk;
	u16 family;
	bool stream;

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
	stream = sk->sk_protocol == IPPROTO_TCP;
	if (!(stream ? existing_stream(&flow, sk, task, file->f_inode->i_ino) : existing_other(&flow, sk, task, file->f_inode->i_ino)))
		return 0;
	if (!bpf_seq_write(ctx->meta->seq, &flow, sizeof(flow)) || settings.look)
		return 0;
	/* No room: the kernel shows this socket again. */
	if (stream) {
		forget_stream(sk);
	} else {
		owner = bpf_sk_storage_get(&owners, sk, NULL, 0);
		if (owner)
			owner->who.id = 0;
	}
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

/* Tell whether an open connection is told now: one that is counted with others is if it lives long, another if it has carried something
 * that was not told.
 */
static __always_inline bool is_due(struct fold *fold, u64 id, bool moved)
{
	u32 zero = 0, *last;

	if (!fold->folded || fold->unfolded)
		return moved;
	last = bpf_map_lookup_elem(&ends, &zero);
	return ((last && *last) || (id >> 10) + LONG <= bpf_ktime_get_boot_ns()) && unfolds(fold);
}

/* What every open TCP connection has carried since it was told last. Its socket may go at any time: what is read of it then is nobody's,
 * and its id has gone before.
 *
 * Once in some ten million ends the kernel does not call the programs. The socket is closed then and its id is still there, which is
 * nowhere else so, because they are called before. It is told here that it is over, with the bytes that are left to read, and counted. What
 * stood where something else is by now, to be seen by the port, has those that were told last.
 */
SEC("iter/bpf_map_elem")
int stream_totals(struct bpf_iter__bpf_map_elem *ctx)
{
	struct stream *stream = ctx->value;
	u64 *key = ctx->key, id, address;
	struct flow flow = {};
	struct sock *sk;
	bool gone;
	u8 state;

	if (!key || !stream)
		return 0;
	address = *key;
	sk = (struct sock *)address;
	state = BPF_CORE_READ(sk, __sk_common.skc_state);
	id = *(volatile u64 *)&stream->who.id;
	if (!id || (!stream->answered && !stream->tried))  /* over, or it listens */
		return 0;
	gone = BPF_CORE_READ(sk, __sk_common.skc_dport) != bpf_htons(stream->remote_port);
	if (gone || state == TCP_CLOSE) {
		if (gone) {
			flow.sent = stream->told_sent;
			flow.received = stream->told_received;
		} else {
			count_stream_at(&flow, sk);
		}
		flow.head.flags = stream->answered ? 0 : FLAG_FAILED;
		stream_flow(&flow, stream, EVENT_CLOSE);
	} else if (!stream->answered) {
		if (stream->told || state != TCP_SYN_SENT || !unfolds(&stream->fold))
			return 0;
		stream_flow(&flow, stream, EVENT_OPEN);
		flow.local_port = bpf_ntohs(BPF_CORE_READ((struct inet_sock *)sk, inet_sport));
	} else {
		count_stream_at(&flow, sk);
		if (!is_due(&stream->fold, id, flow.sent != stream->told_sent || flow.received != stream->told_received))
			return 0;
		stream_flow(&flow, stream, EVENT_TOTAL);
	}
	if (*(volatile u64 *)&stream->who.id != id || flow.id != id || bpf_seq_write(ctx->meta->seq, &flow, sizeof(flow)))
		return 0;
	stream->told = 1;
	stream->told_sent = flow.sent;
	stream->told_received = flow.received;
	if (flow.head.kind == EVENT_CLOSE) {
		untold();
		stream->who.id = 0;
		bpf_map_delete_elem(&streams, &address);
	}
	return 0;
}

/* The same for sockets that are no streams. */
SEC("iter/bpf_sk_storage_map")
int datagram_totals(struct bpf_iter__bpf_sk_storage_map *ctx)
{
	struct owner *owner = ctx->value;
	struct sock *sk = ctx->sk;
	struct flow flow = {};
	u64 id;

	if (!owner || !sk)
		return 0;
	id = *(volatile u64 *)&owner->who.id;
	if (!id || !owner->answered)
		return 0;
	flow.sent = owner->sent;
	flow.received = owner->received;
	if (!is_due(&owner->fold, id, flow.sent != owner->told_sent || flow.received != owner->told_received))
		return 0;
	begin_flow(&flow, &owner->who, EVENT_TOTAL);
	other_flow(&flow, sk, owner);
	if (!*(volatile u32 *)&owner->answered || bpf_seq_write(ctx->meta->seq, &flow, sizeof(flow)))
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
