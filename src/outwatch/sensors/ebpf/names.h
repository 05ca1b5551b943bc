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
static __noinline void copy(struct __sk_buff *skb, const struct name *head, u32 at)
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

/* Give the length of an IPv6 header with its extensions (RFC 8200, 4; RFC 4302 for 51). */
static __noinline u32 beyond(struct __sk_buff *skb)
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

/* Say whose bytes these are. */
static __always_inline void whose(struct name *name, const struct who *who, u64 id, const struct bpf_sock *sk, u16 what)
{
	begin(&name->head, 0, EVENT_NAME);
	name->id = id;
	name->start = who->start;
	name->pid = who->pid;
	name->uid = who->uid;
	name->netns = who->netns;
	name->protocol = sk->protocol;
	name->local_port = sk->src_port;
	name->what = what;
}

/* Whom a socket sends datagrams to, and gets them from. */
struct peer {
	u64 socket;           /* id of the socket's first flow */
	u64 address[2];
	u16 port;
	u16 family;
	u32 unused;
};

#define SYN 2
#define WINDOW 65536      /* bytes that a segment may be ahead */

/* What a client says first, and what a name server answers over TCP. What comes in is not checked yet: TCP itself takes only what
 * follows what it has, and so does this.
 */
static __always_inline void stream_names(struct __sk_buff *skb, struct bpf_sock *sk, bool out)
{
	struct name name = {};
	struct stream *stream;
	struct bpf_tcp_sock *tcp;
	u8 first, bits[2], said;  /* where the data begins, and flags (RFC 9293, 3.1) */
	__be32 number;
	u32 at, ip, sequence, next, unanswered;
	bool asks = sk->dst_port == bpf_htons(PORT_DNS);

	if (!settings.names || (!out && !asks) || (out && asks))
		return;
	stream = stream_of(sk);
	if (!stream || !stream->who.id || stream->named >= (asks ? ANSWERS : NAMED_ENOUGH) || stream->who.flags & (FLAG_INGRESS | FLAG_EXISTING))
		return;
	if (bpf_skb_load_bytes(skb, 0, &first, 1))
		return;
	ip = first >> 4 == 4 ? (first & 15) * 4 : beyond(skb);
	if (bpf_skb_load_bytes(skb, ip + 12, bits, 2) || bpf_skb_load_bytes(skb, ip + 4, &number, 4))
		return;
	at = ip + (bits[0] >> 4) * 4;
	if (skb->len <= at || bpf_skb_load_bytes(skb, at, &said, 1))
		return;
	tcp = bpf_tcp_sock(sk);
	if (!tcp)
		return;
	next = *(volatile u32 *)&tcp->rcv_nxt;  /* read apart: the kernel takes no sums of pointers to it */
	unanswered = *(volatile u32 *)&tcp->snd_una;
	sequence = bpf_ntohl(number) + (bits[1] & SYN ? 1 : 0);  /* which takes a number itself */
	if (!out && ((int)(sequence + (skb->len - at) - next) <= 0 || (int)(sequence - next) >= WINDOW))
		return;
	if (!stream->named)
		stream->began = bits[1] & SYN ? sequence : out ? unanswered : next;
	if (!asks && !stream->named && said != TLS_HANDSHAKE && (said < 'A' || said > 'Z')) {
		stream->named = NAMED_ENOUGH;  /* neither TLS nor HTTP */
		return;
	}
	stream->named++;
	if (!asks && stream->named >= SEGMENTS)
		stream->named = NAMED_ENOUGH;
	whose(&name, &stream->who, stream->who.id, sk, asks ? NAME_STREAM : NAME_CLIENT);
	name.sequence = sequence;
	name.began = stream->began;
	name.remote_port = bpf_ntohs(sk->dst_port);
	name.family = first >> 4 == 4 ? AF_INET : AF_INET6;
	if (name.family == AF_INET)
		bpf_skb_load_bytes(skb, out ? 16 : 12, name.remote, 4);
	else
		bpf_skb_load_bytes(skb, out ? 24 : 8, name.remote, 16);
	copy(skb, &name, at);
}

/* Tell whether a socket has asked a name server that packets out go to by another address: containers' are translated on the way. */
static __always_inline bool was_asked(const struct owner *owner, const struct bpf_sock *sk, const struct peer *peer)
{
	if (sk->dst_port == bpf_htons(PORT_DNS))
		return owner->sent;  /* it is connected: the kernel lets nobody else in */
	return owner->asked[0] == peer->address[0] && owner->asked[1] == peer->address[1] && (peer->address[0] || peer->address[1]);
}

/* What a name server answers in a datagram, and the first ones of QUIC (then ``named`` counts them). Nothing that was never asked for:
 * anybody may send from port 53.
 */
static __always_inline void datagram_names(struct __sk_buff *skb, struct bpf_sock *sk, const struct owner *owner, u64 id, u32 *named, u64 sent,
					   const struct peer *peer, u32 at)
{
	struct name name = {};
	__be32 version;
	u8 first;
	u16 what = NAME_ANSWER;

	if (!settings.names || sk->protocol != IPPROTO_UDP)
		return;
	asm volatile("" : "+r"(named));  /* whether there is one is to be seen by itself, or the verifier can't follow */
	if (!named && (peer->port != PORT_DNS || !(sent || was_asked(owner, sk, peer))))
		return;
	if (named) {
		if (*named >= NAMED_ENOUGH || peer->port == PORT_DNS)
			return;
		if (bpf_skb_load_bytes(skb, at, &first, 1) || (first & QUIC_LONG) != QUIC_LONG || bpf_skb_load_bytes(skb, at + 1, &version, 4))
			return;
		if (version != bpf_htonl(QUIC_1) && version != bpf_htonl(QUIC_2))
			return;
		++*named;
		what = NAME_QUIC;
	}
	whose(&name, &owner->who, id, sk, what);
	name.remote_port = peer->port;
	name.family = peer->family;
	__builtin_memcpy(name.remote, peer->address, 16);
	copy(skb, &name, at);
}
