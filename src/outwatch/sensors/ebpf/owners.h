/* Who a socket belongs to. */
#ifndef OUTWATCH_OWNERS_H
#define OUTWATCH_OWNERS_H

#define NAMED_ENOUGH 8
#define SHARED_MOST 4     /* processes beside its owner that are told to use a socket */

struct who {
	u64 id;               /* of the socket's first flow; 0: it has none any more */
	u64 start;
	u64 cgroup;
	u32 pid;
	u32 uid;
	u32 netns;
	u32 flags;
	char comm[16];
};

/* Whether a connection is counted with others. */
struct fold {
	u32 folded;           /* not told: it is to be counted with others when it is over */
	u32 unfolded;         /* times that somebody wanted to tell it after all */
	u32 over;
};

/* What is known of a socket that is no stream while it lives. */
struct owner {
	struct who who;
	struct fold fold;
	u32 answered;
	u32 claimed;          /* somebody is about to tell the first datagram */
	u32 named;            /* pieces in which a name may stand that were copied; NAMED_ENOUGH: no more */
	u64 sent;
	u64 received;
	u64 told_sent;
	u64 told_received;
	u64 peer[2];          /* the first one talked to */
	u16 peer_port;
	u16 family;
	u32 shared[SHARED_MOST];
	u64 asked[2];         /* the name server that was addressed last, whatever address translation makes of that */
};

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct owner);
} owners SEC(".maps");

/* Begin what is told of a socket; flags and totals that are set already stay. */
static __always_inline void begin_flow(struct flow *flow, const struct who *who, u8 kind)
{
	flow->head.size = sizeof(*flow);
	flow->head.kind = kind;
	flow->head.flags |= who->flags;
	flow->head.cpu = bpf_get_smp_processor_id();
	flow->head.time = settings.look ? settings.look : bpf_ktime_get_boot_ns();
	flow->id = flow->socket = who->id;
	flow->start = who->start;
	flow->cgroup = who->cgroup;
	flow->pid = who->pid;
	flow->uid = who->uid;
	flow->netns = who->netns;
	__builtin_memcpy(flow->comm, who->comm, 16);
}

/* Give a socket's notes; where the kernel has no room for them just now, that is counted. */
static __always_inline struct owner *notes(struct sock *sk)
{
	struct owner *owner = bpf_sk_storage_get(&owners, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);

	if (!owner)
		miss();
	return owner;
}

static __always_inline u64 new_id(void)
{
	return bpf_ktime_get_boot_ns() << 10 | (bpf_get_smp_processor_id() & 1023);
}

/* At its end: tell whether a connection is still to be counted with others.
 *
 * The additions order what both sides write and read: if both come at once, this side sees it, and the connection is told.
 */
static __always_inline bool keeps_folded(struct fold *fold)
{
	if (!fold->folded)
		return 0;
	__sync_fetch_and_add(&fold->over, 1);
	return !*(volatile u32 *)&fold->unfolded;
}

/* While it lives: take a connection out again, to tell it by itself; false if it is just over. */
static __always_inline bool unfolds(struct fold *fold)
{
	__sync_fetch_and_add(&fold->unfolded, 1);
	return !*(volatile u32 *)&fold->over;
}

static __always_inline u32 netns_of(const struct sock *sk)
{
	return sk->__sk_common.skc_net.net->ns.inum;
}

/* It is the current process's, in the network namespace of its socket. */
static __noinline int own(struct who *who, u32 netns)
{
	struct task_struct *task = bpf_get_current_task_btf();
	u64 ids = bpf_get_current_pid_tgid();

	who->id = new_id();
	who->pid = ids >> 32;
	who->uid = (u32)bpf_get_current_uid_gid();
	who->cgroup = bpf_get_current_cgroup_id();
	who->start = task->group_leader->start_boottime;
	who->flags = task->mm ? 0 : FLAG_KERNEL;
	who->netns = netns;
	bpf_get_current_comm(who->comm, 16);
	return 0;
}

/* It is what a process holds already. */
static __always_inline void held_by(struct who *who, const struct task_struct *task, const struct sock *sk)
{
	who->pid = task->tgid;
	who->start = task->group_leader->start_boottime;
	who->uid = task->cred->uid.val;
	who->netns = netns_of(sk);
	bpf_probe_read_kernel(who->comm, 16, task->comm);
}

/* Write the ends of a socket that is no stream. */
static __always_inline void other_flow(struct flow *flow, const struct sock *sk, const struct owner *owner)
{
	flow->netns = netns_of(sk);
	flow->family = owner->family;
	flow->protocol = sk->sk_protocol;
	flow->type = sk->sk_type;
	flow->local_port = bpf_ntohs(BPF_CORE_READ((struct inet_sock *)sk, inet_sport));
	flow->remote_port = owner->peer_port;
	if (sk->__sk_common.skc_family == AF_INET6)
		bpf_probe_read_kernel(flow->local, 16, &sk->__sk_common.skc_v6_rcv_saddr);
	else
		*(u32 *)flow->local = sk->__sk_common.skc_rcv_saddr;
	__builtin_memcpy(flow->remote, owner->peer, 16);
}

#endif
