/* Bytes in which names stand: answers of name servers, and what clients say first (TLS, HTTP, QUIC). They are read in user space.
 *
 * Only the first bytes of a connection, and never what it carries afterwards.
 */

#define PORT_DNS 53
#define SMALL 512
#define LARGE 4096
#define SEGMENTS 6        /* of a client's first words */
#define ANSWERS 64        /* pieces of a connection to a name server */
#define TLS_HANDSHAKE 0x16
#define QUIC_1 0x00000001
#define QUIC_2 0x6b3343cf
#define QUIC_LONG 0xc0    /* bits of the first byte of a long header */

/* Copy at most so many bytes: the kernel wants sizes that it can know before. */
#define COPY_UP_TO(most)                                                                                     \
	do {                                                                                                     \
		struct name *name = bpf_ringbuf_reserve(&ring, sizeof(struct name) + (most), 0);                     \
                                                                                                             \
		if (!name) {                                                                                         \
			count->refused++;                                                                                \
			return;                                                                                          \
		}                                                                                                    \
		*name = *head;                                                                                       \
		name->head.size = sizeof(struct name) + (most);                                                      \
		bytes -= 1;                                                                                          \
		bytes &= (most) - 1;                                                                                 \
		bytes += 1;                                                                                          \
		name->bytes = bytes;                                                                                 \
		if (bpf_skb_load_bytes(skb, at, name->data, bytes))                                                  \
			bpf_ringbuf_discard(name, 0);                                                                    \
		else                                                                                                 \
			bpf_ringbuf_submit(name, full ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP);                         \
	} while (0)

/* Put bytes of a packet into the ring, unless that is more than half full: connections go first. */
static __always_inline void copy(struct __sk_buff *skb, const struct name *head, u32 at)
{
	u32 kind = EVENT_NAME, bytes;
	struct count *count = bpf_map_lookup_elem(&counts, &kind);
	u64 full = fill();

	if (!count || skb->len <= at)
		return;
	bytes = skb->len - at;
	count->happened++;
	if (full == 2) {
		count->refused++;
		return;
	}
	if (bytes <= SMALL)
		COPY_UP_TO(SMALL);
	else if (bytes <= 1024)
		COPY_UP_TO(1024);
	else if (bytes <= 2048)
		COPY_UP_TO(2048);
	else {
		if (bytes > LARGE)
			bytes = LARGE;
		COPY_UP_TO(LARGE);
	}
}

/* Say whose bytes these are. */
static __always_inline void whose(struct name *name, const struct owner *owner, const struct bpf_sock *sk, u16 what)
{
	begin(&name->head, 0, EVENT_NAME);
	name->id = owner->id;
	name->start = owner->start;
	name->pid = owner->pid;
	name->uid = owner->uid;
	name->netns = owner->netns;
	name->protocol = sk->protocol;
	name->local_port = sk->src_port;
	name->what = what;
}

/* What a client says first, and what a name server answers over TCP. */
static __always_inline void stream_names(struct __sk_buff *skb, struct bpf_sock *sk, bool out)
{
	struct name name = {};
	struct owner *owner;
	u8 first, offset, said;
	__be32 sequence;
	u32 at, ip;
	bool asks = sk->dst_port == bpf_htons(PORT_DNS);

	if (!settings.names || (!out && !asks) || (out && asks))
		return;
	owner = bpf_sk_storage_get(&owners, sk, NULL, 0);
	if (!owner || !owner->id || owner->named >= (asks ? ANSWERS : NAMED_ENOUGH) || owner->flags & (FLAG_INGRESS | FLAG_EXISTING))
		return;
	if (bpf_skb_load_bytes(skb, 0, &first, 1))
		return;
	ip = first >> 4 == 4 ? (first & 15) * 4 : 40;
	if (bpf_skb_load_bytes(skb, ip + 12, &offset, 1) || bpf_skb_load_bytes(skb, ip + 4, &sequence, 4))
		return;
	at = ip + (offset >> 4) * 4;
	if (skb->len <= at || bpf_skb_load_bytes(skb, at, &said, 1))
		return;
	if (!asks && !owner->named && said != TLS_HANDSHAKE && (said < 'A' || said > 'Z')) {
		owner->named = NAMED_ENOUGH;  /* neither TLS nor HTTP */
		return;
	}
	owner->named++;
	if (!asks && owner->named >= SEGMENTS)
		owner->named = NAMED_ENOUGH;
	whose(&name, owner, sk, asks ? NAME_STREAM : NAME_CLIENT);
	name.sequence = bpf_ntohl(sequence);
	name.remote_port = bpf_ntohs(sk->dst_port);
	name.family = first >> 4 == 4 ? AF_INET : AF_INET6;
	if (name.family == AF_INET)
		bpf_skb_load_bytes(skb, out ? 16 : 12, name.remote, 4);
	else
		bpf_skb_load_bytes(skb, out ? 24 : 8, name.remote, 16);
	copy(skb, &name, at);
}

/* What a name server answers in a datagram, and the first ones of QUIC. */
static __always_inline void datagram_names(struct __sk_buff *skb, struct bpf_sock *sk, struct owner *owner, const u64 *peer, u16 port, u16 family,
					   u32 at, bool out)
{
	struct name name = {};
	__be32 version;
	u8 first;
	u16 what = NAME_ANSWER;

	if (!settings.names || sk->protocol != IPPROTO_UDP || (!out && port != PORT_DNS))
		return;
	if (out) {
		if (owner->named >= NAMED_ENOUGH || port == PORT_DNS)
			return;
		if (bpf_skb_load_bytes(skb, at, &first, 1) || (first & QUIC_LONG) != QUIC_LONG || bpf_skb_load_bytes(skb, at + 1, &version, 4))
			return;
		if (version != bpf_htonl(QUIC_1) && version != bpf_htonl(QUIC_2))
			return;
		owner->named++;
		what = NAME_QUIC;
	}
	whose(&name, owner, sk, what);
	name.remote_port = port;
	name.family = family;
	__builtin_memcpy(name.remote, peer, 16);
	copy(skb, &name, at);
}
