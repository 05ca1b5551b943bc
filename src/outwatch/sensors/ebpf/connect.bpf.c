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
#define AF_INET 2
#define AF_INET6 10
#define IPPROTO_TCP 6
#define IPPROTO_UDP 17
#define SOCK_DONE 1       /* a FIN has come: it counts as a received byte */

char LICENSE[] SEC("license") = "Dual MIT/GPL";

/* What is known of a socket while it lives. */
struct owner {
	u64 id;
	u64 start;
	u64 cgroup;
	u32 pid;
	u32 uid;
	u32 flags;
	u32 answered;
	u64 sent;             /* of datagrams: counted here; of streams: what was told last */
	u64 received;
	u64 told_sent;
	u64 told_received;
	u64 peer[2];          /* of datagrams: the first one talked to */
	u16 peer_port;
	u16 family;
	u32 told;             /* that it waits for its answer */
	u32 netns;
	u32 tried;            /* it was this end that began */
	char comm[16];
};

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC | BPF_F_CLONE);
	__type(key, int);
	__type(value, struct owner);
} owners SEC(".maps");

/* Datagrams to and from other peers than a socket's first one. */
struct peer {
	u64 socket;           /* id of the socket's first flow */
	u64 address[2];
	u16 port;
	u16 family;
	u32 unused;
};

struct talk {
	u64 id;
	u64 sent;
	u64 received;
	u64 last;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct peer);
	__type(value, struct talk);
} talks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4 << 20);
} ring SEC(".maps");

/* Per kind: how many happened, and how many the ring refused. */
struct count {
	u64 happened;
	u64 refused;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, EVENT_KINDS);
	__type(key, u32);
	__type(value, struct count);
} counts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct program);
} scratch SEC(".maps");

static __always_inline void say(void *record, u32 size, u32 kind)
{
	struct count *count = bpf_map_lookup_elem(&counts, &kind);
	u64 full = bpf_ringbuf_query(&ring, BPF_RB_AVAIL_DATA) > bpf_ringbuf_query(&ring, BPF_RB_RING_SIZE) / 4;

	if (!count)
		return;
	count->happened++;
	if (bpf_ringbuf_output(&ring, record, size, full ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP))
		count->refused++;
}

/* Count a flow that found no room in the map. */
static __always_inline void miss(void)
{
	u32 none = 0;
	struct count *count = bpf_map_lookup_elem(&counts, &none);

	if (count)
		count->refused++;
}

static __always_inline void begin(struct head *head, u16 size, u8 kind)
{
	head->size = size;
	head->kind = kind;
	head->flags = 0;
	head->cpu = bpf_get_smp_processor_id();
	head->time = bpf_ktime_get_boot_ns();
}

/* Write what is known of a socket; flags and totals that are set already stay. */
static __always_inline void head(struct flow *flow, const struct sock *sk, const struct owner *owner, u8 kind)
{
	flow->head.size = sizeof(*flow);
	flow->head.kind = kind;
	flow->head.flags |= owner->flags;
	flow->head.cpu = bpf_get_smp_processor_id();
	flow->head.time = bpf_ktime_get_boot_ns();
	flow->id = flow->socket = owner->id;
	flow->start = owner->start;
	flow->cgroup = owner->cgroup;
	flow->pid = owner->pid;
	flow->uid = owner->uid;
	flow->netns = sk->__sk_common.skc_net.net->ns.inum;
	flow->family = sk->__sk_common.skc_family;
	flow->protocol = sk->sk_protocol;
	flow->type = sk->sk_type;
	flow->local_port = bpf_ntohs(BPF_CORE_READ((struct inet_sock *)sk, inet_sport));  /* skc_num is given back before the end */
	flow->remote_port = bpf_ntohs(sk->__sk_common.skc_dport);
	if (flow->family == AF_INET6) {
		bpf_probe_read_kernel(flow->local, 16, &sk->__sk_common.skc_v6_rcv_saddr);
		bpf_probe_read_kernel(flow->remote, 16, &sk->__sk_common.skc_v6_daddr);
	} else {
		bpf_probe_read_kernel(flow->local, 4, &sk->__sk_common.skc_rcv_saddr);
		bpf_probe_read_kernel(flow->remote, 4, &sk->__sk_common.skc_daddr);
	}
	__builtin_memcpy(flow->comm, owner->comm, 16);
}

