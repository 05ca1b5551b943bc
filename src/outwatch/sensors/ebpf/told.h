/* What goes into the ring, and what finds no room there. */
#ifndef OUTWATCH_TOLD_H
#define OUTWATCH_TOLD_H

#define SHARE_BITS 25     /* of nanoseconds: 34 ms */
#define SHARE_MOST 512    /* records of one user in that time while the ring is more than half full */
#define SHARES 1024

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4 << 20);
} ring SEC(".maps");

/* Per kind: how many happened, and how many the ring refused. Of no kind: what the kernel did not tell, and what found no room in a map.
 * A program may interrupt another one, so what is lost is added at once.
 */
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

/* How many in one span of time; what comes in two at once from two processors may count as one. */
struct rate {
	u32 span;
	u32 count;
};

static __always_inline u32 one_more(struct rate *rate, u32 span)
{
	if (rate->span != span) {
		rate->span = span;
		rate->count = 0;
	}
	return ++rate->count;
}

/* Records of each user while the ring is more than half full: whoever floods it must not silence others. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SHARES);
	__type(key, u32);
	__type(value, struct rate);
} shares SEC(".maps");

/* In quarters. */
static __always_inline u64 fill(void)
{
	u64 used = bpf_ringbuf_query(&ring, BPF_RB_AVAIL_DATA);

	return used > 2 * settings.quarter ? 2 : used > settings.quarter;
}

static __always_inline void say(void *record, u32 size, u32 kind, u32 uid)
{
	struct count *count = bpf_map_lookup_elem(&counts, &kind);
	u64 full = fill();
	struct rate *rate;

	if (!count)
		return;
	count->happened++;
	if (full == 2) {
		uid %= SHARES;
		rate = bpf_map_lookup_elem(&shares, &uid);
		if (rate && one_more(rate, bpf_ktime_get_boot_ns() >> SHARE_BITS) > SHARE_MOST) {
			__sync_fetch_and_add(&count->refused, 1);
			return;
		}
	}
	if (bpf_ringbuf_output(&ring, record, size, full ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP))
		__sync_fetch_and_add(&count->refused, 1);
}

/* Count a flow that found no room in the map. */
static __always_inline void miss(void)
{
	u32 none = 0;
	struct count *count = bpf_map_lookup_elem(&counts, &none);

	if (count)
		__sync_fetch_and_add(&count->refused, 1);
}

/* Count a change that the kernel did not tell. */
static __always_inline void untold(void)
{
	u32 none = 0;
	struct count *count = bpf_map_lookup_elem(&counts, &none);

	if (count)
		__sync_fetch_and_add(&count->happened, 1);
}

static __always_inline void begin(struct head *head, u16 size, u8 kind)
{
	head->size = size;
	head->kind = kind;
	head->flags = 0;
	head->cpu = bpf_get_smp_processor_id();
	head->time = bpf_ktime_get_boot_ns();
}

#endif
