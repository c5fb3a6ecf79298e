/* SPDX-License-Identifier: Apache-2.0 */
#include "shim.h"

/* src/mbuf.rs reads these fields with the widths that are asserted here. */
#define ASSERT_WIDTH(field, bytes) \
	_Static_assert(sizeof(((struct rte_mbuf *)0)->field) == (bytes), "width of rte_mbuf." #field)
ASSERT_WIDTH(buf_addr, sizeof(void *));
ASSERT_WIDTH(data_off, 2);
ASSERT_WIDTH(nb_segs, 2);
ASSERT_WIDTH(port, 2);
ASSERT_WIDTH(ol_flags, 8);
ASSERT_WIDTH(pkt_len, 4);
ASSERT_WIDTH(data_len, 2);
ASSERT_WIDTH(hash.rss, 4);
ASSERT_WIDTH(buf_len, 2);
ASSERT_WIDTH(next, sizeof(void *));

int dpdk_ffi_errno(void)
{
	return rte_errno;
}

unsigned int dpdk_ffi_lcore_id(void)
{
	return rte_lcore_id();
}

uint64_t dpdk_ffi_rdtsc(void)
{
	return rte_rdtsc();
}

uint16_t dpdk_ffi_rx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t count)
{
	return rte_eth_rx_burst(port, queue, mbufs, count);
}

uint16_t dpdk_ffi_tx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t count)
{
	return rte_eth_tx_burst(port, queue, mbufs, count);
}

struct rte_mbuf *dpdk_ffi_mbuf_alloc(struct rte_mempool *pool)
{
	return rte_pktmbuf_alloc(pool);
}

int dpdk_ffi_mbuf_alloc_bulk(struct rte_mempool *pool, struct rte_mbuf **mbufs, unsigned int count)
{
	return rte_pktmbuf_alloc_bulk(pool, mbufs, count);
}

void dpdk_ffi_mbuf_free(struct rte_mbuf *mbuf)
{
	rte_pktmbuf_free(mbuf);
}

int dpdk_ffi_mbuf_linearize(struct rte_mbuf *mbuf)
{
	return rte_pktmbuf_linearize(mbuf);
}

unsigned int dpdk_ffi_ring_enqueue_burst(struct rte_ring *ring, struct rte_mbuf **mbufs, unsigned int count)
{
	return rte_ring_enqueue_burst(ring, (void **)mbufs, count, NULL);
}

unsigned int dpdk_ffi_ring_dequeue_burst(struct rte_ring *ring, struct rte_mbuf **mbufs, unsigned int count)
{
	return rte_ring_dequeue_burst(ring, (void **)mbufs, count, NULL);
}

unsigned int dpdk_ffi_ring_count(const struct rte_ring *ring)
{
	return rte_ring_count(ring);
}

int dpdk_ffi_link(uint16_t port, struct dpdk_ffi_link *link)
{
	struct rte_eth_link now;
	int ret = rte_eth_link_get_nowait(port, &now);

	if (ret != 0)
		return ret;
	link->speed_mbps = now.link_speed;
	link->is_up = now.link_status == RTE_ETH_LINK_UP;
	link->is_full_duplex = now.link_duplex == RTE_ETH_LINK_FULL_DUPLEX;
	return 0;
}
