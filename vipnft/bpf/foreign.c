// SPDX-License-Identifier: GPL-2.0-or-later
/* Drop, before an skb is made, what the rules would surely drop as another host's.
 *
 * Rule 1: it never decides what is taken. What it does not know to be foreign passes, and the rules
 *         look at it: they are the truth, and whole without it.
 * Rule 2: a bit is set only while the rules say `drop` to that bucket. Who sets it sees to that.
 * Rule 3: hash and bucket are nft's: jhash() as in include/linux/jhash.h, and a multiply-shift
 *         (nft_jhash_eval in net/netfilter/nft_hash.c); its twin is vipnft/ruleset/jhash.py.
 *
 * No header is included: what is compiled does not depend on what is installed. All names and
 * numbers of the kernel's are its promise to programs (linux/bpf.h, linux/if_ether.h).
 */
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

#define SECTION(name) __attribute__((section(name), used))
#define INLINE static inline __attribute__((always_inline))
#define BE16(x) ((u16)((x) >> 8 | (x) << 8)) /* compiled for little-endian machines */

enum { XDP_DROP = 1, XDP_PASS = 2 };
enum { ARRAY = 2, PERCPU_ARRAY = 6 }; /* BPF_MAP_TYPE_... */
enum { TCP = 6, UDP = 17, SCTP = 132 };
enum { MOST = 16 }; /* VIPs of a version on an interface; more than these pass */

struct xdp_md {
	u32 data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex;
};

struct ethernet {
	u8 to[6], from[6];
	u16 type;
} __attribute__((packed));

struct ipv4 {
	u8 version_words, tos;
	u16 size, id, fragment;
	u8 ttl, protocol;
	u16 sum;
	u32 from, to;
};

struct ipv6 {
	u32 version_flow;
	u16 size;
	u8 next, hops;
	u32 from[4], to[4];
};

/* What an interface is told before the program is loaded; addresses and masks as they are on the
 * wire. The verifier knows these values, and removes what they rule out. */
struct told {
	u32 seed, buckets;
	u32 count4, count6;
	u32 mask4, mask6[4];
	u32 vips4[MOST], vips6[MOST][4];
};
const volatile struct told told SECTION(".rodata") = {};

/* A bit a bucket, 64 to an element: foreign. */
struct {
	int (*type)[ARRAY];
	int (*max_entries)[1];
	u32 *key;
	u64 *value;
} foreign SECTION(".maps");

/* Packets that were dropped, by bucket. */
struct {
	int (*type)[PERCPU_ARRAY];
	int (*max_entries)[1];
	u32 *key;
	u64 *value;
} dropped SECTION(".maps");

static void *(*const lookup)(void *map, const void *key) = (void *)1; /* bpf_map_lookup_elem */

INLINE u32 rol(u32 word, u32 shift)
{
	return word << shift | word >> (32 - shift);
}

INLINE u32 final(u32 a, u32 b, u32 c)
{
	c ^= b; c -= rol(b, 14);
	a ^= c; a -= rol(c, 11);
	b ^= a; b -= rol(a, 25);
	c ^= b; c -= rol(b, 16);
	a ^= c; a -= rol(c, 4);
	b ^= a; b -= rol(a, 14);
	c ^= b; c -= rol(b, 24);
	return c;
}

INLINE u32 hash4(u32 address)
{
	u32 start = 0xdeadbeef + 4 + told.seed;

	return final(start + address, start, start);
}

INLINE u32 hash16(const u32 address[4])
{
	u32 a, b, c;

	a = b = c = 0xdeadbeef + 16 + told.seed;
	a += address[0] & told.mask6[0];
	b += address[1] & told.mask6[1];
	c += address[2] & told.mask6[2];
	a -= c; a ^= rol(c, 4);  c += b;
	b -= a; b ^= rol(a, 6);  a += c;
	c -= b; c ^= rol(b, 8);  b += a;
	a -= c; a ^= rol(c, 16); c += b;
	b -= a; b ^= rol(a, 19); a += c;
	c -= b; c ^= rol(b, 4);  b += a;
	return final(a + (address[3] & told.mask6[3]), b, c);
}

INLINE int has_ports(u8 protocol)
{
	return protocol == TCP || protocol == UDP || protocol == SCTP;
}

/* Drop what hashes into a foreign bucket. */
INLINE int judged(u32 hash)
{
	u32 bucket = (u64)hash * told.buckets >> 32, word = bucket / 64;
	u64 *bits = lookup(&foreign, &word), *count;

	if (!bits || !(*bits >> bucket % 64 & 1))
		return XDP_PASS;
	count = lookup(&dropped, &bucket);
	if (count)
		++*count;
	return XDP_DROP;
}

INLINE int judged4(const struct ipv4 *ip)
{
	u32 found = 0;

#pragma unroll
	for (u32 i = 0; i < MOST; i++)
		if (i < told.count4)
			found |= ip->to == told.vips4[i];
	/* Five words of header, no options; no part of a fragmented packet. */
	if (!found || ip->version_words != 0x45 || !has_ports(ip->protocol))
		return XDP_PASS;
	if (ip->fragment & BE16(0x3fff))
		return XDP_PASS;
	return judged(hash4(ip->from & told.mask4));
}

INLINE int judged6(const struct ipv6 *ip)
{
	u32 found = 0;

#pragma unroll
	for (u32 i = 0; i < MOST; i++)
		if (i < told.count6)
			found |= ip->to[3] == told.vips6[i][3] && ip->to[2] == told.vips6[i][2] &&
				 ip->to[1] == told.vips6[i][1] && ip->to[0] == told.vips6[i][0];
	if (!found || (ip->version_flow & 0xf0) != 0x60 || !has_ports(ip->next))
		return XDP_PASS;
	return judged(hash16(ip->from));
}

SECTION("xdp.frags")
int vipnft_foreign(struct xdp_md *frame)
{
	const u8 *at = (const u8 *)(long)frame->data, *end = (const u8 *)(long)frame->data_end;
	const struct ethernet *ethernet = (const void *)at;

	at += sizeof(*ethernet);
	if (at > end)
		return XDP_PASS;
	if (ethernet->type == BE16(0x0800) && told.count4) {
		const struct ipv4 *ip = (const void *)at;

		return (const u8 *)(ip + 1) > end ? XDP_PASS : judged4(ip);
	}
	if (ethernet->type == BE16(0x86dd) && told.count6) {
		const struct ipv6 *ip = (const void *)at;

		return (const u8 *)(ip + 1) > end ? XDP_PASS : judged6(ip);
	}
	return XDP_PASS;
}

char terms[] SECTION("license") = "GPL";
