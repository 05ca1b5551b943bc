/* Who a process is, told when it begins, runs another program and ends. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 2);  /* the second program may run while the first one waits for its processor */
	__type(key, u32);
	__type(value, struct program);
} scratch SEC(".maps");

/* What was told last of each kind: a second program (see tcp_held_again) leaves that out. What is told twice does no harm. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, EVENT_KINDS);
	__type(key, u32);
	__type(value, u64);
} last_told SEC(".maps");

static __always_inline bool is_told(u32 kind, u64 what, bool again)
{
	u64 *last = bpf_map_lookup_elem(&last_told, &kind);

	if (!last || (again && *last == what))
		return 1;
	*last = what;
	return 0;
}

static __always_inline u64 started(struct task_struct *task)
{
	return BPF_CORE_READ(task, group_leader, start_boottime);
}

static __noinline int tell_fork(u64 *ctx, bool again)
{
	struct task_struct *parent = (struct task_struct *)ctx[0], *child = (struct task_struct *)ctx[1];
	struct life life = {};

	if (child->pid != child->tgid || is_told(EVENT_FORK, child->start_boottime, again))  /* a thread */
		return 0;
	begin(&life.head, sizeof(life), EVENT_FORK);
	life.pid = child->tgid;
	life.start = child->start_boottime;
	life.parent = parent->tgid;
	life.parent_start = started(parent);
	say(&life, sizeof(life), EVENT_FORK, (u32)bpf_get_current_uid_gid());
	return 0;
}

static __noinline int tell_exit(u64 *ctx, bool again)
{
	struct task_struct *task = (struct task_struct *)ctx[0];
	struct life life = {};

	if (BPF_CORE_READ(task, signal, live.counter))  /* other threads go on, perhaps without the first one */
		return 0;
	if (is_told(EVENT_EXIT, started(task), again))
		return 0;
	begin(&life.head, sizeof(life), EVENT_EXIT);
	life.pid = task->tgid;
	life.start = started(task);
	say(&life, sizeof(life), EVENT_EXIT, (u32)bpf_get_current_uid_gid());
	return 0;
}

#define MORE 0x100

/* Collect the components of a path, the last one first, across mount points up to the root; gives how many, and MORE if not all. */
static __noinline u32 walk(char (*path)[PATH_SLOT], u32 most, struct dentry *dentry, struct vfsmount *vfsmount)
{
	struct mount *mount = (void *)vfsmount - bpf_core_field_offset(struct mount, mnt);
	u32 slots = 0;

#pragma clang loop unroll(disable)
	for (u32 at = 0; at < most; at++) {
		struct dentry *parent = BPF_CORE_READ(dentry, d_parent);

		/* Mounts may lie upon each other. */
#pragma clang loop unroll(disable)
		for (int step = 0; step < 3; step++) {
			struct mount *above = BPF_CORE_READ(mount, mnt_parent);

			if (dentry != BPF_CORE_READ(mount, mnt.mnt_root) && dentry != parent)
				break;
			if (above == mount) {
				if (at || most != PATH_SLOTS)
					return slots;
				bpf_probe_read_kernel_str(path[at], PATH_SLOT, BPF_CORE_READ(dentry, d_name.name));
				return 1;  /* a file without a folder: memfd */
			}
			dentry = BPF_CORE_READ(mount, mnt_mountpoint);
			mount = above;
			parent = BPF_CORE_READ(dentry, d_parent);
		}
		if (dentry == parent)
			return slots | MORE;
		bpf_probe_read_kernel_str(path[at], PATH_SLOT, BPF_CORE_READ(dentry, d_name.name));
		slots = at + 1;
		dentry = parent;
	}
	return slots | MORE;
}

/* Everything about a program but its arguments. */
static __always_inline void identify(struct program *program, struct task_struct *task)
{
	struct file *file = BPF_CORE_READ(task, mm, exe_file);
	struct inode *inode = BPF_CORE_READ(file, f_inode);
	struct fs_struct *fs = BPF_CORE_READ(task, fs);
	u32 found;

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
	found = walk(program->path, PATH_SLOTS, BPF_CORE_READ(file, f_path.dentry), BPF_CORE_READ(file, f_path.mnt));
	program->slots = found;
	program->more = found >> 8;
	found = walk(program->folder, FOLDER_SLOTS, BPF_CORE_READ(fs, pwd.dentry), BPF_CORE_READ(fs, pwd.mnt));
	program->folder_slots = found;
	program->folder_more = found >> 8;
}

static __noinline int tell_exec(u64 *ctx, bool again)
{
	struct task_struct *task = (struct task_struct *)ctx[0];
	struct program *program;
	unsigned long from, size;
	u32 which = again;

	program = bpf_map_lookup_elem(&scratch, &which);
	if (!program || is_told(EVENT_EXEC, (u64)BPF_CORE_READ(task, mm) ^ started(task), again))
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
	say(program, size, EVENT_EXEC, program->uid);
	return 0;
}

SEC("tp_btf/sched_process_fork")
int process_fork(u64 *ctx)
{
	return tell_fork(ctx, 0);
}

SEC("tp_btf/sched_process_fork")
int process_fork_again(u64 *ctx)
{
	return tell_fork(ctx, 1);
}

SEC("tp_btf/sched_process_exit")
int process_exit(u64 *ctx)
{
	return tell_exit(ctx, 0);
}

SEC("tp_btf/sched_process_exit")
int process_exit_again(u64 *ctx)
{
	return tell_exit(ctx, 1);
}

SEC("tp_btf/sched_process_exec")
int process_exec(u64 *ctx)
{
	return tell_exec(ctx, 0);
}

SEC("tp_btf/sched_process_exec")
int process_exec_again(u64 *ctx)
{
	return tell_exec(ctx, 1);
}

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct group);
} fresh SEC(".maps");

/* By the time that somebody asks for it, a container that lived for a moment has gone with its group. */
SEC("tp_btf/cgroup_mkdir")
int group_made(u64 *ctx)
{
	struct cgroup *cgroup = (struct cgroup *)ctx[0];
	struct group *group;
	u32 zero = 0;
	long size;

	if (BPF_CORE_READ(cgroup, root, hierarchy_id))  /* of version 1 */
		return 0;
	group = bpf_map_lookup_elem(&fresh, &zero);
	if (!group)
		return 0;
	group->id = BPF_CORE_READ(cgroup, kn, id);
	size = bpf_probe_read_kernel_str(group->path, GROUP_MOST, (void *)ctx[1]);
	if (size < 0 || size > GROUP_MOST)
		return 0;
	size += __builtin_offsetof(struct group, path);
	begin(&group->head, size, EVENT_GROUP);
	say(group, size, EVENT_GROUP, (u32)bpf_get_current_uid_gid());
	return 0;
}
