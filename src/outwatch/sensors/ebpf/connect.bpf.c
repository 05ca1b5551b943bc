/* Sees who opens and closes connections, and which programs processes run.
 *
 * Copyright the outwatch founders; licensed GPL-2.0-only OR MIT, because the helpers that read kernel memory are for GPL programs.
 */
#include "core.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include "event.h"

/* linux/bpf.h, whose types would stand beside ours. */
#define BPF_MAP_TYPE_PERCPU_ARRAY 6
#define BPF_MAP_TYPE_SK_STORAGE 24
#define BPF_MAP_TYPE_RINGBUF 27
#define BPF_F_NO_PREALLOC 1
#define BPF_F_CLONE 512
#define BPF_SK_STORAGE_GET_F_CREATE 1
#define BPF_RB_NO_WAKEUP 1
#define BPF_RB_FORCE_WAKEUP 2
#define BPF_RB_AVAIL_DATA 0

#define TCP_ESTABLISHED 1
#define TCP_SYN_SENT 2
#define TCP_SYN_RECV 3
#define TCP_CLOSE 7
#define TCP_LISTEN 10
#define AF_INET 2
#define AF_INET6 10
#define IPPROTO_TCP 6
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
	char comm[16];
};

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC | BPF_F_CLONE);
	__type(key, int);
	__type(value, struct owner);
} owners SEC(".maps");

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
	u64 full = bpf_ringbuf_query(&ring, BPF_RB_AVAIL_DATA) > (1 << 20);

	if (!count)
		return;
	count->happened++;
	if (bpf_ringbuf_output(&ring, record, size, full ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP))
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

/* Send what is known of a socket; flags and totals that are set already stay. */
static __always_inline void tell(struct flow *flow, const struct sock *sk, const struct owner *owner, u8 kind)
{
	flow->head.size = sizeof(*flow);
	flow->head.kind = kind;
	flow->head.flags |= owner->flags;
	flow->head.cpu = bpf_get_smp_processor_id();
	flow->head.time = bpf_ktime_get_boot_ns();
	flow->id = owner->id;
	flow->start = owner->start;
	flow->cgroup = owner->cgroup;
	flow->pid = owner->pid;
	flow->uid = owner->uid;
	flow->netns = sk->__sk_common.skc_net.net->ns.inum;
	flow->family = sk->__sk_common.skc_family;
	flow->protocol = IPPROTO_TCP;
	flow->local_port = sk->__sk_common.skc_num;
	flow->remote_port = bpf_ntohs(sk->__sk_common.skc_dport);
	if (flow->family == AF_INET6) {
		bpf_probe_read_kernel(flow->local, 16, &sk->__sk_common.skc_v6_rcv_saddr);
		bpf_probe_read_kernel(flow->remote, 16, &sk->__sk_common.skc_v6_daddr);
	} else {
		bpf_probe_read_kernel(flow->local, 4, &sk->__sk_common.skc_rcv_saddr);
		bpf_probe_read_kernel(flow->remote, 4, &sk->__sk_common.skc_daddr);
	}
	__builtin_memcpy(flow->comm, owner->comm, 16);
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
	bpf_get_current_comm(owner->comm, 16);
}

SEC("tp_btf/inet_sock_set_state")
int tcp_state(u64 *ctx)
{
	struct sock *sk = (struct sock *)ctx[0];
	int before = (int)ctx[1], now = (int)ctx[2];
	struct owner *owner;
	struct flow flow = {};
	struct tcp_sock *tcp;

	if (sk->sk_protocol != IPPROTO_TCP)
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
		tell(&flow, sk, owner, EVENT_OPEN);
		return 0;
	}
	if (now == TCP_ESTABLISHED && before == TCP_SYN_RECV) {
		/* Not the task that happens to run here: the owner of the listener, if it was seen. */
		owner = bpf_sk_storage_get(&owners, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
		if (!owner)
			return 0;
		owner->id = new_id();
		owner->flags |= FLAG_INGRESS;
		owner->answered = 1;
		tell(&flow, sk, owner, EVENT_OPEN);
		return 0;
	}
	if (now != TCP_ESTABLISHED && now != TCP_CLOSE)
		return 0;
	owner = bpf_sk_storage_get(&owners, sk, NULL, 0);
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
static __always_inline void walk(struct program *program, struct file *file)
{
	struct dentry *dentry = BPF_CORE_READ(file, f_path.dentry);
	struct vfsmount *vfsmount = BPF_CORE_READ(file, f_path.mnt);
	struct mount *mount = (void *)vfsmount - bpf_core_field_offset(struct mount, mnt);
	u32 slots = 0;

#pragma unroll
	for (int at = 0; at < PATH_SLOTS; at++) {
		struct dentry *root = BPF_CORE_READ(mount, mnt.mnt_root), *parent = BPF_CORE_READ(dentry, d_parent);

		if (dentry == root || dentry == parent) {
			struct mount *above = BPF_CORE_READ(mount, mnt_parent);

			if (above == mount)
				break;
			dentry = BPF_CORE_READ(mount, mnt_mountpoint);
			mount = above;
			root = BPF_CORE_READ(mount, mnt.mnt_root);
			parent = BPF_CORE_READ(dentry, d_parent);
			if (dentry == root)
				break;
		}
		bpf_probe_read_kernel_str(program->path[at], PATH_SLOT, BPF_CORE_READ(dentry, d_name.name));
		slots = at + 1;
		dentry = parent;
	}
	program->slots = slots;
	program->more = slots == PATH_SLOTS;
}

SEC("tp_btf/sched_process_exec")
int process_exec(u64 *ctx)
{
	struct task_struct *task = (struct task_struct *)ctx[0];
	struct program *program;
	struct file *file;
	struct inode *inode;
	unsigned long from, size;
	u32 zero = 0;

	program = bpf_map_lookup_elem(&scratch, &zero);
	if (!program)
		return 0;
	program->pid = task->tgid;
	program->start = task->group_leader->start_boottime;
	program->parent = task->real_parent->tgid;
	program->parent_start = task->real_parent->group_leader->start_boottime;
	program->uid = task->cred->uid.val;
	program->cgroup = bpf_get_current_cgroup_id();
	program->mntns = BPF_CORE_READ(task, nsproxy, mnt_ns, ns.inum);
	bpf_get_current_comm(program->comm, 16);
	file = BPF_CORE_READ(task, mm, exe_file);
	inode = BPF_CORE_READ(file, f_inode);
	program->inode = BPF_CORE_READ(inode, i_ino);
	program->device = BPF_CORE_READ(inode, i_sb, s_dev);
	walk(program, file);
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
