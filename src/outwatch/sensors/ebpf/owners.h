/* Who a socket belongs to. */
#ifndef OUTWATCH_OWNERS_H
#define OUTWATCH_OWNERS_H

#define NAMED_ENOUGH 8
#define SHARED_MOST 4     /* processes beside its owner that are told to use a socket */

/* What is known of a socket while it lives. */
struct owner {
	u64 id;
	u64 start;
	u64 cgroup;
	u32 pid;
	u32 uid;
	u32 flags;
	u32 answered;
	u32 claimed;          /* of datagrams: somebody is about to tell the first one */
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
	u32 folded;           /* not told: it is to be counted with others when it is over */
	u32 unfolded;         /* times that totals() wanted to tell it after all */
	u32 over;
	u32 named;            /* pieces in which a name may stand that were copied; NAMED_ENOUGH: no more */
	u32 began;            /* of streams: the number of the first byte from the side in whose words a name may stand */
	u32 shared[SHARED_MOST];
	u64 asked[2];         /* of datagrams: the name server that was addressed last, whatever address translation makes of that */
	char comm[16];
};

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC | BPF_F_CLONE);
	__type(key, int);
	__type(value, struct owner);
} owners SEC(".maps");

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
		*(u32 *)flow->local = sk->__sk_common.skc_rcv_saddr;
		*(u32 *)flow->remote = sk->__sk_common.skc_daddr;
	}
	__builtin_memcpy(flow->comm, owner->comm, 16);
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
static __always_inline bool keeps_folded(struct owner *owner)
{
	if (!owner->folded)
		return 0;
	__sync_fetch_and_add(&owner->over, 1);
	return !*(volatile u32 *)&owner->unfolded;
}

/* While it lives: take a connection out again, to tell it by itself; false if it is just over. */
static __always_inline bool unfolds(struct owner *owner)
{
	__sync_fetch_and_add(&owner->unfolded, 1);
	return !*(volatile u32 *)&owner->over;
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
	owner->answered = owner->claimed = 0;
	owner->told = 0;
	owner->tried = 0;
	owner->folded = owner->unfolded = owner->over = 0;
	owner->netns = task->nsproxy->net_ns->ns.inum;
	owner->named = 0;
	__builtin_memset(owner->shared, 0, sizeof(owner->shared));
	bpf_get_current_comm(owner->comm, 16);
}

#endif