static __always_inline void tell(struct flow *flow, const struct sock *sk, const struct owner *owner, u8 kind)
{
	head(flow, sk, owner, kind);
	say(flow, sizeof(*flow), kind);
}

static __always_inline u64 new_id(void)
{
	return bpf_ktime_get_boot_ns() << 10 | (bpf_get_smp_processor_id() & 1023);
}

static __always_inline void own(struct owner *owner)
{
	struct task_struct *task = bpf_get_current_task_btf();
	u64 ids = bpf_get_current_pid_tgid();

	owner->id = new_id();
	owner->pid = ids >> 32;
	owner->uid = (u32)bpf_get_current_uid_gid();
	owner->cgroup = bpf_get_current_cgroup_id();
	owner->start = task->group_leader->start_boottime;
	owner->flags = task->mm ? 0 : FLAG_KERNEL;
	owner->answered = 0;
	owner->told = 0;
	owner->tried = 0;
	owner->netns = task->nsproxy->net_ns->ns.inum;
	bpf_get_current_comm(owner->comm, 16);
}

/* Write what is known of a flow of datagrams. */
static __always_inline void datagrams(struct flow *flow, const struct owner *owner, struct bpf_sock *sk, const u64 *peer, u16 port, u8 kind)
{
	begin(&flow->head, sizeof(*flow), kind);
	flow->head.flags = owner->flags;
	flow->id = flow->socket = owner->id;
	flow->start = owner->start;
	flow->cgroup = owner->cgroup;
	flow->pid = owner->pid;
	flow->uid = owner->uid;
	flow->netns = owner->netns;
	flow->family = owner->family;
	flow->protocol = sk->protocol;
	flow->type = sk->type;
	flow->remote_port = port;
	__builtin_memcpy(flow->remote, peer, 16);
	__builtin_memcpy(flow->comm, owner->comm, 16);
}

/* Give the length of an IPv6 header with its extensions (RFC 8200, 4; RFC 4302 for 51). */
static __always_inline u32 beyond(struct __sk_buff *skb)
{
	u32 at = 40;
	u8 next, header[2];

	if (bpf_skb_load_bytes(skb, 6, &next, 1))
		return at;
#pragma unroll
	for (int step = 0; step < 6; step++) {
		if (next != 0 && next != 43 && next != 44 && next != 51 && next != 60)
			break;
		if (bpf_skb_load_bytes(skb, at, header, 2))
			break;
		at += next == 44 ? 8 : next == 51 ? (header[1] + 2) * 4 : (header[1] + 1) * 8;
		next = header[0];
	}
	return at;
}

static __always_inline void count_packet(struct __sk_buff *skb, bool out)
{
	struct bpf_sock *sk = skb->sk;
	struct owner *owner;
	struct flow flow = {};
	struct peer key = {};
	struct talk *talk, fresh = {};
	u8 here[16] = {}, first;
	u32 headers, size;
	u16 ports[2] = {}, port, family;

	if (!sk)
		return;
	sk = bpf_sk_fullsock(sk);
	if (!sk || sk->type == SOCK_STREAM)
		return;
	owner = bpf_sk_storage_get(&owners, sk, NULL, 0);
	if (!owner)
		return;  /* the kernel's own: never blame the current task */
	if (bpf_skb_load_bytes(skb, 0, &first, 1))
		return;
	if (first >> 4 == 4) {
		headers = (first & 15) * 4;
		family = AF_INET;
		if (bpf_skb_load_bytes(skb, out ? 16 : 12, key.address, 4) || bpf_skb_load_bytes(skb, out ? 12 : 16, here, 4))
			return;
	} else {
		headers = beyond(skb);
		family = AF_INET6;
		if (bpf_skb_load_bytes(skb, out ? 24 : 8, key.address, 16) || bpf_skb_load_bytes(skb, out ? 8 : 24, here, 16))
			return;
	}
	if (sk->protocol == IPPROTO_UDP && sk->type == SOCK_DGRAM) {
		if (bpf_skb_load_bytes(skb, headers, ports, 4))
			return;
		headers += 8;
	}
	port = bpf_ntohs(out ? ports[1] : ports[0]);
	size = skb->len > headers ? skb->len - headers : 0;
	key.port = port;
	key.family = family;
	if (!owner->answered) {
		owner->id = new_id();  /* the talk begins now, whenever the socket was made */
		owner->answered = 1;
		owner->family = family;
		owner->peer_port = port;
		owner->peer[0] = key.address[0];
		owner->peer[1] = key.address[1];
		if (!out)
			owner->flags |= FLAG_INGRESS;
		datagrams(&flow, owner, sk, key.address, port, EVENT_OPEN);
		flow.local_port = sk->src_port;
		__builtin_memcpy(flow.local, here, 16);
		say(&flow, sizeof(flow), EVENT_OPEN);
	}
	if (owner->peer_port == port && owner->family == family && owner->peer[0] == key.address[0] && owner->peer[1] == key.address[1]) {
		__sync_fetch_and_add(out ? &owner->sent : &owner->received, size);
		return;
	}
	key.socket = owner->id;
	talk = bpf_map_lookup_elem(&talks, &key);
	if (!talk) {
		fresh.id = new_id();
		if (bpf_map_update_elem(&talks, &key, &fresh, BPF_NOEXIST)) {
			miss();
			return;
		}
		owner->family = family;
		datagrams(&flow, owner, sk, key.address, port, EVENT_OPEN);
		flow.local_port = sk->src_port;
		flow.id = fresh.id;
		flow.head.flags = (owner->flags & FLAG_KERNEL) | (out ? 0 : FLAG_INGRESS);
		__builtin_memcpy(flow.local, here, 16);
		say(&flow, sizeof(flow), EVENT_OPEN);
		talk = bpf_map_lookup_elem(&talks, &key);
		if (!talk)
			return;
	}
	__sync_fetch_and_add(out ? &talk->sent : &talk->received, size);
	talk->last = bpf_ktime_get_boot_ns();
}

