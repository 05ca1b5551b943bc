/* Everything that is not TCP: counted packet by packet. */

/* With another peer than the first one. */
struct talk {
	u64 id;
	u64 sent;
	u64 received;
	u64 last;
	u32 named;            /* as an owner's */
	u32 unused;
	u8 here[16];          /* the own end's address, if it waits to be accepted */
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct peer);
	__type(value, struct talk);
} talks SEC(".maps");

/* Write what is known of a flow of datagrams. */
static __always_inline void datagrams(struct flow *flow, const struct owner *owner, struct bpf_sock *sk, const u64 *peer, u16 port, u8 kind)
{
	begin_flow(flow, &owner->who, kind);
	flow->family = owner->family;
	flow->protocol = sk->protocol;
	flow->type = sk->type;
	flow->remote_port = port;
	__builtin_memcpy(flow->remote, peer, 16);
}

#define PATIENCE 512      /* looks whether the other processor is done */
#define GONE 2            /* in the place of owner.claimed: its end was told */

/* TCP and MPTCP are told by their states; SCTP is no stream here, whatever its sockets are called. */
static __always_inline bool is_stream(u32 type, u32 protocol)
{
	return type == SOCK_STREAM && protocol != IPPROTO_SCTP;
}

/* In the place of a socket's id: whom an SCTP listener has not accepted yet. Ids are times, and larger. */
static __always_inline u64 waiting(u32 netns, u32 port)
{
	return (u64)netns << 16 | port;
}

/* Begin to count what goes to and comes from another peer; gives its id, 0 if there is no room. */
static __noinline u64 new_talk(const struct peer *key, const u8 *here)
{
	struct talk fresh = { .id = new_id() };

	__builtin_memcpy(fresh.here, here, 16);
	if (!bpf_map_update_elem(&talks, key, &fresh, BPF_NOEXIST))
		return fresh.id;
	miss();
	return 0;
}

/* Count a packet of a caller that is told when it is accepted. */
static __noinline int count_waiting(const struct peer *key, const u8 *here, u64 size, bool out)
{
	struct talk *talk = bpf_map_lookup_elem(&talks, key);

	if (!talk && new_talk(key, here))
		talk = bpf_map_lookup_elem(&talks, key);
	if (!talk)
		return 0;
	__sync_fetch_and_add(out ? &talk->sent : &talk->received, size);
	talk->last = bpf_ktime_get_boot_ns();
	return 0;
}

/* A caller of an SCTP listener gets a socket of its own, and with it what it has said before. */
static __noinline int sctp_accepted(struct sock *sk)
{
	struct owner *owner = notes(sk);
	struct peer key = {};
	struct flow flow = {};
	struct talk *talk;

	if (!owner || owner->who.id)
		return 0;
	own(&owner->who, netns_of(sk));
	owner->who.flags |= FLAG_INGRESS;
	key.socket = waiting(owner->who.netns, sk->__sk_common.skc_num);
	key.port = bpf_ntohs(sk->__sk_common.skc_dport);
	key.family = sk->__sk_common.skc_family;
	if (key.family == AF_INET6)
		bpf_probe_read_kernel(key.address, 16, &sk->__sk_common.skc_v6_daddr);
	else
		key.address[0] = sk->__sk_common.skc_daddr;
	if (key.family == AF_INET6 && !key.address[0] && (u32)key.address[1] == bpf_htonl(0xffff)) {
		key.family = AF_INET;
		key.address[0] = key.address[1] >> 32;
		key.address[1] = 0;
	}
	talk = bpf_map_lookup_elem(&talks, &key);
	if (!talk)
		return 0;  /* its next packet shows its ends */
	owner->claimed = owner->answered = 1;
	owner->family = key.family;
	owner->peer_port = key.port;
	owner->peer[0] = key.address[0];
	owner->peer[1] = key.address[1];
	owner->sent = talk->sent;
	owner->received = talk->received;
	begin_flow(&flow, &owner->who, EVENT_OPEN);
	other_flow(&flow, sk, owner);
	__builtin_memcpy(flow.local, talk->here, 16);
	bpf_map_delete_elem(&talks, &key);
	say(&flow, sizeof(flow), EVENT_OPEN, flow.uid);
	return 0;
}

