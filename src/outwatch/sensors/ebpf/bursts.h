/* Storms: short connections of one process to one place, too many to be told one by one, are counted together.
 *
 * Nothing is lost by it: what is counted here has its number, its bytes and its process.
 */
#ifndef OUTWATCH_BURSTS_H
#define OUTWATCH_BURSTS_H

#define RATES 32768
#define SECOND_BITS 30    /* of nanoseconds: a little more than one second */
#define STORM_SHORT 16    /* in place of settings.storm while the ring is more than half full */
#define STORM_LASTS 16    /* what settings.storm is divided by in a second that follows on one with a storm */

struct place {
	u64 start;            /* of the process */
	u32 pid;
	u32 netns;
	u64 address[2];       /* of the other end */
	u16 port;             /* that was called */
	u8 family;
	u8 protocol;
	u8 flags;             /* INGRESS, FAILED */
	u8 unused;
	u16 error;
};

struct gathered {
	struct flow flow;     /* like the first of them, with the totals of all */
	u64 count;
	u64 last;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct place);
	__type(value, struct gathered);
} bursts SEC(".maps");

/* How many in this second, and in the one before it; whose they are. */
struct pace {
	u32 span;
	u32 count;
	u32 before;
	u32 whose;
};

/* Of places that share a cell the one that most belong to is counted (the majority vote of Boyer and Moore), and only its own are taken
 * for a storm.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, RATES);
	__type(key, u32);
	__type(value, struct pace);
} rates SEC(".maps");

static __always_inline void place_of(struct place *place, const struct flow *flow)
{
	place->start = flow->start;
	place->pid = flow->pid;
	place->netns = flow->netns;
	__builtin_memcpy(place->address, flow->remote, 16);
	place->port = flow->head.flags & FLAG_INGRESS ? flow->local_port : flow->remote_port;
	place->family = flow->family;
	place->protocol = flow->protocol;
	place->flags = flow->head.flags & (FLAG_INGRESS | FLAG_FAILED);
	place->unused = 0;
	place->error = flow->error;
}

/* Tell whether there have been so many like this one in this second that it is not told by itself. */
static __noinline bool is_storm(const struct place *place)
{
	u64 mixed = place->start ^ ((u64)place->pid << 32) ^ place->netns;
	struct pace *pace;
	u32 cell, most, span, count, whose;

	if (!settings.storm)
		return 0;
	mixed = (mixed ^ place->address[0]) * 0x9e3779b97f4a7c15ULL;
	mixed = (mixed ^ (mixed >> 29) ^ place->address[1] ^ ((u64)place->port << 16) ^ place->flags) * 0xbf58476d1ce4e5b9ULL;
	cell = (mixed >> 40) % RATES;
	whose = mixed;
	pace = bpf_map_lookup_elem(&rates, &cell);
	if (!pace)
		return 0;
	span = bpf_ktime_get_boot_ns() >> SECOND_BITS;
	if (pace->span != span) {
		pace->before = pace->span + 1 == span ? pace->count : 0;
		pace->span = span;
		pace->count = 0;
	}
	if (pace->whose != whose) {
		if (pace->count)
			pace->count--;
		if (pace->count || pace->before > settings.storm)
			return 0;
		pace->whose = whose;
	}
	most = pace->before > settings.storm ? settings.storm / STORM_LASTS : settings.storm;
	count = ++pace->count;
	return count > most || (count > STORM_SHORT && fill() == 2);
}

/* Count a connection that is over with the others like it; false if it would be the first of them. */
static __always_inline bool gather_more(const struct place *place, u64 sent, u64 received)
{
	struct gathered *burst = bpf_map_lookup_elem(&bursts, place);

	if (!burst)
		return 0;
	__sync_fetch_and_add(&burst->count, 1);
	__sync_fetch_and_add(&burst->flow.sent, sent);
	__sync_fetch_and_add(&burst->flow.received, received);
	burst->last = bpf_ktime_get_boot_ns();
	return 1;
}

/* The same for any; false if there is no room for another kind of them. */
static __noinline bool gather(const struct place *place, const struct flow *flow)
{
	struct gathered fresh = {};

	if (gather_more(place, flow->sent, flow->received))
		return 1;
	fresh.flow = *flow;
	fresh.flow.sent = fresh.flow.received = 0;
	bpf_map_update_elem(&bursts, place, &fresh, BPF_NOEXIST);  /* another processor may have been here before */
	return gather_more(place, flow->sent, flow->received);
}

#endif