SEC("tp_btf/inet_sock_set_state")
int tcp_state(u64 *ctx)
{
	struct sock *sk = (struct sock *)ctx[0];
	int before = (int)ctx[1], now = (int)ctx[2];
	struct owner *owner;
	struct flow flow = {};
	struct tcp_sock *tcp;

	if (sk->sk_protocol != IPPROTO_TCP)  /* MPTCP has sockets of its own below it */
		return 0;
	if (now == TCP_LISTEN) {  /* what is accepted inherits this */
		owner = bpf_sk_storage_get(&owners, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
		if (owner)
			own(owner);
		return 0;
	}
	if (now == TCP_SYN_SENT) {
		owner = bpf_sk_storage_get(&owners, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
		if (!owner)
			return 0;
		own(owner);
		owner->tried = 1;  /* told when it is answered or over, or by totals() if neither comes soon */
		return 0;
	}
	owner = bpf_sk_storage_get(&owners, sk, NULL, 0);
	if (now == TCP_ESTABLISHED && before == TCP_SYN_RECV && !(owner && owner->tried)) {
		/* Not the task that happens to run here: the owner of the listener, if it was seen. */
		owner = bpf_sk_storage_get(&owners, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
		if (!owner)
			return 0;
		owner->id = new_id();
		owner->flags = (owner->flags & FLAG_KERNEL) | FLAG_INGRESS;
		owner->answered = 1;
		owner->told_sent = owner->told_received = 0;
		tell(&flow, sk, owner, EVENT_OPEN);
		return 0;
	}
	if (now != TCP_ESTABLISHED && now != TCP_CLOSE)
		return 0;
	if (!owner)
		return 0;
	if (now == TCP_ESTABLISHED) {
		owner->answered = 1;
		tell(&flow, sk, owner, EVENT_STATE);
		return 0;
	}
	if (before == TCP_LISTEN) {
		bpf_sk_storage_delete(&owners, sk);
		return 0;
	}
	tcp = bpf_skc_to_tcp_sock(sk);
	if (tcp) {
		flow.sent = tcp->bytes_sent - tcp->bytes_retrans;
		flow.received = tcp->bytes_received;
		if (flow.received && (sk->__sk_common.skc_flags >> SOCK_DONE & 1))
			flow.received--;
	}
	flow.error = sk->sk_err;
	flow.head.flags = owner->answered ? 0 : FLAG_FAILED;
	tell(&flow, sk, owner, EVENT_CLOSE);
	bpf_sk_storage_delete(&owners, sk);
	return 0;
}

static __always_inline u64 started(struct task_struct *task)
{
	return BPF_CORE_READ(task, group_leader, start_boottime);
}

SEC("tp_btf/sched_process_fork")
int process_fork(u64 *ctx)
{
	struct task_struct *parent = (struct task_struct *)ctx[0], *child = (struct task_struct *)ctx[1];
	struct life life = {};

	if (child->pid != child->tgid)  /* a thread */
		return 0;
	begin(&life.head, sizeof(life), EVENT_FORK);
	life.pid = child->tgid;
	life.start = child->start_boottime;
	life.parent = parent->tgid;
	life.parent_start = started(parent);
	say(&life, sizeof(life), EVENT_FORK);
	return 0;
}

SEC("tp_btf/sched_process_exit")
int process_exit(u64 *ctx)
{
	struct task_struct *task = (struct task_struct *)ctx[0];
	struct life life = {};

	if (task->pid != task->tgid)
		return 0;
	begin(&life.head, sizeof(life), EVENT_EXIT);
	life.pid = task->tgid;
	life.start = task->start_boottime;
	say(&life, sizeof(life), EVENT_EXIT);
	return 0;
}

/* Collect the components of a file's path, the last one first, across mount points up to the root. */
static __noinline void walk(struct program *program, struct file *file)
{
	struct dentry *dentry = BPF_CORE_READ(file, f_path.dentry);
	struct vfsmount *vfsmount = BPF_CORE_READ(file, f_path.mnt);
	struct mount *mount = (void *)vfsmount - bpf_core_field_offset(struct mount, mnt);
	u32 slots = 0;

	program->more = 0;
#pragma clang loop unroll(disable)
	for (int at = 0; at < PATH_SLOTS; at++) {
		struct dentry *parent = BPF_CORE_READ(dentry, d_parent);

		/* Mounts may lie upon each other. */
#pragma clang loop unroll(disable)
		for (int step = 0; step < 3; step++) {
			struct mount *above = BPF_CORE_READ(mount, mnt_parent);

			if (dentry != BPF_CORE_READ(mount, mnt.mnt_root) && dentry != parent)
				break;
			if (above == mount) {
				if (!at) {  /* a file without a folder: memfd */
					bpf_probe_read_kernel_str(program->path[at], PATH_SLOT, BPF_CORE_READ(dentry, d_name.name));
					slots = 1;
				}
				goto out;
			}
			dentry = BPF_CORE_READ(mount, mnt_mountpoint);
			mount = above;
			parent = BPF_CORE_READ(dentry, d_parent);
		}
		if (dentry == parent) {
			program->more = 1;
			goto out;
		}
		bpf_probe_read_kernel_str(program->path[at], PATH_SLOT, BPF_CORE_READ(dentry, d_name.name));
		slots = at + 1;
		dentry = parent;
	}
	program->more = 1;
out:
	program->slots = slots;
}

/* Everything about a program but its arguments. */
static __always_inline void identify(struct program *program, struct task_struct *task)
{
	struct file *file = BPF_CORE_READ(task, mm, exe_file);
	struct inode *inode = BPF_CORE_READ(file, f_inode);

	program->pid = task->tgid;
	program->start = task->group_leader->start_boottime;
	program->parent = task->real_parent->tgid;
	program->parent_start = task->real_parent->group_leader->start_boottime;
	program->uid = task->cred->uid.val;
	program->mntns = BPF_CORE_READ(task, nsproxy, mnt_ns, ns.inum);
	bpf_probe_read_kernel(program->comm, 16, task->comm);
	program->inode = BPF_CORE_READ(inode, i_ino);
	program->links = BPF_CORE_READ(inode, i_nlink);
	program->device = BPF_CORE_READ(inode, i_sb, s_dev);
	program->args_size = 0;
	walk(program, file);
}

SEC("tp_btf/sched_process_exec")
int process_exec(u64 *ctx)
{
	struct task_struct *task = (struct task_struct *)ctx[0];
	struct program *program;
	unsigned long from, size;
	u32 zero = 0;

	program = bpf_map_lookup_elem(&scratch, &zero);
	if (!program)
		return 0;
	identify(program, task);
	program->cgroup = bpf_get_current_cgroup_id();
	from = BPF_CORE_READ(task, mm, arg_start);
	size = BPF_CORE_READ(task, mm, arg_end) - from;
	if (size > ARGS_MOST)
		size = ARGS_MOST;
	if (size && bpf_probe_read_user(program->args, size, (void *)from))
		size = 0;
	program->args_size = size;
	size += __builtin_offsetof(struct program, args);
	if (size > sizeof(struct program))
		return 0;
	begin(&program->head, size, EVENT_EXEC);
	say(program, size, EVENT_EXEC);
	return 0;
}

/* Who runs already. */
SEC("iter/task")
int running(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	struct program *program;
	u32 zero = 0;

	if (!task || task->pid != task->tgid || !task->mm)
		return 0;
	program = bpf_map_lookup_elem(&scratch, &zero);
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
	struct owner *owner;
	struct socket *socket;
	struct tcp_sock *tcp;
	struct sock *sk;
	u16 family;
	u8 state;

	if (!task || !file || task->pid != task->tgid)
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
	owner = bpf_sk_storage_get(&owners, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	if (!owner || owner->id)
		return 0;
	owner->id = new_id();
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
		tcp = bpf_skc_to_tcp_sock(sk);
		if (tcp && state != TCP_LISTEN) {
			flow.sent = tcp->bytes_sent - tcp->bytes_retrans;
			flow.received = tcp->bytes_received;
			if (flow.received && (sk->__sk_common.skc_flags >> SOCK_DONE & 1))
				flow.received--;
			owner->answered = state != TCP_SYN_SENT;
			owner->tried = 1;
		}
	} else {
		owner->flags = 0;
		if (!sk->__sk_common.skc_dport)
			return 0;
		owner->answered = 1;
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

/* What every open connection has carried since it was told last. */
SEC("iter/bpf_sk_storage_map")
int totals(struct bpf_iter__bpf_sk_storage_map *ctx)
{
	struct owner *owner = ctx->value;
	struct sock *sk = ctx->sk;
	struct flow flow = {};
	struct tcp_sock *tcp;

	if (!owner || !sk)
		return 0;
	if (!owner->answered) {
		if (owner->told || sk->sk_protocol != IPPROTO_TCP || sk->__sk_common.skc_state != TCP_SYN_SENT)
			return 0;
		head(&flow, sk, owner, EVENT_OPEN);
		owner->told = !bpf_seq_write(ctx->meta->seq, &flow, sizeof(flow));
		return 0;
	}
	if (sk->sk_protocol == IPPROTO_TCP) {
		tcp = bpf_skc_to_tcp_sock(sk);
		if (!tcp || sk->__sk_common.skc_state == TCP_LISTEN)
			return 0;
		flow.sent = tcp->bytes_sent - tcp->bytes_retrans;
		flow.received = tcp->bytes_received;
		if (flow.received && (sk->__sk_common.skc_flags >> SOCK_DONE & 1))
			flow.received--;
	} else {
		flow.sent = owner->sent;
		flow.received = owner->received;
	}
	if (flow.sent == owner->told_sent && flow.received == owner->told_received)
		return 0;
	head(&flow, sk, owner, EVENT_TOTAL);
	if (bpf_seq_write(ctx->meta->seq, &flow, sizeof(flow)))
		return 0;
	owner->told_sent = flow.sent;
	owner->told_received = flow.received;
	return 0;
}

/* Who makes a socket owns it, until somebody else is seen to use it. */
SEC("cgroup/sock_create")
int socket_create(struct bpf_sock *ctx)
{
	struct owner *owner;

	if ((ctx->family != AF_INET && ctx->family != AF_INET6) || ctx->type == SOCK_STREAM)
		return 1;
	owner = bpf_sk_storage_get(&owners, ctx, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	if (owner)
		own(owner);
	return 1;
}

SEC("cgroup/sock_release")
int socket_release(struct bpf_sock *ctx)
{
	struct owner *owner;
	struct flow flow = {};

	if ((ctx->family != AF_INET && ctx->family != AF_INET6) || ctx->type == SOCK_STREAM)
		return 1;
	owner = bpf_sk_storage_get(&owners, ctx, NULL, 0);
	if (!owner || !owner->answered)
		return 1;
	datagrams(&flow, owner, ctx, owner->peer, owner->peer_port, EVENT_CLOSE);
	flow.sent = owner->sent;
	flow.received = owner->received;
	say(&flow, sizeof(flow), EVENT_CLOSE);
	owner->answered = 0;
	return 1;
}

SEC("cgroup_skb/egress")
int packet_out(struct __sk_buff *skb)
{
	count_packet(skb, 1);
	return 1;
}

SEC("cgroup_skb/ingress")
int packet_in(struct __sk_buff *skb)
{
	count_packet(skb, 0);
	return 1;
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
