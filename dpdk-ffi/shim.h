/* SPDX-License-Identifier: Apache-2.0
 * What dpdk-ffi uses of DPDK: its headers, plus a name to link against for each static inline function and macro. */
#ifndef DPDK_FFI_SHIM_H
#define DPDK_FFI_SHIM_H

#include <stddef.h>
#include <stdint.h>

#include <rte_config.h>
#include <rte_cycles.h>
#include <rte_dev.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_launch.h>
#include <rte_lcore.h>
#include <rte_log.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>
#include <rte_ring.h>
#include <rte_version.h>

/* Where the mbuf fields are. The C compiler finds them inside whatever anonymous unions a release has. */
enum dpdk_ffi_mbuf_offset {
	DPDK_FFI_MBUF_BUF_ADDR = offsetof(struct rte_mbuf, buf_addr),
	DPDK_FFI_MBUF_DATA_OFF = offsetof(struct rte_mbuf, data_off),
	DPDK_FFI_MBUF_NB_SEGS = offsetof(struct rte_mbuf, nb_segs),
	DPDK_FFI_MBUF_PORT = offsetof(struct rte_mbuf, port),
	DPDK_FFI_MBUF_OL_FLAGS = offsetof(struct rte_mbuf, ol_flags),
	DPDK_FFI_MBUF_PKT_LEN = offsetof(struct rte_mbuf, pkt_len),
	DPDK_FFI_MBUF_DATA_LEN = offsetof(struct rte_mbuf, data_len),
	DPDK_FFI_MBUF_RSS_HASH = offsetof(struct rte_mbuf, hash.rss),
	DPDK_FFI_MBUF_BUF_LEN = offsetof(struct rte_mbuf, buf_len),
	DPDK_FFI_MBUF_NEXT = offsetof(struct rte_mbuf, next),
};

/* Link state without the bit-fields, whose place differs between releases. */
struct dpdk_ffi_link {
	uint32_t speed_mbps;
	uint8_t is_up;
	uint8_t is_full_duplex;
};

int dpdk_ffi_errno(void);
unsigned int dpdk_ffi_lcore_id(void);
uint64_t dpdk_ffi_rdtsc(void);

uint16_t dpdk_ffi_rx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t count);
uint16_t dpdk_ffi_tx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t count);

struct rte_mbuf *dpdk_ffi_mbuf_alloc(struct rte_mempool *pool);
int dpdk_ffi_mbuf_alloc_bulk(struct rte_mempool *pool, struct rte_mbuf **mbufs, unsigned int count);
void dpdk_ffi_mbuf_free(struct rte_mbuf *mbuf);
int dpdk_ffi_mbuf_linearize(struct rte_mbuf *mbuf);

unsigned int dpdk_ffi_ring_enqueue_burst(struct rte_ring *ring, struct rte_mbuf **mbufs, unsigned int count);
unsigned int dpdk_ffi_ring_dequeue_burst(struct rte_ring *ring, struct rte_mbuf **mbufs, unsigned int count);
unsigned int dpdk_ffi_ring_count(const struct rte_ring *ring);

int dpdk_ffi_link(uint16_t port, struct dpdk_ffi_link *link);

#endif