static __noinline void count_packet(struct __sk_buff *skb, bool out)
{
	struct bpf_sock *sk = skb->sk;
	struct owner *owner;
	struct flow flow = {};
	struct peer key = {};
	struct place place;
	struct talk *talk;
	u64 id;
	u8 here[16] = {}, first;
	u32 headers, size;
	u16 ports[2] = {}, port, family;

	if (!sk)
		return;
	sk = bpf_sk_fullsock(sk);
	if (!sk)
		return;
	if (is_stream(sk->type, sk->protocol)) {
		if (sk->state == TCP_LISTEN)
			is_called(sk);
		else
			stream_names(skb, sk, out);
		return;
	}
	owner = bpf_sk_storage_get(&owners, sk, NULL, 0);
	if (!owner || owner->claimed == GONE)
		return;  /* the kernel's own: never blame the current task; or SCTP says goodbye */
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
	if ((sk->protocol == IPPROTO_UDP || sk->protocol == IPPROTO_UDPLITE) && sk->type == SOCK_DGRAM) {
		if (bpf_skb_load_bytes(skb, headers, ports, 4))
			return;
		headers += 8;
	} else if (sk->protocol == IPPROTO_SCTP && sk->type != SOCK_RAW) {
		if (bpf_skb_load_bytes(skb, headers, ports, 4))
			return;
		headers += 12;
	}
	port = bpf_ntohs(out ? ports[1] : ports[0]);
	size = skb->len > headers ? skb->len - headers : 0;
	key.port = port;
	key.family = family;
	if (sk->protocol == IPPROTO_SCTP && sk->type == SOCK_STREAM && sk->state == TCP_LISTEN) {
		key.socket = waiting(owner->who.netns, sk->src_port);
		count_waiting(&key, here, size, out);
		return;
	}
	if (!owner->answered && !__sync_val_compare_and_swap(&owner->claimed, 0, 1)) {
		owner->family = family;
		owner->peer_port = port;
		owner->peer[0] = key.address[0];
		owner->peer[1] = key.address[1];
		if (!out)
			owner->who.flags |= FLAG_INGRESS;
		__sync_fetch_and_add(&owner->answered, 1);
		datagrams(&flow, owner, sk, key.address, port, EVENT_OPEN);
		flow.local_port = sk->src_port;
		__builtin_memcpy(flow.local, here, 16);
		place_of(&place, &flow);
		owner->fold.folded = is_storm(&place);
		if (!owner->fold.folded)
			say(&flow, sizeof(flow), EVENT_OPEN, flow.uid);
	}
	if (!*(volatile u32 *)&owner->answered) {
		/* Another processor sends this socket's first packet just now, perhaps to the same peer. */
#pragma clang loop unroll(disable)
		for (int step = 0; step < PATIENCE; step++)
			(void)*(volatile u32 *)&owner->answered;
	}
	if (owner->peer_port == port && owner->family == family && owner->peer[0] == key.address[0] && owner->peer[1] == key.address[1]) {
		datagram_names(skb, sk, owner, owner->who.id, out ? &owner->named : NULL, owner->sent, &key, headers);
		__sync_fetch_and_add(out ? &owner->sent : &owner->received, size);
		return;
	}
	key.socket = owner->who.id;
	talk = bpf_map_lookup_elem(&talks, &key);
	if (!talk) {
		id = new_talk(&key, here);
		if (!id)
			return;
		datagrams(&flow, owner, sk, key.address, port, EVENT_OPEN);
		flow.family = family;
		flow.local_port = sk->src_port;
		flow.id = id;
		flow.head.flags = (owner->who.flags & FLAG_KERNEL) | (out ? 0 : FLAG_INGRESS);
		__builtin_memcpy(flow.local, here, 16);
		say(&flow, sizeof(flow), EVENT_OPEN, flow.uid);
		talk = bpf_map_lookup_elem(&talks, &key);
		if (!talk)
			return;
	}
	datagram_names(skb, sk, owner, talk->id, out ? &talk->named : NULL, talk->sent, &key, headers);
	__sync_fetch_and_add(out ? &talk->sent : &talk->received, size);
	talk->last = bpf_ktime_get_boot_ns();
}

/* Who makes a socket owns it, until somebody else is seen to use it. */
SEC("cgroup/sock_create")
int socket_create(struct bpf_sock *ctx)
{
	struct owner *owner;

	if ((ctx->family != AF_INET && ctx->family != AF_INET6) || is_stream(ctx->type, ctx->protocol))
		return 1;
	owner = bpf_sk_storage_get(&owners, ctx, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	if (owner)
		own(&owner->who, bpf_get_current_task_btf()->nsproxy->net_ns->ns.inum);
	else
		miss();
	return 1;
}

SEC("cgroup/sock_release")
int socket_release(struct bpf_sock *ctx)
{
	struct owner *owner;
	struct flow flow = {};
	struct place place;

	if ((ctx->family != AF_INET && ctx->family != AF_INET6) || is_stream(ctx->type, ctx->protocol))
		return 1;
	owner = bpf_sk_storage_get(&owners, ctx, NULL, 0);
	if (!owner || !owner->answered)
		return 1;
	datagrams(&flow, owner, ctx, owner->peer, owner->peer_port, EVENT_CLOSE);
	flow.sent = owner->sent;
	flow.received = owner->received;
	place_of(&place, &flow);
	owner->answered = 0;  /* before its end is told: nothing is told of it afterwards */
	if (!(keeps_folded(&owner->fold) && gather(&place, &flow)))
		say(&flow, sizeof(flow), EVENT_CLOSE, flow.uid);
	owner->claimed = GONE;
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

/* Whom a datagram is addressed to, as the program wrote it. */
SEC("cgroup/sendmsg4")
int addressed_4(struct bpf_sock_addr *ctx)
{
	struct owner *owner;

	if (ctx->user_port != bpf_htons(PORT_DNS) || !settings.names)
		return 1;
	owner = bpf_sk_storage_get(&owners, ctx->sk, NULL, 0);
	if (owner) {
		owner->asked[0] = ctx->user_ip4;
		owner->asked[1] = 0;
	}
	return 1;
}

SEC("cgroup/sendmsg6")
int addressed_6(struct bpf_sock_addr *ctx)
{
	struct owner *owner;

	if (ctx->user_port != bpf_htons(PORT_DNS) || !settings.names)
		return 1;
	owner = bpf_sk_storage_get(&owners, ctx->sk, NULL, 0);
	if (owner) {
		owner->asked[0] = ctx->user_ip6[0] | (u64)ctx->user_ip6[1] << 32;
		owner->asked[1] = ctx->user_ip6[2] | (u64)ctx->user_ip6[3] << 32;
	}
	return 1;
}
